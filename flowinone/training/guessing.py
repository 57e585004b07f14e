"""The prompt encoder's schooling: together with the tower it learns to guess answers before the flow, or again after it.

The flow starts at its guess, and finds the grounds of pictures and what stays in them in the prompt image itself. So a
guess must be right where something changes, and that counts most here. What stands there, the tower must tell as well:
shapes differ by few of a latent's values, and a guess that is blurred for that becomes another shape.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..autoencoder import latents_of_moments
from ..hardware import accelerator
from ..model import FlowInOneModel
from ..vision import VisionEncoder
from . import losses
from .cache import PairCache, rows
from .export import write_network, write_tower
from .fitting import fit
from .optimizers import Kind
from .parts import own_tensors, quick_attention, stored_network, stored_tower, training_only
from .scenes import COLORS, SHAPES, Flag, Plan, Scene, plan_of
from .scenes.drawing import Point, area

_SHAPES, _COLORS = (tuple(["nothing", *names]) for names in ([*SHAPES, "flag"], COLORS))
_REST, _STAYING, _CHANGING = 0.1, 0.4, 1.0
"""What a guess's error counts on the ground, on things that stay, and where things come or go."""
_AROUND = 1.15, 0.03
"""A thing's surroundings, which its edges are in: so many radii and so much of the picture more."""
_OF_PHOTO = 0.3
"""What the things of the photo count beside those of the answer."""


@dataclasses.dataclass(frozen=True)
class GuessingConfig:
    """`checkpoint` and `vision` are files of a network, whose other parts stay as they are, and of its tower.

    `fresh` are `FlowInOneConfig` fields of a new prompt encoder that takes the old one's place, if there are any.
    `naming_weight` is what naming things counts beside guessing them.
    """

    out: str
    checkpoint: str
    vision: str
    fresh: dict = dataclasses.field(default_factory=dict)
    seed: int = 0
    steps: int = 10_000
    batch_size: int = 64
    naming_weight: float = 0.3
    kl_weight: float = 0.01
    optimizer: Kind = "muon"
    learning_rate: float = 1.2e-3
    warmup: int = 100
    ema: float = 0.998
    bf16: bool = True
    checkpoint_every: int = 500


class Guesser(nn.Module):
    """A tower and a prompt encoder, and a head that names what stands at each of the tower's tokens."""

    def __init__(self, vision: VisionEncoder, encoder: nn.Module):
        super().__init__()
        self.vision, self.encoder = vision, encoder
        width = vision.config.projection_dim
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 2 * (len(_SHAPES) + len(_COLORS)))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Mean and log-variance of the source latents [B, C, H, W] for pixels [B, 3, S, S], and logits [B, N, names] of
        shape and colour in the answer and in the photo."""
        tokens = self.vision(pixels)
        mean, logvar = self.encoder(tokens)
        names = self.head(self.norm(tokens.float())).float()
        return mean, logvar, names.split([len(_SHAPES), len(_COLORS)] * 2, dim=-1)


def _maps(names: list[str], side: int, latent_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Of scenes by name: what stands where in answer and photo [N, 4, side, side], and what guesses count where [N, H, W]."""
    there = np.zeros((len(names), 4, side, side), np.uint8)
    counts = np.zeros((len(names), latent_side, latent_side), np.float16)
    for number, name in enumerate(names):
        planned = plan_of(name)
        there[number, :2] = standing(planned.answer.scene, side)
        if planned.photo:
            there[number, 2:] = standing(planned.photo, side)
        counts[number] = weights(planned, latent_side)
    return there, counts


def standing(scene: Scene, side: int) -> np.ndarray:
    """The numbers of the shape and the colour [2, side, side] that stand where in a scene, 0 for nothing."""
    names = np.zeros((2, side, side), np.uint8)
    for thing in scene.things:
        names[:, _disc(thing.center, thing.radius, side)] = [[_SHAPES.index(thing.shape)], [_COLORS.index(thing.color)]]
    if scene.flag:
        names[:, _cloth(scene.flag, side)] = [[_SHAPES.index("flag")], [_COLORS.index(scene.flag.color)]]
    return names


def weights(planned: Plan, side: int) -> np.ndarray:
    """What the error of a guess counts where [side, side]: most where the answer's things are put, and where the photo's were."""
    counts = np.full((side, side), _REST, np.float16)
    answer = planned.answer
    before, after = planned.photo or Scene(answer.scene.ground), answer.scene
    put = [thing for number, thing in enumerate(after.things) if number in answer.put]
    gone = [thing for thing in before.things if thing not in after.things]
    for things, count in ((after.things, _STAYING), (gone, _CHANGING), (put, _CHANGING)):
        for thing in things:
            counts[_disc(thing.center, _AROUND[0] * thing.radius + _AROUND[1], side)] = count
    for flag in filter(None, (before.flag, after.flag)):
        counts[_cloth(flag, side)] = _CHANGING
    return counts


def _disc(center: Point, radius: float, side: int) -> np.ndarray:
    """Which cells [side, side] have their middles there."""
    middles = (np.arange(side) + 0.5) / side
    return np.hypot(middles - center[0], (middles - center[1])[:, None]) < radius


def _cloth(flag: Flag, side: int) -> np.ndarray:
    """Which cells [side, side] the cloth covers a third of."""
    (top, left), mask = area([flag.cloth()], side)
    covered = np.zeros((side, side), bool)
    covered[top : top + mask.shape[0], left : left + mask.shape[1]] = mask > 1 / 3
    return covered


def train_guessing(config: GuessingConfig, caches: Sequence[PairCache]) -> tuple[Path, Path]:
    """Train on caches of scenes whose answers are encoded, from the last state if there is one; the network's file and the tower's."""
    torch.manual_seed(config.seed)
    device = accelerator() or torch.device("cpu")
    model, vision = stored_network(config.checkpoint), stored_tower(config.vision)
    if config.fresh:
        velocities, model = model.velocity_network, FlowInOneModel(dataclasses.replace(model.config, **config.fresh))
        model.velocity_network.load_state_dict(velocities.state_dict())
    guesser = own_tensors(Guesser(vision, model.prompt_encoder)).requires_grad_(True).to(device)
    side = vision.config.image_size // vision.config.patch_size
    there_all, counts_all = _maps([name for cache in caches for name in cache.names], side, model.config.latent_size)
    pictures, answers = ([cache[what] for cache in caches] for what in ("vision", "target_encoded"))

    def loss_of(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        chosen = np.sort(np.random.default_rng((config.seed, step)).integers(len(counts_all), size=config.batch_size))
        pixels = torch.from_numpy(rows(pictures, chosen)).permute(0, 3, 1, 2).to(device).float() / 127.5 - 1
        moments = torch.from_numpy(rows(answers, chosen)).to(device).float()
        there, counts = (torch.from_numpy(of[chosen]).to(device) for of in (there_all, counts_all))
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
            mean, logvar, names = guesser(pixels)
        target = latents_of_moments(moments, torch.randn_like(moments[:, : moments.shape[1] // 2]))
        terms = {
            "guess": losses.source_loss(mean.float(), target, counts.float()),
            "kl": config.kl_weight * losses.kl_divergence(mean.float(), logvar.float().clamp(*losses.LOGVAR_RANGE)).mean(),
            "names": config.naming_weight * _naming_loss(names, there.long()),
        }
        return sum(terms.values()), terms

    # The encoder's last matrix is a large part of it, and dear to make orthogonal.
    with quick_attention(device):
        fit(guesser, loss_of, config.steps, config, betas=(0.9, 0.98), weight_decay=0.01, plain=("head", "encoder.head"))
    out = Path(config.out)
    network = write_network(out / "flowinone.safetensors", model, training_only(config.checkpoint))
    return network, write_tower(out / "vision.safetensors", vision)


def _naming_loss(logits: tuple[Tensor, ...], there: Tensor) -> Tensor:
    """Cross entropy of logits [B, N, names] for the numbers [B, 4, side, side]; tokens with nothing count little, for most have."""
    loss = 0
    for number, (values, wanted) in enumerate(zip(logits, there.flatten(2).unbind(1))):
        errors = F.cross_entropy(values.flatten(0, 1), wanted.flatten(), reduction="none")
        counts = torch.where(wanted.flatten() > 0, 1.0, 0.1)
        loss = loss + (errors * counts).sum() / counts.sum() * (_OF_PHOTO if number > 1 else 1.0)
    return loss
