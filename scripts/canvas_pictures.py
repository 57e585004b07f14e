"""Take the pictures of FlowInOne Canvas in use: of the README, and of every tool for the node's help page.

    python devtools/environment.py scripts/canvas_pictures.py

draws with the mouse in ComfyUI's page and writes docs/canvas.jpg, and next to the help page tools_en.webp and
tools_zh.webp.
"""

import math
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import Image

from devtools import HELP_PAGES, ROOT, photos
from devtools.browser.canvas import Canvas
from devtools.browser.chromium import browser_and_server
from devtools.browser.page import ComfyPage
from devtools.browser.screenshots import sharp_page
from devtools.contact_sheet import contact_sheet, in_rows, resized, save_within

NODE, TOP = (440, 710), 160


def box(canvas: Canvas) -> None:
    canvas.drag((0.45, 0.58), (0.83, 0.83))
    canvas.page.keyboard.type("place a bench")
    canvas.press("Escape")
    canvas.drag((0.62, 0.13), (0.83, 0.38))
    canvas.page.keyboard.type("put a red balloon")


def marker(canvas: Canvas) -> None:
    canvas.drag((0.86, 0.28), (0.72, 0.43))


def force(canvas: Canvas) -> None:
    canvas.drag((0.25, 0.44), (0.49, 0.37))


def wind(canvas: Canvas) -> None:
    canvas.drag((0.12, 0.34), (0.44, 0.3))


def trajectory(canvas: Canvas) -> None:
    canvas.drag((0.27, 0.56), (0.27, 0.43), (0.33, 0.27), (0.49, 0.19), (0.69, 0.18), (0.83, 0.16), steps=6)


def doodle(canvas: Canvas) -> None:
    canvas.drag((0.53, 0.49), (0.515, 0.42), (0.53, 0.33))
    turns = [(0, 0), (-1, 0.1), (-0.75, 0.2), (-0.35, 0.13), (0, 0.21), (0.35, 0.13), (0.75, 0.2), (1, 0.1), (0, 0)]
    canvas.drag(*((0.53 + away * math.sin(turn), 0.33 - away * math.cos(turn)) for turn, away in turns), steps=2)
    canvas.drag((0.525, 0.45), (0.56, 0.41), (0.61, 0.34), (0.57, 0.37), (0.525, 0.45))


def erase(canvas: Canvas) -> None:
    canvas.tool("erase")
    canvas.draw_ring(0.69, 0.46, 0.13)
    canvas.words.fill("Put a lighthouse there")


def caption(canvas: Canvas) -> None:
    canvas.words.fill("a cosy cabin by a lake at sunset, oil painting")


def name(canvas: Canvas) -> None:
    canvas.words.fill("golden retriever")


# A task, the photo it is drawn on, and what is drawn.
SHOWN: list[tuple[str, str, Callable]] = [
    ("text_box", "meadow", box),
    ("doodle", "room", doodle),
    ("point_force", "ground", force),
    ("visual_marker", "sea", marker),
    ("trajectory", "floor", trajectory),
    ("wind", "sea", wind),
    ("text_in_image", "lake", erase),
    ("text_to_image", "lake", caption),
    ("class_to_image", "lake", name),
]


def main() -> None:
    with browser_and_server(furnish) as (browser, server):
        for language in ("en", "zh"):
            with sharp_page(browser, server.url, language) as page:
                tools = [resized(drawn(page, *shown), 352) for shown in SHOWN]
                sheet = contact_sheet(list(in_rows(tools, 3)), gap=12, margin=0, paper=None)
                target = HELP_PAGES / "FlowInOneCanvas" / f"tools_{language}.webp"
                save_within(sheet, target, 120_000, range(88, 40, -6), method=6)
                if language == "en":
                    picture = resized(together(page, SHOWN[:3]).convert("RGB"), 1500)
                    qualities = range(90, 60, -3)
                    save_within(picture, ROOT / "docs" / "canvas.jpg", 250_000, qualities, optimize=True, subsampling=0)


def furnish(base: Path) -> None:
    """Give ComfyUI's folder the photos."""
    photos.save_photos(base / "input")


def drawn(page: ComfyPage, task: str, photo: str, draw: Callable) -> Image.Image:
    """A canvas with its tools, after something was drawn on it."""
    page.clear()
    canvas = started(page, task, photo, 150)
    draw(canvas)
    canvas.exact()
    return Image.open(BytesIO(canvas.element.screenshot()))


def started(page: ComfyPage, task: str, photo: str, left: int) -> Canvas:
    canvas = Canvas.new(page, (left, TOP), NODE, picture=f"{photo}.png")
    canvas.wait_for_background(f"{photo}.png")
    canvas.task(task)
    return canvas


def together(page: ComfyPage, shown: list[tuple[str, str, Callable]]) -> Image.Image:
    """Several canvases in one graph."""
    page.clear()
    lefts = [150 + number * (NODE[0] + 24) for number in range(len(shown))]
    for left, (task, photo, draw) in zip(lefts, shown):
        canvas = started(page, task, photo, left)
        draw(canvas)
        canvas.exact()
    page.page.evaluate("() => { app.canvas.deselectAll(); document.activeElement.blur(); }")
    page.page.wait_for_timeout(600)
    clip = dict(x=lefts[0] - 14, y=TOP - 44, width=lefts[-1] - lefts[0] + NODE[0] + 28, height=NODE[1] + 58)
    return Image.open(BytesIO(page.page.screenshot(clip=clip)))


if __name__ == "__main__":
    main()
