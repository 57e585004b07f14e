"""The methods of sampling that are timed next to each other: each makes guided velocities of a pipeline's network."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.reference import as_reference, twin
from flowinone.model import Condition, FlowInOneModel
from flowinone.pipeline import FlowInOnePipeline
from flowinone.sampling import Guidance, Velocity, guided_velocity, integrate

GUIDANCE = Guidance()

Guided = Callable[[Tensor, Tensor], Velocity]
"""(image latent [B, C, H, W], bypass [B] bool) -> the guided velocity."""
Method = Callable[[FlowInOnePipeline], Guided]


def own(pipeline: FlowInOnePipeline) -> Guided:
    """As `FlowInOnePipeline` does it: both guidance branches in one batch."""
    return _guided(pipeline.model)


def reference(pipeline: FlowInOnePipeline) -> Guided:
    """As the public implementation does it: the branches one after the other, in `ReferenceVelocityNetwork`."""
    model = as_reference(pipeline.model)

    def guided(image_latent: Tensor, bypass: Tensor) -> Velocity:
        prompt = Condition(image_latent, torch.zeros_like(bypass), bypass, dual=True)
        null = Condition(image_latent, torch.ones_like(bypass), bypass, dual=True)

        def velocity(x: Tensor, t: float) -> Tensor:
            times = x.new_full((len(x),), t)
            v_prompt, v_null = model.velocity(x, times, prompt), model.velocity(x, times, null)
            return v_null + GUIDANCE.scale * (v_prompt - v_null)

        return velocity

    return guided


def compiled(pipeline: FlowInOnePipeline, backend: str = "inductor") -> Guided:
    """`own` with torch.compile, which takes minutes and a C++ compiler when it is first called."""
    model = twin(pipeline.model)
    model.velocity_network.compile(backend=backend, fullgraph=True)
    return _guided(model)


METHODS: dict[str, Method] = {"reference": reference, "own": own, "compiled": compiled}


def steps_from(velocity: Velocity, source: Tensor, count: int) -> Tensor:
    """The latents after `count` steps of upstream's Euler from 0 to 1. Raises ArithmeticError if they are not
    finite.
    """
    latents = integrate(velocity, source, steps=count)
    # Tensors on the meta device have no values.
    if not latents.is_meta and not latents.isfinite().all():
        raise ArithmeticError(f"after {count} steps the latents are not finite, so the timings would be meaningless")
    return latents


def _guided(model: FlowInOneModel) -> Guided:
    return lambda image_latent, bypass: guided_velocity(
        model.velocity, Condition(image_latent, torch.zeros_like(bypass), bypass, dual=True), GUIDANCE
    )
