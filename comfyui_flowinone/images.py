"""ComfyUI's IMAGE tensors as Pillow images, and back; resampling in floating point."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def to_pictures(images: Tensor) -> list[Image.Image]:
    """8-bit RGB Pillow images of an IMAGE [B, H, W, C] in 0..1; grey is repeated, alpha is composited over white.

    Raises ValueError unless C is 1, 3 or 4.
    """
    if images.shape[-1] == 4:
        alpha = images[..., 3:]
        images = images[..., :3] * alpha + 1 - alpha
    if images.shape[-1] == 1:
        images = images.expand(*images.shape[:-1], 3)
    if images.shape[-1] != 3:
        raise ValueError(
            f"image has {images.shape[-1]} channels, and FlowInOne reads grey, RGB or RGBA; convert it to RGB first"
        )
    arrays = (images.float().clamp(0, 1) * 255).round().cpu().numpy().astype(np.uint8)
    return [Image.fromarray(array) for array in arrays]


def as_image(picture: Image.Image) -> Tensor:
    """One row [H, W, 3] of an IMAGE, float32 in 0..1, of an RGB Pillow image."""
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)


def resampled(
    image: Tensor | np.ndarray,
    source: Sequence[float],
    size: tuple[int, int],
    method: Image.Resampling = Image.Resampling.BICUBIC,
) -> np.ndarray:
    """The part `source` (left, top, right, bottom, in pixels) of an image [h, w, C], as float32 [H, W, C].

    `size` is (W, H). Bicubic, as the prompt renderer resizes photos; pixels are averaged where the image is reduced.
    """
    height, width = image.shape[:2]
    # Pillow refuses boxes that rounding pushed past the edge.
    source = tuple(float(min(max(side, 0), limit)) for side, limit in zip(source, (width, height, width, height)))
    array = image.float().cpu().numpy() if isinstance(image, Tensor) else image
    channels = [
        Image.fromarray(np.ascontiguousarray(array[..., channel])).resize(size, method, box=source)
        for channel in range(array.shape[-1])
    ]
    return np.stack(channels, axis=-1)
