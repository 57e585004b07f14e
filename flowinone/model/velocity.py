"""The velocity network: which way, and how fast, a latent moves from source to image at time t."""

import torch
from torch import Tensor, nn

from ..config import FlowInOneConfig
from .coarse import CoarseStage
from .fine import FineStage
from .time import network_time


class VelocityNetwork(nn.Module):
    """Two stages: a transformer on 2x2 patches and, on its features, a ConvNeXt at full latent resolution (paper, section 4)."""

    def __init__(self, config: FlowInOneConfig, *, dtype=None, device=None, operations=nn):
        super().__init__()
        self.config = config
        self.coarse = CoarseStage(config, dtype=dtype, device=device, operations=operations)
        self.fine = FineStage(config, dtype=dtype, device=device, operations=operations)

    def forward(self, x: Tensor, t: Tensor, image_latent: Tensor, null: Tensor, bypass: Tensor) -> Tensor:
        """Velocity [B, C, H, W] in x's dtype; see `FlowInOneModel.velocity`."""
        velocity, _ = self.both_velocities(x, t, image_latent, null, bypass, coarse=False)
        return velocity

    def both_velocities(
        self, x: Tensor, t: Tensor, image_latent: Tensor, null: Tensor, bypass: Tensor, coarse: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Fine [B, C, H, W] and, where `coarse` asks for it, coarse velocity [B, C, H/2, W/2]."""
        tau = network_time(t)
        features = self.coarse(x, tau, image_latent, null, bypass)
        velocity = self.fine(x, tau, features)
        return velocity, self.coarse.velocity(features[-1], tau) if coarse else None


def activation_bytes(config: FlowInOneConfig, dtype: torch.dtype) -> int:
    """Bytes that one evaluation needs at its peak for each sample, beside weights and inputs.

    That is at the fine stage's entrance: the coarse stage's maps, the same side by side, and their float32 norm in the making.
    """
    maps = config.coarse_size**2 * (config.coarse_blocks + 1) * config.coarse_width
    fine = config.latent_size**2 * config.fine_width
    return maps * (2 * dtype.itemsize + 3 * 4) + 2 * fine * dtype.itemsize
