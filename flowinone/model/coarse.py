"""The coarse stage: a U of transformer blocks over 2x2 latent patches, which looks at the prompt image through cross-attention."""

import torch
from torch import Tensor, nn

from ..config import FlowInOneConfig
from .layers import GatedMLP, PatchEmbedding, VelocityHead, attention, skip_denses, u_shaped
from .time import TimeRMSNorm, Times


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int, *, dtype=None, device=None, operations=nn):
        super().__init__()
        self.heads = heads
        self.norm = TimeRMSNorm(width, dtype, device)
        self.query_key_value = operations.Linear(width, 3 * width, bias=False, dtype=dtype, device=device)
        self.dense = operations.Linear(width, width, dtype=dtype, device=device)

    def forward(self, x: Tensor, times: Times) -> Tensor:
        query, key, value = self.query_key_value(self.norm(x, times)).chunk(3, dim=-1)
        return self.dense(attention(query, key, value, self.heads))


class GatedCrossAttention(nn.Module):
    """The dual path: x [B, N, D] attends to the image tokens [B, N, D], and a learned gate decides per token how much counts."""

    def __init__(self, width: int, heads: int, gate_width: int, *, dtype=None, device=None, operations=nn):
        super().__init__()
        factory = dict(dtype=dtype, device=device)
        self.heads = heads
        self.norm_query = TimeRMSNorm(width, **factory)
        self.norm_key_value = TimeRMSNorm(width, **factory)
        self.query = operations.Linear(width, width, bias=False, **factory)
        self.key_value = operations.Linear(width, 2 * width, bias=False, **factory)
        self.dense = operations.Linear(width, width, **factory)
        self.gate = nn.Sequential(
            operations.Linear(2 * width, gate_width, **factory), nn.GELU(), operations.Linear(gate_width, 1, **factory)
        )

    def forward(self, x: Tensor, image_tokens: Tensor, times: Times) -> Tensor:
        query = self.query(self.norm_query(x, times))
        key, value = self.key_value(self.norm_key_value(image_tokens, times)).chunk(2, dim=-1)
        cross = self.dense(attention(query, key, value, self.heads))
        gate = torch.sigmoid(self.gate(torch.cat([x, cross], dim=-1)))  # [B, N, 1]
        return gate * cross


class CoarseBlock(nn.Module):
    def __init__(self, config: FlowInOneConfig, *, dtype=None, device=None, operations=nn):
        super().__init__()
        factory = dict(dtype=dtype, device=device, operations=operations)
        self.self_attention = SelfAttention(config.coarse_width, config.coarse_heads, **factory)
        self.cross_attention = GatedCrossAttention(
            config.coarse_width, config.coarse_heads, config.gate_width, **factory
        )
        self.mlp = GatedMLP(config.coarse_width, config.coarse_mlp_width, **factory)

    def forward(self, x: Tensor, times: Times, image_tokens: Tensor | None, bypass: Tensor) -> Tensor:
        x = x + self.self_attention(x, times)
        if image_tokens is not None:
            cross = self.cross_attention(x, image_tokens, times)
            x = x + cross.masked_fill(bypass[:, None, None], 0)
        return x + self.mlp(x, times)


class Indicator(nn.Module):
    """The token in front of all others that tells the unconditional branch from the prompt's: null [B] -> [B, 1, D], alike in all of D."""

    def __init__(self, width: int, dtype=None, device=None):
        super().__init__()
        self.null = nn.Parameter(torch.full((1,), -1.0, dtype=dtype, device=device))
        self.prompt = nn.Parameter(torch.full((1,), 1.0, dtype=dtype, device=device))
        self.width = width

    def forward(self, null: Tensor, dtype: torch.dtype) -> Tensor:
        values = torch.where(null, *(parameter.to(null.device, dtype) for parameter in (self.null, self.prompt)))
        return values[:, None, None].expand(-1, 1, self.width)


class FeatureMaps:
    """A stage's feature maps [B, N, D], which arrive one after the other, side by side on channels.

    Each goes straight to its place in one tensor, and the stage itself looks it up there: nothing is held twice. That writes over
    memory which gradients would need; with `apart` the maps stay by themselves until all are there.
    """

    def __init__(self, count: int, apart: bool):
        self.count, self.apart = count, apart
        self.maps: list[Tensor] = []
        self.whole: Tensor | None = None

    def add(self, features: Tensor) -> Tensor:
        """Take the next map; the same [B, N, D], to hold in its stead."""
        if not self.apart:
            batch, tokens, width = features.shape
            if self.whole is None:
                self.whole = features.new_empty(tokens, batch, self.count * width)
            start = len(self.maps) * width
            features = self.whole[..., start : start + width].transpose(0, 1).copy_(features)
        self.maps.append(features)
        return features

    def without_first_token(self) -> Tensor:
        """All maps, [N - 1, B, count · D]: tokens come before samples, as what is left is one piece of memory then."""
        if self.apart:
            return torch.cat([features[:, 1:].transpose(0, 1) for features in self.maps], dim=-1)
        return self.whole[1:]


class CoarseStage(nn.Module):
    def __init__(self, config: FlowInOneConfig, *, dtype=None, device=None, operations=nn):
        super().__init__()
        factory = dict(dtype=dtype, device=device, operations=operations)
        width = config.coarse_width
        embedding = (config.latent_channels, width, config.patch_size, config.coarse_size)
        self.input_layer = PatchEmbedding(*embedding, **factory)
        self.image_latent_layer = PatchEmbedding(*embedding, **factory)
        self.indicator = Indicator(width, dtype, device)
        self.blocks = nn.ModuleList(CoarseBlock(config, **factory) for _ in range(config.coarse_blocks))
        self.skip_denses = skip_denses(width, config.coarse_blocks, **factory)
        self.output_layer = VelocityHead(width, config.latent_channels, **factory)

    def forward(
        self,
        x: Tensor,
        times: Times,
        image_latent: Tensor,
        null: Tensor,
        bypass: Tensor,
        dual: bool | None = None,
        frugal: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """The stage's result [B, h, w, D], and the feature maps before the first block and after every block, [h, w, B, (n + 1) · D].

        `dual` is `FlowInOneModel.velocity`'s, `frugal` is `VelocityNetwork`'s.
        """
        tokens = self.input_layer(x)  # [B, h, w, D]
        grid = tokens.shape[1:3]
        indicator = self.indicator(null, tokens.dtype)  # [B, 1, D]
        tokens = torch.cat([indicator, tokens.flatten(1, 2)], dim=1)  # [B, 1 + h·w, D]
        # With every sample bypassed the image is not looked at, which saves a fifth of the arithmetic.
        if dual is None:
            dual = not bypass.all()
        image_tokens = None
        if dual:
            image_tokens = torch.cat([indicator, self.image_latent_layer(image_latent).flatten(1, 2)], dim=1)

        maps = FeatureMaps(len(self.blocks) + 1, apart=torch.is_grad_enabled() or not frugal)
        maps.add(tokens)
        result = u_shaped(tokens, self.blocks, self.skip_denses, times, image_tokens, bypass, keep=maps.add)
        return result[:, 1:].unflatten(1, grid), maps.without_first_token().unflatten(0, grid)

    def velocity(self, features: Tensor, times: Times) -> Tensor:
        """Coarse velocity [B, C, h, w] from the stage's result; only the training loss reads it."""
        return self.output_layer(features, times)
