"""Take the README's picture of a graph: a shipped workflow after a run with mini, as ComfyUI's page shows it.

    python devtools/environment.py scripts/graph_picture.py [NAME]

writes docs/compose.png of workflows/NAME.json ("Text box"), without its notes.
"""

import sys

from devtools import ROOT
from devtools.browser.chromium import browser_and_server
from devtools.browser.screenshots import graph_picture, sharp_page, show_graph
from devtools.contact_sheet import resized

DROP_NOTES = "() => app.graph.remove(app.graph.nodes.find(({type}) => type === 'MarkdownNote'))"


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "Text box"
    with browser_and_server() as (browser, server), sharp_page(browser, server.url, "en") as page:
        page.drop(f"{name}.json", (ROOT / "workflows" / f"{name}.json").read_bytes())
        page.page.evaluate(DROP_NOTES)
        end = page.run()
        assert end["kind"] == "execution_success", end
        for node in page.graph()["nodes"]:
            if node["type"] in ("FlowInOneCompose", "SaveImage"):
                page.pictures(node["id"])
        page.page.wait_for_timeout(1000)  # bringing them into view moves the graph for a moment
        show_graph(page)
        picture = graph_picture(page).convert("RGB")
    resized(picture, 1600).save(ROOT / "docs" / "compose.png", optimize=True)


if __name__ == "__main__":
    main()
