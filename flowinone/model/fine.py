"""The fine stage: a U of ConvNeXt-like blocks at full latent resolution, fed with all feature maps of the coarse
stage.
"""

import functools

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..config import FlowInOneConfig
from .layers import GatedMLP, PatchEmbedding, SkipConnections, VelocityHead, skip_denses
from .time import TimeLayerNorm, Times, layer_norm


def layer_norm_by_row(x: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    """`layer_norm` of x [h, w, B, D], one row of cells at a time; without gradients it is done in place.

    D is 66 feature maps here. All rows at once, in float32 and with their intermediates, would be most of the memory of
    a forward pass. With gradients each row's norm is recomputed in the backward pass instead of being kept.
    """
    if torch.is_grad_enabled():
        recomputed = functools.partial(checkpoint, layer_norm, use_reentrant=False, preserve_rng_state=False)
        return torch.stack([recomputed(row, gain, offset) for row in x])
    for row in x:
        row.copy_(layer_norm(row, gain, offset))
    return x


class Upsample(nn.Module):
    """Coarse features [h, w, B, D] -> [B, h·p, w·p, d]; each coarse cell becomes a p x p patch, row-major.

    In inference it overwrites its input.
    """

    def __init__(self, width_in: int, width_out: int, patch: int, *, dtype=None, device=None, operations=nn):
        super().__init__()
        self.patch = patch
        self.norm_in = TimeLayerNorm(width_in, dtype, device)
        self.projection = operations.Linear(width_in, width_out * patch * patch, dtype=dtype, device=device)
        self.norm_out = TimeLayerNorm(width_out, dtype, device)

    def forward(self, maps: Tensor, times: Times) -> Tensor:
        maps = layer_norm_by_row(maps, self.norm_in.weight(times), self.norm_in.bias(times))
        cells = self.projection(maps).unflatten(-1, (self.patch, self.patch, -1))  # [h, w, B, p, p, d]
        cells = cells.permute(2, 0, 3, 1, 4, 5)  # [B, h, p, w, p, d]
        return self.norm_out(cells.flatten(3, 4).flatten(1, 2), times)


class FineBlock(nn.Module):
    """Depthwise convolution, then gated MLP, both with a residual; x [B, H, W, D]."""

    def __init__(self, config: FlowInOneConfig, *, dtype=None, device=None, operations=nn):
        super().__init__()
        width, kernel = config.fine_width, config.fine_kernel
        self.depthwise_conv = operations.Conv2d(
            width, width, kernel, padding=kernel // 2, groups=width, dtype=dtype, device=device
        )
        self.mlp = GatedMLP(width, config.fine_mlp_width, dtype=dtype, device=device, operations=operations)

    def forward(self, x: Tensor, times: Times) -> Tensor:
        x = x + self.depthwise_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.mlp(x, times)


class FineStage(nn.Module):
    """Latents and what `upsample` makes of the coarse stage's feature maps -> velocity."""

    def __init__(self, config: FlowInOneConfig, *, dtype=None, device=None, operations=nn):
        super().__init__()
        factory = dict(dtype=dtype, device=device, operations=operations)
        width = config.fine_width
        self.input_layer = PatchEmbedding(config.latent_channels, width, 1, config.latent_size, **factory)
        self.upsample = Upsample((config.coarse_blocks + 1) * config.coarse_width, width, config.patch_size, **factory)
        self.blocks = nn.ModuleList(FineBlock(config, **factory) for _ in range(config.fine_blocks))
        self.skip_denses = skip_denses(width, config.fine_blocks, **factory)
        self.output_layer = VelocityHead(width, config.latent_channels, **factory)

    def forward(self, x: Tensor, times: Times, upsampled: Tensor) -> Tensor:
        """Velocity [B, C, H, W] at x [B, C, H, W], given the upsampled coarse features [B, H, W, d]."""
        features = self.input_layer(x) + upsampled  # [B, H, W, d]
        skips = SkipConnections(self.skip_denses, len(self.blocks))
        for number, block in enumerate(self.blocks):
            features = block(skips.merge(number, features), times)
            skips.store(number, features)
        return self.output_layer(features, times)
