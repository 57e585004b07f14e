"""Pieces that both stages of the velocity network are made of."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .time import TimeLayerNorm, TimeRMSNorm, Times


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Softmax attention at 1/sqrt(head width): query [B, N, D], key and value [B, M, D] -> [B, N, D]."""
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(-2)


class Positions(nn.Module):
    """Adds a learned table's row-major entries to the positions of tokens [B, S, S, D].

    A module of its own, as ComfyUI moves and patches only the parameters of modules without children.
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
        # Linear layers copy their weights for every row of what is in another order of memory.
        return self.positions(self.projection(latent).permute(0, 2, 3, 1).contiguous())


class GatedMLP(nn.Module):
    """Pre-norm update `w2(gelu(w0(n)) · w1(n))` of x [B, ..., D]; the residual is the caller's."""

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


def u_shaped(
    features: Tensor,
    blocks: nn.ModuleList,
    merges: nn.ModuleList,
    *context,
    keep: Callable[[Tensor], Tensor] = lambda features: features,
) -> Tensor:
    """The features [..., D] after the last block of a U, whose outgoing blocks first merge their mirrored blocks' outputs.

    `keep` is given the features after every block, and gives what the mirrored block is to merge, the same values.
    """
    mirrored = []
    half = len(merges)
    for number, block in enumerate(blocks):
        merge = number - (len(blocks) - half)
        if merge >= 0:
            features = merges[merge](torch.cat([features, mirrored.pop()], dim=-1))
        features = block(features, *context)
        kept = keep(features)
        if number < half:
            mirrored.append(kept)
    return features


def skip_denses(width: int, blocks: int, *, dtype=None, device=None, operations=nn) -> nn.ModuleList:
    """The layers that merge a U's mirrored features, one for each block of its outgoing half."""
    return nn.ModuleList(operations.Linear(2 * width, width, dtype=dtype, device=device) for _ in range(blocks // 2))
