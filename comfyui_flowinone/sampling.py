"""The pack's own sampling: FlowInOne's solvers on a ComfyUI MODEL, with its progress bar, previews and Cancel."""

import functools

import comfy.model_management
import latent_preview
import torch
from torch import Tensor

from ..flowinone.config import LATENT_SCALE
from ..flowinone.sampling import Guidance, guided_velocity, integrate
from .native import NativeVelocityNetwork, in_parts
from .stock_samplers import require_own_prompt


def sample(
    model,
    source: Tensor,
    image_latent: Tensor,
    bypass: list[bool],
    steps: int,
    guidance: Guidance,
    solver: str,
    stage: tuple[int, int] = (0, 1),
) -> Tensor:
    """Scaled latents [B, C, H, W] at the end of the flow that starts at `source` [B, C, H, W] and looks at `image_latent`.

    `stage` (number, count) says which of several such runs this is: the progress bar counts the steps of all.
    LoRA and other weight patches of `model` count; its wrappers and guidance patches do not, they are for the stock samplers.
    Raises ValueError for a source that another model's encoder gave, and InterruptProcessingException on Cancel, within one step.
    """
    require_own_prompt(model, source)
    network = model.model.diffusion_model
    branches = 1 if guidance.scale == 1 else 2
    shape = [branches * source.shape[0], *source.shape[1:]]
    comfy.model_management.load_models_gpu([model], memory_required=model.memory_required(shape))

    device, dtype = model.load_device, model.model.get_dtype_inference()
    before, stages = stage
    report = latent_preview.prepare_callback(model, stages * steps)
    evaluate = functools.partial(network.velocity, dual=not all(bypass))
    count = model.model.samples_at_once(model, device)

    def velocity(x: Tensor, t: Tensor, latent: Tensor, null: Tensor, bypass: Tensor) -> Tensor:
        # A solver may evaluate several times a step; Cancel is heard before each.
        comfy.model_management.throw_exception_if_processing_interrupted()
        return in_parts(evaluate, count, x.to(dtype), t, latent.to(dtype), null, bypass).float()

    guided = guided_velocity(
        velocity,
        image_latent.to(device),
        torch.tensor(bypass, device=device),
        guidance,
    )
    with comfy.model_management.cuda_device_context(device):
        return integrate(
            guided,
            source.to(device),
            solver,
            steps,
            on_step=lambda done, total, guess: report(before * total + done - 1, guess, None, stages * total),
        )


def require_flowinone(model) -> None:
    """Raise ValueError, saying what to connect, unless `model` is FlowInOne's."""
    if not isinstance(getattr(model.model, "diffusion_model", None), NativeVelocityNetwork):
        raise ValueError("this MODEL is not FlowInOne: connect the model output of Load FlowInOne")


def to_latent(latents: Tensor) -> dict:
    """ComfyUI's LATENT, which is unscaled, of scaled latents [B, C, H, W]."""
    unscaled = latents / LATENT_SCALE
    device, dtype = comfy.model_management.intermediate_device(), comfy.model_management.intermediate_dtype()
    return {"samples": unscaled.to(device, dtype)}
