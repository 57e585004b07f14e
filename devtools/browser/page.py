"""ComfyUI's page: open a workflow in it, set widgets, run it, read the result."""

from __future__ import annotations

import base64
import time
from pathlib import Path

from playwright.sync_api import Browser, TimeoutError

# Turns off what a user would have dismissed, and what covers the graph or redraws all the time.
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Validation.Workflows": True,  # the frontend checks every graph against its own schema, and says so
    "Comfy.Appearance.DisableAnimations": True,  # they also leave masks behind that catch clicks, if two follow closely
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.RightSidePanel.IsOpen": False,
}
# The page opens its first graph last of all, and would replace one that a test has begun.
READY = """() => window.app?.vueAppReady && app.extensionManager.workflow.activeWorkflow
    && document.querySelector('#graph-canvas')"""
LISTEN = """() => {
    window.ended = [];
    for (const kind of ['execution_success', 'execution_error', 'execution_interrupted'])
        app.api.addEventListener(kind, ({detail}) => ended.push({kind, ...detail}));
}"""
# The events of a real drag, at the topmost element in the middle of the page.
DROP = """([name, type, content]) => {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name, {type}));
    const place = {clientX: innerWidth / 2, clientY: innerHeight / 2};
    const target = document.elementFromPoint(place.clientX, place.clientY);
    for (const kind of ['dragenter', 'dragover', 'drop'])
        target.dispatchEvent(new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer, ...place}));
}"""
WIDGET = "([id, name]) => app.graph.getNodeById(id).widgets.find((widget) => widget.name === name)"
# The middle of a widget that the classic renderer has drawn, in pixels of the page.
WIDGET_PLACE = """([id, name]) => {
    const node = app.graph.getNodeById(id), {last_y} = node.widgets.find((widget) => widget.name === name);
    const {left, top} = app.canvas.canvas.getBoundingClientRect(), {scale, offset} = app.canvas.ds;
    const place = [node.pos[0] + node.size[0] / 2, node.pos[1] + last_y + LiteGraph.NODE_WIDGET_HEIGHT / 2];
    return [left + (place[0] + offset[0]) * scale, top + (place[1] + offset[1]) * scale];
}"""
# Left, top, right and bottom of every node with its title, in units of the graph.
CLASSIC_BOXES = """() => Object.fromEntries(app.graph.nodes.map((node) => {
    const [left, top, width, height] = node.boundingRect;
    return [node.id, [left, top, left + width, top + height]];
}))"""
VUE_BOXES = """() => {
    const {left, top} = app.canvas.canvas.getBoundingClientRect(), {scale, offset} = app.canvas.ds;
    return Object.fromEntries([...document.querySelectorAll('[data-node-id]')].map((element) => {
        const box = element.getBoundingClientRect();
        const x = (side) => (side - left) / scale - offset[0], y = (side) => (side - top) / scale - offset[1];
        return [element.dataset.nodeId, [x(box.left), y(box.top), x(box.right), y(box.bottom)]];
    }));
}"""
# Width of the pictures that a node shows: on the canvas, or in its element.
CLASSIC_PICTURES = "(id) => (app.graph.getNodeById(id).imgs ?? []).map(({src, naturalWidth}) => [src, naturalWidth])"
VUE_PICTURES = """(id) => [...document.querySelectorAll(`[data-node-id="${id}"] img`)].map(
    ({src, naturalWidth}) => [src, naturalWidth])"""


def _appears(element) -> bool:
    """Whether an element shows up within five seconds."""
    try:
        element.wait_for(timeout=5000)
    except TimeoutError:
        return False
    return True


class ComfyPage:
    """The page of the server at `url` in a browser profile of its own, with the classic renderer or `vue`, Nodes 2.0.

    `problems` collects what a developer would see in the browser's console: warnings, errors, failed requests, and
    requests to other servers, which are blocked. `context` holds arguments of Browser.new_context, such as has_touch.
    """

    def __init__(self, browser: Browser, url: str, vue: bool, **context):
        self.url, self.vue = url, vue
        self.problems: list[str] = []
        self.context = browser.new_context(**{"viewport": {"width": 1920, "height": 1200}} | context)
        self.context.request.post(f"{url}/api/settings", data=SETTINGS | {"Comfy.VueNodes.Enabled": vue})
        self.context.route("**/*", self._only_to_the_server)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        self._open_requests = set()
        self.page.on("request", lambda request: self._open_requests.add(request))
        self.page.on("requestfinished", lambda request: self._open_requests.discard(request))
        self.page.on("requestfailed", lambda request: self._open_requests.discard(request))
        self.page.goto(url)
        self.wait_until_ready()
        # What ComfyUI itself logs on every start is kept apart.
        self.opening, self.problems = self.problems, []

    def __enter__(self) -> ComfyPage:
        return self

    def __exit__(self, *exception) -> None:
        self.context.close()

    def wait_until_ready(self) -> None:
        """Wait until ComfyUI has started in the page; also after a reload."""
        self.page.wait_for_function(READY)
        # Extensions, templates and the default graph are loaded after that.
        self.page.wait_for_load_state("networkidle")
        self.page.evaluate(LISTEN)

    def command(self, name: str) -> None:
        """Run a command of ComfyUI's menus, such as Comfy.NewBlankWorkflow."""
        self.page.evaluate("(name) => app.extensionManager.command.execute(name)", name)

    def clear(self) -> None:
        """Begin an empty workflow."""
        self.command("Comfy.NewBlankWorkflow")
        self.page.wait_for_function("() => app.graph.nodes.length === 0")

    def browse_templates(self, pack: str) -> dict[str, int]:
        """Open the templates of a pack; return the width of each one's thumbnail, in pixels of its file, by title."""
        self.clear()
        self.page.get_by_role("button", name="Templates").click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_text(pack, exact=True).first.click()
        cards = dialog.locator("[data-testid^=template-workflow-]")
        cards.first.locator("img").wait_for()
        shown = {}
        for card in cards.all():
            card.scroll_into_view_if_needed()
            picture = card.locator("img").element_handle()
            self.page.wait_for_function("(picture) => picture.complete", arg=picture)
            shown[card.get_by_role("heading").inner_text()] = picture.evaluate("(picture) => picture.naturalWidth")
        return shown

    def open_template(self, name: str) -> None:
        """Choose a template in the dialog that `browse_templates` opened."""
        self.page.get_by_role("dialog").get_by_test_id(f"template-workflow-{name}").click()
        self._wait_for_a_graph()

    def drop(self, name: str, content: bytes) -> None:
        """Drag a workflow file, JSON or PNG, into an empty graph and wait until its own is there."""
        self.clear()
        kind = "application/json" if name.endswith(".json") else "image/png"
        self.page.evaluate(DROP, [name, kind, base64.b64encode(content).decode()])
        self._wait_for_a_graph()

    def graph(self) -> dict:
        """The graph as the page would save it."""
        return self.page.evaluate("() => app.graph.serialize()")

    def prompt(self) -> dict:
        """The graph as the page would send it to the server."""
        return self.page.evaluate("() => app.graphToPrompt().then(({output}) => output)")

    def choose(self, node: int, widget: str, option: str) -> None:
        """Choose an option of a node's list, with the mouse."""
        self._look_at(node)
        if self.vue:
            label = self.page.evaluate(
                f"(place) => (({{label, name}}) => label || name)(({WIDGET})(place))", [node, widget]
            )
            self.page.locator(f'[data-node-id="{node}"]').get_by_role("combobox", name=label, exact=True).click()
            self.page.get_by_role("option", name=option, exact=True).click()
        else:
            entry = self.page.locator(".litecontextmenu .litemenu-entry").get_by_text(option, exact=True)
            self._click_widget(node, widget)
            if not _appears(entry):
                # A canvas that was still being drawn takes a click for another place.
                self.page.keyboard.press("Escape")
                self._look_at(node)
                self._click_widget(node, widget)
            entry.click()
        chosen = f"([place, option]) => ({WIDGET})(place).value === option"
        self.page.wait_for_function(chosen, arg=[[node, widget], option])

    def upload(self, node: int, picture: Path) -> None:
        """Bring a picture into a node with its upload button."""
        if self.vue:
            self.page.locator(f'[data-node-id="{node}"] input[type=file]').set_input_files(picture)
        else:
            self._look_at(node)
            with self.page.expect_file_chooser() as chooser:
                self._click_widget(node, "upload")
            chooser.value.set_files(picture)
        uploaded = f"([place, name]) => ({WIDGET})(place).value.includes(name)"
        self.page.wait_for_function(uploaded, arg=[[node, "image"], picture.stem])

    def set(self, node: int, widget: str, value) -> None:
        """Give a widget a value, as if it had been typed."""
        type_in = "(widget, value) => { widget.value = value; widget.callback?.(value); }"
        self.page.evaluate(f"([place, value]) => ({type_in})(({WIDGET})(place), value)", [[node, widget], value])

    def with_widget(self, name: str) -> list[int]:
        """The nodes that have a widget of that name."""
        script = "(name) => app.graph.nodes.filter((node) => node.widgets?.some((widget) => widget.name === name))"
        return self.page.evaluate(f"(name) => ({script})(name).map((node) => node.id)", name)

    def run(self) -> dict:
        """Press Run and wait for the end; return the message about it (`kind`, `prompt_id`, an error's details).

        Raises AssertionError with the page's own words if it cannot begin.
        """
        assert not self.complaint(), self.complaint()
        self.page.evaluate("() => { ended.length = 0; }")
        self.page.get_by_test_id("queue-button").click()
        self.page.wait_for_function(
            "() => ended.length || document.querySelector('[data-testid=error-overlay]')", timeout=120_000
        )
        end = self.page.evaluate("() => ended[0]")
        assert end, self.complaint()
        return end

    def complaint(self) -> str:
        """What the page says is wrong with the workflow; "" if nothing, or nothing that lasts."""
        # A connection that breaks for a moment, as on an overloaded machine, is not the workflow's fault.
        said = self.page.locator("[data-testid=error-overlay], .p-toast-message:not(:has-text('Reconnect'))")
        try:
            said.first.wait_for(state="hidden", timeout=10_000)  # it follows a choice with some delay
        except TimeoutError:
            return "\n".join(said.all_inner_texts())
        return ""

    def missing_models(self) -> set[tuple[str, str]]:
        """Name and folder of every model file that the page offers to download."""
        self.page.get_by_test_id("error-overlay-see-errors").click()
        rows = self.page.get_by_test_id("missing-model-importable-rows")
        words = [line for line in rows.inner_text().split("\n") if line != "Download"]
        self.page.evaluate("() => app.extensionManager.setting.set('Comfy.RightSidePanel.IsOpen', false)")
        return set(zip(words[::2], words[1::2]))

    def red_nodes(self) -> list[str]:
        """The types of nodes that are marked as faulty or that the page does not know."""
        return self.page.evaluate(
            "() => app.graph.nodes.filter((node) => node.has_errors || !LiteGraph.registered_node_types[node.type])"
            ".map((node) => node.type)"
        )

    def boxes(self) -> dict[int, list[float]]:
        """Left, top, right and bottom of every node with its title as it is drawn, in units of the graph."""
        self.fit()
        boxes = self.page.evaluate(VUE_BOXES if self.vue else CLASSIC_BOXES)
        return {int(node): box for node, box in boxes.items()}

    def hidden_text(self) -> int:
        """How many pixels of the longest note are out of its node, to be scrolled to."""
        script = "(parts) => Math.max(...parts.map((part) => part.scrollHeight - part.clientHeight))"
        return self.page.locator(".comfy-markdown .tiptap, .comfy-markdown-content").evaluate_all(script)

    def pictures(self, node: int) -> list[tuple[str, int]]:
        """Address and width in pixels of the pictures that a node shows, once it shows any."""
        self.fit()  # the classic renderer loads what is in view
        script = VUE_PICTURES if self.vue else CLASSIC_PICTURES
        loaded = (
            f"(id) => {{ const shown = ({script})(id); return shown.length && shown.every(([, width]) => width); }}"
        )
        self.page.wait_for_function(loaded, arg=node)
        return [tuple(picture) for picture in self.page.evaluate(script, node)]

    def fit(self) -> None:
        """Bring the whole graph into view."""
        self.command("Comfy.Canvas.FitView")
        self._wait_for_a_frame()

    def screenshot(self, path: Path) -> None:
        """Save what the window shows, the whole graph in view."""
        self.fit()
        self.page.mouse.move(960, 1190)  # where no tooltip is
        self.page.wait_for_timeout(600)  # the view glides, and pictures fade in
        self.page.screenshot(path=path)

    def _click_widget(self, node: int, widget: str) -> None:
        drawn = f"(place) => ({WIDGET})(place).last_y !== undefined"
        self.page.wait_for_function(drawn, arg=[node, widget])
        self.page.mouse.click(*self.page.evaluate(WIDGET_PLACE, [node, widget]))

    def _look_at(self, node: int) -> None:
        self.page.evaluate(
            "(id) => { app.canvas.ds.scale = 1; app.canvas.centerOnNode(app.graph.getNodeById(id)); }", node
        )
        self._wait_for_a_frame()

    def _wait_for_a_graph(self) -> None:
        self.page.wait_for_function(
            "() => app.graph.nodes.length && !app.extensionManager.spinner"
            " && !document.querySelector('.p-blockui-mask')"
        )
        self._wait_for_answers()

    def _wait_for_answers(self) -> None:
        # The page asks for pictures and folders after it has opened a graph. It then reports all model files as missing
        # that were missing before it asked; a file that was chosen in the meantime would be reported for good.
        deadline = time.monotonic() + 30
        while self._open_requests and time.monotonic() < deadline:
            self.page.wait_for_timeout(20)
        self._wait_for_a_frame()

    def _wait_for_a_frame(self) -> None:
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def _only_to_the_server(self, route) -> None:
        if route.request.url.startswith((self.url, "data:", "blob:")):
            route.continue_()
        else:
            self.problems.append(f"asked {route.request.url}")
            route.abort()

    def _hear(self, message) -> None:
        place = message.location.get("url") or ""
        # ComfyUI looks for the models of its own default graph.
        if message.type in ("warning", "error") and "/missingModelDownload" not in place:
            self.problems.append(f"{message.type}: {message.text} ({place})")
