"""Time-dependent parameters and norms keep float32's accuracy whatever the weights' dtype."""

import pytest
import torch

from flowinone.model.prompt_encoder import StdNorm
from flowinone.model.time import TimeDependentParameter, TimeLayerNorm, TimeRMSNorm, network_time

TAU = network_time(torch.tensor([0.0, 0.37, 1.0]))


def randomised(module, dtype):
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator).to(dtype)
    return module


def in_float64(parameter: TimeDependentParameter, tau):
    p0, p1, w, b = (
        getattr(parameter, name).double() for name in ("param0", "param1", "nodecay_weight", "nodecay_bias")
    )
    return p1 + torch.sigmoid((w + 1) * tau.double()[:, None] + b) * (p0 - p1)


def test_network_time_falls_from_one_to_minus_one():
    assert network_time(torch.tensor([0.0, 0.5, 1.0])).tolist() == [1.0, 0.0, -1.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_parameter_keeps_float32_accuracy(dtype):
    parameter = randomised(TimeDependentParameter(512), dtype)
    values = parameter(TAU)
    assert values.dtype == torch.float32
    # A few float32 roundings; computing w + 1 in 16 bit would be off by 1e-3.
    assert (values - in_float64(parameter, TAU)).abs().max() < 2e-6


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 2**-21), (torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_norms_are_exact_up_to_the_output_dtypes_rounding(dtype, rounding):
    x = (30 * torch.randn(3, 7, 512, generator=torch.Generator().manual_seed(1))).to(dtype)
    exact = x.double()

    rms_norm = randomised(TimeRMSNorm(512), dtype)
    reference = in_float64(rms_norm.scale, TAU)[:, None] * exact / (exact.square().mean(-1, keepdim=True).sqrt() + 1e-8)
    assert ((rms_norm(x, TAU) - reference).abs() <= rounding * reference.abs() + 1e-6).all()

    layer_norm = randomised(TimeLayerNorm(512), dtype)
    normed = torch.nn.functional.layer_norm(exact, (512,), eps=1e-5)
    weight, bias = in_float64(layer_norm.weight, TAU)[:, None], in_float64(layer_norm.bias, TAU)[:, None]
    reference = normed * weight + bias
    # The sum may cancel: allow the rounding of its terms.
    assert ((layer_norm(x, TAU) - reference).abs() <= rounding * reference.abs() + 2e-6 * (normed * weight).abs() + 1e-6).all()

    std_norm = randomised(StdNorm(512), dtype)
    reference = std_norm.gain.double() * (exact - exact.mean(-1, keepdim=True)) / (exact.std(-1, keepdim=True) + 1e-5)
    offset = std_norm.offset.double()
    error = (std_norm(x) - (reference + offset)).abs()
    assert (error <= rounding * (reference + offset).abs() + 2e-6 * reference.abs() + 1e-6).all()
