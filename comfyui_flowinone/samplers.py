"""FlowInOne in ComfyUI's sampling: its solvers as SAMPLER, its time grid as SIGMAS, its guidance as GUIDER, and the
flow's start.
"""

import functools
import inspect
from itertools import pairwise

import comfy.model_management
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ..flowinone.sampling import FIXED_STEP_SOLVERS, Guidance, SamplerSettings, euler, uniform_grid, upstream_time
from ..flowinone.sampling.settings import FEWEST_UPSTREAM_STEPS
from .conditioning import SOURCE, conditioning
from .messages import nodes_before, warn
from .model_base import NETWORK_TIME, NativeVelocityNetwork, network_time
from .model_patches import require_applicable_nodes, require_supported_patches

DETERMINISTIC = "euler, heun, dpmpp_2m, res_multistep or uni_pc"


def solver_sampler(solver: str) -> comfy.samplers.KSAMPLER:
    """ComfyUI's SAMPLER of a solver in `flowinone.sampling.FIXED_STEP_SOLVERS`."""
    return comfy.samplers.KSAMPLER(sample_flow, {"solver": solver})


def sample_flow(
    model, x: Tensor, sigmas: Tensor, extra_args: dict, callback=None, disable=None, *, solver: str
) -> Tensor:
    """The sampler function of `solver_sampler`: x [B, C, H, W] at the last of the sigmas [steps + 1].

    The solver works with velocities, which come back from ComfyUI's predicted x₁ by a division by sigma. So the end of
    the flow, where sigma is 0, is passed off as half a step before it; the network itself is told the true time. Raises
    InterruptProcessingException on Cancel, before the next evaluation.
    """
    grid = (1 - sigmas.double()).tolist()
    if len(grid) < 2:
        return x
    nearest_sigma = min(after - before for before, after in pairwise(grid)) / 2
    options = extra_args["model_options"]
    # Upstream's Euler is seen at the sigma where its state is; the network alone is told the time at which it
    # evaluates.
    upstream = solver == "euler"
    solve = euler if upstream else FIXED_STEP_SOLVERS[solver]

    def velocity(x: Tensor, t: float) -> Tensor:
        # A solver may evaluate several times a step; Cancel is heard before each.
        comfy.model_management.throw_exception_if_processing_interrupted()
        time, speed = upstream_time(t, grid[1] - grid[0]) if upstream else (t, 1.0)
        sigma = max(1 - t, nearest_sigma)
        timed = options | {"transformer_options": options["transformer_options"] | {NETWORK_TIME: time}}
        denoised = model(x, x.new_full((x.shape[0],), sigma), **(extra_args | {"model_options": timed}))
        return (denoised - x) * (speed / sigma)

    for step, (state, predicted) in enumerate(solve(velocity, x, grid)):
        if callback is not None:
            callback({"i": step, "x": state, "denoised": predicted, "sigma": sigmas[step], "sigma_hat": sigmas[step]})
    return state


def time_grid(model, steps: int) -> Tensor:
    """SIGMAS [steps + 1] of the uniform time grid, shifted where a node such as ModelSamplingSD3 shifts the MODEL's."""
    sampling = model.get_model_object("model_sampling")
    return torch.tensor([sampling.percent_to_sigma(t) for t in uniform_grid(steps)])


class FlowInOneGuider(comfy.samplers.CFGGuider):
    """ComfyUI's CFGGuider with a guidance interval and guidance at every N-th evaluation
    (`flowinone.sampling.Guidance`).

    Outside of the interval the scale is 1. Between the evaluations at which guidance is computed, the unconditional
    branch is the prompt's plus the difference of their velocities at the last of these. Either way everything that
    nodes set for guidance on the MODEL acts as in CFGGuider.
    """

    def set_guidance(self, guidance: Guidance) -> None:
        self.set_cfg(guidance.scale)
        self.guidance = guidance

    def sample(self, *args, **kwargs):
        self.difference, self.age = None, 0
        return super().sample(*args, **kwargs)

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options: dict, seed=None) -> Tensor:
        first, last = self.guidance.interval
        guided = self.cfg != 1 and first <= self.time(timestep, model_options) <= last
        if self.guidance.every > 1:
            # What a node has set, such as SkipLayerGuidanceDiTSimple, still computes the branches.
            compute = model_options.get("sampler_calc_cond_batch_function", _calc_cond_batch)
            branches = functools.partial(self.branches, compute)
            model_options = model_options | {"sampler_calc_cond_batch_function": branches}
        negative, positive = self.conds.get("negative"), self.conds.get("positive")
        scale = self.cfg if guided else 1.0
        return comfy.samplers.sampling_function(
            self.inner_model, x, timestep, negative, positive, scale, model_options, seed
        )

    def time(self, sigma: Tensor, model_options: dict) -> float:
        """The time at which the network is evaluated, 0 to 1."""
        upstream_grid = self.conds["positive"][0]["flowinone_upstream_grid"]
        t, _ = network_time(sigma, model_options["transformer_options"], upstream_grid)
        return 1 - float(sigma[0]) if t is None else t

    def branches(self, compute, args: dict) -> list[Tensor]:
        """Predicted x₁ of the prompt's and of the unconditional branch, the latter from the stored difference while
        that is fresh.
        """
        positive, negative = args["conds"]
        sigma = args["sigma"].reshape(-1, 1, 1, 1)
        fresh = self.difference is not None and self.age < self.guidance.every
        if negative is not None and not fresh:
            prompt, null = compute(args)
            self.difference, self.age = (null - prompt) / sigma, 1
            return [prompt, null]
        prompt, null = compute(args | {"conds": [positive, None]})
        self.age += 1
        return [prompt, null if negative is None else prompt + sigma * self.difference]


def _calc_cond_batch(args: dict) -> list[Tensor]:
    return comfy.samplers.calc_cond_batch(
        args["model"], args["conds"], args["input"], args["sigma"], args["model_options"]
    )


def sample(
    model,
    source: Tensor,
    image_latent: Tensor,
    bypass: list[bool],
    settings: SamplerSettings,
    seed: int = 0,
    stage: tuple[int, int] = (0, 1),
) -> dict:
    """LATENT at the end of the flow that starts at `source` [B, C, H, W] and looks at `image_latent` [B, C, H, W], both
    scaled.

    `seed` is for nodes on the MODEL that draw random numbers. `stage` (number, count) says which of several such runs
    this is: the progress bar counts the steps of all. Raises ValueError for a source that another model's encoder gave,
    and InterruptProcessingException on Cancel, within one step.
    """
    guider = FlowInOneGuider(model)
    guider.set_conds(*(conditioning(source, image_latent, bypass, null, upstream_grid=False) for null in (False, True)))
    guider.set_guidance(settings.guidance)
    before, stages = stage
    report = latent_preview.prepare_callback(model, stages * settings.steps)
    samples = guider.sample(
        source,
        torch.zeros_like(source),
        solver_sampler(settings.solver),
        time_grid(model, settings.steps),
        callback=lambda step, predicted, x, total: report(before * total + step, predicted, x, stages * total),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )
    device, dtype = comfy.model_management.intermediate_device(), comfy.model_management.intermediate_dtype()
    return {"samples": samples.to(device, dtype)}


def start_at_source(executor, noise: Tensor, latent_image: Tensor, sampler, sigmas: Tensor, *args, **kwargs):
    """OUTER_SAMPLE wrapper: whatever noise a node made, the flow starts at the conditioning's source latent.

    ComfyUI mixes it with `latent_image` by sigma, which is the very line the model was trained on: so denoise below 1
    refines a picture. Noise of zeros stays: it continues an earlier part of a flow. Raises ValueError for what nodes
    have patched on the MODEL and cannot take effect, for conditioning of another kind, for latents of another batch or
    size, for another model's prompt, for a refinement of an empty latent, and for samplers that add noise on the way.
    """
    guider = executor.class_obj
    if adds_noise(sampler):
        raise ValueError(
            f"the sampler {sampler.sampler_function.__name__.removeprefix('sample_')} adds random noise on the way, "
            f"which a FlowInOne flow does not have, so the image falls apart; choose {DETERMINISTIC}"
        )
    entries = [entry for entries in guider.conds.values() for entry in entries]
    require_supported_patches(guider.model_patcher, guider.model_options, entries)
    require_applicable_nodes(nodes_before())
    if not all(SOURCE in entry for entry in entries):
        raise ValueError(
            "this conditioning holds no FlowInOne prompt: the model reads pictures, not a text encoder's words; "
            "connect FlowInOne Encode"
        )
    if entries[0]["flowinone_upstream_grid"] and getattr(sampler, "sampler_function", None) is not sample_flow:
        # Of a part of a flow the first step tells how many the whole one has.
        _warn_of_few_steps(1 / float(sigmas[0] - sigmas[1]))
    source = entries[0][SOURCE]
    require_own_prompt(guider.model_patcher, source)
    if latent_image.shape != source.shape:
        height, width = (8 * side for side in source.shape[-2:])
        raise ValueError(
            f"latent_image has shape {tuple(latent_image.shape)} and the prompts need {tuple(source.shape)}: "
            "connect the latent output of FlowInOne Encode, or for a refinement "
            f"a latent of {width} x {height} pixels for each prompt"
        )
    if noise.any():
        if sigmas[0] < 1 - 1e-4 and not latent_image.any():
            raise ValueError(
                f"sampling begins at sigma {float(sigmas[0]):.3g} on an empty latent, which is no point of any flow: "
                "set denoise to 1, or connect the latent of a picture to refine"
            )
        noise = source.to(noise)
    return executor(noise, latent_image, sampler, sigmas, *args, **kwargs)


def _warn_of_few_steps(steps: float) -> None:
    if round(steps) < FEWEST_UPSTREAM_STEPS:
        count = "1 step is" if round(steps) == 1 else f"{round(steps)} steps are"
        warn(
            f"{count} too few for the authors' time grid, which breaks below {FEWEST_UPSTREAM_STEPS}; "
            "choose uniform as time grid in FlowInOne Encode, or more steps"
        )


def require_flowinone(model) -> None:
    """Raise ValueError, saying what to connect, unless `model` is FlowInOne's."""
    if not isinstance(getattr(model.model, "diffusion_model", None), NativeVelocityNetwork):
        raise ValueError("this MODEL is not FlowInOne: connect the model output of Load FlowInOne")


def require_own_prompt(model, source: Tensor) -> None:
    """Raise ValueError, saying what to connect, unless `model` (FlowInOne's) takes latents of the source's size [B, C,
    H, W].
    """
    wanted = model.model.diffusion_model.config.latent_shape
    if tuple(source.shape[1:]) != wanted:
        raise ValueError(
            f"the encoder gives latents of shape {tuple(source.shape[1:])} and this MODEL takes {wanted}: they come "
            "from different files; connect model, encoder and vae of one Load FlowInOne"
        )


def adds_noise(sampler) -> bool:
    """Whether a SAMPLER draws random numbers while it samples, as ancestral and SDE samplers do with their usual
    settings.
    """
    function = getattr(sampler, "sampler_function", None)
    if function is None:
        return False
    chosen = {
        name: parameter.default for name, parameter in inspect.signature(function).parameters.items()
    } | sampler.extra_options
    if chosen.get("s_churn"):
        return True
    if "noise_sampler" not in chosen:
        # Of these dpm_adaptive hides its parameters, and stays still unless told otherwise.
        return bool(chosen.get("eta"))
    # res_multistep takes a noise sampler for its ancestral sister.
    still = function.__name__ in ("sample_res_multistep", "sample_res_multistep_cfg_pp")
    return not still and bool(chosen.get("eta", 1)) and bool(chosen.get("s_noise", 1))
