"""ComfyUI's IMAGE tensors and Pillow's pictures."""

import numpy as np
from PIL import Image
from torch import Tensor


def to_pictures(images: Tensor) -> list[Image.Image]:
    """8-bit RGB pictures of an IMAGE [B, H, W, 3] in 0..1; a fourth channel (alpha) is composited over white."""
    if images.shape[-1] == 4:
        alpha = images[..., 3:]
        images = images[..., :3] * alpha + 1 - alpha
    if images.shape[-1] == 1:
        images = images.expand(*images.shape[:-1], 3)
    if images.shape[-1] != 3:
        raise ValueError(f"image has {images.shape[-1]} channels; FlowInOne reads RGB pictures")
    arrays = (images.float().clamp(0, 1) * 255).round().cpu().numpy().astype(np.uint8)
    return [Image.fromarray(array) for array in arrays]
