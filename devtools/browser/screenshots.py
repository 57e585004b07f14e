"""Screenshots of graphs in ComfyUI's page, for the documentation."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from types import SimpleNamespace

from PIL import Image
from playwright.sync_api import Browser

from devtools.browser.page import CLASSIC_BOXES, ComfyPage

PIXEL_RATIO = 2
"""Pixels of a screenshot for each CSS pixel of the page."""
ORIGIN = (130, 160)
"""Where the graph's origin is shown, in CSS pixels: clear of ComfyUI's menus."""
MARGIN = 14
"""CSS pixels around the nodes."""

SHOW = """([left, top]) => {
    const {canvas, ds} = app.canvas, place = canvas.getBoundingClientRect();
    ds.scale = 1;
    ds.offset = [left - place.left, top - place.top];
    app.canvas.deselectAll();
    app.canvas.setDirty(true, true);
}"""


def sharp_page(browser: Browser, url: str, language: str) -> ComfyPage:
    """ComfyUI's page in a language ("en", "zh"), at twice the resolution and with nothing over the graph."""
    settings = {
        "Comfy.Locale": language,
        "Comfy.NodeBadge.NodeSourceBadgeMode": "None",
        "Comfy.Graph.CanvasMenu": False,
    }
    with browser.new_context() as context:
        context.request.post(f"{url}/api/settings", data=settings)
    sharp = SimpleNamespace(new_context=partial(browser.new_context, device_scale_factor=PIXEL_RATIO))
    return ComfyPage(sharp, url, vue=False)


def show_graph(page: ComfyPage) -> None:
    """Move the view to where `graph_picture` expects the graph, at zoom 1, with nothing selected."""
    page.page.evaluate(SHOW, ORIGIN)


def graph_picture(page: ComfyPage) -> Image.Image:
    """A screenshot of all nodes, after `show_graph`."""
    page.page.wait_for_timeout(600)  # previews fade in
    lefts, tops, rights, bottoms = zip(*page.page.evaluate(CLASSIC_BOXES).values())
    width, height = max(rights) - min(lefts) + 2 * MARGIN, max(bottoms) - min(tops) + 2 * MARGIN
    left, top = ORIGIN[0] + min(lefts) - MARGIN, ORIGIN[1] + min(tops) - MARGIN
    return Image.open(BytesIO(page.page.screenshot(clip=dict(x=left, y=top, width=width, height=height))))
