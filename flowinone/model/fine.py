"""The fine stage: a U of ConvNeXt-like blocks at the latent's own resolution, fed with every feature map of the coarse stage."""

import functools

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputed

from ..config import FlowInOneConfig
from .layers import GatedMLP, PatchEmbedding, VelocityHead, skip_denses, u_shaped
from .time import TimeLayerNorm, Times, layer_norm


class Upsample(nn.Module):
    """Coarse features [h, w, B, D] -> [B, h·p, w·p, d]; each coarse cell becomes a p x p patch, row-major."""

    def __init__(self, width_in: int, width_out: int, patch: int, *, dtype=None, device=None, operations=nn):
        super().__init__()
        self.patch = patch
        self.norm_in = TimeLayerNorm(width_in, dtype, device)
        self.projection = operations.Linear(width_in, width_out * patch * patch, dtype=dtype, device=device)
        self.norm_out = TimeLayerNorm(width_out, dtype, device)

    def forward(self, features: Tensor, times: Times, frugal: bool = True) -> Tensor:
        """`frugal` is `VelocityNetwork`'s; it overwrites the features where no gradients are wanted."""
        cells = self.projection(self._normed(features, times, frugal))
        cells = cells.unflatten(-1, (self.patch, self.patch, -1)).permute(2, 0, 3, 1, 4, 5)  # [B, h, p, w, p, d]
        return self.norm_out(cells.flatten(3, 4).flatten(1, 2), times)

    def _normed(self, features: Tensor, times: Times, frugal: bool) -> Tensor:
        gain, offset = self.norm_in.weight(times), self.norm_in.bias(times)  # [B, D]
        # D is 66 feature maps together: in float32, and with what the norm is made of, they would be most of the memory that an
        # evaluation needs. So only one row of cells is normed at a time, in place, or once more when its gradients are made.
        if not frugal:
            return layer_norm(features, gain, offset)
        if torch.is_grad_enabled():
            again = functools.partial(recomputed, layer_norm, use_reentrant=False, preserve_rng_state=False)
            return torch.stack([again(row, gain, offset) for row in features])
        for row in features:
            row.copy_(layer_norm(row, gain, offset))
        return features


class FineBlock(nn.Module):
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
        """Velocity [B, C, H, W] at x [B, C, H, W], given what `upsample` made of the coarse stage, [B, H, W, d]."""
        features = u_shaped(self.input_layer(x) + upsampled, self.blocks, self.skip_denses, times)
        return self.output_layer(features, times)
