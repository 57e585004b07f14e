"""Latent regression: prompt encoder and vision tower learn to predict the target latent.

The flow starts at the prediction, and can copy backgrounds and unchanged things from the prompt image through the dual
path. So errors are weighted by position, most where something changes. Two auxiliary losses help: the tower classifies
what is at each of its tokens, and a frozen reader of latents must recognise it in the prediction. Shapes differ in few
of a latent's values: a blurred prediction has a low squared error, but the flow turns it into any shape.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from flowinone.autoencoder import latents_of_moments
from flowinone.hardware import accelerator
from flowinone.model import FlowInOneModel
from flowinone.toy import COLORS, SHAPES, Example, Flag, Scene, example_from_name
from flowinone.toy.scene import Point, polygon_mask
from flowinone.training import losses
from flowinone.training.build import (
    math_attention_on_cpu,
    owned_tensors,
    vision_tower_from_file,
)
from flowinone.training.cache import PairCache
from flowinone.training.export import write_network, write_tower
from flowinone.training.run_config import FORBID_UNKNOWN, OptimizerName
from flowinone.vision import VisionEncoder
from flowinone.weights.checkpoint import open_network
from recipes.mini.fitting import fit

_SHAPES, _COLORS = (tuple(["nothing", *names]) for names in ([*SHAPES, "flag"], COLORS))
"""The classes of shape and colour."""
_BACKGROUND, _UNCHANGED, _CHANGED = 0.1, 0.4, 1.0
"""The weights of errors on the background, on unchanged things, and where things appear or disappear."""
_MARGIN = 1.15, 0.03
"""A thing's weighted surroundings, which contain its edges: this many radii plus this share of the picture."""
_PHOTO_WEIGHT = 0.3
"""The weight of classifying the photo's things, relative to the target's."""
_READER_RATE, _READER_NOISE = 3e-3, 0.3
"""The latent reader's learning rate, and the standard deviation of the noise on its input."""


@dataclass(frozen=True, config=FORBID_UNKNOWN)
class LatentRegressionConfig:
    """`checkpoint` and `vision` are the files of a network, whose velocity network stays as it is, and of its tower.

    `new_prompt_encoder` gives `FlowInOneConfig` fields of a new prompt encoder that replaces the old one; empty keeps
    it. `classification_weight` is the weight of classifying things at the tower's tokens, `reader_weight` that of
    recognising them in the predicted latent, by a reader trained for `reader_steps` before.
    """

    out: str
    checkpoint: str
    vision: str
    new_prompt_encoder: dict = dataclasses.field(default_factory=dict)
    seed: int = 0
    steps: int = 10_000
    batch_size: int = 64
    classification_weight: float = 0.3
    reader_weight: float = 0.0
    reader_steps: int = 500
    kl_weight: float = 0.01
    optimizer: OptimizerName = "muon"
    learning_rate: float = 1.2e-3
    warmup: int = 100
    ema: float = 0.998
    bf16: bool = True
    checkpoint_every: int = 500


class LatentRegressor(nn.Module):
    """A tower, a prompt encoder, and a head that classifies what is at each of the tower's tokens."""

    def __init__(self, vision: VisionEncoder, encoder: nn.Module):
        super().__init__()
        self.vision, self.encoder = vision, encoder
        width = vision.config.projection_dim
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 2 * (len(_SHAPES) + len(_COLORS)))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Mean and log-variance of the source latents [B, C, H, W], and class logits, for pixels [B, 3, S, S].

        The logits [B, N, classes] are of shape and colour in the target, then of shape and colour in the photo.
        """
        tokens = self.vision(pixels)
        mean, logvar = self.encoder(tokens)
        logits = self.head(self.norm(tokens.float())).float()
        return mean, logvar, logits.split([len(_SHAPES), len(_COLORS)] * 2, dim=-1)


class LatentReader(nn.Module):
    """Classifies what is at each cell of latents, from the cells at most six away."""

    def __init__(self, channels: int, width: int = 64):
        super().__init__()
        layers = [nn.Conv2d(channels, width, 3, padding=1)]
        for dilation in (1, 2, 2):
            layers += [nn.SiLU(), nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)]
        self.layers = nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(width, len(_SHAPES) + len(_COLORS), 1))

    def forward(self, latents: Tensor) -> tuple[Tensor, ...]:
        """Logits [B, H * W, classes] of shape and colour, for latents [B, C, H, W] scaled like predictions."""
        return self.layers(latents).flatten(2).transpose(1, 2).split([len(_SHAPES), len(_COLORS)], dim=-1)


@dataclasses.dataclass(frozen=True)
class SceneMaps:
    """Class labels and error weights of N scenes by position.

    `token_labels` [N, 4, side, side] are at the tower's tokens: shape and colour in the target, then in the photo.
    `cell_labels` [N, 2, H, W] are at the latents' cells: shape and colour in the target. The weights are
    [N, side, side] and [N, H, W].
    """

    token_labels: np.ndarray
    cell_labels: np.ndarray
    token_weights: np.ndarray
    cell_weights: np.ndarray

    def of(self, numbers: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The labels of some scenes as int64, then the weights as float32."""
        labels = [array[numbers] for array in (self.token_labels, self.cell_labels)]
        weights = [array[numbers] for array in (self.token_weights, self.cell_weights)]
        return (
            *(torch.from_numpy(array).to(device).long() for array in labels),
            *(torch.from_numpy(array).to(device).float() for array in weights),
        )


def scene_maps(names: Sequence[str], side: int, latent_side: int) -> SceneMaps:
    """The maps of the scenes with those names, for `side` tokens and `latent_side` cells per side."""
    labels = [np.zeros((len(names), count, size, size), np.uint8) for count, size in ((4, side), (2, latent_side))]
    weights = [np.zeros((len(names), size, size), np.float16) for size in (side, latent_side)]
    for number, name in enumerate(names):
        example = example_from_name(name)
        for size_labels, size_weights, size in zip(labels, weights, (side, latent_side)):
            size_labels[number, :2] = label_map(example.answer.scene, size)
            size_weights[number] = error_weights(example, size)
        if example.photo_scene:
            labels[0][number, 2:] = label_map(example.photo_scene, side)
    return SceneMaps(*labels, *weights)


def label_map(scene: Scene, side: int) -> np.ndarray:
    """The classes [2, side, side] of shape and colour by position, 0 for nothing."""
    labels = np.zeros((2, side, side), np.uint8)
    for thing in scene.objects:
        classes = [[_SHAPES.index(thing.shape)], [_COLORS.index(thing.color)]]
        labels[:, _disc(thing.center, thing.radius, side)] = classes
    if scene.flag:
        labels[:, _cloth(scene.flag, side)] = [[_SHAPES.index("flag")], [_COLORS.index(scene.flag.color)]]
    return labels


def error_weights(example: Example, side: int) -> np.ndarray:
    """The weight of errors by position [side, side]: highest where things appear in the target or leave the photo."""
    weights = np.full((side, side), _BACKGROUND, np.float16)
    answer = example.answer
    before, after = example.photo_scene or Scene(answer.scene.background), answer.scene
    placed = [thing for number, thing in enumerate(after.objects) if number in answer.placed]
    gone = [thing for thing in before.objects if thing not in after.objects]
    for things, weight in ((after.objects, _UNCHANGED), (gone, _CHANGED), (placed, _CHANGED)):
        for thing in things:
            weights[_disc(thing.center, _MARGIN[0] * thing.radius + _MARGIN[1], side)] = weight
    for flag in filter(None, (before.flag, after.flag)):
        weights[_cloth(flag, side)] = _CHANGED
    return weights


def _disc(center: Point, radius: float, side: int) -> np.ndarray:
    """The cells [side, side] whose centres are in the disc."""
    centers = (np.arange(side) + 0.5) / side
    return np.hypot(centers - center[0], (centers - center[1])[:, None]) < radius


def _cloth(flag: Flag, side: int) -> np.ndarray:
    """The cells [side, side] of which the cloth covers more than a third."""
    (top, left), mask = polygon_mask([flag.cloth_outline()], side)
    covered = np.zeros((side, side), bool)
    covered[top : top + mask.shape[0], left : left + mask.shape[1]] = mask > 1 / 3
    return covered


def train_latent_regression(config: LatentRegressionConfig, caches: Sequence[PairCache]) -> tuple[Path, Path]:
    """Train on caches of scenes with `target_encoded`, from the last snapshot if there is one.

    Returns the files of the network and of the tower.
    """
    torch.manual_seed(config.seed)
    device = accelerator() or torch.device("cpu")
    file = open_network(config.checkpoint)
    model, vision = file.load(torch.float32), vision_tower_from_file(config.vision)
    if config.new_prompt_encoder:
        velocity = model.velocity_network.state_dict()
        model = FlowInOneModel(dataclasses.replace(model.config, **config.new_prompt_encoder))
        model.velocity_network.load_state_dict(velocity)
    regressor = owned_tensors(LatentRegressor(vision, model.prompt_encoder)).requires_grad_(True).to(device)
    side = vision.config.image_size // vision.config.patch_size
    maps = scene_maps([name for cache in caches for name in cache.names], side, model.config.latent_size)
    prompts, moments = ([cache[name] for cache in caches] for name in ("vision", "target_encoded"))

    def batch_at(step: int) -> np.ndarray:
        return np.sort(
            np.random.default_rng((config.seed, step)).integers(len(maps.cell_labels), size=config.batch_size)
        )

    def targets(numbers: np.ndarray) -> Tensor:
        chosen = torch.from_numpy(rows(moments, numbers)).to(device).float()
        return latents_of_moments(chosen, torch.randn_like(chosen[:, : chosen.shape[1] // 2]))

    # The encoder's last matrix is a large part of it, and costly to orthogonalise.
    fitting = dict(betas=(0.9, 0.98), weight_decay=0.01, adamw_only=("head", "encoder.head"))
    reader = LatentReader(model.config.latent_channels).to(device)
    if config.reader_weight:

        def reader_loss_at(step: int) -> tuple[Tensor, dict[str, Tensor]]:
            numbers = batch_at(step)
            _, cell_labels, _, cell_weights = maps.of(numbers, device)
            logits = reader(_with_noise(losses.SOURCE_SCALE * targets(numbers)))
            return classification_loss(logits, cell_labels, cell_weights), {}

        settings = dataclasses.replace(config, out=str(Path(config.out) / "reader"), learning_rate=_READER_RATE)
        fit(reader, reader_loss_at, config.reader_steps, settings, **fitting)
        reader.requires_grad_(False)

    def loss_at(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        numbers = batch_at(step)
        pixels = torch.from_numpy(rows(prompts, numbers)).permute(0, 3, 1, 2).to(device).float() / 127.5 - 1
        token_labels, cell_labels, token_weights, cell_weights = maps.of(numbers, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
            mean, logvar, logits = regressor(pixels)
        mean, logvar = mean.float(), logvar.float().clamp(*losses.LOGVAR_RANGE)
        terms = {
            "regression": losses.source_loss(mean, targets(numbers), cell_weights),
            "kl": config.kl_weight * losses.kl_divergence(mean, logvar).mean(),
            "classification": config.classification_weight * classification_loss(logits, token_labels, token_weights),
        }
        if config.reader_weight:
            logits = reader(_with_noise(mean))
            terms["reader"] = config.reader_weight * classification_loss(logits, cell_labels, cell_weights)
        return sum(terms.values()), terms

    with math_attention_on_cpu(device):
        fit(regressor, loss_at, config.steps, config, **fitting)
    out = Path(config.out)
    network = write_network(out / "flowinone.safetensors", model, file.training_tensors())
    return network, write_tower(out / "vision.safetensors", vision)


def rows(arrays: Sequence[np.ndarray], numbers: np.ndarray) -> np.ndarray:
    """The rows with those ascending numbers of the arrays' concatenation, without concatenating them."""
    firsts = np.cumsum([0, *map(len, arrays)])
    parts = np.split(numbers, np.searchsorted(numbers, firsts[1:-1]))
    return np.concatenate([array[part - first] for array, part, first in zip(arrays, parts, firsts)])


def _with_noise(latents: Tensor) -> Tensor:
    """The reader's input: what a little noise hides is of no use to the flow."""
    return latents + _READER_NOISE * torch.randn_like(latents)


def classification_loss(logits: Sequence[Tensor], labels: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of logits [B, N, classes] for labels [B, 2 or 4, side, side], weighted by [B, side, side]."""
    loss, weights = 0, weights.flatten()
    for number, (values, wanted) in enumerate(zip(logits, labels.flatten(2).unbind(1))):
        errors = F.cross_entropy(values.flatten(0, 1), wanted.flatten(), reduction="none")
        loss = loss + (errors * weights).sum() / weights.sum() * (_PHOTO_WEIGHT if number > 1 else 1.0)
    return loss
