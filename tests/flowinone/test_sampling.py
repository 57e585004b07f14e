"""Solvers follow known flows with their order of accuracy; guidance and noise are what the formulas say."""

import math

import pytest
import torch

from devtools.numerics import relative_error
from flowinone import sampling
from flowinone.model import Condition
from flowinone.sampling import solvers


def growth(x, t):
    """dx/dt = cos(t)·x, whose solution is x(0)·exp(sin t)."""
    return math.cos(t) * x


def error_after(solver, steps):
    start = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    end = sampling.integrate(growth, start, solver, steps)
    return float((end - start * math.exp(math.sin(1))).abs().max())


@pytest.mark.parametrize(
    ("solver", "order"),
    [("euler", 1), ("euler_uniform", 1), ("midpoint", 2), ("heun", 2), ("adams_bashforth2", 2), ("rk4", 4)],
)
def test_error_shrinks_with_the_solvers_order(solver, order):
    # Steps small enough for the leading term, large enough to stay above upstream's 1e-5 cut-off and float64 rounding.
    coarse, fine = (16, 32) if order == 4 else (40, 80)
    measured = math.log2(error_after(solver, coarse) / error_after(solver, fine))
    assert abs(measured - order) < 0.15


def test_adaptive_solver_reaches_its_tolerance():
    start = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    exact = start * math.exp(math.sin(1))
    errors = [
        float((solvers.dopri5(growth, start, tolerance=tolerance) - exact).abs().max()) for tolerance in (1e-3, 1e-6)
    ]
    assert errors[0] < 1e-2
    assert errors[1] < 1e-5


@pytest.mark.parametrize("solver", [*sampling.SOLVERS])
def test_a_constant_velocity_is_solved_exactly(solver):
    start = torch.zeros(2, 3, dtype=torch.float64)
    end = sampling.integrate(lambda x, t: torch.full_like(x, 2.0), start, solver, steps=7)
    # Upstream's Euler stops 1e-5 before the end.
    assert torch.allclose(end, torch.full_like(end, 2.0), atol=3e-5 if solver == "euler" else 1e-9)


@pytest.mark.parametrize(
    ("solver", "evaluations"),
    [("euler", 6), ("euler_uniform", 6), ("midpoint", 12), ("heun", 12), ("rk4", 24), ("adams_bashforth2", 7)],
)
def test_evaluations_a_step(solver, evaluations):
    times = []

    def velocity(x, t):
        times.append(t)
        return x

    sampling.integrate(velocity, torch.ones(1, 1), solver, steps=6)
    assert len(times) == evaluations
    assert all(0 <= t <= 1 for t in times)


def test_upstreams_euler_evaluates_at_both_ends_and_steps_evenly():
    assert sampling.upstream_times(5) == pytest.approx([0, 0.2499975, 0.499995, 0.7499925, 0.99999])
    seen = []
    end = sampling.integrate(lambda x, t: seen.append(t) or torch.ones_like(x), torch.zeros(1), "euler", 5)
    assert seen == sampling.upstream_times(5)
    assert float(end) == pytest.approx(1 - 1e-5)


@pytest.mark.parametrize("solver", [*sampling.FIXED_STEP_SOLVERS])
def test_one_step_is_allowed(solver):
    assert torch.isfinite(sampling.integrate(growth, torch.ones(1), solver, 1))


@pytest.mark.parametrize("solver", [*sampling.FIXED_STEP_SOLVERS])
def test_steps_are_reported_with_the_predicted_end(solver):
    reports = []
    end = sampling.integrate(growth, torch.ones(1), solver, 8, on_step=lambda *report: reports.append(report))
    assert [(done, total) for done, total, _ in reports] == [(i, 8) for i in range(1, 9)]
    assert reports[-1][2] == pytest.approx(float(end), abs=1e-4)
    # From the first step on the prediction is nearer the end than the start was.
    assert abs(float(reports[0][2] - end)) < abs(float(1 - end))


def test_adaptive_solver_reports_per_cent():
    reports = []
    sampling.integrate(growth, torch.ones(1), "dopri5", on_step=lambda done, total, x: reports.append((done, total)))
    assert reports[-1] == (100, 100)
    assert reports == sorted(reports)


@pytest.mark.parametrize("solver", [*sampling.SOLVERS])
def test_what_the_report_raises_stops_the_solver(solver):
    class Cancelled(Exception):
        pass

    evaluations = []

    def velocity(x, t):
        evaluations.append(t)
        return x

    def cancel(done, total, denoised):
        raise Cancelled

    with pytest.raises(Cancelled):
        sampling.integrate(velocity, torch.ones(1), solver, 1000, on_step=cancel)
    assert len(evaluations) <= 10


def test_unknown_solver_and_no_steps_are_refused():
    with pytest.raises(ValueError, match="solver 'leapfrog' is unknown; choose one of euler, "):
        sampling.integrate(growth, torch.ones(1), "leapfrog")
    with pytest.raises(ValueError, match="steps is 0; at least 1"):
        sampling.integrate(growth, torch.ones(1), "heun", 0)


@pytest.mark.parametrize(("scale", "rows"), [(1.0, 2), (7.0, 4), (0.0, 4)])
def test_guidance_mixes_both_branches_from_one_batch(scale, rows):
    calls = []

    def network(x, t, condition):
        calls.append(x.shape[0])
        parts = condition.image_latent, condition.null, condition.bypass, t
        assert all(part.shape[0] == x.shape[0] for part in parts)
        return torch.where(condition.null[:, None], -x, x + condition.image_latent)

    image_latent = torch.tensor([[1.0], [2.0]])
    velocity = sampling.guided_velocity(network, Condition.prompt(image_latent, torch.tensor([True, False])), scale)
    x = torch.tensor([[10.0], [20.0]])
    assert torch.equal(velocity(x, 0.5), -x + scale * (x + image_latent + x))
    assert calls == [rows]


def test_guidance_counts_within_its_interval_and_its_difference_is_reused():
    calls = []

    def network(x, t, condition):
        calls.append(len(x))
        # The difference of the branches grows with time.
        return torch.where(condition.null[:, None], 0, t[:, None]) + 0 * x

    guidance = sampling.Guidance(3.0, (0.25, 0.75), every=2)
    condition = Condition.prompt(torch.zeros(1, 1), torch.tensor([False]))
    velocity = sampling.guided_velocity(network, condition, guidance)
    values = [velocity(torch.zeros(1, 1), t).item() for t in (0.0, 0.25, 0.5, 0.75, 1.0)]
    # 3·0.25; 0.5 and twice the difference of before; 3·0.75.
    assert values == [0.0, 0.75, 1.0, 2.25, 1.0]
    assert calls == [1, 2, 1, 2, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(interval=(0.6, 0.4)), "0.6 to 0.4 is invalid"),
        (dict(interval=(0, 1.2)), "0 to 1.2 is invalid"),
        (dict(interval=(math.nan, 1)), "nan to 1 is invalid"),
        (dict(every=0), "every 0 evaluations"),
        (dict(scale=math.nan), "guidance scale is nan"),
        (dict(scale=math.inf), "guidance scale is inf"),
    ],
)
def test_invalid_guidance_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        sampling.Guidance(**settings)


def test_values_that_are_given_override_their_preset():
    settings = sampling.SamplerSettings.resolve("fast", steps=3, guidance_scale=None, guidance_interval=[0.1, 0.9])
    assert settings == sampling.SamplerSettings("adams_bashforth2", 3, 7.0, (0.1, 0.9))
    assert sampling.SamplerSettings.resolve() == sampling.PRESETS["reference"] == sampling.SamplerSettings()


def test_unknown_presets_and_invalid_settings_are_refused():
    with pytest.raises(ValueError, match="'quick' is unknown; choose one of reference"):
        sampling.SamplerSettings.resolve("quick")
    with pytest.raises(ValueError, match="solver 'leapfrog' is unknown"):
        sampling.SamplerSettings("leapfrog")
    with pytest.raises(ValueError, match="guidance scale is nan"):
        sampling.SamplerSettings.resolve("fast", guidance_scale=math.nan)


@pytest.mark.parametrize(
    ("solver", "steps", "warned"),
    [("euler", 4, True), ("euler", 5, False), ("euler_uniform", 2, False), ("adams_bashforth2", 1, False)],
)
def test_few_steps_on_upstreams_grid_are_warned_of(solver, steps, warned):
    warning = sampling.SamplerSettings(solver, steps).warning
    assert (warning is not None and "below 5 steps" in warning) == warned


def test_no_preset_is_warned_of():
    assert not any(settings.warning for settings in sampling.PRESETS.values())


def test_four_guided_euler_steps_are_upstreams(network, upstream):
    reference = upstream("flowinone_tiny")
    for route, bypass in (("dual", False), ("skip", True)):
        condition = Condition.prompt(reference["image_latent"], torch.tensor([bypass] * 2))
        velocity = sampling.guided_velocity(network.velocity, condition, 7.0)
        end = sampling.integrate(velocity, reference["x"], "euler", 4)
        assert relative_error(end, reference[f"euler/4steps/cfg7.0/{route}"]) < 1e-4


def test_noise_of_an_item_depends_on_its_seed_alone():
    source, image = sampling.draw_noise([3, 4], (4, 8, 8))
    assert source.shape == image.shape == (2, 4, 8, 8)
    alone_source, alone_image = sampling.draw_noise([4], (4, 8, 8))
    assert torch.equal(source[1:], alone_source)
    assert torch.equal(image[1:], alone_image)
    assert not torch.equal(source[0], source[1])
    assert not torch.equal(source, image)


def test_source_latent_follows_mean_and_log_variance():
    mean, logvar, noise = torch.tensor([1.0]), torch.tensor([2 * math.log(3)]), torch.tensor([2.0])
    assert sampling.source_latent(mean, logvar, noise) == pytest.approx(7.0)
    assert sampling.source_latent(mean, logvar, None) is mean
