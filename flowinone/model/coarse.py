"""The coarse stage: a U of transformer blocks over 2x2 latent patches that also attend to the prompt image (dual
path).
"""

import torch
from torch import Tensor, nn

from ..config import FlowInOneConfig
from .condition import Condition
from .layers import (
    Attention,
    GatedMLP,
    PatchEmbedding,
    SkipConnections,
    TransformerOptions,
    VelocityHead,
    sdpa,
    skip_denses,
)
from .time import TimeRMSNorm, Times


class SelfAttention(nn.Module):
    """Pre-norm self-attention over tokens [B, N, D]; the caller adds the residual."""

    def __init__(self, width: int, heads: int, *, dtype=None, device=None, operations=nn, attention: Attention = sdpa):
        super().__init__()
        self.heads, self.attention = heads, attention
        self.norm = TimeRMSNorm(width, dtype, device)
        self.query_key_value = operations.Linear(width, 3 * width, bias=False, dtype=dtype, device=device)
        self.dense = operations.Linear(width, width, dtype=dtype, device=device)

    def forward(self, x: Tensor, times: Times, transformer_options: TransformerOptions) -> Tensor:
        query, key, value = self.query_key_value(self.norm(x, times)).chunk(3, dim=-1)
        return self.dense(self.attention(query, key, value, self.heads, transformer_options=transformer_options))


class GatedCrossAttention(nn.Module):
    """The dual path: tokens [B, N, D] attend to the image tokens [B, N, D]; a learned gate scales the result per
    token.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        gate_width: int,
        *,
        dtype=None,
        device=None,
        operations=nn,
        attention: Attention = sdpa,
    ):
        super().__init__()
        factory = dict(dtype=dtype, device=device)
        self.heads, self.attention = heads, attention
        self.norm_query = TimeRMSNorm(width, **factory)
        self.norm_key_value = TimeRMSNorm(width, **factory)
        self.query = operations.Linear(width, width, bias=False, **factory)
        self.key_value = operations.Linear(width, 2 * width, bias=False, **factory)
        self.dense = operations.Linear(width, width, **factory)
        self.gate = nn.Sequential(
            operations.Linear(2 * width, gate_width, **factory), nn.GELU(), operations.Linear(gate_width, 1, **factory)
        )

    def forward(self, x: Tensor, image_tokens: Tensor, times: Times, transformer_options: TransformerOptions) -> Tensor:
        query = self.query(self.norm_query(x, times))
        key, value = self.key_value(self.norm_key_value(image_tokens, times)).chunk(2, dim=-1)
        cross = self.attention(query, key, value, self.heads, transformer_options=transformer_options)
        cross = self.dense(cross)
        gate = torch.sigmoid(self.gate(torch.cat([x, cross], dim=-1)))  # [B, N, 1]
        return gate * cross


class CoarseBlock(nn.Module):
    """Self-attention, gated cross-attention to the prompt image (dual-path block of the paper), gated MLP."""

    def __init__(self, config: FlowInOneConfig, *, dtype=None, device=None, operations=nn, attention: Attention = sdpa):
        super().__init__()
        width, heads = config.coarse_width, config.coarse_heads
        factory = dict(dtype=dtype, device=device, operations=operations)
        self.self_attention = SelfAttention(width, heads, attention=attention, **factory)
        self.cross_attention = GatedCrossAttention(width, heads, config.gate_width, attention=attention, **factory)
        self.mlp = GatedMLP(width, config.coarse_mlp_width, **factory)

    def forward(
        self,
        x: Tensor,
        times: Times,
        image_tokens: Tensor | None,
        bypass: Tensor,
        transformer_options: TransformerOptions,
    ) -> Tensor:
        x = x + self.self_attention(x, times, transformer_options)
        if image_tokens is not None:
            cross = self.cross_attention(x, image_tokens, times, transformer_options)
            x = x + cross.masked_fill(bypass[:, None, None], 0)
        return x + self.mlp(x, times)


class Indicator(nn.Module):
    """The first token, which marks the unconditional branch: null [B] -> [B, 1, D], one value in all of D."""

    def __init__(self, width: int, dtype=None, device=None):
        super().__init__()
        self.null = nn.Parameter(torch.full((1,), -1.0, dtype=dtype, device=device))
        self.prompt = nn.Parameter(torch.full((1,), 1.0, dtype=dtype, device=device))
        self.width = width

    def forward(self, null: Tensor, dtype: torch.dtype) -> Tensor:
        values = torch.where(null, *(parameter.to(null.device, dtype) for parameter in (self.null, self.prompt)))
        return values[:, None, None].expand(-1, 1, self.width)


class FeatureMaps:
    """The stage's feature maps [B, N, D], collected side by side on channels for the fine stage.

    In inference each map is copied to its place in one tensor when it arrives, and that slice also serves the skip
    connection: nothing is held twice. Gradients need the maps as they were, so with gradients they are kept and
    concatenated at the end.
    """

    def __init__(self, count: int):
        self.count = count
        self.maps: list[Tensor] = []
        self.joined: Tensor | None = None

    def append(self, features: Tensor) -> Tensor:
        """Add the next map; returns the tensor to keep in its place, [B, N, D] of the same values."""
        if not torch.is_grad_enabled():
            batch, tokens, width = features.shape
            if self.joined is None:
                self.joined = features.new_empty(tokens, batch, self.count * width)
            start = len(self.maps) * width
            features = self.joined[..., start : start + width].transpose(0, 1).copy_(features)
        self.maps.append(features)
        return features

    def without_indicator(self) -> Tensor:
        """All maps without their first token, [N - 1, B, count · D]: tokens first, so that this slice is contiguous."""
        if self.joined is None:
            return torch.cat([features[:, 1:].transpose(0, 1) for features in self.maps], dim=-1)
        return self.joined[1:]


class CoarseStage(nn.Module):
    """Latents -> token features, and the feature maps that the fine stage is conditioned on."""

    block_class = CoarseBlock

    def __init__(self, config: FlowInOneConfig, *, dtype=None, device=None, operations=nn, attention: Attention = sdpa):
        super().__init__()
        factory = dict(dtype=dtype, device=device, operations=operations)
        width = config.coarse_width
        embedding = (config.latent_channels, width, config.patch_size, config.coarse_size)
        self.input_layer = PatchEmbedding(*embedding, **factory)
        self.image_latent_layer = PatchEmbedding(*embedding, **factory)
        self.indicator = Indicator(width, dtype, device)
        self.blocks = nn.ModuleList(
            self.block_class(config, attention=attention, **factory) for _ in range(config.coarse_blocks)
        )
        self.skip_denses = skip_denses(width, config.coarse_blocks, **factory)
        self.output_layer = VelocityHead(width, config.latent_channels, **factory)

    def forward(
        self, x: Tensor, times: Times, condition: Condition, transformer_options: TransformerOptions
    ) -> tuple[Tensor, Tensor]:
        """Features [B, h, w, D] of x [B, C, H, W], and the maps before and after every block, [h, w, B, (n + 1) ·
        D].
        """
        tokens = self.input_layer(x)  # [B, h, w, D]
        grid = tokens.shape[1:3]
        indicator = self.indicator(condition.null, tokens.dtype)  # [B, 1, D]
        tokens = torch.cat([indicator, tokens.flatten(1, 2)], dim=1)  # [B, 1 + h·w, D]
        image_tokens = None
        if condition.dual:  # a fifth of the arithmetic is saved where no sample looks at the image
            image_tokens = self.image_latent_layer(condition.image_latent).flatten(1, 2)
            image_tokens = torch.cat([indicator, image_tokens], dim=1)  # [B, 1 + h·w, D]

        maps = FeatureMaps(len(self.blocks) + 1)
        skips = SkipConnections(self.skip_denses, len(self.blocks))
        maps.append(tokens)
        for number, block in enumerate(self.blocks):
            options = {**transformer_options, "block_index": number} if transformer_options else transformer_options
            tokens = skips.merge(number, tokens)
            tokens = block(tokens, times, image_tokens, condition.bypass, options)
            skips.store(number, maps.append(tokens))
        return tokens[:, 1:].unflatten(1, grid), maps.without_indicator().unflatten(0, grid)

    def velocity(self, features: Tensor, times: Times) -> Tensor:
        """Coarse velocity [B, C, h, w] of the stage's features [B, h, w, D]; only the training loss reads it."""
        return self.output_layer(features, times)
