"""The training objective: from a batch of pictures or latents to the loss."""

import dataclasses

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from ..autoencoder import image_latents, latents_of_moments
from ..model import Condition, FlowInOneModel
from ..sampling import source_latent
from ..vision import VisionEncoder
from . import losses
from .features import TargetFeatures


@dataclasses.dataclass(frozen=True)
class NoiseDraws:
    """The random numbers of a batch's loss.

    `times` and `null` are [B], the others [B, C, H, W]: the standard normal noise of the source latent, of the image
    latent and of the target latent.
    """

    times: Tensor
    source: Tensor
    image: Tensor
    target: Tensor
    null: Tensor

    @classmethod
    def draw(
        cls, seed: int, number: int, count: int, latent_shape: tuple[int, ...], null_probability: float
    ) -> "NoiseDraws":
        """Those of batch `number` of a run with that seed: the same after a resume, and on every device."""
        generator = torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)
        times = losses.draw_times(count, generator)
        source, image, target = torch.randn(3, count, *latent_shape, generator=generator)
        null = torch.rand(count, generator=generator) < null_probability
        # A single null sample would keep its own target, and the null branch would learn from the prompt.
        return cls(times, source, image, target, null & (null.sum() > 1))

    def to(self, device: torch.device) -> "NoiseDraws":
        return NoiseDraws(*(getattr(self, field.name).to(device) for field in dataclasses.fields(self)))


class Objective(nn.Module):
    """All modules, and the loss that trains their trainable parameters (upstream: `FlowMatching.__call__`).

    `features` gives the target features of the contrastive term; None leaves the term out. Distillation subclasses this
    and overrides `forward`: the loop needs a loss and its terms, no more.
    """

    def __init__(
        self,
        model: FlowInOneModel,
        vision: VisionEncoder,
        vae: AutoencoderKL,
        features: TargetFeatures | None = None,
        kl_weight: float = 0.01,
        contrastive_weight: float = 1.0,
        source_weight: float = 0.0,
    ):
        super().__init__()
        self.model, self.vision, self.vae, self.features = model, vision, vae, features
        self.kl_weight, self.contrastive_weight, self.source_weight = kl_weight, contrastive_weight, source_weight

    def forward(
        self, batch: dict[str, Tensor], draws: NoiseDraws, source_only: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its detached terms by name.

        `batch` has pixels in -1..1, `vision` [B, 3, S, S], `image` and `target` [B, 3, H, W], and `bypass` [B] bool.
        What frozen encoders make of the pixels may take their place: `vision_encoded` are tokens [B, N, D],
        `image_encoded` and `target_encoded` the autoencoder's moments [B, 2C, h, w]. With `source_only` the loss is
        that of latent regression, and the velocity network is not evaluated.
        """
        if "vision_encoded" in batch:
            tokens = batch["vision_encoded"].float()
        else:
            with torch.set_grad_enabled(self.trains_vision and torch.is_grad_enabled()):
                tokens = self.vision(batch["vision"])
        mean, logvar = self.model.encode_prompt(tokens)
        logvar = logvar.clamp(*losses.LOGVAR_RANGE)
        with torch.no_grad():
            target = self._latents(batch, "target", draws.target)
        kl = self.kl_weight * losses.kl_divergence(mean, logvar).mean()
        if source_only:
            return _summed({"source": losses.source_loss(mean, target), "kl": kl})

        terms = {"source": self.source_weight * losses.source_loss(mean, target)} if self.source_weight else {}
        source = source_latent(mean, logvar, draws.source)
        with torch.no_grad():
            image = self._latents(batch, "image", draws.image)
        target = losses.rotated_targets(target, draws.null)
        condition = Condition(image, draws.null, batch["bypass"])
        fine, coarse = self.model.both_velocities(losses.path(source, target, draws.times), draws.times, condition)
        velocity = losses.path_velocity(source, target)
        terms |= {"flow": losses.velocity_loss(fine.float(), coarse.float(), velocity), "kl": kl}
        if self.features is not None and self.contrastive_weight:
            features, temperature = self.features(batch["target"])
            terms["contrastive"] = self.contrastive_weight * losses.contrastive_loss(
                source.flatten(1), features, temperature
            )
        return _summed(terms)

    @property
    def trains_vision(self) -> bool:
        return any(parameter.requires_grad for parameter in self.vision.parameters())

    def _latents(self, batch: dict[str, Tensor], name: str, noise: Tensor) -> Tensor:
        if f"{name}_encoded" in batch:
            return latents_of_moments(batch[f"{name}_encoded"].float(), noise)
        return image_latents(self.vae, batch[name], noise)


def _summed(terms: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    return sum(terms.values()), {name: term.detach() for name, term in terms.items()}
