"""What the sampling nodes share: from sockets to latents."""

from PIL import Image
from torch import Tensor

from ..flowinone.sampling import draw_noise
from .composed_prompt import ComposedPrompt
from .encoder import FlowInOneEncoder, image_latents, require_kl_f8
from .images import to_pictures


def prompt_pictures(
    image: Tensor | None, prompt: ComposedPrompt | None, bypass: bool
) -> tuple[list[Image.Image], list[bool]]:
    """The prompt pictures, and for each whether the dual path is bypassed. Raises ValueError unless one of the two is connected."""
    if (image is None) == (prompt is None):
        raise ValueError("connect either a prompt picture or a prompt from Compose Visual Prompt, not both")
    if prompt is not None:
        return to_pictures(prompt.images), prompt.bypass
    pictures = to_pictures(image)
    return pictures, [bypass] * len(pictures)


def encoded(
    encoder: FlowInOneEncoder, vae, pictures: list[Image.Image], seed: int, sample_posterior: bool
) -> tuple[Tensor, Tensor]:
    """Source and image latents [B, C, H, W] of the pictures, by the seeds `seed`, `seed` + 1 …; the means without `sample_posterior`."""
    require_kl_f8(vae)
    seeds = [(seed + i) % 2**64 for i in range(len(pictures))]
    noise = draw_noise(seeds, encoder.config.latent_shape) if sample_posterior else (None, None)
    source = encoder.source_latents(pictures, noise[0])
    return source, image_latents(vae, pictures, encoder.config.latent_size, noise[1])
