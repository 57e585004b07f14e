"""Many pictures on one sheet. Needs Pillow alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from devtools import ROOT

FONTS = ROOT / "flowinone" / "prompts" / "fonts"
INK, FRAME = "#222222", "#b8b8b8"
ARROW = 52
"""Pixels between a prompt and its answer, with the arrow in the middle."""

Rows = Sequence[Sequence[Image.Image]]


def contact_sheet(
    rows: Rows, gap: int = 8, margin: int | None = None, paper: str | None = "white", heading: str = ""
) -> Image.Image:
    """The pictures of each row side by side, the rows under each other, all in their own size.

    `gap` pixels are between pictures and `margin` (default: the gap) around all of them. Without `paper`, a colour, the
    sheet is RGBA and transparent between the pictures.
    """
    margin = gap if margin is None else margin
    title = 30 + 44 if heading else 0
    heights = [max(picture.height for picture in row) for row in rows]
    width = max(sum(picture.width + gap for picture in row) for row in rows) - gap
    size = 2 * margin + width, 2 * margin + title + sum(heights) + gap * (len(rows) - 1)
    sheet = Image.new("RGB", size, paper) if paper else Image.new("RGBA", size)
    if heading:
        ImageDraw.Draw(sheet).text((margin, margin), heading, INK, font("Regular", 30))
    top = margin + title
    for row, height in zip(rows, heights):
        left = margin
        for picture in row:
            sheet.paste(picture, (left, top))
            left += picture.width + gap
        top += height + gap
    return sheet


def in_rows(pictures: Sequence[Image.Image], columns: int) -> Iterator[Sequence[Image.Image]]:
    """The pictures in rows of `columns`, the last one of what is left."""
    return (pictures[start : start + columns] for start in range(0, len(pictures), columns))


def resized(picture: Image.Image, width: int, height: int | None = None) -> Image.Image:
    """The picture in another size; without a height its proportions stay."""
    height = height or round(width * picture.height / picture.width)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def prompt_and_answer(name: str, prompt: Image.Image, answer: Image.Image, side: int = 256) -> Image.Image:
    """A prompt, an arrow and its answer, each `side` pixels wide and high, under a name."""
    letters, space = 26, 14
    top = letters + space
    sheet = Image.new("RGB", (2 * side + ARROW, top + side), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((0, 0), name, INK, font("Bold", letters))
    for picture, left in ((prompt, 0), (answer, side + ARROW)):
        sheet.paste(resized(picture.convert("RGB"), side, side), (left, top))
        pen.rectangle((left, top, left + side - 1, top + side - 1), outline=FRAME)
    left, right, middle = side + 11, side + ARROW - 11, top + side // 2
    pen.rectangle((left, middle - 2, right - 12, middle + 2), fill=INK)
    pen.polygon([(right - 14, middle - 10), (right, middle), (right - 14, middle + 10)], fill=INK)
    return sheet


def font(weight: str, size: int) -> ImageFont.FreeTypeFont:
    """A font of the pack: "Regular" or "Bold", `size` pixels high."""
    return ImageFont.truetype(str(FONTS / f"LiberationSans-{weight}.ttf"), size)


def save_within(picture: Image.Image, path: Path, most_bytes: int, qualities: Sequence[int], **options) -> None:
    """Save a picture at the first of the qualities that takes at most so many bytes, or at the last one.

    `options` go to Pillow's writer, which the path's suffix selects. Prints what was written.
    """
    for quality in qualities:
        content = BytesIO()
        picture.save(content, Image.registered_extensions()[path.suffix], quality=quality, **options)
        if len(content.getvalue()) <= most_bytes:
            break
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.getvalue())
    kilobytes = len(content.getvalue()) / 1000
    place = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    print(f"{place}, {picture.width} x {picture.height}, quality {quality}, {kilobytes:.0f} kB")
