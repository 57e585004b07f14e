"""What spares memory and pauses changes no velocity and no gradient: the norm of the feature maps row by row, and the dual path's hint."""

import contextlib
import copy

import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from devtools.numerics import relative_error
from devtools.peak_memory import PeakBytes
from flowinone import FlowInOneConfig, FlowInOnePipeline
from flowinone.model import VelocityNetwork
from flowinone.model.time import Times
from flowinone.sampling import Guidance, guided_velocity
from flowinone.training.parts import recompute

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
    """Three samples at times, with branches and routes of their own."""
    x, image_latent = torch.randn(2, 3, *network.config.latent_shape, generator=torch.Generator().manual_seed(1)).to(
        dtype
    )
    return (
        x,
        torch.tensor([0.1, 0.5, 0.9]),
        image_latent,
        torch.tensor([True, False, False]),
        torch.tensor([False, False, True]),
    )


def plain(module):
    """A copy that does it the public implementation's way."""
    twin = copy.deepcopy(module)
    twin.frugal = False
    return twin


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


@pytest.mark.parametrize("way", [torch.bfloat16, torch.float16, "autocast"])
def test_sixteen_bit_is_as_near_to_float64_as_the_norm_made_at_once(way):
    network = made()
    autocast = way == "autocast"
    if not autocast:
        network.to(way)
    given = arguments(network, torch.float32 if autocast else way)
    exact = plain(network).double()(given[0].double(), given[1], given[2].double(), *given[3:])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext():
        ours, theirs = (relative_error(twin(*given), exact) for twin in (network, plain(network)))
    assert 0 < ours < 1.02 * theirs


def guided_both_ways(network, x, image_latent) -> tuple[torch.Tensor, torch.Tensor]:
    """Guided velocities of one evaluation: both branches in one batch, and one after the other with all maps kept."""
    bypass, time = torch.tensor([False, True, False]), 0.3
    ours = guided_velocity(network, image_latent, bypass, Guidance(7.0))(x, time)
    times, twin = torch.full((3,), time), plain(network)
    prompt, null = (twin(x, times, image_latent, torch.full((3,), which), bypass) for which in (False, True))
    return ours, null + 7.0 * (prompt - null)


def test_guided_velocities_are_those_of_one_branch_after_the_other():
    network = made().requires_grad_(False)
    x, _, image_latent, *_ = arguments(network)
    ours, theirs = guided_both_ways(network, x, image_latent)
    assert 0 < relative_error(ours, theirs) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_guided_velocities_in_sixteen_bit_are_as_near_to_float64(dtype):
    network = made().requires_grad_(False).to(dtype)
    x, _, image_latent, *_ = arguments(network, dtype)
    exact = guided_both_ways(copy.deepcopy(network).double(), x.double(), image_latent.double())[1]
    ours, theirs = (relative_error(found, exact) for found in guided_both_ways(network, x, image_latent))
    assert 0 < ours < 1.1 * theirs


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_maps_far_from_zero_cost_no_accuracy(dtype):
    upsample = made().fine.upsample.to(dtype)
    generator = torch.Generator().manual_seed(2)
    # Means of many deviations, where formulas that subtract them late cancel.
    maps = (torch.randn(4, 4, 2, 384, generator=generator) + 30).to(dtype)
    times = Times(torch.tensor([-0.4, 0.8]))
    exact = copy.deepcopy(upsample).double()(maps.double(), times, frugal=False)
    with torch.no_grad():
        theirs = relative_error(upsample(maps, times, frugal=False), exact)
        ours = relative_error(upsample(maps, times), exact)
    assert 0 < ours < 1.02 * theirs


@pytest.mark.parametrize("checkpointed", [False, True])
def test_gradients_are_those_of_the_norm_made_at_once(checkpointed):
    network = made(**TOKENS[64])
    twin = plain(network)
    if checkpointed:
        recompute(network)
    found = []
    for each in (network, twin):
        x, t, image_latent, null, bypass = arguments(each)
        latents = x.requires_grad_(), image_latent.requires_grad_()
        fine, coarse = each.both_velocities(x, t, image_latent, null, bypass)
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
    for frugal in (True, False):
        with PeakBytes() as counted:
            upsample(maps, Times(torch.empty(2, device="meta")), frugal)
        peaks.append(counted.peak / (maps.numel() * 2))
    # The norm twice in 16 bit, in rows and whole, against two float32 forms that are kept and one on its way.
    assert peaks[0] < 2.6 and peaks[1] > 6


def test_an_evaluation_leaves_what_it_is_given_and_repeats_itself():
    network = made()
    given = arguments(network)
    before = [tensor.clone() for tensor in given]
    with torch.inference_mode():
        first, second = network(*given), network(*given)
    assert all(map(torch.equal, given, before))
    assert torch.equal(first, second)


@pytest.mark.parametrize("bypass", [[True, True, True], [False, True, False]])
def test_knowing_of_the_dual_path_beforehand_changes_nothing(bypass):
    network = made(**TOKENS[64])
    given = *arguments(network)[:-1], torch.tensor(bypass)
    with torch.no_grad():
        expected = network(*given)
        assert torch.equal(network(*given, dual=not all(bypass)), expected)
        # Told of a dual path that no sample takes, it looks at the image in vain.
        assert relative_error(network(*given, dual=True), expected) < 1e-6


@pytest.mark.parametrize("dual", [True, False])
def test_an_evaluation_that_is_told_of_the_dual_path_reads_no_tensor(dual):
    # Tensors on the meta device have no values: whoever asks for one gets an error.
    network = VelocityNetwork(FlowInOneConfig(**SMALL), device="meta")
    x, t, image_latent, null, bypass = (tensor.to("meta") for tensor in arguments(network))
    with torch.no_grad():
        assert network(x, t, image_latent, null, bypass, dual).shape == x.shape
        with pytest.raises((NotImplementedError, RuntimeError), match="(?i)meta"):
            network(x, t, image_latent, null, bypass)


class Reads(TorchDispatchMode):
    """Within a `with` block: `count`, how often a tensor's value was asked for."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def test_a_pipelines_steps_read_no_tensor(model_files):
    pipe = FlowInOnePipeline.from_single_files(**model_files)
    pipe.set_progress_bar_config(disable=True)
    pictures = [Image.new("RGB", (64, 64), "white")] * 2
    counts = []
    for steps in (1, 4):
        with Reads() as reads:
            pipe(pictures, steps=steps, bypass=[True, False], generator=0, output_type="latent")
        counts.append(reads.count)
    assert counts[0] == counts[1]


def test_an_evaluation_is_one_graph_for_compilers():
    network = made(coarse_blocks=3, fine_blocks=1)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert relative_error(compiled(*arguments(network), dual=True), network(*arguments(network))) < 1e-6


def test_a_pipeline_runs_the_network_that_was_compiled(model_files):
    pipe = FlowInOnePipeline.from_single_files(**model_files)
    pipe.set_progress_bar_config(disable=True)
    answers, runs = [], 0

    def backend(graph, _):
        def run(*inputs):
            nonlocal runs
            runs += 1
            return graph.forward(*inputs)

        return run

    for _ in range(2):
        answers.append(pipe(Image.new("RGB", (64, 64), "white"), steps=3, generator=0, output_type="latent").images)
        pipe.model.velocity_network.compile(backend=backend, fullgraph=True)
    assert runs == 3
    assert relative_error(answers[1], answers[0]) < 1e-6
