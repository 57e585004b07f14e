"""The two views of a prompt image: letterboxed for the vision encoder, cropped for the autoencoder."""

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

_GREY = (127, 127, 127)
_SMALLEST_SIDE = 14


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


def as_rgb(image: Image.Image) -> Image.Image:
    """Any picture as 8-bit RGB: turned as its EXIF data says, alpha composited over white, 16-bit and float greys scaled to 8."""
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image, dtype=np.float64)
        top = 1.0 if image.mode == "F" and values.max(initial=0) <= 1 else 65535.0
        image = Image.fromarray((values / top * 255).round().clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
