"""Layers that both stages of the velocity network are built from."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .time import TimeLayerNorm, TimeRMSNorm, Times

Attention = Callable[..., Tensor]
"""`attention(query, key, value, heads, transformer_options=...)`: [B, N, D], [B, M, D], [B, M, D] -> [B, N, D].

ComfyUI's `optimized_attention` is one; in the library it is `sdpa`."""
TransformerOptions = Mapping[str, Any]
"""What ComfyUI hands down to a model's blocks and attention; empty in the library, where nothing reads it."""


def sdpa(
    query: Tensor, key: Tensor, value: Tensor, heads: int, transformer_options: TransformerOptions | None = None
) -> Tensor:
    """Softmax attention at 1/sqrt(head width) by torch: query [B, N, D], key and value [B, M, D] -> [B, N, D]."""
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(-2)


class Positions(nn.Module):
    """Adds a learned table's row-major entries to the positions of tokens [B, S, S, D].

    A module of its own, because ComfyUI moves and patches only the parameters of modules without children.
    """

    def __init__(self, size: int, width: int, dtype=None, device=None):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(size * size, width, dtype=dtype, device=device))
        self.size = size

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.table.to(tokens).unflatten(0, (self.size, self.size))


class PatchEmbedding(nn.Module):
    """Latent [B, C, H, W] -> tokens [B, H/p, W/p, D] with their positions."""

    def __init__(self, channels: int, width: int, patch: int, size: int, *, dtype=None, device=None, operations=nn):
        super().__init__()
        self.projection = operations.Conv2d(channels, width, patch, stride=patch, dtype=dtype, device=device)
        self.positions = Positions(size, width, dtype, device)

    def forward(self, latent: Tensor) -> Tensor:
        # Contiguous: a linear layer on a strided input copies its weights for every row.
        return self.positions(self.projection(latent).permute(0, 2, 3, 1).contiguous())


class GatedMLP(nn.Module):
    """Pre-norm update `w2(gelu(w0(n)) · w1(n))` of x [B, ..., D]; the caller adds the residual."""

    def __init__(self, width: int, hidden: int, *, dtype=None, device=None, operations=nn):
        super().__init__()
        self.norm = TimeRMSNorm(width, dtype, device)
        self.w0 = operations.Linear(width, hidden, dtype=dtype, device=device)
        self.w1 = operations.Linear(width, hidden, dtype=dtype, device=device)
        self.w2 = operations.Linear(hidden, width, dtype=dtype, device=device)

    def forward(self, x: Tensor, times: Times) -> Tensor:
        normed = self.norm(x, times)
        return self.w2(F.gelu(self.w0(normed)) * self.w1(normed))


class VelocityHead(nn.Module):
    """Features [B, H, W, D] -> velocity [B, C, H, W]: time-dependent LayerNorm, then a 3x3 convolution."""

    def __init__(self, width: int, channels: int, *, dtype=None, device=None, operations=nn):
        super().__init__()
        self.norm = TimeLayerNorm(width, dtype, device)
        self.conv = operations.Conv2d(width, channels, 3, padding=1, dtype=dtype, device=device)

    def forward(self, x: Tensor, times: Times) -> Tensor:
        return self.conv(self.norm(x, times).permute(0, 3, 1, 2))


def skip_denses(width: int, blocks: int, *, dtype=None, device=None, operations=nn) -> nn.ModuleList:
    """The layers of a U of `blocks` blocks that merge skip connections: one for each block of the decoding half."""
    return nn.ModuleList(operations.Linear(2 * width, width, dtype=dtype, device=device) for _ in range(blocks // 2))


class SkipConnections:
    """The U's skip connections during one forward pass: what the encoding half leaves, the decoding half merges in
    reverse.
    """

    def __init__(self, merges: nn.ModuleList, blocks: int):
        self.merges, self.first_decoding = merges, blocks - len(merges)
        self.stored: list[Tensor] = []

    def merge(self, number: int, features: Tensor) -> Tensor:
        """The input of block `number` [B, ..., D]: in the decoding half with its mirrored block's output merged in."""
        if number < self.first_decoding:
            return features
        merge = self.merges[number - self.first_decoding]
        return merge(torch.cat([features, self.stored.pop()], dim=-1))

    def store(self, number: int, features: Tensor) -> None:
        """Take the output of block `number` [B, ..., D]; those of the encoding half are kept for `merge`."""
        if number < len(self.merges):
            self.stored.append(features)
