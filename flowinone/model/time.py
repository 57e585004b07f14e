"""Parameters and norms that are functions of time.

The network never sees t but `tau = 1 - 2t`, which falls from 1 at the source to -1 at the image. It is passed down as a [B] tensor.
Everything here computes in float32 whatever the weights' dtype, so that 16-bit checkpoints lose no more than their storage did.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def network_time(t: Tensor) -> Tensor:
    """tau [B] in float32 from t [B] in 0..1; upstream's log-SNR `4 - 8t` divided by 4."""
    return 1.0 - 2.0 * t.float()


class TimeDependentParameter(nn.Module):
    """A learned vector that moves from `param1` to `param0` as tau grows, elementwise along a logistic curve."""

    def __init__(self, width: int, dtype=None, device=None):
        super().__init__()
        self.param0 = nn.Parameter(torch.ones(width, dtype=dtype, device=device))
        self.param1 = nn.Parameter(torch.ones(width, dtype=dtype, device=device))
        self.nodecay_weight = nn.Parameter(torch.zeros(width, dtype=dtype, device=device))
        self.nodecay_bias = nn.Parameter(torch.zeros(width, dtype=dtype, device=device))

    def forward(self, tau: Tensor) -> Tensor:
        """Float32 values [B, width] at the times tau [B]."""
        param0, param1, weight, bias = (
            parameter.to(tau.device, torch.float32)
            for parameter in (self.param0, self.param1, self.nodecay_weight, self.nodecay_bias)
        )
        return torch.lerp(param1, param0, torch.sigmoid(torch.addcmul(bias, weight + 1, tau[:, None])))


def _over_positions(values: Tensor, x: Tensor) -> Tensor:
    """[B, C] shaped to broadcast over x [B, ..., C]."""
    return values.reshape(values.shape[0], *[1] * (x.ndim - 2), values.shape[-1])


class TimeRMSNorm(nn.Module):
    """`scale(tau) · x / (rms(x) + 1e-8)` over the last axis of x [B, ..., C]."""

    def __init__(self, width: int, dtype=None, device=None):
        super().__init__()
        self.scale = TimeDependentParameter(width, dtype, device)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        values = x.float()
        rms = values.square().mean(dim=-1, keepdim=True).sqrt()
        return (_over_positions(self.scale(tau), x) * (values / (rms + 1e-8))).to(x.dtype)


def layer_norm(x: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    """LayerNorm (eps 1e-5) over the last axis of x [..., C]; the float32 gain and offset broadcast over x."""
    return torch.addcmul(offset, F.layer_norm(x.float(), x.shape[-1:], eps=1e-5), gain).to(x.dtype)


class TimeLayerNorm(nn.Module):
    """`layer_norm` of x [B, ..., C] with gain and offset that depend on tau."""

    def __init__(self, width: int, dtype=None, device=None):
        super().__init__()
        self.weight = TimeDependentParameter(width, dtype, device)
        self.bias = TimeDependentParameter(width, dtype, device)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        return layer_norm(x, _over_positions(self.weight(tau), x), _over_positions(self.bias(tau), x))
