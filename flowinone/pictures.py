"""Pictures of any mode as 8-bit RGB."""

import numpy as np
from PIL import Image


def as_rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode as 8-bit RGB: rotated as its EXIF data says, over white, 16-bit and float greys scaled."""
    image = _upright(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image, dtype=np.float64)
        top = 1.0 if image.mode == "F" and values.max(initial=0) <= 1 else 65535.0
        image = Image.fromarray((values / top * 255).round().clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By the EXIF orientation, tag 0x0112."""


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(0x0112)
    except Exception:  # damaged EXIF data can fail in any way, and the picture is still usable
        orientation = None
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image.copy()
