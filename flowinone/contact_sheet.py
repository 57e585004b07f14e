"""Contact sheets: pictures with captions next to each other, for people to look at."""

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

_LINE = 13
"""Pixels: the height of a line of text."""
_LETTER = 5.4
"""Pixels: about the width of a letter."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """Pictures that belong together, in a row, and the caption below them."""

    pictures: Sequence[Image.Image]
    caption: str = ""


def contact_sheet(
    sections: Mapping[str, Sequence[Entry]],
    side: int,
    *,
    title: str = "",
    columns: int = 1,
    gap: int = 0,
    caption_lines: int = 0,
) -> Image.Image:
    """The RGB sheet of entries in sections, with `title` above all and each section's name above its entries.

    Pictures are `side` pixels wide and high, `gap` pixels apart, and all entries have as many of them as the largest. A
    section has `columns` entries in a row. Captions are wrapped, and cut off after `caption_lines`.
    """
    font = ImageFont.load_default(_LINE - 2)
    count = max((len(entry.pictures) for entries in sections.values() for entry in entries), default=1)
    width = count * (side + gap) + gap
    height = side + gap + caption_lines * _LINE + (gap if caption_lines else 0)
    heading = 2 * _LINE + gap
    rows = {name: -(-len(entries) // columns) for name, entries in sections.items()}
    headings = bool(title) + sum(map(bool, sections))
    sheet = Image.new("RGB", (columns * width, headings * heading + sum(rows.values()) * height), "white")
    draw = ImageDraw.Draw(sheet)
    top = 0
    if title:
        draw.text((gap, gap), title, "black", font)
        top = heading
    for name, entries in sections.items():
        if name:
            draw.text((gap, top + gap), name, "black", font)
            top += heading
        for index, entry in enumerate(entries):
            left, above = index % columns * width + gap, top + index // columns * height
            for column, picture in enumerate(entry.pictures):
                if picture.size != (side, side):
                    picture = picture.resize((side, side), Image.Resampling.LANCZOS)
                sheet.paste(picture, (left + column * (side + gap), above))
            letters = max(int(width / _LETTER), 1)
            lines = textwrap.wrap(entry.caption, letters, max_lines=caption_lines or 1, placeholder=" ...")
            for number, line in enumerate(lines[:caption_lines]):
                draw.text((left, above + side + gap + number * _LINE), line, "black", font)
        top += rows[name] * height
    return sheet
