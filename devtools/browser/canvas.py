"""A FlowInOne Canvas in ComfyUI's page: draw on it with mouse and keyboard, and read the drawing."""

from __future__ import annotations

import base64
import json
import math

from devtools.browser.page import ComfyPage

PANEL = "(id) => app.canvas.graph.getNodeById(id).widgets.find(({flowinone}) => flowinone).flowinone"
# Marks the widget's element with the node's id, in whichever place the renderer has put it.
FIND = f"(id) => {{ const {{element}} = ({PANEL})(id); element.dataset.canvas = id; return element.isConnected; }}"
ADD = """([kind, pos, size, values]) => {
    const node = LiteGraph.createNode(kind);
    app.canvas.graph.add(node);
    node.pos = pos;
    if (size) node.setSize(size);
    for (const [name, value] of Object.entries(values))
        node.widgets.find((widget) => widget.name === name).value = value;
    app.graph.setDirtyCanvas(true, true);
    return node.id;
}"""
CONNECT = """([from, output, to, input]) => {
    const [one, other] = [from, to].map((id) => app.canvas.graph.getNodeById(id));
    const [from_slot, to_slot] = [one.outputs.findIndex(({name}) => name === output),
        other.inputs.findIndex(({name}) => name === input)];
    one.connect(from_slot, other, to_slot);
}"""
# A point of the drawing, in fractions, as a point of the page.
PLACE = f"""([id, points]) => {{
    const {{stage}} = ({PANEL})(id), box = stage.element.getBoundingClientRect();
    const scale = box.width / stage.element.clientWidth;
    const {{side, left, top}} = stage.place();
    return points.map(([x, y]) => [box.left + scale * (left + x * side), box.top + scale * (top + y * side)]);
}}"""
DROP = """(element, [kind, name, type, content]) => {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name, {type}));
    const events = kind === 'paste'
        ? [new ClipboardEvent('paste', {bubbles: true, cancelable: true, clipboardData: dataTransfer})]
        : ['dragenter', 'dragover', 'drop'].map(
            (name) => new DragEvent(name, {bubbles: true, cancelable: true, dataTransfer}));
    for (const event of events) element.dispatchEvent(event);
}"""
# The renderer's picture of the present drawing, once it is there, as the address of a PNG.
EXACT = f"""async (id) => {{
    const panel = ({PANEL})(id);
    for (let waits = 0; panel.exact?.prompt !== panel.editor.prompt || panel.exact.rest !== panel.rest(); waits++) {{
        if (waits > 200) throw new Error(panel.status.textContent);
        await new Promise((done) => setTimeout(done, 50));
    }}
    const {{bitmap}} = panel.exact, {{width, height}} = bitmap;
    const copy = Object.assign(document.createElement('canvas'), {{width, height}});
    copy.getContext('2d').drawImage(bitmap, 0, 0);
    return copy.toDataURL();
}}"""


def add(page: ComfyPage, kind: str, pos=(0, 0), size=None, **values) -> int:
    """Add a node to the graph that is shown; its id."""
    return page.page.evaluate(ADD, [kind, list(pos), list(size) if size else None, values])


def connect(page: ComfyPage, source: int, output: str, target: int, name: str) -> None:
    page.page.evaluate(CONNECT, [source, output, target, name])


class Canvas:
    """The canvas of a node in the graph that is shown. A node that was recreated needs a new Canvas."""

    def __init__(self, page: ComfyPage, node: int):
        self.comfy, self.page, self.node = page, page.page, node
        self.page.wait_for_function(FIND, arg=node)
        self.element = self.page.locator(f'.fio[data-canvas="{node}"]')
        self.stage = self.element.locator("canvas")
        self.words = self.element.locator("textarea")
        self.status = self.element.locator(".fio-status")
        self.page.wait_for_function(f"(id) => ({PANEL})(id).stage.element.clientWidth", arg=node)

    @classmethod
    def new(cls, page: ComfyPage, pos=(150, 100), size=None, **values) -> Canvas:
        """Add a canvas to the graph, and look at it at the graph's zoom 1."""
        node = add(page, "FlowInOneCanvas", pos, size, **values)
        page.page.evaluate(
            "() => { Object.assign(app.canvas.ds, {scale: 1, offset: [0, 0]}); app.graph.setDirtyCanvas(true, true); }"
        )
        return cls(page, node)

    # Reading

    def drawing(self) -> dict:
        return json.loads(self.value())

    def value(self) -> str:
        return self.page.evaluate(f"(id) => ({PANEL})(id).value", self.node)

    def marks(self) -> list[dict]:
        return self.drawing()["marks"]

    def types(self) -> list[str]:
        return [mark["type"] for mark in self.marks()]

    def selected(self) -> list[int]:
        return self.page.evaluate(f"(id) => ({PANEL})(id).editor.selection", self.node)

    def background(self) -> str | None:
        """The name of the picture that is shown beneath the marks."""
        return self.page.evaluate(f"(id) => ({PANEL})(id).background.photo?.name ?? null", self.node)

    def wait_for_background(self, name: str | None) -> None:
        wanted = f"([id, name]) => (({PANEL})(id).background.photo?.name ?? null) === name"
        self.page.wait_for_function(wanted, arg=[self.node, name])

    def wait_for_marks(self, count: int) -> None:
        """Wait until there are that many marks: the server checks what is pasted first."""
        self.page.wait_for_function(
            f"([id, count]) => ({PANEL})(id).editor.prompt.marks.length === count", arg=[self.node, count]
        )

    def exact(self) -> bytes:
        """The renderer's picture of the present drawing, as a PNG."""
        return base64.b64decode(self.page.evaluate(EXACT, self.node).partition(",")[2])

    # Acting

    def at(self, *points) -> list[list[float]]:
        return self.page.evaluate(PLACE, [self.node, points])

    def drag(self, *points, steps: int = 3) -> None:
        """Press the mouse at the first point, in fractions of the drawing, move through the others, and release."""
        first, *others = self.at(*points)
        self.page.mouse.move(*first)
        self.page.mouse.down()
        for point in others:
            self.page.mouse.move(*point, steps=steps)
        self.page.mouse.up()

    def click(self, *point) -> None:
        self.page.mouse.click(*self.at(point)[0])

    def draw_ring(self, x: float, y: float, radius: float, parts: int = 24) -> None:
        turns = [2 * math.pi * part / parts for part in range(parts + 1)]
        self.drag(*((x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in turns), steps=1)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def tool(self, name: str) -> None:
        """Press a tool's or another button."""
        self.element.locator(f"[data-fio={name}]").click()

    def task(self, name: str) -> None:
        self.element.locator("select").first.select_option(name)

    def give(self, kind: str, name: str, type: str, content: str) -> None:
        """Drop or paste a file; its content is base64."""
        self.stage.evaluate(DROP, [kind, name, type, content])
