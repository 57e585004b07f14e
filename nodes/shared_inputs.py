"""Inputs that several nodes share: the prompt, how its start is drawn, and how the flow is sampled."""

from comfy_api.latest import io

from ..flowinone.sampling import FIXED_STEP_SOLVERS, PRESETS, SamplerSettings
from .sockets import Encoder, Prompt

AS_SET = "as set"


def model_input():
    return io.Model.Input(
        "model", tooltip="From Load FlowInOne. Nodes in between, such as LoRA, guidance or cache nodes, take effect."
    )


def encoder_input():
    return Encoder.Input("encoder", tooltip="From Load FlowInOne.")


def vae_input():
    return io.Vae.Input("vae", tooltip="From Load FlowInOne, or a Stable Diffusion 1.x VAE.")


def picture_input():
    return io.Image.Input(
        "image",
        display_name="prompt picture",
        optional=True,
        tooltip="The prompt picture, with your request drawn on it: words, boxes, arrows or doodles. Square pictures "
        "work best. Each picture of a batch gets its own answer.",
    )


def prompt_input():
    return Prompt.Input(
        "prompt",
        optional=True,
        tooltip="From Compose Visual Prompt or Text Prompt, in place of the prompt picture. It brings its own bypass "
        "picture.",
    )


def seed_input():
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=0xFFFFFFFFFFFFFFFF,
        control_after_generate=True,
        tooltip="Another seed gives another picture of the same request. Picture i of a batch uses seed + i; the same "
        "seed gives the same start on every device.",
    )


def bypass_input():
    return io.Boolean.Input(
        "bypass",
        display_name="bypass picture",
        default=False,
        label_on="new picture",
        label_off="edit",
        tooltip="On for words on a plain background, which ask for a new picture. Off to change the picture itself. "
        "Has no effect when a prompt is connected. (Turns the model's dual path off.)",
    )


def random_start_input():
    return io.Boolean.Input(
        "sample_posterior",
        display_name="random start",
        default=True,
        advanced=True,
        tooltip="On draws the start at random, by the seed, as the authors do. Off takes the most likely start: the "
        "same picture whatever the seed.",
    )


def steps_input():
    return io.Int.Input(
        "steps",
        default=50,
        min=1,
        max=1000,
        tooltip="More steps follow the request more closely and take longer. Try 12 to 50; the authors use 50. Below "
        "5 the solver euler breaks the picture: use euler_uniform or heun there.",
    )


def solver_input():
    return io.Combo.Input(
        "solver",
        options=list(FIXED_STEP_SOLVERS),
        default="euler",
        tooltip="How a step is computed. euler is the authors', on their time grid, for 5 steps and more. The others "
        "use a uniform grid, which also works for fewer steps; adams_bashforth2 costs as much a step as euler, "
        "midpoint and heun twice, rk4 four times as much.",
    )


def guidance_scale_input():
    return io.Float.Input(
        "guidance_scale",
        default=7.0,
        min=0.0,
        max=100.0,
        step=0.1,
        display_name="guidance",
        tooltip="How strongly the picture follows the request. Try 2 to 10; the authors use 7. 1 follows least and "
        "takes half the time.",
    )


def preset_input(replaced: str):
    return io.Combo.Input(
        "preset",
        options=[AS_SET, *PRESETS],
        default=AS_SET,
        optional=True,
        tooltip=f"Replaces {replaced}: reference is the authors' sampling; balanced and fast take about a third and a "
        "fifth of its time for nearly the same picture. With as set the node's own values count.",
    )


def guidance_interval_inputs():
    share = dict(min=0.0, max=1.0, step=0.01, optional=True, advanced=True)
    return [
        io.Float.Input(
            "guidance_start",
            display_name="guided from",
            default=0.0,
            **share,
            tooltip="Guidance starts at this part of the way, 0 to 1. Steps without guidance take half the time.",
        ),
        io.Float.Input(
            "guidance_end",
            display_name="guided to",
            default=1.0,
            **share,
            tooltip="Guidance ends at this part of the way, 0 to 1. 0.5 changes the picture little and saves a "
            "quarter of the time.",
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
