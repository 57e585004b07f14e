"""Parameters and norms that are functions of time.

The network sees `tau = 1 - 2t` instead of t: it falls from 1 at the source to -1 at the image, and is passed down as
`Times`. Everything here is computed in float32 whatever the weights' dtype, so that 16-bit checkpoints lose no more
than their storage did.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def network_time(t: Tensor) -> Tensor:
    """tau [B] in float32 from t [B] in 0..1; upstream's log-SNR `4 - 8t` divided by 4."""
    return 1.0 - 2.0 * t.float()


class Times:
    """tau [B] of a batch, and the values of `parameters` at these times, all computed in one go.

    A network has several hundred of them, each about ten small operations: one by one they would be most of its kernel
    launches.
    """

    def __init__(self, tau: Tensor, parameters: "Sequence[TimeDependentParameter]" = ()):
        self.tau = tau
        self.values: dict[TimeDependentParameter, Tensor] = {}
        if parameters:
            together = zip(*(parameter.vectors(tau.device) for parameter in parameters))
            values = _on_curve(tau, *(torch.cat(vectors) for vectors in together))
            self.values = dict(
                zip(parameters, values.split([len(parameter.param0) for parameter in parameters], dim=1))
            )


class TimeDependentParameter(nn.Module):
    """A learned vector that moves from `param1` to `param0` as tau grows, elementwise on a logistic curve."""

    def __init__(self, width: int, dtype=None, device=None):
        super().__init__()
        self.param0 = nn.Parameter(torch.ones(width, dtype=dtype, device=device))
        self.param1 = nn.Parameter(torch.ones(width, dtype=dtype, device=device))
        self.nodecay_weight = nn.Parameter(torch.zeros(width, dtype=dtype, device=device))
        self.nodecay_bias = nn.Parameter(torch.zeros(width, dtype=dtype, device=device))

    def forward(self, times: Times) -> Tensor:
        """Float32 values [B, width] at these times."""
        known = times.values.get(self)
        return _on_curve(times.tau, *self.vectors(times.tau.device)) if known is None else known

    def vectors(self, device: torch.device) -> tuple[Tensor, ...]:
        return tuple(vector.to(device) for vector in (self.param0, self.param1, self.nodecay_weight, self.nodecay_bias))


def _on_curve(tau: Tensor, *vectors: Tensor) -> Tensor:
    """[B, width] in float32, from the four vectors [width] of time-dependent parameters."""
    param0, param1, weight, bias = (vector.float() for vector in vectors)
    return torch.lerp(param1, param0, torch.sigmoid(torch.addcmul(bias, weight + 1, tau[:, None])))


def _over_positions(values: Tensor, x: Tensor) -> Tensor:
    """[B, C] shaped to broadcast over x [B, ..., C]."""
    return values.reshape(values.shape[0], *[1] * (x.ndim - 2), values.shape[-1])


class TimeRMSNorm(nn.Module):
    """`scale(times) · x / (rms(x) + 1e-8)` over the last axis of x [B, ..., C]."""

    def __init__(self, width: int, dtype=None, device=None):
        super().__init__()
        self.scale = TimeDependentParameter(width, dtype, device)

    def forward(self, x: Tensor, times: Times) -> Tensor:
        # Upstream adds 1e-8 outside of the root. Its square inside differs only where x is nearly zero.
        normed = F.rms_norm(x.float(), x.shape[-1:], eps=1e-16)
        return (_over_positions(self.scale(times), x) * normed).to(x.dtype)


def layer_norm(x: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    """LayerNorm (eps 1e-5) over the last axis of x [..., C]; the float32 gain and offset broadcast over x."""
    return torch.addcmul(offset, F.layer_norm(x.float(), x.shape[-1:], eps=1e-5), gain).to(x.dtype)


class TimeLayerNorm(nn.Module):
    """`layer_norm` of x [B, ..., C] with gain and offset that depend on time."""

    def __init__(self, width: int, dtype=None, device=None):
        super().__init__()
        self.weight = TimeDependentParameter(width, dtype, device)
        self.bias = TimeDependentParameter(width, dtype, device)

    def forward(self, x: Tensor, times: Times) -> Tensor:
        return layer_norm(x, _over_positions(self.weight(times), x), _over_positions(self.bias(times), x))
