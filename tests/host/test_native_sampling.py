"""ComfyUI's own samplers behind FlowInOne Encode."""

import numpy as np
import pytest

from devtools.comfyui.client import ExecutionFailed
from devtools.comfyui.prompt import ksampler, node
from flowinone.sampling import FIXED_STEP_SOLVERS, PRESETS


@pytest.mark.parametrize(("route", "bypass"), [("dual", False), ("skip", True)])
def test_euler_and_simple_give_upstreams_picture(answer, upstream, route, bypass):
    expected = upstream("end_to_end_tiny")[f"image/{route}"][0].permute(1, 2, 0).numpy() * 255
    # SaveImage cuts to 8 bit, which takes up to one level; 2e-3 of the range is half a level.
    assert np.abs(answer(bypass=bypass) - expected).max() <= 1.5


@pytest.mark.parametrize("steps", [1, 7])
def test_euler_and_simple_are_the_packs_own_sampler(answer, own, steps):
    settings = dict(steps=steps, sample_posterior=True, seed=5, cfg=3.0)
    assert np.abs(answer(**settings) - own(**settings)).max() <= 1


def test_the_uniform_grid_is_plain_euler_and_heun(answer, own):
    assert np.abs(answer(time_grid="uniform") - own(solver="euler_uniform")).max() <= 1
    # ComfyUI's Heun takes a plain Euler step at the end, where ours has one more evaluation.
    difference = np.abs(answer(time_grid="uniform", sampler="heun", steps=12) - own(solver="heun", steps=12))
    assert difference.mean() < 3


@pytest.mark.parametrize("name", ["reference", "balanced", "fast"])
def test_a_preset_takes_the_place_of_what_is_set(own, name):
    chosen = PRESETS[name]
    given = own(steps=1, solver="rk4", guidance_end=0.0, preset=name)
    if chosen.guidance_every == 1:
        start, end = chosen.guidance_interval
        same = own(steps=chosen.steps, solver=chosen.solver, guidance_start=start, guidance_end=end)
        assert np.array_equal(given, same)
    assert np.abs(given - own(steps=1, solver="rk4", guidance_end=0.0)).max() > 10


def test_guidance_counts_between_its_ends_alone(own):
    # At the times 0, 1/3, 2/3 and 1 of upstream's grid.
    whole, none = own(), own(cfg=1.0)
    assert np.array_equal(own(guidance_start=0.1, guidance_end=0.3), none)
    early, late = own(guidance_end=0.5), own(guidance_start=0.5)
    assert (
        min(
            np.abs(early - whole).max(),
            np.abs(late - whole).max(),
            np.abs(early - none).max(),
            np.abs(late - none).max(),
        )
        > 2
    )
    with pytest.raises(ExecutionFailed, match="guidance interval 0.6 to 0.4 is invalid"):
        own(guidance_start=0.6, guidance_end=0.4)


def in_parts(solver=None, guider=None):
    """FlowInOne Sampler from its parts: SamplerCustomAdvanced with FlowInOne Solver and FlowInOne Guider."""
    return {
        "solver": node("FlowInOneSolver", model=["load", 0], **({"solver": "euler", "steps": 4} | (solver or {}))),
        "guider": node(
            "FlowInOneGuider",
            model=["load", 0],
            positive=["encode", 0],
            negative=["encode", 1],
            **({"guidance_scale": 7.0} | (guider or {})),
        ),
        "sample": node(
            "SamplerCustomAdvanced",
            noise=["encode", 2],
            guider=["guider", 0],
            sampler=["solver", 0],
            sigmas=["solver", 1],
            latent_image=["encode", 3],
        ),
    }


@pytest.mark.parametrize("solver", list(FIXED_STEP_SOLVERS))
def test_flowinone_sampler_is_solver_and_guider(answer, own, solver):
    together = own(solver=solver, steps=3, cfg=3.0, guidance_start=0.1, guidance_end=0.8)
    interval = dict(guidance_scale=3.0, guidance_start=0.1, guidance_end=0.8)
    # Whatever time grid is meant for ComfyUI's samplers, the solver brings its own.
    for time_grid in ("the authors'", "uniform"):
        parts = in_parts(dict(solver=solver, steps=3), interval)
        assert np.array_equal(answer(nodes=parts, time_grid=time_grid), together)


def test_presets_of_solver_and_guider_are_flowinone_samplers(answer, own):
    parts = in_parts(dict(solver="rk4", steps=1, preset="fast"), dict(guidance_end=0.0, preset="fast"))
    assert np.array_equal(answer(nodes=parts), own(preset="fast"))


def test_the_guider_serves_comfyuis_samplers(answer):
    """As CFGGuider where nothing else is set; else the interval counts at the times of the chosen time grid."""

    def guided(**changes):
        return answer(nodes={"guider": in_parts(guider=changes)["guider"]})

    assert np.array_equal(guided(), answer())
    # Upstream's times of four steps are 0, 1/3, 2/3 and 1.
    unguided = answer(cfg=1.0)
    assert np.array_equal(guided(guidance_start=0.1, guidance_end=0.3), unguided)
    assert np.abs(guided(guidance_start=0.3, guidance_end=0.4) - unguided).max() > 2
    assert np.abs(guided(guidance_every=2) - answer()).max() > 2


def test_the_solver_goes_on_with_a_part_of_a_flow_and_refines_pictures(answer):
    solver = dict(solver="heun", steps=4)
    whole = answer(nodes=in_parts(solver))
    first, second = (in_parts(solver)["sample"]["inputs"] for _ in range(2))
    halves = {
        "halves": node("SplitSigmas", sigmas=["solver", 1], step=2),
        "first": node("SamplerCustomAdvanced", **(first | {"sigmas": ["halves", 0]})),
        "silence": node("DisableNoise"),
        "sample": node(
            "SamplerCustomAdvanced",
            **(second | {"sigmas": ["halves", 1], "noise": ["silence", 0], "latent_image": ["first", 0]}),
        ),
    }
    assert np.abs(answer(nodes=in_parts(solver) | halves) - whole).max() <= 1
    again = {
        "first": node("SamplerCustomAdvanced", **first),
        "halves": node("SplitSigmas", sigmas=["solver", 1], step=2),
        "sample": node("SamplerCustomAdvanced", **(second | {"sigmas": ["halves", 1], "latent_image": ["first", 0]})),
    }
    assert np.abs(answer(nodes=in_parts(solver) | again) - whole).mean() > 0.1


def test_fewer_than_five_steps_of_upstreams_grid_are_warned_of(server, answer, own):
    def warnings():
        return server.log.read_text(encoding="utf-8").count("steps are too few for")

    before = warnings()
    own(steps=5, seed=41)
    answer(steps=5, seed=41)
    own(steps=2, solver="euler_uniform", seed=41)
    answer(steps=2, time_grid="uniform", seed=41)
    answer(nodes=in_parts(dict(solver="heun", steps=2)), seed=41)
    assert warnings() == before
    own(steps=2, seed=42)
    answer(steps=2, seed=42)
    answer(nodes=in_parts(dict(steps=2)), seed=42)
    assert warnings() == before + 3


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "res_multistep", "uni_pc"])
def test_other_deterministic_samplers_run(answer, sampler):
    assert answer(sampler=sampler, time_grid="uniform", steps=8).std() > 5


def test_a_flow_in_two_parts_is_the_flow_in_one(answer):
    whole = answer(steps=6)
    split = {
        "halves": node("SplitSigmas", sigmas=["sigmas", 0], step=2),
        "first": node(
            "SamplerCustomAdvanced",
            noise=["encode", 2],
            guider=["guider", 0],
            sampler=["sampler", 0],
            sigmas=["halves", 0],
            latent_image=["encode", 3],
        ),
        "silence": node("DisableNoise"),
        "sample": node(
            "SamplerCustomAdvanced",
            noise=["silence", 0],
            guider=["guider", 0],
            sampler=["sampler", 0],
            sigmas=["halves", 1],
            latent_image=["first", 0],
        ),
    }
    assert np.abs(answer(steps=6, nodes=split) - whole).max() <= 1


def test_the_stock_ksampler_starts_at_the_prompt_whatever_its_seed(answer):
    expected = answer()
    assert np.abs(answer(nodes={"sample": ksampler()}) - expected).max() <= 1
    assert np.abs(answer(nodes={"sample": ksampler(seed=7)}) - expected).max() <= 1


def test_random_noise_is_replaced_by_the_source_latent(answer):
    advanced = node(
        "SamplerCustomAdvanced",
        noise=["random", 0],
        guider=["guider", 0],
        sampler=["sampler", 0],
        sigmas=["sigmas", 0],
        latent_image=["encode", 3],
    )
    random = {"random": node("RandomNoise", noise_seed=3), "sample": advanced}
    assert np.abs(answer(nodes=random) - answer()).max() <= 1
    custom = node(
        "SamplerCustom",
        model=["load", 0],
        add_noise=True,
        noise_seed=5,
        cfg=7.0,
        positive=["encode", 0],
        negative=["encode", 1],
        sampler=["sampler", 0],
        sigmas=["sigmas", 0],
        latent_image=["encode", 3],
    )
    assert np.abs(answer(nodes={"sample": custom}) - answer()).max() <= 1


def test_a_refinement_lies_between_the_picture_it_starts_from_and_the_answer(answer):
    whole = answer(steps=8, time_grid="uniform")
    first = ksampler(steps=8)

    def refined(denoise):
        again = ksampler(steps=8, latent_image=["first", 0], denoise=denoise)
        return answer(steps=8, time_grid="uniform", nodes={"first": first, "sample": again})

    # From the flow's own end, the straight line back to the source is not the way it came, but it is near for a while.
    near, far = (np.abs(refined(denoise) - whole).mean() for denoise in (0.25, 0.75))
    assert 0 < near < far


@pytest.mark.parametrize("name", ["euler_ancestral", "dpmpp_2m_sde", "lcm", "seeds_2"])
def test_samplers_that_add_noise_are_refused_with_the_reason(answer, name):
    with pytest.raises(ExecutionFailed, match=f"{name} adds random noise on the way.*choose euler"):
        answer(sampler=name)


def test_an_ancestral_sampler_without_its_noise_is_allowed(answer):
    still = {"sampler": node("SamplerEulerAncestral", eta=0.0, s_noise=1.0)}
    assert np.abs(answer(nodes=still) - answer()).max() <= 1


def test_latents_of_another_size_and_refinements_of_nothing_are_refused(answer):
    large = {
        "large": node("EmptyLatentImage", width=512, height=512, batch_size=1),
        "sample": ksampler(latent_image=["large", 0]),
    }
    with pytest.raises(ExecutionFailed, match="connect the latent output of FlowInOne Encode"):
        answer(nodes=large)
    with pytest.raises(ExecutionFailed, match="set denoise to 1, or connect the latent of a picture"):
        answer(nodes={"sample": ksampler(denoise=0.5)})


def test_an_empty_latent_of_256_pixels_serves_as_well(answer):
    small = {
        "small": node("EmptyLatentImage", width=256, height=256, batch_size=1),
        "sample": ksampler(latent_image=["small", 0]),
    }
    assert np.abs(answer(nodes=small) - answer()).max() <= 1
