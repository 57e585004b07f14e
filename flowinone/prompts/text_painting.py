"""Painting blocks of text in colours that contrast with the picture."""

import math

import numpy as np
from PIL import Image, ImageDraw

from .checks import AUTO, UNITS, Area
from .spec import TextStyle, rgb
from .text_layout import Block
from .typeface import Glyphs, Typeface

DARK, LIGHT = (0, 0, 0), (255, 255, 255)
# Pixels per em below which FreeType's hinting would distort letters, and the widest canvas they are supersampled for.
_FINE, _WIDEST = 96, 4096


def paint_block(picture: Image.Image, block: Block, style: TextStyle, face: Typeface) -> None:
    """Draw a block: all outlines first, so that none covers a neighbouring letter."""
    fill, outline = colors(style, picture, block.ink)
    unit = picture.width / UNITS
    finer = max(1, min(math.ceil(_FINE / (block.size * unit)), _WIDEST // picture.width))
    box = _pixels(block.ink, picture.width)
    edge = round(block.outline * unit * finer)
    if edge:
        picture.paste(outline, box, _letters(block, face, box, unit, finer, edge))
    picture.paste(fill, box, _letters(block, face, box, unit, finer, 0))


def colors(style: TextStyle, picture: Image.Image, area: Area) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """The RGB colours of fill and outline.

    An automatic fill contrasts with its outline if that has a colour, else with the picture in `area` (units). An
    automatic outline contrasts with the fill.
    """
    outline = None if style.outline == AUTO else rgb(style.outline)
    if style.fill != AUTO:
        fill = rgb(style.fill)
    elif outline and style.outline_width:
        fill = opposite(luminance(outline))
    else:
        fill = opposite(mean_luminance(picture.crop(_pixels(area, picture.width))))
    return fill, outline or opposite(luminance(fill))


def opposite(light: float) -> tuple[int, int, int]:
    """Black or white, whichever has the higher contrast ratio with a relative luminance (WCAG 2.2)."""
    return DARK if (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) else LIGHT


def luminance(color: tuple[int, int, int]) -> float:
    """Relative luminance, 0..1, of an sRGB colour (WCAG 2.2)."""
    return mean_luminance(Image.new("RGB", (1, 1), color))


def mean_luminance(picture: Image.Image) -> float:
    """Mean relative luminance, 0..1, of a picture."""
    small = picture.resize([min(side, 64) for side in picture.size], Image.Resampling.BOX)
    values = np.asarray(small, dtype=np.float64) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear.mean(axis=(0, 1)) @ (0.2126, 0.7152, 0.0722))


def _letters(
    block: Block, face: Typeface, box: tuple[int, int, int, int], unit: float, finer: int, edge: int
) -> Image.Image:
    """The mask of a block's letters in a box of the picture, grown by `edge` supersampled pixels."""
    left, top, right, bottom = box
    mask = Image.new("L", ((right - left) * finer, (bottom - top) * finer))
    em = block.size * unit * finer
    stamps: dict[tuple[str, str], tuple[Image.Image, int, int]] = {}
    for line in block.lines:
        y = round((line.baseline * unit - top) * finer)
        for glyph in face.glyphs(line.text, block.spacing)[0]:
            stamp = (glyph.text, glyph.path)
            if stamp not in stamps:
                stamps[stamp] = _stamp(glyph, em, edge)
            ink, right_by, down_by = stamps[stamp]
            x = round((line.left * unit - left) * finer + glyph.left * em)
            mask.paste(255, (x + right_by, y + down_by), ink)
    return mask.reduce(finer)


def _stamp(glyph: Glyphs, em: float, edge: int) -> tuple[Image.Image, int, int]:
    """A glyph's mask and its offset from the pen's position."""
    font = glyph.font(em)
    left, top, right, bottom = font.getbbox(glyph.text, anchor="ls", stroke_width=edge)
    # Some glyphs reach a pixel beyond their bounding box in FreeType.
    left, top = math.floor(left) - 2, math.floor(top) - 2
    ink = Image.new("L", (math.ceil(right) + 2 - left, math.ceil(bottom) + 2 - top))
    ImageDraw.Draw(ink).text((-left, -top), glyph.text, fill=255, font=font, anchor="ls", stroke_width=edge)
    return ink, left, top


def _pixels(area: Area, size: int) -> tuple[int, int, int, int]:
    """The whole pixels that an area in units touches, within the canvas; at least one."""
    left, top, right, bottom = (edge * size / UNITS for edge in area)
    left, top = (min(max(math.floor(edge), 0), size - 1) for edge in (left, top))
    return left, top, min(max(math.ceil(right), left + 1), size), min(max(math.ceil(bottom), top + 1), size)
