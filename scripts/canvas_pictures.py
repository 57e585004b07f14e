"""Take the pictures of FlowInOne Canvas in use: of the README, and of every tool for the node's help page.

    python devtools/environment.py scripts/canvas_pictures.py

draws with the mouse in ComfyUI's page and writes docs/canvas.jpg, and tools_en.webp and tools_zh.webp beside the help page.
"""

import math
import sys
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from help_pictures import DOCS, GAP, LANGUAGES, ROOT, furnish, opened, save
from PIL import Image
from playwright.sync_api import sync_playwright

from devtools import environment
from devtools.browser.canvas import Canvas
from devtools.browser.page import ComfyPage
from devtools.comfyui.server import ComfyServer

LARGEST = 250_000  # bytes of the README's picture
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
    browser, comfyui = environment.browser_and_comfyui()
    with tempfile.TemporaryDirectory() as base:
        furnish(Path(base))
        with ComfyServer(comfyui, sys.executable, base) as server, sync_playwright() as playwright:
            with playwright.chromium.launch(executable_path=browser, **environment.BROWSER_OPTIONS) as chromium:
                for language in LANGUAGES:
                    with opened(chromium, server.url, language) as page:
                        tools = [drawn(page, *shown) for shown in SHOWN]
                        save(tiled(tools, 3, 352), DOCS / "FlowInOneCanvas" / f"tools_{language}.webp")
                        if language == "en":
                            save_jpeg(together(page, SHOWN[:3]), ROOT / "docs" / "canvas.jpg")


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


def tiled(pictures: list[Image.Image], columns: int, width: int) -> Image.Image:
    """Pictures of one size in rows, each that wide."""
    height = round(width * pictures[0].height / pictures[0].width)
    rows = -(-len(pictures) // columns)
    paper = Image.new("RGBA", (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP))
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        paper.paste(
            picture.resize((width, height), Image.Resampling.LANCZOS), (column * (width + GAP), row * (height + GAP))
        )
    return paper


def save_jpeg(picture: Image.Image, path: Path) -> None:
    """Write a picture as well as its few bytes allow."""
    picture = picture.convert("RGB").resize(
        (1500, round(1500 * picture.height / picture.width)), Image.Resampling.LANCZOS
    )
    for quality in range(90, 60, -3):
        picture.save(path, quality=quality, optimize=True, subsampling=0)
        if path.stat().st_size <= LARGEST:
            break
    print(f"{path.relative_to(ROOT)}, {picture.width} x {picture.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
