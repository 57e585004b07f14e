"""What saves memory and device syncs changes no velocity and no gradient, compared with `ReferenceVelocityNetwork`."""

import contextlib
import copy
import dataclasses

import pytest
import torch

from benchmarks.reference import ReferenceVelocityNetwork, reference_upsample
from devtools.numerics import relative_error
from devtools.peak_memory import PeakBytes
from flowinone import FlowInOneConfig
from flowinone.model import Condition, VelocityNetwork
from flowinone.model.fine import Upsample
from flowinone.model.time import Times
from flowinone.sampling import Guidance, guided_velocity
from flowinone.training.build import checkpoint_activations

SMALL = dict(
    coarse_width=64,
    coarse_heads=4,
    coarse_blocks=5,
    coarse_mlp_width=96,
    gate_width=16,
    fine_width=32,
    fine_blocks=3,
    fine_mlp_width=48,
)
TOKENS = {
    4: dict(latent_size=4),
    64: dict(latent_size=16),
    25: dict(latent_size=20, patch_size=4),
    256: dict(latent_size=32),
}


def made(**sizes) -> VelocityNetwork:
    """A network whose norms follow time, as fresh ones do not."""
    torch.manual_seed(0)
    network = VelocityNetwork(FlowInOneConfig(**(SMALL | sizes)))
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter) * (parameter.ndim == 1)
    return network


def arguments(network, dtype=torch.float32) -> tuple:
    """Three samples, each with its own time, branch and bypass."""
    generator = torch.Generator().manual_seed(1)
    x, image_latent = torch.randn(2, 3, *network.config.latent_shape, generator=generator).to(dtype)
    null, bypass = torch.tensor([True, False, False]), torch.tensor([False, False, True])
    return x, torch.tensor([0.1, 0.5, 0.9]), Condition(image_latent, null, bypass)


def plain(network: VelocityNetwork) -> ReferenceVelocityNetwork:
    """A copy that computes as the public implementation does."""
    twin = ReferenceVelocityNetwork(network.config)
    twin.load_state_dict(network.state_dict())
    return twin.to(next(network.parameters()).dtype)


def doubled(given: tuple) -> tuple:
    x, t, condition = given
    return x.double(), t, dataclasses.replace(condition, image_latent=condition.image_latent.double())


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("tokens", TOKENS)
def test_velocities_are_those_of_the_norm_made_at_once(tokens, gradients):
    network = made(**TOKENS[tokens])
    with torch.set_grad_enabled(gradients):
        found, expected = (twin.both_velocities(*arguments(network)) for twin in (network, plain(network)))
    for ours, theirs in zip(found, expected):
        assert ours.requires_grad == gradients
        # The same sums in the same order, up to how a machine splits them.
        assert relative_error(ours.detach(), theirs.detach()) < 1e-6


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16, "autocast"])
def test_sixteen_bit_is_as_near_to_float64_as_the_norm_made_at_once(precision):
    network = made()
    autocast = precision == "autocast"
    if not autocast:
        network.to(precision)
    given = arguments(network, torch.float32 if autocast else precision)
    exact = plain(network).double()(*doubled(given))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext():
        ours, theirs = (relative_error(twin(*given), exact) for twin in (network, plain(network)))
    assert 0 < ours < 1.02 * theirs


def guided_in_one_batch_and_in_two(network, x, image_latent) -> tuple[torch.Tensor, torch.Tensor]:
    """Guided velocities of one evaluation: both branches in one batch, and one after the other with all maps kept."""
    bypass, time = torch.tensor([False, True, False]), 0.3
    ours = guided_velocity(network, Condition.prompt(image_latent, bypass), Guidance(7.0))(x, time)
    times, twin = torch.full((3,), time), plain(network).requires_grad_(False)
    prompt, null = (twin(x, times, Condition(image_latent, torch.full((3,), null), bypass)) for null in (False, True))
    return ours, null + 7.0 * (prompt - null)


def test_guided_velocities_are_those_of_one_branch_after_the_other():
    network = made().requires_grad_(False)
    x, _, condition = arguments(network)
    ours, theirs = guided_in_one_batch_and_in_two(network, x, condition.image_latent)
    assert 0 < relative_error(ours, theirs) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_guided_velocities_in_sixteen_bit_are_as_near_to_float64(dtype):
    network = made().requires_grad_(False).to(dtype)
    x, _, condition = arguments(network, dtype)
    exact = guided_in_one_batch_and_in_two(
        copy.deepcopy(network).double(), x.double(), condition.image_latent.double()
    )[1]
    ours, theirs = (
        relative_error(found, exact) for found in guided_in_one_batch_and_in_two(network, x, condition.image_latent)
    )
    assert 0 < ours < 1.1 * theirs


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_maps_far_from_zero_cost_no_accuracy(dtype):
    upsample = made().fine.upsample.to(dtype)
    generator = torch.Generator().manual_seed(2)
    # Means of many deviations, where formulas that subtract them late cancel.
    maps = (torch.randn(4, 4, 2, 384, generator=generator) + 30).to(dtype)
    times = Times(torch.tensor([-0.4, 0.8]))
    exact = reference_upsample(copy.deepcopy(upsample).double(), maps.double(), times)
    with torch.no_grad():
        theirs = relative_error(reference_upsample(upsample, maps, times), exact)
        ours = relative_error(upsample(maps, times), exact)
    assert 0 < ours < 1.02 * theirs


@pytest.mark.parametrize("checkpointed", [False, True])
def test_gradients_are_those_of_the_norm_made_at_once(checkpointed):
    network = made(**TOKENS[64])
    twin = plain(network)
    if checkpointed:
        checkpoint_activations(network)
    found = []
    for each in (network, twin):
        x, t, condition = arguments(each)
        latents = x.requires_grad_(), condition.image_latent.requires_grad_()
        fine, coarse = each.both_velocities(x, t, condition)
        found.append(torch.autograd.grad(fine.square().sum() + coarse.square().sum(), (*latents, *each.parameters())))
    for ours, theirs in zip(*found):
        assert relative_error(ours, theirs) < 1e-5


def test_gradients_reach_what_is_trained_where_the_rest_is_frozen():
    network = made(**TOKENS[64])
    found = []
    for each in (network, plain(network)):
        trained = each.requires_grad_(False).coarse.blocks[2].mlp.w2.weight.requires_grad_()
        found += torch.autograd.grad(each(*arguments(each)).square().sum(), trained)
    assert found[1].norm() > 0
    assert relative_error(*found) < 1e-5


def test_gradients_keep_no_norm_in_float32():
    config = FlowInOneConfig()
    upsample = VelocityNetwork(config, dtype=torch.bfloat16, device="meta").fine.upsample
    maps = torch.empty(16, 16, 2, 66 * 1024, dtype=torch.bfloat16, device="meta", requires_grad=True)
    peaks = []
    for forward in (Upsample.forward, reference_upsample):
        with PeakBytes() as counted:
            forward(upsample, maps, Times(torch.empty(2, device="meta")))
        peaks.append(counted.peak / (maps.numel() * 2))
    # The norm twice in 16 bit, in rows and whole, against two float32 forms that are kept and one on its way.
    assert peaks[0] < 2.6 and peaks[1] > 6


def test_an_evaluation_leaves_what_it_is_given_and_repeats_itself():
    network = made()
    x, t, condition = arguments(network)
    given = x, t, condition.image_latent, condition.null, condition.bypass
    before = [tensor.clone() for tensor in given]
    with torch.inference_mode():
        first, second = network(x, t, condition), network(x, t, condition)
    assert all(map(torch.equal, given, before))
    assert torch.equal(first, second)


@pytest.mark.parametrize("bypass", [[True, True, True], [False, True, False]])
def test_leaving_out_an_unused_dual_path_changes_nothing(bypass):
    network = made(**TOKENS[64])
    x, t, condition = arguments(network)
    condition = Condition(condition.image_latent, condition.null, torch.tensor(bypass))
    assert condition.dual == (not all(bypass))
    with torch.no_grad():
        expected = network(x, t, condition)
        # With a dual path that no sample takes, the image tokens are computed in vain.
        assert relative_error(network(x, t, dataclasses.replace(condition, dual=True)), expected) < 1e-6


@pytest.mark.parametrize("dual", [True, False])
def test_a_forward_pass_reads_no_value_of_a_tensor(dual):
    # Tensors on the meta device have no values: reading one is an error.
    network = VelocityNetwork(FlowInOneConfig(**SMALL), device="meta")
    x, t, condition = arguments(network)
    flags = condition.null.to("meta"), condition.bypass.to("meta")
    with torch.no_grad():
        condition = Condition(condition.image_latent.to("meta"), *flags, dual)
        assert network(x.to("meta"), t.to("meta"), condition).shape == x.shape
    with pytest.raises((NotImplementedError, RuntimeError), match="(?i)meta"):
        Condition(condition.image_latent, *flags)


def test_an_evaluation_is_one_graph_for_compilers():
    network = made(coarse_blocks=3, fine_blocks=1)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert relative_error(compiled(*arguments(network)), network(*arguments(network))) < 1e-6
