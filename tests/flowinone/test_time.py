"""Time-dependent parameters and norms are as accurate as float32 in every dtype, and the same computed together."""

import copy

import pytest
import torch

from flowinone import FlowInOneConfig
from flowinone.model import VelocityNetwork
from flowinone.model.prompt_encoder import StdNorm
from flowinone.model.time import TimeDependentParameter, TimeLayerNorm, TimeRMSNorm, Times, network_time

SMALL = dict(
    latent_size=4,
    coarse_width=16,
    coarse_heads=2,
    coarse_blocks=3,
    coarse_mlp_width=16,
    gate_width=4,
    fine_width=8,
    fine_blocks=3,
    fine_mlp_width=8,
)
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
    values = parameter(Times(TAU))
    assert values.dtype == torch.float32
    # A few float32 roundings; computing w + 1 in 16 bit would be off by 1e-3.
    assert (values - in_float64(parameter, TAU)).abs().max() < 2e-6


@pytest.mark.parametrize(
    ("dtype", "rounding"), [(torch.float32, 2**-21), (torch.bfloat16, 2**-8), (torch.float16, 2**-11)]
)
def test_norms_are_exact_up_to_the_output_dtypes_rounding(dtype, rounding):
    x = (30 * torch.randn(3, 7, 512, generator=torch.Generator().manual_seed(1))).to(dtype)
    exact = x.double()

    rms_norm = randomised(TimeRMSNorm(512), dtype)
    reference = in_float64(rms_norm.scale, TAU)[:, None] * exact / (exact.square().mean(-1, keepdim=True).sqrt() + 1e-8)
    assert ((rms_norm(x, Times(TAU)) - reference).abs() <= rounding * reference.abs() + 1e-6).all()

    layer_norm = randomised(TimeLayerNorm(512), dtype)
    normed = torch.nn.functional.layer_norm(exact, (512,), eps=1e-5)
    weight, bias = in_float64(layer_norm.weight, TAU)[:, None], in_float64(layer_norm.bias, TAU)[:, None]
    reference = normed * weight + bias
    # The sum may cancel: allow the rounding of its terms.
    assert (
        (layer_norm(x, Times(TAU)) - reference).abs()
        <= rounding * reference.abs() + 2e-6 * (normed * weight).abs() + 1e-6
    ).all()

    std_norm = randomised(StdNorm(512), dtype)
    reference = std_norm.gain.double() * (exact - exact.mean(-1, keepdim=True)) / (exact.std(-1, keepdim=True) + 1e-5)
    offset = std_norm.offset.double()
    error = (std_norm(x) - (reference + offset)).abs()
    assert (error <= rounding * (reference + offset).abs() + 2e-6 * reference.abs() + 1e-6).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_made_at_once_are_those_made_one_by_one(dtype):
    parameters = [randomised(TimeDependentParameter(width), dtype) for width in (7, 64, 1)]
    outside = randomised(TimeDependentParameter(5), dtype)
    alone, together = Times(TAU), Times(TAU, parameters)
    weights = [torch.randn(3, len(parameter.param0)) for parameter in parameters]
    gradients = []
    for times in (alone, together):
        values = [parameter(times) for parameter in parameters]
        (sum((value * weight).sum() for value, weight in zip(values, weights))).backward()
        gradients.append([vector.grad for parameter in parameters for vector in parameter.parameters()])
        for parameter in parameters:
            parameter.zero_grad()
        for value, parameter in zip(values, parameters):
            assert (value - parameter(alone)).abs().max() <= 1e-6
    for one, other in zip(*gradients):
        torch.testing.assert_close(one, other)
    assert torch.equal(outside(together), outside(alone))


def test_values_follow_their_parameters():
    network = VelocityNetwork(FlowInOneConfig(**SMALL))
    assert set(network.time_dependent) == {
        module for module in network.modules() if isinstance(module, TimeDependentParameter)
    }
    twin = copy.deepcopy(network)
    assert twin.time_dependent[0] is not network.time_dependent[0]
    before = Times(TAU, network.time_dependent).values
    network.coarse.blocks[0].mlp.norm.scale.param1.data += 1
    after = Times(TAU, network.time_dependent).values
    changed = [parameter for parameter in before if not torch.equal(before[parameter], after[parameter])]
    assert changed == [network.coarse.blocks[0].mlp.norm.scale]
