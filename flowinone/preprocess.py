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
"""In shorter sides of the picture. What is farther from the centre is out of the crop's and its filter's reach."""


def vision_view(image: Image.Image, size: int = 384) -> Image.Image:
    """The whole RGB picture, scaled to a longer side of `size` pixels and centred on a grey square.

    To the byte what upstream's processor makes, `VLMImageProcessor` of Janus.
    """
    longest = max(image.size)
    width, height = (max(int(side / longest * size), _SMALLEST_SIDE) for side in image.size)
    scaled = image.resize((width, height), Image.Resampling.BICUBIC)
    square = Image.new("RGB", (size, size), _GREY)
    square.paste(scaled, ((size - width) // 2, (size - height) // 2))
    return square


def latent_view(image: Image.Image, size: int = 256) -> Image.Image:
    """The centre square of an RGB picture, scaled to `size` pixels; to the byte upstream's `center_crop_arr`."""
    # A very long strip would take gigabytes when scaled, for the square in its middle.
    longest = _LONGEST_STRIP * min(image.size)
    if max(image.size) > longest:
        left, top = (max(0, side - longest) // 2 for side in image.size)
        image = image.crop((left, top, left + min(image.width, longest), top + min(image.height, longest)))
    # Halving with a box filter first, and rounding, as upstream does.
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def to_pixels(images: list[Image.Image]) -> Tensor:
    """RGB pictures of the same size as float32 pixels [B, 3, H, W] in -1..1."""
    arrays = np.stack([np.asarray(image) for image in images])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).float() / 127.5 - 1
