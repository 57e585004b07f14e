"""The settings that an evaluation compares, and what they cost: NFE and forward passes, counted."""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from ..model import Condition
from ..sampling import SOLVERS, SamplerSettings, Velocity, guided_velocity, integrate
from .metrics import EvaluationSettings

STEPS = (5, 10, 20, 50)
"""Of the variants with fewer or more steps."""


def variants(settings: EvaluationSettings, evaluations: int) -> dict[str, EvaluationSettings]:
    """What the settings are compared with, by name.

    These are the dual path off for all prompts, guidance 1 (none), fewer and more steps, and the other solvers, with as
    many steps as take about the same number of `evaluations` of the velocity (NFE).
    """
    others = {
        "dual path off": dataclasses.replace(settings, bypass=True),
        "guidance 1": dataclasses.replace(settings, guidance_scale=1.0),
    }
    if settings.solver != "dopri5":
        others |= {f"{steps} steps": dataclasses.replace(settings, steps=steps) for steps in STEPS}
    for solver in SOLVERS:
        other = dataclasses.replace(settings, solver=solver)
        others[solver] = other if solver in (settings.solver, "dopri5") else with_evaluations(other, evaluations)
    return {name: other for name, other in others.items() if other != settings}


def with_evaluations(settings: EvaluationSettings, evaluations: int) -> EvaluationSettings:
    """The settings with the steps whose NFE is nearest to `evaluations`, the fewer of two; not for dopri5."""
    before, now = None, dataclasses.replace(settings, steps=1)
    while (nfe := evaluations_of(now)) < evaluations:
        before, now = now, dataclasses.replace(settings, steps=now.steps + 1)
    fewer = before is not None and evaluations - evaluations_of(before) <= nfe - evaluations
    return before if fewer else now


def evaluations_of(settings: SamplerSettings) -> int:
    """How often a solver evaluates the velocity (NFE); for the adaptive dopri5, of a velocity of zero."""
    return _count_zero_flow(settings)[0]


def forward_passes_of(settings: SamplerSettings) -> int:
    """How many forward passes of the network, one for each branch of guidance, a picture takes; for dopri5 as in
    `evaluations_of`."""
    return _count_zero_flow(settings)[1]


def _count_zero_flow(settings: SamplerSettings) -> tuple[int, int]:
    latent = torch.zeros(1, 1)
    network = CountedNetwork(lambda x, t, condition: torch.zeros_like(x))
    condition = Condition.prompt(latent, torch.tensor([False]))
    velocity = CountedVelocity(guided_velocity(network, condition, settings.guidance))
    integrate(velocity, latent, settings.solver, settings.steps)
    return velocity.calls, network.forward_passes


class CountedVelocity:
    """A velocity that counts its evaluations in `calls`."""

    def __init__(self, velocity: Velocity):
        self.velocity, self.calls = velocity, 0

    def __call__(self, x: Tensor, t: float) -> Tensor:
        self.calls += 1
        return self.velocity(x, t)


class CountedNetwork:
    """A network for `guided_velocity` that counts the samples that pass through it in `forward_passes`.

    `on_pass` is called with the number of samples after each call.
    """

    def __init__(self, network: Callable[..., Tensor], on_pass: Callable[[int], None] = lambda count: None):
        self.network, self.on_pass, self.forward_passes = network, on_pass, 0

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        result = self.network(x, t, condition)
        self.forward_passes += len(x)
        self.on_pass(len(x))
        return result
