"""Make the icon and the banner that the Comfy Registry shows, from the gallery: docs/icon.jpg and docs/banner.jpg.

    python scripts/registry_pictures.py

Needs Pillow alone. Run it again after scripts/gallery.py has drawn docs/gallery.jpg anew.
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
FONTS = ROOT / "flowinone" / "prompts" / "fonts"
TILES = 3
MARGIN = 8
"""Pixels between the tiles of the gallery, and around them."""
# The Registry takes icons of up to 400 x 400 pixels, and banners of 21:9.
ICON_SIDE = 400
BANNER_SIZE = (1680, 720)
GROUND, INK, ACCENT = "#202027", "#ffffff", "#8ec5fc"


def main() -> None:
    gallery = Image.open(ROOT / "docs" / "gallery.jpg").convert("RGB")
    doodle = tile(gallery, row=1, column=2)
    # Without the instruction below it, which nobody could read at an icon's size.
    side = round(0.82 * doodle.width)
    left = (doodle.width - side) // 2
    icon = doodle.crop((left, 0, left + side, side)).resize((ICON_SIDE, ICON_SIDE), Image.Resampling.LANCZOS)
    icon.save(ROOT / "docs" / "icon.jpg", quality=90, optimize=True, progressive=True)
    banner(gallery).save(ROOT / "docs" / "banner.jpg", quality=88, optimize=True, progressive=True)


def tile(gallery: Image.Image, row: int, column: int) -> Image.Image:
    """One square of the gallery."""
    side = (gallery.width - (TILES + 1) * MARGIN) // TILES
    left, top = (MARGIN + place * (side + MARGIN) for place in (column, row))
    return gallery.crop((left, top, left + side, top + side))


def font(weight: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONTS / f"LiberationSans-{weight}.ttf"), size)


def banner(gallery: Image.Image) -> Image.Image:
    """The pack's name above three visual prompts."""
    width, height = BANNER_SIZE
    sheet = Image.new("RGB", BANNER_SIZE, GROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((86, 48), "FlowInOne", INK, font("Bold", 92))
    line = "Draw the prompt on the picture: words, boxes, arrows, doodles"
    draw.text((90, 158), line, ACCENT, font("Regular", 42))
    side, gap = 460, 60
    left, top = (width - 3 * side - 2 * gap) // 2, height - side - 36
    for number, (row, column) in enumerate([(1, 0), (1, 1), (2, 2)]):
        picture = tile(gallery, row, column).resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(picture, (left + number * (side + gap), top))
    return sheet


if __name__ == "__main__":
    main()
