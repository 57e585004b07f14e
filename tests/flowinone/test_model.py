"""The network computes what the public implementation computes, for every size of checkpoint."""

import pytest
import torch

from devtools import tiny
from devtools.numerics import relative_error
from flowinone import FlowInOneConfig, FlowInOneModel
from flowinone.model import Condition
from flowinone.model.names import TRAINING_ONLY, native_name, upstream_name

# float32 rounding through a few layers; a wrong epsilon or activation shows at 1e-4 and above.
TOLERANCE = 1e-5
BYPASS = {"dual": [False, False], "skip": [True, True], "mixed": [True, False]}


@pytest.fixture(scope="module")
def reference(upstream):
    return upstream("flowinone_tiny")


def unflagged(image_latent) -> Condition:
    """The conditional branch with the dual path, for every sample."""
    return Condition.prompt(image_latent, torch.zeros(len(image_latent), dtype=torch.bool))


def test_prompt_encoder_gives_upstreams_mean_and_log_variance(network, reference):
    mean, logvar = network.encode_prompt(reference["tokens"])
    assert mean.shape == logvar.shape == (2, 4, 32, 32)
    assert relative_error(mean.flatten(1), reference["prompt_mean"]) < TOLERANCE
    assert relative_error(logvar.flatten(1), reference["prompt_logvar"]) < TOLERANCE


@pytest.mark.parametrize("route", BYPASS)
@pytest.mark.parametrize("branch", ["cond", "null"])
@pytest.mark.parametrize("t", [0.0, 0.37, 0.99999])
def test_velocity_is_upstreams_at_every_time_branch_and_route(network, reference, t, branch, route):
    condition = Condition(reference["image_latent"], torch.tensor([branch == "null"] * 2), torch.tensor(BYPASS[route]))
    velocity, coarse = network.both_velocities(reference["x"], torch.full((2,), t), condition)
    assert torch.equal(network.velocity(reference["x"], torch.full((2,), t), condition), velocity)
    assert relative_error(velocity, reference[f"velocity/t{t}/{branch}/{route}"]) < TOLERANCE
    if t == 0.37:
        assert relative_error(coarse, reference[f"velocity_coarse/t{t}/{branch}/{route}"]) < TOLERANCE


def test_every_sample_may_have_its_own_time(network, reference):
    velocity = network.velocity(reference["x"], reference["times"], unflagged(reference["image_latent"]))
    assert relative_error(velocity, reference["velocity/per_sample"]) < TOLERANCE


def test_the_released_manifest_is_the_networks_tensors_and_nothing_else():
    listing = tiny.manifest("flowinone_256px")
    model = FlowInOneModel.from_state_dict({name: torch.empty(shape, device="meta") for name, shape in listing.items()})
    assert model.config == FlowInOneConfig()
    inference = {name: shape for name, shape in listing.items() if not name.startswith(TRAINING_ONLY)}
    assert {upstream_name(name): tuple(t.shape) for name, t in model.state_dict().items()} == inference
    assert set(map(native_name, inference)) == set(model.state_dict())


@pytest.mark.parametrize(
    "sizes",
    [
        dict(latent_size=64, token_count=144),
        dict(latent_size=16, latent_channels=8, patch_size=4, reduced_widths=(32,)),
        dict(coarse_blocks=3, fine_blocks=7, coarse_width=32, fine_width=48, coarse_mlp_width=80, gate_width=5),
        dict(token_width=40, context_length=9, context_width=32, context_layers=1, reduced_widths=(24, 16)),
    ],
)
def test_other_sizes_are_inferred_from_the_tensors_and_run(sizes):
    small = dict(
        token_width=96,
        context_width=64,
        context_layers=2,
        context_mlp_width=96,
        reduced_widths=(32, 16, 8),
        coarse_width=64,
        coarse_blocks=5,
        coarse_mlp_width=128,
        gate_width=16,
        fine_width=32,
        fine_blocks=3,
        fine_mlp_width=64,
    )
    config = FlowInOneConfig(**(small | sizes))
    model = FlowInOneModel.from_state_dict(FlowInOneModel(config).state_dict())
    assert model.config == config
    mean, _ = model.encode_prompt(torch.randn(1, config.token_count, config.token_width))
    velocity = model.velocity(mean, torch.tensor([0.5]), unflagged(torch.randn_like(mean)))
    assert velocity.shape == (1, *config.latent_shape)
    assert velocity.isfinite().all()


def test_head_counts_are_the_callers_where_given(reference):
    model = FlowInOneModel.from_state_dict(tiny.network_weights(), coarse_heads=8)
    velocity = model.velocity(reference["x"], torch.zeros(2), unflagged(reference["image_latent"]))
    assert relative_error(velocity, reference["velocity/t0.0/cond/dual"]) > TOLERANCE
    with pytest.raises(ValueError, match="coarse_heads=7 does not divide"):
        FlowInOneModel.from_state_dict(tiny.network_weights(), coarse_heads=7)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 3e-2), (torch.float16, 4e-3)])
def test_sixteen_bit_weights_stay_within_their_rounding(reference, dtype, bound):
    # Bounds: a few rounding steps of 2^-9 and 2^-12 accumulated over the tiny network's layers.
    model = FlowInOneModel.from_state_dict({k: v.to(dtype) for k, v in tiny.network_weights().items()})
    velocity = model.velocity(reference["x"], torch.full((2,), 0.37), unflagged(reference["image_latent"]))
    assert velocity.dtype == torch.float32
    assert relative_error(velocity, reference["velocity/t0.37/cond/dual"]) < bound
    mean, _ = model.encode_prompt(reference["tokens"])
    assert relative_error(mean.flatten(1), reference["prompt_mean"]) < bound


def test_a_batch_gives_what_its_members_give_alone(network, reference):
    mixed, null = torch.tensor([True, False]), torch.tensor([False, True])
    x, times, image_latent = reference["x"], reference["times"], reference["image_latent"]
    together = network.velocity(x, times, Condition(image_latent, null, mixed))
    for i in range(2):
        one = slice(i, i + 1)
        alone = network.velocity(x[one], times[one], Condition(image_latent[one], null[one], mixed[one]))
        assert relative_error(together[one], alone) < TOLERANCE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(x=torch.zeros(2, 4, 16, 16)), r"x has shape \(2, 4, 16, 16\); expected \(2, 4, 32, 32\)"),
        (dict(image_latent=torch.zeros(1, 4, 32, 32)), "image_latent has shape"),
        (dict(t=torch.zeros(1)), "t has shape"),
        (dict(null=torch.zeros(3, dtype=torch.bool)), "null has shape"),
    ],
)
def test_misshapen_arguments_are_named(network, change, message):
    no = torch.zeros(2, dtype=torch.bool)
    arguments = dict(
        x=torch.zeros(2, 4, 32, 32), t=torch.zeros(2), image_latent=torch.zeros(2, 4, 32, 32), null=no, bypass=no
    )
    x, t, *condition = (arguments | change).values()
    with pytest.raises(ValueError, match=message):
        network.velocity(x, t, Condition(*condition))


def test_tokens_of_another_vision_encoder_are_refused(network):
    with pytest.raises(ValueError, match=r"reads \[B, 576, 96\]"):
        network.encode_prompt(torch.zeros(1, 577, 96))


def test_missing_and_foreign_tensors_are_named():
    weights = tiny.network_weights()
    lost = weights.pop("stages.0.blocks.3.block2.w1.bias")
    with pytest.raises(ValueError, match=r"1 missing tensors: velocity_network\.coarse\.blocks\.3\.mlp\.w1\.bias"):
        FlowInOneModel.from_state_dict(weights)
    with pytest.raises(ValueError, match="no part of FlowInOne.*lora_up"):
        FlowInOneModel.from_state_dict(weights | {"lora_up.weight": lost})
    with pytest.raises(ValueError, match="not a complete FlowInOne network"):
        FlowInOneModel.from_state_dict({})


def test_float8_weights_and_impossible_head_counts_are_refused():
    weights = tiny.network_weights()
    with pytest.raises(ValueError, match="coarse_heads is 0; expected at least 1"):
        FlowInOneModel.from_state_dict(weights, coarse_heads=0)
    with pytest.raises(ValueError, match=r"adapter\.weight has shape \(64,\); expected 2 dimensions"):
        FlowInOneModel.from_state_dict(weights | {"adapter.0.weight": torch.zeros(64)})
    eight = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in weights.items()}
    with pytest.raises(ValueError, match="float8_e4m3fn, which torch cannot compute with"):
        FlowInOneModel.from_state_dict(eight)
