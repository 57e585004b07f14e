"""Prompts as ComfyUI's sampling takes them: CONDITIONING for both branches, and NOISE that is the source latent."""

import torch
from PIL import Image
from torch import Tensor

from ..flowinone.sampling import draw_noise
from .composed_prompt import ComposedPrompt
from .images import to_pictures
from .vae import image_latents, require_kl_f8
from .vision import FlowInOneEncoder

SOURCE = "flowinone_source"


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


def prompt_pictures(
    image: Tensor | None, prompt: ComposedPrompt | None, bypass: bool
) -> tuple[list[Image.Image], list[bool]]:
    """The prompt images, and for each whether the dual path is bypassed. Raises ValueError unless one of the two is
    connected.
    """
    if (image is None) == (prompt is None):
        raise ValueError("connect either a prompt picture or a prompt from Compose Visual Prompt, not both")
    if prompt is not None:
        return to_pictures(prompt.images), prompt.bypass
    pictures = to_pictures(image)
    return pictures, [bypass] * len(pictures)


def encode_prompts(
    encoder: FlowInOneEncoder, vae, pictures: list[Image.Image], seed: int, sample_posterior: bool
) -> tuple[Tensor, Tensor]:
    """Source and image latents [B, C, H, W] of the pictures, with the seeds `seed`, `seed` + 1, …; without
    `sample_posterior` the means.
    """
    require_kl_f8(vae)
    seeds = [(seed + i) % 2**64 for i in range(len(pictures))]
    noise = draw_noise(seeds, encoder.config.latent_shape) if sample_posterior else (None, None)
    source = encoder.source_latents(pictures, noise[0])
    return source, image_latents(vae, pictures, encoder.config.latent_size, noise[1])
