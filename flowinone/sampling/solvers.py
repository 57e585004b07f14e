"""Solvers of the flow's ordinary differential equation, and their time grids.

A velocity is any callable `(x, t) -> dx/dt` with x [B, ...] and t a float in 0..1 (0 source, 1 image); nothing here
knows the model.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]
OnStep = Callable[[int, int, Tensor], None]
"""`on_step(done, total, denoised)`, after every step: `denoised` is the predicted image latent, x1 [B, ...]."""
Steps = Iterator[tuple[Tensor, Tensor]]

_END = 1 - 1e-5
"""Where upstream's flow stops; `diffusion/flow_matching.py`, sigma_min."""


def uniform_grid(steps: int) -> list[float]:
    """`steps` + 1 equally spaced times from 0 to 1."""
    return [i / steps for i in range(steps + 1)]


def upstream_times(steps: int) -> list[float]:
    """The `steps` times at which upstream evaluates the velocity: spread over the whole of 0..1-1e-5, both ends
    included.
    """
    return [upstream_time(t, 1 / steps)[0] for t in uniform_grid(steps)[:-1]]


def upstream_time(t: float, step: float) -> tuple[float, float]:
    """Upstream's Euler for solvers that only know the uniform grid: evaluate at the returned time, and scale the
    velocity.

    t is a time on a uniform grid with that step. Times beyond upstream's last one, which higher-order solvers use, are
    clamped.
    """
    stretch = _END / (1 - step) if step < 1 else 0.0
    return min(t * stretch, _END), _END


# Each solver below walks a time grid and yields, after every step, the state and the predicted x1.


def upstream_euler(velocity: Velocity, x: Tensor, grid: Sequence[float]) -> Steps:
    """Upstream's Euler, on a uniform grid or a part of one: evaluates at `upstream_times`, but steps as long as the
    grid's, times 1 - 1e-5 (`ODEEulerFlowMatchingSolver`).

    Its evaluation times lead its steps, which below about 5 steps breaks the result.
    """
    step = grid[1] - grid[0]
    for t, t_next in pairwise(grid):
        evaluated, speed = upstream_time(t, step)
        v = velocity(x, evaluated)
        yield (x := x + speed * (t_next - t) * v), x + (1 - evaluated) * v


def euler(velocity: Velocity, x: Tensor, grid: Sequence[float]) -> Steps:
    for t, t_next in pairwise(grid):
        v = velocity(x, t)
        yield (x := x + (t_next - t) * v), _predicted(x, t_next, v)


def midpoint(velocity: Velocity, x: Tensor, grid: Sequence[float]) -> Steps:
    for t, t_next in pairwise(grid):
        h = t_next - t
        v = velocity(x + h / 2 * velocity(x, t), t + h / 2)
        yield (x := x + h * v), _predicted(x, t_next, v)


def heun(velocity: Velocity, x: Tensor, grid: Sequence[float]) -> Steps:
    for t, t_next in pairwise(grid):
        h = t_next - t
        v = velocity(x, t)
        v_next = velocity(x + h * v, t_next)
        yield (x := x + h / 2 * (v + v_next)), _predicted(x, t_next, v_next)


def rk4(velocity: Velocity, x: Tensor, grid: Sequence[float]) -> Steps:
    """The classical four-stage Runge-Kutta method."""
    for t, t_next in pairwise(grid):
        h = t_next - t
        k1 = velocity(x, t)
        k2 = velocity(x + h / 2 * k1, t + h / 2)
        k3 = velocity(x + h / 2 * k2, t + h / 2)
        k4 = velocity(x + h * k3, t_next)
        yield (x := x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)), _predicted(x, t_next, k4)


def adams_bashforth2(velocity: Velocity, x: Tensor, grid: Sequence[float]) -> Steps:
    """Two-step Adams-Bashforth on any grid. The first step is Heun's, so n steps take n + 1 evaluations."""
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
        yield (x := x + h * slope), _predicted(x, t_next, v)


def _predicted(x: Tensor, t: float, v: Tensor) -> Tensor:
    return x + (1 - t) * v


def dopri5(velocity: Velocity, x: Tensor, on_step: OnStep | None = None, tolerance: float = 1e-4) -> Tensor:
    """Adaptive Dormand-Prince from 0 to 1 by torchdiffeq; `tolerance` is both its relative and its absolute error.

    `on_step` gets the time reached, in per cent. Raises ImportError if torchdiffeq is not installed.
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


FIXED_STEP_SOLVERS: dict[str, Callable[[Velocity, Tensor, Sequence[float]], Steps]] = {
    "euler": upstream_euler,
    "euler_uniform": euler,
    "midpoint": midpoint,
    "heun": heun,
    "rk4": rk4,
    "adams_bashforth2": adams_bashforth2,
}
SOLVERS = (*FIXED_STEP_SOLVERS, "dopri5")


def integrate(
    velocity: Velocity, x: Tensor, solver: str = "euler", steps: int = 50, on_step: OnStep | None = None
) -> Tensor:
    """Integrate x [B, ...] from time 0 to time 1 with the solver of that name in `SOLVERS`.

    `on_step` is called after every step; an exception that it raises stops the solver. The adaptive dopri5 chooses its
    own steps, the same for the whole batch, and ignores `steps`. Raises ValueError for an unknown solver or steps < 1.
    """
    check_solver(solver, steps)
    if solver == "dopri5":
        return dopri5(velocity, x, on_step)
    for done, (state, denoised) in enumerate(FIXED_STEP_SOLVERS[solver](velocity, x, uniform_grid(steps)), start=1):
        if on_step is not None:
            on_step(done, steps, denoised)
    return state


def check_solver(name: str, steps: int) -> None:
    """Raise ValueError for an unknown solver, naming the known ones, or steps < 1."""
    if name not in SOLVERS:
        raise ValueError(f"solver {name!r} is unknown; choose one of {', '.join(SOLVERS)}")
    if steps < 1:
        raise ValueError(f"steps is {steps}; at least 1 is needed")
