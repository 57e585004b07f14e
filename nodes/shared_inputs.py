"""Inputs that several nodes share: the prompt, how its start is drawn, and how the flow is sampled."""

from comfy_api.latest import io

from ..flowinone.sampling import FIXED_STEP_SOLVERS, PRESETS, SamplerSettings
from .sockets import Encoder, Prompt

AS_SET = "as set"


def model_input():
    return io.Model.Input("model", tooltip="From Load FlowInOne. LoRAs and model patches in between take effect.")


def encoder_input():
    return Encoder.Input("encoder", tooltip="From Load FlowInOne.")


def vae_input():
    return io.Vae.Input("vae", tooltip="From Load FlowInOne, or a Stable Diffusion 1.x VAE.")


def picture_input():
    return io.Image.Input(
        "image",
        display_name="prompt picture",
        optional=True,
        tooltip=(
            "A finished prompt image, with text, boxes, arrows or doodles drawn on it; square ones work best. Each "
            "image of a batch gets an output image of its own."
        ),
    )


def prompt_input():
    return Prompt.Input(
        "prompt",
        optional=True,
        tooltip=(
            "From Compose Visual Prompt, Text Prompt or Canvas, instead of a prompt picture. It has its own bypass."
        ),
    )


def seed_input():
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=0xFFFFFFFFFFFFFFFF,
        control_after_generate=True,
        tooltip=(
            "Each seed gives another output image. Image i of a batch uses seed + i; the same seed gives the same "
            "start on every device."
        ),
    )


def bypass_input():
    return io.Boolean.Input(
        "bypass",
        display_name="bypass picture",
        default=False,
        label_on="new picture",
        label_off="edit",
        tooltip=(
            "On (new picture) for text on a plain background, off (edit) for marks on a photo. No effect if prompt "
            "is connected. On turns the model's dual path off."
        ),
    )


def random_start_input():
    return io.Boolean.Input(
        "sample_posterior",
        display_name="random start",
        default=True,
        advanced=True,
        tooltip=(
            "Draws the source latent and the image latent at random, by the seed, as the authors do. Off uses their "
            "means: the same output image for every seed."
        ),
    )


def steps_input():
    return io.Int.Input(
        "steps",
        default=50,
        min=1,
        max=1000,
        tooltip=(
            "More steps follow the prompt better and take longer. Try 12 to 50; the authors use 50. Below 5, use the "
            "solver euler_uniform or heun: the authors' time grid, which euler uses, breaks there."
        ),
    )


def solver_input():
    return io.Combo.Input(
        "solver",
        options=list(FIXED_STEP_SOLVERS),
        default="euler",
        tooltip=(
            "How a step is computed. euler is the authors', on their time grid. The others use a uniform grid, which "
            "also works below 5 steps. adams_bashforth2 takes as long per step as euler, midpoint and heun twice, "
            "rk4 four times as long."
        ),
    )


def guidance_scale_input():
    return io.Float.Input(
        "guidance_scale",
        default=7.0,
        min=0.0,
        max=100.0,
        step=0.1,
        display_name="guidance",
        tooltip=(
            "How closely the output image follows the prompt. Try 4 to 9; the authors use 7. 1 turns guidance off: "
            "twice as fast, but it follows least."
        ),
    )


def preset_input(replaced: str):
    return io.Combo.Input(
        "preset",
        options=[AS_SET, *PRESETS],
        default=AS_SET,
        optional=True,
        tooltip=(
            f"Replaces {replaced}. reference samples as the authors do; balanced and fast take about a third and a "
            "fifth of the time for nearly the same output image. as set uses the values of the node."
        ),
    )


def guidance_interval_inputs():
    share = dict(min=0.0, max=1.0, step=0.01, optional=True, advanced=True)
    return [
        io.Float.Input(
            "guidance_start",
            display_name="guided from",
            default=0.0,
            **share,
            tooltip=(
                "Where guidance starts, as a fraction of the sampling from 0 to 1. Steps without guidance take half "
                "the time and follow the prompt less."
            ),
        ),
        io.Float.Input(
            "guidance_end",
            display_name="guided to",
            default=1.0,
            **share,
            tooltip=(
                "Where guidance ends, as a fraction of the sampling from 0 to 1. 0.5 changes the output image little "
                "and saves a quarter of the time."
            ),
        ),
    ]


def sampling_inputs():
    """Preset and guidance interval: what was added after steps, guidance and solver."""
    return [preset_input("steps, solver and guided from and to"), *guidance_interval_inputs()]


def sampler_settings(
    solver: str,
    steps: int,
    guidance_scale: float,
    preset: str,
    guidance_start: float,
    guidance_end: float,
    guidance_every: int = 1,
) -> SamplerSettings:
    """The settings of these inputs. A preset leaves none of them but the guidance scale."""
    if preset != AS_SET:
        return SamplerSettings.resolve(preset, guidance_scale=guidance_scale)
    return SamplerSettings(solver, steps, guidance_scale, (guidance_start, guidance_end), guidance_every)
