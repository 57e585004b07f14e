"""Take the README's picture of a graph: a shipped workflow after a run with mini, as ComfyUI's page shows it.

    python devtools/environment.py scripts/graph_picture.py [NAME]

writes docs/compose.png of workflows/NAME.json ("Text box"), without its notes.
"""

import sys
import tempfile

from help_pictures import PLACE, ROOT, SHOW, clipped, opened
from PIL import Image
from playwright.sync_api import sync_playwright

from devtools import environment
from devtools.comfyui.server import ComfyServer

WIDTH = 1600
DROP_NOTES = "() => app.graph.remove(app.graph.nodes.find(({type}) => type === 'MarkdownNote'))"


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "Text box"
    browser, comfyui = environment.browser_and_comfyui()
    with (
        tempfile.TemporaryDirectory() as base,
        ComfyServer(comfyui, sys.executable, base) as server,
        sync_playwright() as playwright,
    ):
        with playwright.chromium.launch(executable_path=browser, **environment.BROWSER_OPTIONS) as chromium:
            with opened(chromium, server.url, "en") as page:
                page.drop(f"{name}.json", (ROOT / "workflows" / f"{name}.json").read_bytes())
                page.page.evaluate(DROP_NOTES)
                end = page.run()
                assert end["kind"] == "execution_success", end
                for node in page.graph()["nodes"]:
                    if node["type"] in ("FlowInOneCompose", "SaveImage"):
                        page.pictures(node["id"])
                page.page.wait_for_timeout(1000)  # what has brought them into view moves on for a while
                page.page.evaluate(SHOW, PLACE)
                picture = clipped(page).convert("RGB")
    height = round(picture.height * WIDTH / picture.width)
    picture.resize((WIDTH, height), Image.Resampling.LANCZOS).save(ROOT / "docs" / "compose.png", optimize=True)


if __name__ == "__main__":
    main()
