"""Solving the flow's ordinary differential equation: time grids, solvers, guidance and seeded noise.

A velocity is any callable `(x, t) -> dx/dt` with x [B, ...] and t a float in 0..1 (0 source, 1 image); nothing here knows the model.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]
OnStep = Callable[[int, int, Tensor], None]
Steps = Iterator[tuple[Tensor, Tensor]]

_END = 1 - 1e-5
"""Where upstream's flow stops; `diffusion/flow_matching.py`, sigma_min."""


def uniform_grid(steps: int) -> list[float]:
    """`steps` + 1 equally spaced times from 0 to 1."""
    return [i / steps for i in range(steps + 1)]


def upstream_times(steps: int) -> list[float]:
    """The `steps` times at which upstream evaluates the velocity: spread over the whole of 0..1-1e-5, both ends included."""
    return [i * _END / max(steps - 1, 1) for i in range(steps)]


def upstream_time(t: Tensor, step: float) -> tuple[Tensor, float]:
    """Upstream's Euler for solvers that know the uniform grid alone: evaluate at the returned times, and scale the velocity.

    t [B] are times on a uniform grid with that step. Times beyond upstream's last, which solvers of higher order ask for, become it.
    """
    stretch = _END / (1 - step) if step < 1 else 0.0
    return (t * stretch).clamp(max=_END), _END


def upstream_euler(velocity: Velocity, x: Tensor, steps: int) -> Steps:
    """Upstream's Euler: evaluates at `upstream_times`, yet every step has length (1 - 1e-5) / steps (`ODEEulerFlowMatchingSolver`)."""
    for t in upstream_times(steps):
        v = velocity(x, t)
        yield (x := x + _END / steps * v), x + (1 - t) * v


# Each solver below walks a time grid and yields, after every step, the state and its guess of where the flow will end.


def euler(velocity: Velocity, x: Tensor, grid: Sequence[float]) -> Steps:
    for t, t_next in pairwise(grid):
        v = velocity(x, t)
        yield (x := x + (t_next - t) * v), _end(x, t_next, v)


def midpoint(velocity: Velocity, x: Tensor, grid: Sequence[float]) -> Steps:
    for t, t_next in pairwise(grid):
        h = t_next - t
        v = velocity(x + h / 2 * velocity(x, t), t + h / 2)
        yield (x := x + h * v), _end(x, t_next, v)


def heun(velocity: Velocity, x: Tensor, grid: Sequence[float]) -> Steps:
    for t, t_next in pairwise(grid):
        h = t_next - t
        v = velocity(x, t)
        v_next = velocity(x + h * v, t_next)
        yield (x := x + h / 2 * (v + v_next)), _end(x, t_next, v_next)


def rk4(velocity: Velocity, x: Tensor, grid: Sequence[float]) -> Steps:
    """The classical four-stage Runge-Kutta method."""
    for t, t_next in pairwise(grid):
        h = t_next - t
        k1 = velocity(x, t)
        k2 = velocity(x + h / 2 * k1, t + h / 2)
        k3 = velocity(x + h / 2 * k2, t + h / 2)
        k4 = velocity(x + h * k3, t_next)
        yield (x := x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)), _end(x, t_next, k4)


def adams_bashforth2(velocity: Velocity, x: Tensor, grid: Sequence[float]) -> Steps:
    """Two-step Adams-Bashforth for any grid; its first step is Heun's, so one evaluation a step and one more."""
    previous = None
    for t, t_next in pairwise(grid):
        h = t_next - t
        v = velocity(x, t)
        if previous is None:
            slope = (v + velocity(x + h * v, t_next)) / 2
        else:
            t_before, v_before = previous
            slope = v + h / (2 * (t - t_before)) * (v - v_before)
        previous = t, v
        yield (x := x + h * slope), _end(x, t_next, v)


def _end(x: Tensor, t: float, v: Tensor) -> Tensor:
    return x + (1 - t) * v


def dopri5(velocity: Velocity, x: Tensor, on_step: OnStep | None = None, tolerance: float = 1e-4) -> Tensor:
    """Adaptive Dormand-Prince from 0 to 1 by torchdiffeq, with `tolerance` for its relative and absolute error.

    `on_step` gets per cent of the way done. Raises ImportError where torchdiffeq is not installed.
    """
    try:
        from torchdiffeq import odeint
    except ImportError as error:
        raise ImportError("solver 'dopri5' needs the package torchdiffeq: pip install torchdiffeq") from error

    class Field(torch.nn.Module):
        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            return velocity(x, float(t))

        def callback_accept_step(self, t: Tensor, x: Tensor, dt: Tensor) -> None:
            if on_step is not None:
                on_step(min(round(100 * float(t + dt)), 100), 100, x)

    times = torch.tensor([0.0, 1.0], device=x.device)
    # torchdiffeq keeps its step sizes in float64, which MPS lacks.
    options = {"dtype": torch.float32} if x.device.type == "mps" else None
    return odeint(Field(), x, times, rtol=tolerance, atol=tolerance, method="dopri5", options=options)[-1]


FIXED_STEP_SOLVERS: dict[str, Callable[[Velocity, Tensor, int], Steps]] = {
    "euler": upstream_euler,
    **{
        name: lambda velocity, x, steps, solver=solver: solver(velocity, x, uniform_grid(steps))
        for name, solver in {
            "euler_uniform": euler,
            "midpoint": midpoint,
            "heun": heun,
            "rk4": rk4,
            "adams_bashforth2": adams_bashforth2,
        }.items()
    },
}
SOLVERS = (*FIXED_STEP_SOLVERS, "dopri5")


@dataclasses.dataclass(frozen=True)
class Preset:
    """A way to solve the flow that was measured (`benchmarks/README.md`): solver, steps, and the times at which guidance is computed."""

    solver: str = "euler"
    steps: int = 50
    interval: tuple[float, float] = (0.0, 1.0)
    every: int = 1


PRESETS = {
    "reference": Preset(),
    "balanced": Preset("adams_bashforth2", 22, (0.0, 0.5)),
    "fast": Preset("adams_bashforth2", 12, (0.0, 0.5)),
}
"""reference is the authors' way, 100 runs of the network with guidance, and what is taken where nothing is said; balanced takes 36, fast 21."""


def preset(name: str) -> Preset:
    """The preset of that name. Raises ValueError for an unknown one, naming the known ones."""
    if name not in PRESETS:
        raise ValueError(f"preset {name!r} is unknown; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def integrate(
    velocity: Velocity, x: Tensor, solver: str = "euler", steps: int = 50, on_step: OnStep | None = None
) -> Tensor:
    """Carry x [B, ...] from time 0 to time 1 with the solver of that name in `SOLVERS`.

    `on_step(done, total, guess)` follows every step, with the present guess [B, ...] of the end; what it raises stops the solver.
    The adaptive dopri5 chooses its own steps, the same for the whole batch, and ignores `steps`. Raises ValueError for an unknown solver or steps < 1.
    """
    check_solver(solver, steps)
    if solver == "dopri5":
        return dopri5(velocity, x, on_step)
    for done, (state, guess) in enumerate(FIXED_STEP_SOLVERS[solver](velocity, x, steps), start=1):
        if on_step is not None:
            on_step(done, steps, guess)
    return state


def check_solver(name: str, steps: int) -> None:
    """Raise ValueError for an unknown solver, naming the known ones, or steps < 1."""
    if name not in SOLVERS:
        raise ValueError(f"solver {name!r} is unknown; choose one of {', '.join(SOLVERS)}")
    if steps < 1:
        raise ValueError(f"steps is {steps}; at least 1 is needed")


@dataclasses.dataclass(frozen=True)
class Guidance:
    """How the prompt's branch and the null branch make one velocity: `null + scale · (prompt - null)`.

    Outside of the times `interval` the scale is 1, which takes the prompt's branch alone (arXiv 2404.07724). Within it, the
    difference of both is computed at every `every`-th evaluation and serves until the next, at half the cost of one.
    Raises ValueError for an interval outside of 0..1 and `every` below 1.
    """

    scale: float = 7.0
    interval: tuple[float, float] = (0.0, 1.0)
    every: int = 1

    def __post_init__(self):
        first, last = self.interval
        if not 0 <= first <= last <= 1:
            raise ValueError(
                f"the guidance interval is {first} to {last}; it must lie in 0 to 1, its start not after its end"
            )
        if self.every < 1:
            raise ValueError(f"guidance is computed at every {self.every}-th evaluation; at least 1 is needed")


def guided_velocity(
    network: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor],
    image_latent: Tensor,
    bypass: Tensor,
    guidance: Guidance | float,
) -> Velocity:
    """The guided velocity of `network(x, t, image_latent, null, bypass)`, for one run of a solver.

    image_latent [B, C, H, W], bypass [B] bool; a number is a guidance's scale. Both branches run in one batch; what needs only the
    prompt's runs that alone.
    """
    guidance = guidance if isinstance(guidance, Guidance) else Guidance(guidance)
    batch = image_latent.shape[0]
    is_null = torch.cat([torch.zeros_like(bypass), torch.ones_like(bypass)])
    image_latents, bypasses = torch.cat([image_latent] * 2), torch.cat([bypass] * 2)
    first, last = guidance.interval
    difference, age = None, 0

    def velocity(x: Tensor, t: float) -> Tensor:
        nonlocal difference, age
        guided = guidance.scale != 1 and first <= t <= last
        if not guided or (difference is not None and age < guidance.every):
            prompt = network(x, x.new_full((batch,), t), image_latent, is_null[:batch], bypass)
            age += 1
            return prompt + (guidance.scale - 1) * difference if guided else prompt
        both = network(torch.cat([x, x]), x.new_full((2 * batch,), t), image_latents, is_null, bypasses)
        prompt, null = both.chunk(2)
        difference, age = (prompt - null, 1) if guidance.every > 1 else (None, 0)
        return null + guidance.scale * (prompt - null)

    return velocity


def draw_noise(seeds: Sequence[int], shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Standard normal noise [B, *shape] for the source latent and for the image latent, one seed an item.

    Each item has a stream of its own, drawn on the CPU: a seed means the same picture on every device and in every batch.
    """
    pairs = []
    for seed in seeds:
        generator = torch.Generator("cpu").manual_seed(seed)
        pairs.append(torch.randn(2, *shape, generator=generator))
    source, image = torch.stack(pairs, dim=1)
    return source, image


def source_latent(mean: Tensor, logvar: Tensor, noise: Tensor | None) -> Tensor:
    """Where the flow starts: mean + exp(logvar / 2) · noise, or the mean itself without noise; all [B, C, H, W]."""
    return mean if noise is None else mean + torch.exp(logvar / 2) * noise.to(mean)
