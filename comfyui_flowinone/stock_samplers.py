"""FlowInOne behind ComfyUI's own samplers: CONDITIONING for both branches, NOISE that is the source latent, and the flow's start."""

import inspect

import torch
from torch import Tensor

SOURCE = "flowinone_source"
DETERMINISTIC = "euler, heun, dpmpp_2m, res_multistep or uni_pc"


class SourceNoise:
    """ComfyUI's NOISE that is no noise: where the flow starts for each prompt, [B, C, H, W], scaled."""

    def __init__(self, source: Tensor, seed: int):
        self.source = source.cpu()
        self.seed = seed

    def generate_noise(self, latent: dict) -> Tensor:
        return self.source


def conditioning(source: Tensor, image_latent: Tensor, bypass: list[bool], null: bool, upstream_grid: bool) -> list:
    """CONDITIONING of the prompt's branch, or with `null` the unconditional one; see `FlowInOneBase.extra_conds`."""
    batch = len(bypass)
    return [
        [
            None,
            {
                SOURCE: source.cpu(),
                "flowinone_image_latent": image_latent.cpu(),
                # ComfyUI casts every conditioning tensor that is not integer to the compute dtype.
                "flowinone_null": torch.full((batch,), int(null), dtype=torch.long),
                "flowinone_bypass": torch.tensor(bypass, dtype=torch.long),
                "flowinone_upstream_grid": upstream_grid,
            },
        ]
    ]


def start_at_source(executor, noise: Tensor, latent_image: Tensor, sampler, sigmas: Tensor, *args, **kwargs):
    """OUTER_SAMPLE wrapper: whatever noise a node made, the flow starts at the conditioning's source latent.

    ComfyUI mixes it with `latent_image` by sigma, which is the very line the model was trained on: so denoise below 1 refines a picture.
    Noise of zeros stays, it goes on with an earlier part of a flow. Raises ValueError for conditioning of another kind, for latents
    of another batch or size, for another model's prompt, for a refinement of nothing, and for samplers that add noise on the way.
    """
    if adds_noise(sampler):
        raise ValueError(
            f"the sampler {sampler.sampler_function.__name__.removeprefix('sample_')} adds random noise on the way, and a FlowInOne flow has "
            f"none: its answers fall apart; choose {DETERMINISTIC}"
        )
    entries = [entry for entries in executor.class_obj.conds.values() for entry in entries]
    if not all(SOURCE in entry for entry in entries):
        raise ValueError(
            "this conditioning holds no FlowInOne prompt: the model reads pictures, not a text encoder's words; connect FlowInOne Encode"
        )
    source = entries[0][SOURCE]
    require_own_prompt(executor.class_obj.model_patcher, source)
    if latent_image.shape != source.shape:
        height, width = (8 * side for side in source.shape[-2:])
        raise ValueError(
            f"latent_image has shape {tuple(latent_image.shape)} and the prompts need {tuple(source.shape)}: "
            f"connect the latent output of FlowInOne Encode, or for a refinement a latent of {width} x {height} pixels for each prompt"
        )
    if noise.any():
        if sigmas[0] < 1 - 1e-4 and not latent_image.any():
            raise ValueError(
                f"sampling begins at sigma {float(sigmas[0]):.3g} on an empty latent, which is no point of any flow: "
                "set denoise to 1, or connect the latent of a picture to refine"
            )
        noise = source.to(noise)
    return executor(noise, latent_image, sampler, sigmas, *args, **kwargs)


def require_own_prompt(model, source: Tensor) -> None:
    """Raise ValueError, saying what to connect, unless `model` (FlowInOne's) takes latents of the source's size [B, C, H, W]."""
    wanted = model.model.diffusion_model.config.latent_shape
    if tuple(source.shape[1:]) != wanted:
        raise ValueError(
            f"the encoder gives latents of shape {tuple(source.shape[1:])} and this MODEL takes {wanted}: they come from different files; "
            "connect model, encoder and vae of one Load FlowInOne"
        )


def adds_noise(sampler) -> bool:
    """Whether a SAMPLER draws random numbers while it samples, as ancestral and SDE samplers do with their usual settings."""
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
