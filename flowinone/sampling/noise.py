"""Seeded noise, and the source latent that it is for."""

from collections.abc import Sequence

import torch
from torch import Tensor


def draw_noise(seeds: Sequence[int], shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Standard normal noise [B, *shape] for the source latent and for the image latent; one seed per item.

    Each item has its own random stream on the CPU: a seed gives the same image on every device and in every batch.
    """
    pairs = []
    for seed in seeds:
        generator = torch.Generator("cpu").manual_seed(seed)
        pairs.append(torch.randn(2, *shape, generator=generator))
    source, image = torch.stack(pairs, dim=1)
    return source, image


def source_latent(mean: Tensor, logvar: Tensor, noise: Tensor | None) -> Tensor:
    """Where the flow starts: mean + exp(logvar / 2) · noise, or the mean if noise is None; all [B, C, H, W]."""
    return mean if noise is None else mean + torch.exp(logvar / 2) * noise.to(mean)
