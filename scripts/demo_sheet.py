"""Put pictures that the demo has saved on one sheet: each prompt beside its answer, under the task's name.

    python demo_sheet.py SHEET HEADING NAME PROMPT ANSWER [NAME PROMPT ANSWER …]

Run by ComfyUI's Python, which has Pillow. An answer is drawn as large as its prompt.
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FONTS = Path(__file__).resolve().parent.parent / "flowinone" / "prompts" / "fonts"
COLUMNS, SIDE, ARROW = 3, 256, 52
MARGIN, GAP = 40, 44
HEADING, NAME = 30, 26  # letters' size
PAPER, INK, FRAME = "#ffffff", "#222222", "#b8b8b8"


def main() -> None:
    target, heading, *rest = sys.argv[1:]
    sheet(heading, list(zip(rest[::3], rest[1::3], rest[2::3]))).save(target, optimize=True)


def sheet(heading: str, rows: list[tuple[str, str, str]]) -> Image.Image:
    """The sheet of names and pairs of files."""
    wide, high = 2 * SIDE + ARROW, NAME + 14 + SIDE
    top = MARGIN + HEADING + GAP
    lines = -(-len(rows) // COLUMNS)
    paper = Image.new(
        "RGB", (2 * MARGIN + COLUMNS * (wide + GAP) - GAP, top + lines * (high + GAP) - GAP + MARGIN), PAPER
    )
    pen = ImageDraw.Draw(paper)
    pen.text((MARGIN, MARGIN), heading, INK, font("Regular", HEADING))
    for number, (name, *files) in enumerate(rows):
        left, above = MARGIN + number % COLUMNS * (wide + GAP), top + number // COLUMNS * (high + GAP)
        pen.text((left, above), name, INK, font("Bold", NAME))
        above += high - SIDE
        for file, x in zip(files, (left, left + SIDE + ARROW)):
            paper.paste(Image.open(file).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS), (x, above))
            pen.rectangle((x - 1, above - 1, x + SIDE, above + SIDE), outline=FRAME)
        draw_arrow(pen, left + SIDE + 11, above + SIDE // 2, ARROW - 22)
    return paper


def draw_arrow(pen: ImageDraw.ImageDraw, left: int, middle: int, long: int) -> None:
    """An arrow to the right."""
    pen.rectangle((left, middle - 2, left + long - 12, middle + 2), fill=INK)
    pen.polygon([(left + long - 14, middle - 10), (left + long, middle), (left + long - 14, middle + 10)], fill=INK)


def font(weight: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONTS / f"LiberationSans-{weight}.ttf", size)


if __name__ == "__main__":
    main()
