"""Classifier-free guidance of a velocity, over the whole flow or part of it."""

import dataclasses
import math
from collections.abc import Callable
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from .solvers import Velocity


class Conditioning(Protocol):
    """What a network is conditioned on, for a batch of samples (`flowinone.model.Condition`)."""

    def with_null(self: "C") -> "C":
        """The batch and its unconditional counterpart behind it, as one batch of twice the size."""


C = TypeVar("C", bound=Conditioning)


@dataclasses.dataclass(frozen=True)
class Guidance:
    """How the conditional and the unconditional branch make one velocity: `null + scale · (prompt - null)`.

    Outside the times `interval` the scale is 1, which needs the conditional branch alone (arXiv 2404.07724). Within it,
    the difference of the branches is recomputed every `every` evaluations and reused in between, at half the cost.
    Raises ValueError for a scale that is not finite, an interval outside of 0..1, and `every` below 1.
    """

    scale: float = 7.0
    interval: tuple[float, float] = (0.0, 1.0)
    every: int = 1

    def __post_init__(self):
        if not math.isfinite(self.scale):
            raise ValueError(
                f"guidance scale is {self.scale}, which is not a finite number; the model's usual one is 7"
            )
        first, last = self.interval
        if not 0 <= first <= last <= 1:
            raise ValueError(
                f"the guidance interval {first} to {last} is invalid; "
                "give a start and an end between 0 and 1, start first"
            )
        if self.every < 1:
            raise ValueError(f"guidance is recomputed every {self.every} evaluations; it must be at least 1")


def guided_velocity(
    network: Callable[[Tensor, Tensor, C], Tensor], condition: C, guidance: Guidance | float
) -> Velocity:
    """The guided velocity of `network(x, t, condition)`, t [B], for one run of a solver.

    A number for `guidance` is its scale. Both branches run as one batch of twice the size; where only the conditional
    branch counts, it runs alone.
    """
    guidance = guidance if isinstance(guidance, Guidance) else Guidance(guidance)
    both_branches = condition.with_null()
    first, last = guidance.interval
    difference, age = None, 0

    def velocity(x: Tensor, t: float) -> Tensor:
        nonlocal difference, age
        batch = x.shape[0]
        guided = guidance.scale != 1 and first <= t <= last
        if not guided or (difference is not None and age < guidance.every):
            prompt = network(x, x.new_full((batch,), t), condition)
            age += 1
            return prompt + (guidance.scale - 1) * difference if guided else prompt
        prompt, null = network(torch.cat([x, x]), x.new_full((2 * batch,), t), both_branches).chunk(2)
        difference, age = (prompt - null, 1) if guidance.every > 1 else (None, 0)
        return null + guidance.scale * (prompt - null)

    return velocity
