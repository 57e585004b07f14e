"""The prompt encoder's schooling: together with the tower it learns to guess answers before the flow, or again after it.

The flow starts at its guess, and finds the grounds of pictures and what stays in them in the prompt image itself. So a
guess must be right where something changes, and that counts most here. What stands there, the tower must tell as well,
and a reader of latents must be able to tell it from the guess: shapes differ by few of a latent's values, and a guess that
is a blot, as near on average, becomes another shape.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowinone.autoencoder import latents_of_moments
from flowinone.hardware import accelerator
from flowinone.model import FlowInOneModel
from flowinone.toy import COLORS, SHAPES, Example, Flag, Scene, example_from_name
from flowinone.toy.scene import Point, polygon_mask
from flowinone.training import losses
from flowinone.training.cache import PairCache, rows
from flowinone.training.export import write_network, write_tower
from flowinone.training.optimizers import Kind
from flowinone.training.parts import own_tensors, quick_attention, stored_tower
from flowinone.vision import VisionEncoder
from flowinone.weights.checkpoint import open_network
from recipes.mini.fitting import fit

_SHAPES, _COLORS = (tuple(["nothing", *names]) for names in ([*SHAPES, "flag"], COLORS))
_REST, _STAYING, _CHANGING = 0.1, 0.4, 1.0
"""What an error counts on the ground, on things that stay, and where things come or go."""
_AROUND = 1.15, 0.03
"""A thing's surroundings, which its edges are in: so many radii and so much of the picture more."""
_OF_PHOTO = 0.3
"""What the things of the photo count beside those of the answer."""
_READER_RATE, _READER_NOISE = 3e-3, 0.3
"""A reader's learning rate, and the standard deviation of the noise on what it reads."""


@dataclasses.dataclass(frozen=True)
class GuessingConfig:
    """`checkpoint` and `vision` are files of a network, whose other parts stay as they are, and of its tower.

    `fresh` are `FlowInOneConfig` fields of a new prompt encoder that takes the old one's place, if there are any.
    `naming_weight` is what the tower's naming of things counts beside guessing them, and `reading_weight` what it counts that they
    can be told from the guess, by a reader that had `reading_steps` before.
    """

    out: str
    checkpoint: str
    vision: str
    fresh: dict = dataclasses.field(default_factory=dict)
    seed: int = 0
    steps: int = 10_000
    batch_size: int = 64
    naming_weight: float = 0.3
    reading_weight: float = 0.0
    reading_steps: int = 500
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


class Reader(nn.Module):
    """Tells what stands at each cell of latents, at most six cells around it."""

    def __init__(self, channels: int, width: int = 64):
        super().__init__()
        layers = [nn.Conv2d(channels, width, 3, padding=1)]
        for dilation in (1, 2, 2):
            layers += [nn.SiLU(), nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)]
        self.layers = nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(width, len(_SHAPES) + len(_COLORS), 1))

    def forward(self, latents: Tensor) -> tuple[Tensor, ...]:
        """Logits [B, H * W, names] of shape and colour, for latents [B, C, H, W] as wide as guesses."""
        return self.layers(latents).flatten(2).transpose(1, 2).split([len(_SHAPES), len(_COLORS)], dim=-1)


@dataclasses.dataclass(frozen=True)
class Maps:
    """Of N scenes: what stands where in answer and photo at the tower's tokens [N, 4, side, side], in the answer at the
    latents' cells [N, 2, H, W], and what errors count there [N, side, side] and [N, H, W]."""

    tokens: np.ndarray
    cells: np.ndarray
    token_counts: np.ndarray
    cell_counts: np.ndarray

    def of(self, numbers: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Those of some scenes: the names as integers, what errors count as float32."""
        names = (torch.from_numpy(these[numbers]).to(device).long() for these in (self.tokens, self.cells))
        counts = (
            torch.from_numpy(these[numbers]).to(device).float() for these in (self.token_counts, self.cell_counts)
        )
        return *names, *counts


def maps(names: Sequence[str], side: int, latent_side: int) -> Maps:
    """Of the scenes of those names, for so many tokens and cells a side."""
    there = [np.zeros((len(names), count, size, size), np.uint8) for count, size in ((4, side), (2, latent_side))]
    counts = [np.zeros((len(names), size, size), np.float16) for size in (side, latent_side)]
    for number, name in enumerate(names):
        planned = example_from_name(name)
        for named, counted, size in zip(there, counts, (side, latent_side)):
            named[number, :2] = standing(planned.answer.scene, size)
            counted[number] = weights(planned, size)
        if planned.photo_scene:
            there[0][number, 2:] = standing(planned.photo_scene, side)
    return Maps(*there, *counts)


def standing(scene: Scene, side: int) -> np.ndarray:
    """The numbers of the shape and the colour [2, side, side] that stand where in a scene, 0 for nothing."""
    names = np.zeros((2, side, side), np.uint8)
    for thing in scene.objects:
        names[:, _disc(thing.center, thing.radius, side)] = [[_SHAPES.index(thing.shape)], [_COLORS.index(thing.color)]]
    if scene.flag:
        names[:, _cloth(scene.flag, side)] = [[_SHAPES.index("flag")], [_COLORS.index(scene.flag.color)]]
    return names


def weights(planned: Example, side: int) -> np.ndarray:
    """What an error counts where [side, side]: most where the answer's things are put, and where the photo's were."""
    counts = np.full((side, side), _REST, np.float16)
    answer = planned.answer
    before, after = planned.photo_scene or Scene(answer.scene.background), answer.scene
    put = [thing for number, thing in enumerate(after.objects) if number in answer.placed]
    gone = [thing for thing in before.objects if thing not in after.objects]
    for things, count in ((after.objects, _STAYING), (gone, _CHANGING), (put, _CHANGING)):
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
    (top, left), mask = polygon_mask([flag.cloth_outline()], side)
    covered = np.zeros((side, side), bool)
    covered[top : top + mask.shape[0], left : left + mask.shape[1]] = mask > 1 / 3
    return covered


def train_guessing(config: GuessingConfig, caches: Sequence[PairCache]) -> tuple[Path, Path]:
    """Train on caches of scenes whose answers are encoded, from the last state if there is one; the network's file and the tower's."""
    torch.manual_seed(config.seed)
    device = accelerator() or torch.device("cpu")
    file = open_network(config.checkpoint)
    model, vision = file.load(torch.float32), stored_tower(config.vision)
    if config.fresh:
        velocities, model = model.velocity_network, FlowInOneModel(dataclasses.replace(model.config, **config.fresh))
        model.velocity_network.load_state_dict(velocities.state_dict())
    guesser = own_tensors(Guesser(vision, model.prompt_encoder)).requires_grad_(True).to(device)
    side = vision.config.image_size // vision.config.patch_size
    known = maps([name for cache in caches for name in cache.names], side, model.config.latent_size)
    pictures, answers = ([cache[what] for cache in caches] for what in ("vision", "target_encoded"))

    def chosen_at(step: int) -> np.ndarray:
        return np.sort(np.random.default_rng((config.seed, step)).integers(len(known.cells), size=config.batch_size))

    def targets(chosen: np.ndarray) -> Tensor:
        moments = torch.from_numpy(rows(answers, chosen)).to(device).float()
        return latents_of_moments(moments, torch.randn_like(moments[:, : moments.shape[1] // 2]))

    # The encoder's last matrix is a large part of it, and dear to make orthogonal.
    learning = dict(betas=(0.9, 0.98), weight_decay=0.01, plain=("head", "encoder.head"))
    reader = Reader(model.config.latent_channels).to(device)
    if config.reading_weight:

        def reading_loss_of(step: int) -> tuple[Tensor, dict[str, Tensor]]:
            chosen = chosen_at(step)
            _, cells, _, counts = known.of(chosen, device)
            return naming_loss(reader(_seen(losses.SOURCE_SCALE * targets(chosen))), cells, counts), {}

        settings = dataclasses.replace(config, out=str(Path(config.out) / "reader"), learning_rate=_READER_RATE)
        fit(reader, reading_loss_of, config.reading_steps, settings, **learning)
        reader.requires_grad_(False)

    def loss_of(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        chosen = chosen_at(step)
        pixels = torch.from_numpy(rows(pictures, chosen)).permute(0, 3, 1, 2).to(device).float() / 127.5 - 1
        tokens, cells, token_counts, cell_counts = known.of(chosen, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
            mean, logvar, names = guesser(pixels)
        mean, logvar = mean.float(), logvar.float().clamp(*losses.LOGVAR_RANGE)
        terms = {
            "guess": losses.source_loss(mean, targets(chosen), cell_counts),
            "kl": config.kl_weight * losses.kl_divergence(mean, logvar).mean(),
            "names": config.naming_weight * naming_loss(names, tokens, token_counts),
        }
        if config.reading_weight:
            terms["read"] = config.reading_weight * naming_loss(reader(_seen(mean)), cells, cell_counts)
        return sum(terms.values()), terms

    with quick_attention(device):
        fit(guesser, loss_of, config.steps, config, **learning)
    out = Path(config.out)
    network = write_network(out / "flowinone.safetensors", model, file.training_tensors())
    return network, write_tower(out / "vision.safetensors", vision)


def _seen(guesses: Tensor) -> Tensor:
    """As the reader sees them: what little noise hides is of no use to the flow."""
    return guesses + _READER_NOISE * torch.randn_like(guesses)


def naming_loss(logits: Sequence[Tensor], there: Tensor, counts: Tensor) -> Tensor:
    """Cross entropy of logits [B, N, names] for the numbers [B, 2 or 4, side, side], each of which counts so much [B, side, side]."""
    loss, counts = 0, counts.flatten()
    for number, (values, wanted) in enumerate(zip(logits, there.flatten(2).unbind(1))):
        errors = F.cross_entropy(values.flatten(0, 1), wanted.flatten(), reduction="none")
        loss = loss + (errors * counts).sum() / counts.sum() * (_OF_PHOTO if number > 1 else 1.0)
    return loss
