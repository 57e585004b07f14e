"""The two views of a prompt image: letterboxed for the vision encoder, cropped for the autoencoder."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .pictures import as_rgb

__all__ = ["as_rgb", "latent_view", "to_pixels", "vision_view"]

_GREY = (127, 127, 127)
_SMALLEST_SIDE = 14
_LONGEST_STRIP = 32
"""Times the shorter side; what is farther from the centre is in no reach of the crop or its filter."""


def vision_view(image: Image.Image, size: int = 384) -> Image.Image:
    """The whole RGB picture, its longer side scaled to `size` pixels, centred on a grey square (upstream: Janus' image processor)."""
    longest = max(image.size)
    width, height = (max(int(side / longest * size), _SMALLEST_SIDE) for side in image.size)
    scaled = image.resize((width, height), Image.Resampling.BICUBIC)
    square = Image.new("RGB", (size, size), _GREY)
    square.paste(scaled, ((size - width) // 2, (size - height) // 2))
    return square


def latent_view(image: Image.Image, size: int = 256) -> Image.Image:
    """The centre of an RGB picture, its shorter side scaled to `size` pixels (upstream: `center_crop_arr`)."""
    # A strip this long would become gigabytes on its way to the square in its middle.
    longest = _LONGEST_STRIP * min(image.size)
    if max(image.size) > longest:
        left, top = (max(0, side - longest) // 2 for side in image.size)
        image = image.crop((left, top, left + min(image.width, longest), top + min(image.height, longest)))
    # Halving with a box filter first, and rounding as upstream does, is what makes the view the same to the byte.
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def to_pixels(images: list[Image.Image]) -> Tensor:
    """Float32 pixels [B, 3, H, W] in -1..1 of RGB pictures of one size; x / 127.5 - 1."""
    arrays = np.stack([np.asarray(image) for image in images])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).float() / 127.5 - 1
