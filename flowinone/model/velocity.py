"""The velocity network: which way, and how fast, a latent moves from source to image at time t."""

import torch
from torch import Tensor, nn

from ..config import FlowInOneConfig
from .coarse import CoarseStage
from .fine import FineStage
from .time import TimeDependentParameter, Times, network_time


class VelocityNetwork(nn.Module):
    """Two stages: a transformer on 2x2 patches and, on its features, a ConvNeXt at full latent resolution (paper, section 4)."""

    frugal = True
    """False: every feature map is kept, and the norm between the stages made of all at once, as the public implementation has it.

    The velocities are the same; it is there to measure what is saved.
    """

    def __init__(self, config: FlowInOneConfig, *, dtype=None, device=None, operations=nn):
        super().__init__()
        self.config = config
        self.coarse = CoarseStage(config, dtype=dtype, device=device, operations=operations)
        self.fine = FineStage(config, dtype=dtype, device=device, operations=operations)
        self.time_dependent = [module for module in self.modules() if isinstance(module, TimeDependentParameter)]

    def forward(
        self, x: Tensor, t: Tensor, image_latent: Tensor, null: Tensor, bypass: Tensor, dual: bool | None = None
    ) -> Tensor:
        """Velocity [B, C, H, W] in x's dtype; see `FlowInOneModel.velocity`."""
        velocity, _ = self.both_velocities(x, t, image_latent, null, bypass, dual, coarse=False)
        return velocity

    def both_velocities(
        self,
        x: Tensor,
        t: Tensor,
        image_latent: Tensor,
        null: Tensor,
        bypass: Tensor,
        dual: bool | None = None,
        coarse: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Fine [B, C, H, W] and, where `coarse` asks for it, coarse velocity [B, C, H/2, W/2]."""
        times = Times(network_time(t), self.time_dependent)
        result, maps = self.coarse(x, times, image_latent, null, bypass, dual, self.frugal)
        upsampled = self.fine.upsample(maps, times, self.frugal)
        # The fine stage needs their memory.
        del maps
        velocity = self.fine(x, times, upsampled)
        return velocity, self.coarse.velocity(result, times) if coarse else None


def activation_bytes(config: FlowInOneConfig, dtype: torch.dtype) -> int:
    """Bytes that one evaluation needs at its peak for each sample, beside weights and inputs, where no gradients are wanted.

    That is in the coarse stage: its feature maps, the values of all time-dependent parameters, and beside them a block at work, its attention by plain products, as it is where
    nothing better is at hand. In networks of other proportions it may be the norm of a row of the maps, or a block of the fine stage
    with the features that wait for mirrored blocks.
    """
    tokens, pixels, size = config.coarse_size**2 + 1, config.latent_size**2, dtype.itemsize
    result = tokens * config.coarse_width * size
    maps = (config.coarse_blocks + 1) * result
    attention = 4 * tokens * (2 * config.coarse_heads * tokens + 8 * config.coarse_width)
    mlp = tokens * (6 * config.coarse_width + 3 * config.coarse_mlp_width) * size
    times = 4 * ((6 * config.coarse_blocks + 4) * config.coarse_width + (config.fine_blocks + 4) * config.fine_width)
    norm = 4 * 2 * config.coarse_size * (config.coarse_blocks + 1) * config.coarse_width
    fine = pixels * ((config.fine_blocks // 2 + 4) * config.fine_width + 3 * config.fine_mlp_width) * size
    return times + max(maps + attention, maps + mlp, maps + norm + result, fine + result)
