"""The terms of the training objective; pure functions (paper, section 4; upstream's `diffusion/flow_matching.py` and `libs/model/dimr.py`)."""

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

SIGMA_MIN = 1e-5
"""How much of the source is left where the path ends."""
LOGVAR_RANGE = (-30.0, 20.0)
SOURCE_SCALE = 1.5
"""More would cost `kl_divergence` much."""


def path(source: Tensor, target: Tensor, t: Tensor) -> Tensor:
    """Where the flow is at the times t [B]: the straight line from source to target latents [B, C, H, W]."""
    t = t.reshape(-1, *[1] * (source.ndim - 1))
    return (1 - (1 - SIGMA_MIN) * t) * source + t * target


def path_velocity(source: Tensor, target: Tensor) -> Tensor:
    """The line's derivative with time, which the network learns: the same all along."""
    return target - (1 - SIGMA_MIN) * source


def coarse_target(velocity: Tensor) -> Tensor:
    """The coarse stage's target [B, C, H/2, W/2]: sums of 2x2 cells, halved, so that noise keeps its variance."""
    return 2 * F.avg_pool2d(velocity, 2)


def velocity_loss(fine: Tensor, coarse: Tensor, target: Tensor) -> Tensor:
    """Mean squared errors of both stages' velocities; the coarse one counts a quarter."""
    return F.mse_loss(fine, target) + F.mse_loss(coarse, coarse_target(target)) / 4


def kl_divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """[B]: how far each source distribution is from a standard normal one, with upstream's sixth power instead of the square.

    The mean may so grow to about 3 at no cost, which is where prompts part.
    """
    terms = 1 + logvar - (0.3 * mean) ** 6 - logvar.exp()
    return -0.5 * terms.flatten(1).sum(dim=1)


def source_loss(mean: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """How far sources are from guesses of the targets, `SOURCE_SCALE` times as wide: the noise of a source is as wide as a target.

    `weights` [B, H, W] say what an error counts where. Not upstream's, whose prompt encoder begins with what it learnt before.
    A new one learns what words mean in a tenth of the time when it need not do so through the velocity network.
    """
    errors = F.mse_loss(mean, SOURCE_SCALE * target, reduction="none")
    return errors.mean() if weights is None else (errors.mean(dim=1) * weights).sum() / weights.sum()


def contrastive_loss(sources: Tensor, features: Tensor, temperature: Tensor | float) -> Tensor:
    """Symmetric cross-entropy that tells which source latent [B, D] belongs to which target's features [B, D].

    Of several processes each looks for the partners of its own among those of all, which are so many more to tell apart.
    """
    sources, features = F.normalize(sources, dim=-1), F.normalize(features, dim=-1)
    first = len(sources) * distributed.get_rank() if _several_processes() else 0
    pairs = torch.arange(first, first + len(sources), device=sources.device)
    of_features = temperature * features @ _of_all_processes(sources).T
    of_sources = temperature * sources @ _of_all_processes(features).T
    return (F.cross_entropy(of_features, pairs) + F.cross_entropy(of_sources, pairs)) / 2


def _several_processes() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _of_all_processes(rows: Tensor) -> Tensor:
    """The rows [B, D] of all processes one after the other; of several processes without gradients, as upstream has it."""
    if not _several_processes():
        return rows
    gathered = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
    distributed.all_gather(gathered, rows.detach())
    return torch.cat(gathered)


def rotated_targets(targets: Tensor, null: Tensor) -> Tensor:
    """The targets [B, ...] with those of the null samples (null [B] bool) handed on among themselves, if there are two or more.

    The null branch so sees prompts with targets that are not theirs, and learns what all targets have in common.
    """
    which = null.nonzero().flatten()
    if len(which) < 2:
        return targets
    rotated = targets.clone()
    rotated[which] = targets[which.roll(1)]
    return rotated


def draw_times(count: int, generator: torch.Generator | None = None, device: torch.device | str = "cpu") -> Tensor:
    """Logit-normal times [count] in 0..1."""
    return torch.sigmoid(torch.randn(count, generator=generator)).to(device)
