"""Inputs that FlowInOne Sampler and FlowInOne Encode share: what is to be answered, and how its start is drawn."""

from comfy_api.latest import io

from ..flowinone.sampling import PRESETS, Guidance
from .sockets import Encoder, Prompt

AS_SET = "as set"


def encoder_input():
    return Encoder.Input("encoder", tooltip="From Load FlowInOne.")


def vae_input():
    return io.Vae.Input("vae", tooltip="From Load FlowInOne, or a Stable Diffusion 1.x VAE.")


def picture_input():
    return io.Image.Input(
        "image",
        display_name="prompt picture",
        optional=True,
        tooltip="The prompt picture: what you want stands on it as words, boxes, arrows or doodles. Square ones work best. Each picture of a batch gets its own answer.",
    )


def prompt_input():
    return Prompt.Input(
        "prompt",
        optional=True,
        tooltip="From Compose Visual Prompt or Text Prompt, in place of the prompt picture; it brings its own bypass picture.",
    )


def seed_input():
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=0xFFFFFFFFFFFFFFFF,
        control_after_generate=True,
        tooltip="Picture i of a batch uses seed + i, on the CPU: the same seed gives the same start on every device.",
    )


def bypass_input():
    return io.Boolean.Input(
        "bypass",
        display_name="bypass picture",
        default=False,
        label_on="new picture",
        label_off="edit",
        tooltip="On for words on a plain background, which ask for a new picture. Off to change the picture itself. Does not count when a prompt is connected. (The model's dual path is bypassed, or not.)",
    )


def random_start_input():
    return io.Boolean.Input(
        "sample_posterior",
        display_name="random start",
        default=True,
        advanced=True,
        tooltip="Draw the start and the picture's latent at random, by the seed, as the authors do. Off takes the most likely ones, whatever the seed.",
    )


def solving_inputs():
    """A preset, and where guidance is computed: what came after steps and solver, to be appended."""
    share = dict(min=0.0, max=1.0, step=0.01, optional=True, advanced=True)
    return [
        io.Combo.Input(
            "preset",
            options=[AS_SET, *PRESETS],
            default=AS_SET,
            optional=True,
            tooltip="Takes the place of steps, solver and guided times: reference is the authors' way, balanced and fast take less time for nearly the same picture. With as set they count as you set them.",
        ),
        io.Float.Input(
            "guidance_start",
            display_name="guided from",
            default=0.0,
            **share,
            tooltip="Guidance counts from this part of the way on, 0 to 1. Steps without it take half the time.",
        ),
        io.Float.Input(
            "guidance_end",
            display_name="guided to",
            default=1.0,
            **share,
            tooltip="Guidance counts up to this part of the way, 0 to 1.",
        ),
    ]


def solving(
    steps: int, guidance_scale: float, solver: str, preset: str, guidance_start: float, guidance_end: float
) -> tuple[int, Guidance, str]:
    """Steps, guidance and solver as these inputs, or their preset, have them."""
    if preset == AS_SET:
        return steps, Guidance(guidance_scale, (guidance_start, guidance_end)), solver
    chosen = PRESETS[preset]
    return chosen.steps, Guidance(guidance_scale, chosen.guidance_interval, chosen.guidance_every), chosen.solver
