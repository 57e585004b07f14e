"""The ways of making a picture that are timed side by side: each makes guided velocities of a pipeline's network."""

from collections.abc import Callable

import torch
from torch import Tensor

from flowinone.model import FlowInOneModel
from flowinone.pipeline import FlowInOnePipeline
from flowinone.sampling import Guidance, Velocity, guided_velocity, integrate

GUIDANCE = Guidance()

Guided = Callable[[Tensor, Tensor], Velocity]
"""(image latent [B, C, H, W], bypass [B] bool) -> the guided velocity."""
Way = Callable[[FlowInOnePipeline], Guided]


def own(pipeline: FlowInOnePipeline) -> Guided:
    """As `FlowInOnePipeline` does it: both guidance branches in one batch."""
    return _guided(pipeline.model)


def reference(pipeline: FlowInOnePipeline) -> Guided:
    """As the public implementation does it: the branches one after the other, in a network that keeps every map and joins them."""
    network = _callable(as_reference(pipeline.model))

    def guided(image_latent: Tensor, bypass: Tensor) -> Velocity:
        prompt, null = torch.zeros_like(bypass), torch.ones_like(bypass)

        def velocity(x: Tensor, t: float) -> Tensor:
            times = x.new_full((len(x),), t)
            v_prompt = network(x, times, image_latent, prompt, bypass)
            v_null = network(x, times, image_latent, null, bypass)
            return v_null + GUIDANCE.scale * (v_prompt - v_null)

        return velocity

    return guided


def compiled(pipeline: FlowInOnePipeline, backend: str = "inductor") -> Guided:
    """Our own, its operations joined by torch.compile when it is first called: that takes minutes, and a compiler."""
    model = _twin(pipeline.model)
    model.velocity_network.compile(backend=backend, fullgraph=True)
    return _guided(model)


WAYS: dict[str, Way] = {"reference": reference, "own": own, "compiled": compiled}


def as_reference(model: FlowInOneModel) -> FlowInOneModel:
    """The network with the same tensors (no copy), which keeps every coarse map and norms them all at once, as the public implementation does."""
    plain = _twin(model)
    plain.velocity_network.frugal = False
    return plain


def _twin(model: FlowInOneModel) -> FlowInOneModel:
    """Another network with the same tensors."""
    config = model.velocity_network.config
    return FlowInOneModel.from_state_dict(
        model.state_dict(), coarse_heads=config.coarse_heads, context_heads=config.context_heads
    )


def steps_from(velocity: Velocity, source: Tensor, count: int) -> Tensor:
    """The latents after `count` of upstream's Euler steps over the whole way. Raises ArithmeticError if they are not finite."""
    latents = integrate(velocity, source, steps=count)
    # On the meta device there are no values to look at.
    if not latents.is_meta and not latents.isfinite().all():
        raise ArithmeticError(f"after {count} steps the latents are not finite: the figures would mean nothing")
    return latents


def _guided(model: FlowInOneModel) -> Guided:
    network = _callable(model)
    return lambda image_latent, bypass: guided_velocity(network, image_latent, bypass, GUIDANCE)


def _callable(model: FlowInOneModel):
    return lambda x, t, image_latent, null, bypass: model.velocity(
        x, t, image_latent, null=null, bypass=bypass, dual=True
    )
