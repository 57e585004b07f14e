"""The terms of the training objective, as pure functions.

Reference: paper, section 4; upstream's `diffusion/flow_matching.py` and `libs/model/dimr.py`.
"""

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

SIGMA_MIN = 1e-5
"""The share of the source that is left at t = 1."""
LOGVAR_RANGE = (-30.0, 20.0)
SOURCE_SCALE = 1.5
"""The factor between target latents and the source means that predict them. A larger one has a high `kl_divergence`."""


def path(source: Tensor, target: Tensor, t: Tensor) -> Tensor:
    """The state at times t [B]: on the straight line from source to target latents [B, C, H, W]."""
    t = t.reshape(-1, *[1] * (source.ndim - 1))
    return (1 - (1 - SIGMA_MIN) * t) * source + t * target


def path_velocity(source: Tensor, target: Tensor) -> Tensor:
    """The velocity target: the line's time derivative, which is constant."""
    return target - (1 - SIGMA_MIN) * source


def coarse_target(velocity: Tensor) -> Tensor:
    """The coarse stage's target [B, C, H/2, W/2]: halved sums of 2x2 cells, which keep the variance of noise."""
    return 2 * F.avg_pool2d(velocity, 2)


def velocity_loss(fine: Tensor, coarse: Tensor, target: Tensor) -> Tensor:
    """Mean squared errors of both stages' velocities; the coarse one has weight 1/4."""
    return F.mse_loss(fine, target) + F.mse_loss(coarse, coarse_target(target)) / 4


def kl_divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """The KL divergence [B] of source distributions from a standard normal, with upstream's sixth power of the mean.

    With the sixth power instead of the square, means up to about 3 cost little, so that prompts can be told apart.
    """
    terms = 1 + logvar - (0.3 * mean) ** 6 - logvar.exp()
    return -0.5 * terms.flatten(1).sum(dim=1)


def source_loss(mean: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """The squared error of source means [B, C, H, W] as predictions of `SOURCE_SCALE` times the target latents.

    The scale keeps the prediction above the source's own noise. `weights` [B, H, W] weight the error by position.
    Upstream has no such term, because its prompt encoder starts pretrained. A new one learns the meaning of words in a
    tenth of the steps if their gradients need not pass through the velocity network.
    """
    errors = F.mse_loss(mean, SOURCE_SCALE * target, reduction="none")
    return errors.mean() if weights is None else (errors.mean(dim=1) * weights).sum() / weights.sum()


def contrastive_loss(sources: Tensor, features: Tensor, temperature: Tensor | float) -> Tensor:
    """Symmetric cross-entropy between source latents [B, D] and target features [B, D], whose rows are pairs.

    With several processes, the negatives are those of all of them.
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
    """The rows [B, D] of all processes in their order; with several processes without gradients, as upstream has it."""
    if not _several_processes():
        return rows
    gathered = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
    distributed.all_gather(gathered, rows.detach())
    return torch.cat(gathered)


def rotated_targets(targets: Tensor, null: Tensor) -> Tensor:
    """The targets [B, ...] with those of the null samples (null [B] bool) rotated among them, if there are two or more.

    The null branch sees targets that don't belong to its prompts, so that it learns the unconditional velocity.
    """
    which = null.nonzero().flatten()
    if len(which) < 2:
        return targets
    rotated = targets.clone()
    rotated[which] = targets[which.roll(1)]
    return rotated


def draw_times(count: int, generator: torch.Generator | None = None, device: torch.device | str = "cpu") -> Tensor:
    """Logit-normal times [count] in 0..1, drawn on the CPU."""
    return torch.sigmoid(torch.randn(count, generator=generator)).to(device)
