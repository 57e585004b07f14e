"""The velocity network: which way, and how fast, a latent moves from source to image at time t."""

import torch
from torch import Tensor, nn

from ..config import FlowInOneConfig
from .coarse import CoarseStage
from .condition import Condition
from .fine import FineStage
from .layers import Attention, TransformerOptions, sdpa
from .time import TimeDependentParameter, Times, network_time


class VelocityNetwork(nn.Module):
    """Two resolutions: a transformer on 2x2 patches and, on its features, a ConvNeXt on the latent's pixels (paper,
    section 4).

    `operations` provides Linear and Conv2d, `attention` the attention function (`layers.Attention`).
    """

    coarse_class = CoarseStage

    def __init__(self, config: FlowInOneConfig, *, dtype=None, device=None, operations=nn, attention: Attention = sdpa):
        super().__init__()
        self.config = config
        self.coarse = self.coarse_class(config, dtype=dtype, device=device, operations=operations, attention=attention)
        self.fine = FineStage(config, dtype=dtype, device=device, operations=operations)
        self.time_dependent = [module for module in self.modules() if isinstance(module, TimeDependentParameter)]

    def forward(
        self, x: Tensor, t: Tensor, condition: Condition, transformer_options: TransformerOptions | None = None
    ) -> Tensor:
        """Velocity [B, C, H, W], in x's dtype, of latents x [B, C, H, W] at times t [B] in 0..1 (0 source, 1 image)."""
        times = Times(network_time(t), self.time_dependent)
        _, maps = self.coarse(x, times, condition, transformer_options or {})  # [h, w, B, 66·D]
        upsampled = self.fine.upsample(maps, times)  # [B, H, W, d]
        del maps  # the fine stage needs their memory
        return self.fine(x, times, upsampled)

    def both_velocities(self, x: Tensor, t: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """The fine velocity [B, C, H, W], as `forward` gives it, and the coarse one [B, C, H/2, W/2] of the training
        loss.
        """
        times = Times(network_time(t), self.time_dependent)
        features, maps = self.coarse(x, times, condition, {})
        velocity = self.fine(x, times, self.fine.upsample(maps, times))
        return velocity, self.coarse.velocity(features, times)


def activation_bytes(config: FlowInOneConfig, dtype: torch.dtype) -> int:
    """Peak bytes of one forward pass without gradients for each sample, beyond weights and inputs.

    The peak is in the coarse stage: its feature maps, the values of all time-dependent parameters, and one block at
    work, with attention by plain matrix products, the costliest kind. In networks of other proportions it can be the
    norm of a row of the maps, or a block of the fine stage with the features that its skip connections hold.
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
