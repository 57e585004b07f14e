"""Inputs that FlowInOne Sampler and FlowInOne Encode share: what is to be answered, and how its start is drawn."""

from comfy_api.latest import io

from .types import Encoder, Prompt


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
