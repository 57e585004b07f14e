"""Pictures as arrays, to compare them."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def opened(content: bytes) -> np.ndarray:
    """The levels of an encoded picture, uint8 [H, W, channels]."""
    return np.asarray(Image.open(io.BytesIO(content)))


def as_saved(picture: Image.Image) -> np.ndarray:
    """A picture's levels after ComfyUI has saved it: they become floats and are then truncated to 8 bits."""
    return (255.0 * (np.asarray(picture, np.float32) / 255)).astype(np.uint8)
