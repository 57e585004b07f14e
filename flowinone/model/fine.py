"""The fine stage: a U of ConvNeXt-like blocks at the latent's own resolution, fed with every feature map of the coarse stage."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..config import FlowInOneConfig
from .layers import GatedMLP, PatchEmbedding, VelocityHead, skip_denses, u_shaped
from .time import TimeLayerNorm


class Upsample(nn.Module):
    """Coarse features [B, h, w, D] -> [B, h·p, w·p, d]; each coarse cell becomes a p x p patch, row-major."""

    def __init__(self, width_in: int, width_out: int, patch: int, *, dtype=None, device=None, operations=nn):
        super().__init__()
        self.patch = patch
        self.norm_in = TimeLayerNorm(width_in, dtype, device)
        self.projection = operations.Linear(width_in, width_out * patch * patch, dtype=dtype, device=device)
        self.norm_out = TimeLayerNorm(width_out, dtype, device)

    def forward(self, features: Tensor, tau: Tensor) -> Tensor:
        cells = self.projection(self.norm_in(features, tau))
        cells = cells.unflatten(-1, (self.patch, self.patch, -1))  # [B, h, w, p, p, d]
        cells = cells.transpose(2, 3).flatten(3, 4).flatten(1, 2)  # [B, h·p, w·p, d]
        return self.norm_out(cells, tau)


class FineBlock(nn.Module):
    def __init__(self, config: FlowInOneConfig, *, dtype=None, device=None, operations=nn):
        super().__init__()
        width, kernel = config.fine_width, config.fine_kernel
        self.depthwise_conv = operations.Conv2d(
            width, width, kernel, padding=kernel // 2, groups=width, dtype=dtype, device=device
        )
        self.mlp = GatedMLP(width, config.fine_mlp_width, dtype=dtype, device=device, operations=operations)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        x = x + self.depthwise_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.mlp(x, tau)


class FineStage(nn.Module):
    def __init__(self, config: FlowInOneConfig, *, dtype=None, device=None, operations=nn):
        super().__init__()
        factory = dict(dtype=dtype, device=device, operations=operations)
        width = config.fine_width
        self.input_layer = PatchEmbedding(config.latent_channels, width, 1, config.latent_size, **factory)
        self.upsample = Upsample(
            (config.coarse_blocks + 1) * config.coarse_width, width, config.patch_size, **factory
        )
        self.blocks = nn.ModuleList(FineBlock(config, **factory) for _ in range(config.fine_blocks))
        self.skip_denses = skip_denses(width, config.fine_blocks, **factory)
        self.output_layer = VelocityHead(width, config.latent_channels, **factory)

    def forward(self, x: Tensor, tau: Tensor, coarse_features: Sequence[Tensor]) -> Tensor:
        """Velocity [B, C, H, W] at x [B, C, H, W], given the coarse stage's feature maps [B, h, w, D]."""
        features = self.input_layer(x) + self.upsample(torch.cat(list(coarse_features), dim=-1), tau)  # [B, H, W, d]
        # Only the last features count; a list of all would keep 33 maps alive.
        for last in u_shaped(features, self.blocks, self.skip_denses, tau):
            pass
        return self.output_layer(last, tau)
