"""The prompt encoder: vision tokens -> source latent, where the flow starts (paper: text-image VAE; upstream:
`context_encoder`).
"""

import math

import torch
from torch import Tensor, nn

from ..config import FlowInOneConfig
from .layers import Attention, sdpa


class StdNorm(nn.Module):
    """`gain · (x - mean) / (std + 1e-5) + offset` over the last axis, with the unbiased standard deviation."""

    def __init__(self, width: int, dtype=None, device=None):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width, dtype=dtype, device=device))
        self.offset = nn.Parameter(torch.zeros(width, dtype=dtype, device=device))

    def forward(self, x: Tensor) -> Tensor:
        values = x.float()
        deviation, mean = torch.std_mean(values, dim=-1, keepdim=True)
        gain, offset = self.gain.to(values), self.offset.to(values)
        return (gain * (values - mean) / (deviation + 1e-5) + offset).to(x.dtype)


class MultiHeadAttention(nn.Module):
    """Self-attention over tokens [B, N, D], without norm and residual."""

    def __init__(self, width: int, heads: int, *, dtype=None, device=None, operations=nn, attention: Attention = sdpa):
        super().__init__()
        self.heads, self.attention = heads, attention
        self.query, self.key, self.value, self.dense = (
            operations.Linear(width, width, dtype=dtype, device=device) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.attention(self.query(x), self.key(x), self.value(x), self.heads))


class ContextLayer(nn.Module):
    """Post-norm transformer layer; with `reduced_width` a linear layer to that width follows."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        reduced_width: int | None = None,
        *,
        dtype=None,
        device=None,
        operations=nn,
        attention: Attention = sdpa,
    ):
        super().__init__()
        factory = dict(dtype=dtype, device=device)
        self.attention = MultiHeadAttention(width, heads, operations=operations, attention=attention, **factory)
        self.attention_norm = StdNorm(width, **factory)
        self.feed_forward = nn.Sequential(
            operations.Linear(width, hidden, **factory), nn.ReLU(), operations.Linear(hidden, width, **factory)
        )
        self.feed_forward_norm = StdNorm(width, **factory)
        self.reduction = nn.Identity()
        if reduced_width is not None:
            self.reduction = operations.Linear(width, reduced_width, **factory)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention_norm(x + self.attention(x))
        x = self.feed_forward_norm(x + self.feed_forward(x))
        return self.reduction(x)


class PromptEncoder(nn.Module):
    """Vision tokens [B, N, D] -> mean and log-variance of the source latent, [B, C, H, W] each, in float32.

    Raises ValueError if the tokens' count or width is not the one that the configuration has.
    """

    def __init__(self, config: FlowInOneConfig, *, dtype=None, device=None, operations=nn, attention: Attention = sdpa):
        super().__init__()
        self.config = config
        factory = dict(dtype=dtype, device=device)
        layer = dict(operations=operations, attention=attention, **factory)
        heads, hidden = config.context_heads, config.context_mlp_width
        self.adapter = operations.Linear(config.token_width, config.context_width, **factory)
        self.token_compressor = operations.Linear(config.token_count, config.context_length, **factory)
        self.layers = nn.ModuleList(
            ContextLayer(config.context_width, heads, hidden, **layer) for _ in range(config.context_layers)
        )
        widths = (config.context_width, *config.reduced_widths)
        self.reduction_layers = nn.ModuleList(
            ContextLayer(width, heads, hidden, reduced, **layer) for width, reduced in zip(widths, widths[1:])
        )
        self.head = operations.Linear(config.context_length * widths[-1], 2 * math.prod(config.latent_shape), **factory)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        expected = (self.config.token_count, self.config.token_width)
        if tokens.ndim != 3 or tokens.shape[1:] != expected:
            raise ValueError(
                f"tokens have shape {tuple(tokens.shape)}; this prompt encoder reads [B, {expected[0]}, {expected[1]}]"
            )
        x = self.adapter(tokens)  # [B, 576, 768]
        x = self.token_compressor(x.transpose(1, 2)).transpose(1, 2)  # [B, 77, 768]
        for layer in (*self.layers, *self.reduction_layers):
            x = layer(x)  # the last three: [B, 77, 768 -> 384 -> 192 -> 96]
        moments = self.head(x.flatten(1)).float()
        mean, logvar = moments.chunk(2, dim=1)
        return mean.reshape(-1, *self.config.latent_shape), logvar.reshape(-1, *self.config.latent_shape)
