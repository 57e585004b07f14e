"""Rendering a visual prompt: the prompt image that the model sees."""

import os
import warnings

import numpy as np
from PIL import Image

from ..pictures import as_rgb
from .characters import MissingGlyphsWarning
from .checks import UNITS, PromptError
from .shapes import draw_box, draw_doodle, draw_erase, draw_force, draw_marker, draw_trajectory, draw_wind
from .spec import (
    Box,
    Canvas,
    Doodle,
    Erase,
    ForceArrow,
    GradientCanvas,
    Mark,
    MarkerArrow,
    PhotoCanvas,
    Text,
    Trajectory,
    VisualPrompt,
    Wind,
    rgb,
)
from .squaring import Squaring
from .text_layout import clean, label_layout, lay_out
from .text_painting import paint_block
from .typeface import BOX, typeface

SMALLEST, LARGEST = 64, 4096
"""Sides of a prompt image in pixels."""

_DRAW = {
    MarkerArrow: draw_marker,
    ForceArrow: draw_force,
    Wind: draw_wind,
    Trajectory: draw_trajectory,
    Doodle: draw_doodle,
    Erase: draw_erase,
}


def render(
    prompt: VisualPrompt, photo: Image.Image | None = None, size: int = 512, font: str | os.PathLike | None = None
) -> Image.Image:
    """The RGB prompt image, `size` x `size` pixels (64 to 4096).

    `photo` is the picture under the marks, of any mode and shape; only a photo canvas takes one. `font` is a TrueType
    or OpenType file for all text. The same prompt gives the same bytes with the same version of Pillow, except for text
    that needs shaping (Arabic, Hebrew, stacked accents), which is simpler where Pillow lacks Raqm.

    Raises PromptError, which names the invalid field. Warns with MissingGlyphsWarning of characters without a glyph.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not SMALLEST <= size <= LARGEST:
        raise PromptError("size", f"is {size!r}; expected a whole number of pixels from {SMALLEST} to {LARGEST}")
    picture = _ground(prompt.canvas, photo, size)
    missing = {}
    for number, mark in enumerate(prompt.marks):
        try:
            missing |= dict.fromkeys(_draw(picture, mark, font))
        except PromptError as error:
            raise error if error.field == "font" else error.within(f"marks[{number}]") from error
    if missing:
        warnings.warn(MissingGlyphsWarning(missing), stacklevel=2)
    return picture


def _ground(canvas: Canvas, photo: Image.Image | None, size: int) -> Image.Image:
    if isinstance(canvas, PhotoCanvas):
        if photo is None:
            raise PromptError("photo", "is missing; a photo canvas needs the picture that it shows")
        Squaring(canvas.fit, *photo.size)  # refuses huge photos before their pixels are decoded
        photo = as_rgb(photo)
        return Squaring(canvas.fit, *photo.size).apply(photo, size, canvas.background)
    if photo is not None:
        raise PromptError("photo", "is given, but the canvas is not a photo; leave it out or choose a photo canvas")
    if isinstance(canvas, GradientCanvas):
        start, end = (np.array(rgb(color), dtype=np.float64) for color in (canvas.start, canvas.end))
        ramp = np.rint(start + (end - start) * np.linspace(0, 1, size)[:, None]).astype(np.uint8)
        strip = ramp[:, None] if canvas.direction == "vertical" else ramp[None]
        return Image.fromarray(np.ascontiguousarray(np.broadcast_to(strip, (size, size, 3))))
    return Image.new("RGB", (size, size), rgb(canvas.color))


def _draw(picture: Image.Image, mark: Mark, font: str | os.PathLike | None) -> list[str]:
    """Draw a mark and return the characters that no font has."""
    if isinstance(mark, Box):
        draw_box(picture, mark)
    elif not isinstance(mark, Text):
        _DRAW[type(mark)](picture, mark)
        return []
    text = clean(mark.label if isinstance(mark, Box) else mark.text)
    if not text:
        return []
    face = typeface(mark.style, font)
    missing = face.missing(text)
    # Some fonts draw nothing for a character they lack.
    text = text.translate({ord(character): BOX for character in missing})
    area = tuple(edge * UNITS for edge in mark.area)
    try:
        if isinstance(mark, Box):
            block = label_layout(text, mark.style, face, area, mark.width)
        else:
            block = lay_out(text, mark.style, face, area, mark.valign)
    except PromptError as error:
        raise error.within("label" if isinstance(mark, Box) else "text") from error
    paint_block(picture, block, mark.style, face)
    return missing
