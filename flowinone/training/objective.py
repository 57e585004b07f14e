"""The loss of a batch of pairs: from pictures to the number that training lowers."""

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
class Chance:
    """Everything random in the loss of a batch, [B, ...] each."""

    times: Tensor
    source: Tensor
    image: Tensor
    target: Tensor
    null: Tensor

    @classmethod
    def draw(
        cls, seed: int, number: int, count: int, latent_shape: tuple[int, ...], null_probability: float
    ) -> "Chance":
        """What batch `number` of a run with that seed gets: the same after a resume, on every device."""
        generator = torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)
        times = losses.draw_times(count, generator)
        source, image, target = torch.randn(3, count, *latent_shape, generator=generator)
        null = torch.rand(count, generator=generator) < null_probability
        # One alone would keep its own target, and teach the null branch what it must not know.
        return cls(times, source, image, target, null & (null.sum() > 1))

    def to(self, device: torch.device) -> "Chance":
        return Chance(*(getattr(self, field.name).to(device) for field in dataclasses.fields(self)))


class Objective(nn.Module):
    """All parts, and the loss that trains those whose parameters ask for gradients (upstream: `FlowMatching.__call__`).

    `features` serves the contrastive term and may be None, which leaves that out.
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
        self, batch: dict[str, Tensor], chance: Chance, source_only: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its terms by name, of `vision` [B, 3, S, S], `image` and `target` [B, 3, H, W] pixels and `bypass` [B].

        What the frozen parts make of them serves in their place: `vision_encoded`, tokens, and `image_encoded` and
        `target_encoded`, the autoencoder's moments. With `source_only` the velocity network is left alone, and the prompt
        encoder learns to guess the target.
        """
        if "vision_encoded" in batch:
            tokens = batch["vision_encoded"].float()
        else:
            with torch.set_grad_enabled(self.trains_vision and torch.is_grad_enabled()):
                tokens = self.vision(batch["vision"])
        mean, logvar = self.model.encode_prompt(tokens)
        logvar = logvar.clamp(*losses.LOGVAR_RANGE)
        with torch.no_grad():
            target = self._latents(batch, "target", chance.target)
        kl = self.kl_weight * losses.kl_divergence(mean, logvar).mean()
        if source_only:
            return _summed({"source": losses.source_loss(mean, target), "kl": kl})

        terms = {"source": self.source_weight * losses.source_loss(mean, target)} if self.source_weight else {}
        source = source_latent(mean, logvar, chance.source)
        with torch.no_grad():
            image = self._latents(batch, "image", chance.image)
        target = losses.rotated_targets(target, chance.null)
        condition = Condition(image, chance.null, batch["bypass"])
        fine, coarse = self.model.both_velocities(losses.path(source, target, chance.times), chance.times, condition)
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
