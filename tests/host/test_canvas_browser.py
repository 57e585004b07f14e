"""FlowInOne Canvas in ComfyUI's page, in both renderers: drawings are saved, and are what the model gets."""

import base64
import json
import shutil
from contextlib import ExitStack

import numpy as np
import pytest
from PIL import Image

from devtools import ROOT
from devtools import photos as scenes
from devtools.comfyui.fixtures import PHOTO
from devtools.pixels import as_saved, opened
from flowinone import cli
from flowinone.prompts import loads, render

WIDE = "wide.png"
INVERTED = 255 - np.asarray(Image.open(PHOTO).convert("RGB"))


@pytest.fixture(scope="module")
def open_page(browser, server):
    """Open ComfyUI's page in a renderer, with a browser context's settings if any are given; closed at the end."""
    from devtools.browser.page import ComfyPage

    shutil.copy(server.comfyui / "input" / "example.png", server.base / "input")
    shutil.copy(PHOTO, server.base / "input" / WIDE)
    scenes.photo(scenes.meadow()).save(server.base / "input" / "meadow.png")
    with ExitStack() as stack:

        def page(renderer, **context):
            opened = stack.enter_context(ComfyPage(browser, server.url, renderer == "Nodes 2.0", **context))
            opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
            return opened

        yield page


@pytest.fixture(scope="module")
def pages():
    return {}


@pytest.fixture(params=["classic", "Nodes 2.0"])
def page(request, open_page, pages):
    """An empty graph; the page must have nothing to complain about after the test."""
    if request.param not in pages:
        pages[request.param] = open_page(request.param)
    page = pages[request.param]
    page.problems.clear()
    page.clear()
    yield page
    assert not page.problems


@pytest.fixture
def classic(open_page, pages):
    if "classic" not in pages:
        pages["classic"] = open_page("classic")
    pages["classic"].problems.clear()
    pages["classic"].clear()
    return pages["classic"]


@pytest.fixture
def new():
    """Add a canvas to a page's graph."""
    from devtools.browser.canvas import Canvas

    return Canvas.new


def again(canvas):
    """The same canvas after ComfyUI has made its node anew."""
    return type(canvas)(canvas.comfy, canvas.node)


def on_picture(new, page, **options):
    """A canvas with Load Image in front of it and Save Image behind."""
    from devtools.browser.canvas import add, connect

    canvas = new(page, (500, 100), (460, 780), **options)
    load, save = add(page, "LoadImage", (100, 100), image=WIDE), add(page, "SaveImage", (1100, 100), (400, 460))
    connect(page, load, "IMAGE", canvas.node, "image")
    connect(page, canvas.node, "IMAGE", save, "images")
    canvas.wait_for_background(WIDE)
    return canvas, load, save


def run(page, client, save):
    """Press Run; name and content of the saved picture."""
    end = page.run()
    assert end["kind"] == "execution_success", end
    outputs = client.wait(end["prompt_id"])["outputs"]
    (saved,) = client.images({"outputs": {save: outputs[str(save)]}})
    return saved


def composed(drawing, photo, tmp_path, size=512):
    """What the command line makes of the drawing on a photo."""
    (tmp_path / "drawing.json").write_text(drawing, encoding="utf-8")
    made = tmp_path / "made.png"
    command = [
        "compose",
        str(tmp_path / "drawing.json"),
        "--image",
        str(photo),
        "--size",
        str(size),
        "--out",
        str(made),
        "--overwrite",
    ]
    assert cli.main(command) == 0
    return Image.open(made)


def draw_everything(canvas):
    """A mark of each kind, each with the tool of its task."""
    canvas.drag((0.1, 0.1), (0.4, 0.35))
    canvas.page.keyboard.type("put a fox")
    for task, tool, draw in [
        ("visual_marker", "marker", lambda: canvas.drag((0.9, 0.1), (0.7, 0.25))),
        ("point_force", "force", lambda: canvas.drag((0.2, 0.6), (0.4, 0.5))),
        ("wind", "wind", lambda: canvas.drag((0.5, 0.15), (0.8, 0.1))),
        ("trajectory", "trajectory", lambda: canvas.drag((0.6, 0.8), (0.7, 0.6), (0.8, 0.7), (0.95, 0.5))),
        ("doodle", "doodle", lambda: (canvas.draw_ring(0.3, 0.75, 0.08), canvas.draw_ring(0.3, 0.75, 0.03))),
        ("text_in_image", "erase", lambda: canvas.draw_ring(0.55, 0.45, 0.06)),
    ]:
        canvas.task(task)
        canvas.tool(tool)
        draw()
    canvas.tool("text")
    canvas.drag((0.05, 0.85), (0.95, 0.97))
    canvas.page.keyboard.type("a fox in the snow")


KINDS = ["box", "marker", "force", "wind", "trajectory", "doodle", "erase", "text"]


def test_every_kind_of_mark_is_drawn_kept_and_given_to_the_model(page, new, client, server, tmp_path):
    canvas, _, save = on_picture(new, page)
    draw_everything(canvas)
    assert canvas.types() == KINDS
    assert [canvas.marks()[0]["label"], canvas.marks()[-1]["text"]] == ["put a fox", "a fox in the snow"]
    assert len(canvas.marks()[5]["strokes"]) == 2
    drawn = canvas.value()

    # Undo all of it, and redo.
    canvas.press("Escape")
    while canvas.element.locator("[data-fio=undo]").get_attribute("aria-disabled") == "false":
        canvas.tool("undo")
    assert canvas.types() == []
    canvas.page.keyboard.press("Control+y")
    assert canvas.types() == ["box"]
    while canvas.element.locator("[data-fio=redo]").get_attribute("aria-disabled") == "false":
        canvas.tool("redo")
    assert canvas.value() == drawn

    # Save, and open the page anew.
    name = f"drawn {page.vue}"
    page.page.keyboard.press("Control+s")
    page.page.get_by_role("dialog").get_by_role("textbox").fill(name)
    page.page.keyboard.press("Enter")
    file = server.base / "user" / "default" / "workflows" / f"{name}.json"
    page.page.wait_for_function("() => !app.extensionManager.workflow.activeWorkflow.isModified")
    graph = json.loads(file.read_text(encoding="utf-8"))
    (kept,) = (node for node in graph["nodes"] if node["type"] == "FlowInOneCanvas")
    assert drawn in kept["widgets_values"]
    page.page.reload()
    page.wait_until_ready()
    assert again(canvas).value() == drawn

    # The model gets what the command line makes of the saved text.
    _, content = run(page, client, save)
    assert np.array_equal(opened(content), as_saved(composed(drawn, PHOTO, tmp_path)))
    page.problems.clear()  # what ComfyUI says on every start


def test_a_picture_that_came_out_brings_the_drawing_back(page, new, client, tmp_path):
    canvas, _, save = on_picture(new, page)
    canvas.drag((0.2, 0.2), (0.6, 0.6))
    canvas.page.keyboard.type("a <b>bold</b> fox")
    drawn = canvas.value()
    file, content = run(page, client, save)
    page.drop(file, content)
    canvas = again(canvas)
    assert canvas.value() == drawn
    canvas.wait_for_background(WIDE)
    # Nothing in a label is executed.
    assert canvas.element.locator("b").count() == 0


def test_the_page_shows_exactly_what_the_model_gets(page, new):
    canvas, *_ = on_picture(new, page)
    draw_everything(canvas)
    expected = render(loads(canvas.value()), Image.open(PHOTO), 512)
    assert np.array_equal(opened(canvas.exact())[..., :3], np.asarray(expected))


def test_comfyuis_undo_and_the_canvass_own_go_together(page, new):
    canvas = new(page)
    for corner in (0.1, 0.4, 0.7):
        canvas.drag((corner, corner), (corner + 0.2, corner + 0.2))
        canvas.press("Escape")
    canvas.page.mouse.click(1800, 1100)
    canvas.page.wait_for_timeout(300)
    canvas.press("Control+z")
    canvas.page.wait_for_function(
        "(id) => app.graph.getNodeById(id) && !document.querySelector(`.fio[data-canvas='${id}']`)", arg=canvas.node
    )
    canvas = again(canvas)
    # The canvas that is seen is the one that counts.
    assert canvas.element.count() == canvas.page.locator(".fio").count() == 1
    left = len(canvas.marks())
    assert left in (2, 3)
    # Its own steps, before and after, are still there, and its undo is none of the graph's.
    canvas.stage.focus()
    canvas.press("Control+z", "Control+z")
    assert len(canvas.marks()) == left - 2
    canvas.press(*["Control+Shift+Z"] * 4)
    assert len(canvas.marks()) == 3
    # With a button focused as well.
    canvas.tool("undo")
    canvas.press("Control+z")
    canvas.page.wait_for_timeout(300)
    assert len(canvas.marks()) == 1
    assert len(page.graph()["nodes"]) == 1


def test_keys_in_the_canvas_are_none_of_the_graphs(page, new):
    canvas = new(page)
    canvas.drag((0.1, 0.1), (0.3, 0.3))
    # What was drawn by mistake goes at once, although the label could be written.
    canvas.press("Delete")
    assert canvas.marks() == []
    canvas.drag((0.1, 0.1), (0.3, 0.3))
    canvas.press("Control+z")
    assert canvas.marks() == []
    canvas.press("Control+y")
    for place in (canvas.stage, canvas.element.locator("[data-fio=zoomIn]"), canvas.element.locator("select").first):
        place.focus()
        canvas.press("Escape", "Delete", "Backspace", *"rwqnpcm.", "Control+a")
        assert len(page.graph()["nodes"]) == 1
        assert (
            canvas.page.locator(
                ".comfy-modal:visible, .p-dialog, .side-tool-bar-container .p-togglebutton-checked"
            ).count()
            == 0
        )
    canvas.words.click()
    # In a field that was chosen to write in, these only delete letters.
    canvas.press("Delete", "Backspace")
    canvas.page.keyboard.type("Remove it. 12 rqw")
    canvas.press("Delete", "Backspace", "Control+a", "Control+c")
    assert canvas.words.input_value() == canvas.marks()[0]["label"] == "Remove it. 12 rq"
    assert len(page.graph()["nodes"]) == 1


def test_everything_can_be_done_with_the_keyboard(page, new):
    canvas = new(page)
    canvas.stage.focus()
    canvas.press("b", "Enter")
    canvas.page.keyboard.type("a cat")
    canvas.press("Escape", *["ArrowRight"] * 5, "Shift+ArrowDown", "Alt+ArrowRight", "Alt+Shift+ArrowUp")
    (box,) = canvas.marks()
    assert (box["label"], canvas.selected()) == ("a cat", [0])
    expected = np.array([0.35, 0.35, 0.65, 0.65]) + np.array([5, 10, 6, 0]) / 512
    assert np.allclose(box["area"], expected, atol=1e-3)
    canvas.press("Control+d", "[")
    assert (len(canvas.marks()), canvas.selected()) == (2, [0])
    spoken = canvas.element.locator(".fio-spoken").text_content()
    assert "1 of 2" in spoken and "a cat" in spoken
    canvas.press("Delete", "Escape", "Escape", "+", "+", "ArrowRight", "0")
    assert len(canvas.marks()) == 1
    canvas.task("trajectory")
    canvas.stage.focus()
    canvas.press("t", "Enter", ".", "PageDown", "F2")
    assert canvas.types()[0] == "trajectory"
    assert canvas.page.evaluate("document.activeElement.tagName") == "TEXTAREA"


def test_every_control_has_a_name_and_takes_the_focus(page, new):
    canvas = new(page)
    keys = {
        "text_box": "b",
        "point_force": "f",
        "wind": "w",
        "doodle": "d",
        "trajectory": "t",
        "text_in_image": "e",
        "class_to_image": "x",
    }
    for task, key in keys.items():
        canvas.task(task)
        canvas.stage.focus()
        canvas.press(key, "Enter", "Escape")
        nameless = canvas.element.evaluate(
            """(root) => [...root.querySelectorAll('button, select, input, textarea, canvas')]
            .filter((control) => control.checkVisibility())
            .filter((control) => {
                control.focus();
                const named = control.ariaLabel || control.closest('label')?.textContent || control.textContent;
                return !named || document.activeElement !== control;
            }).map((control) => control.outerHTML.slice(0, 100))"""
        )
        assert not nameless
    assert canvas.element.get_attribute("aria-label") and canvas.stage.get_attribute("role") == "application"
    assert canvas.status.get_attribute("role") == "status" and canvas.status.text_content()


def test_a_copied_node_has_a_drawing_of_its_own(page, new):
    canvas = new(page, picture="meadow.png")
    canvas.drag((0.1, 0.1), (0.3, 0.3))
    canvas.page.evaluate(
        "(id) => { app.canvas.deselectAll(); app.canvas.select(app.graph.getNodeById(id)); }", canvas.node
    )
    canvas.page.locator("#graph-canvas").focus()
    canvas.page.mouse.move(1300, 900)
    canvas.press("Control+c", "Control+v")
    canvas.page.wait_for_function("() => app.graph.nodes.length === 2")
    number = canvas.page.evaluate("(id) => app.graph.nodes.find((node) => node.id != id).id", canvas.node)
    canvas.page.evaluate(
        "(id) => { app.graph.getNodeById(id).pos = [900, 100]; app.graph.setDirtyCanvas(true, true); }", number
    )
    copy = type(canvas)(page, number)
    assert copy.value() == canvas.value()
    copy.wait_for_background("meadow.png")
    canvas.page.wait_for_timeout(300)  # until the copy is where it was moved to
    copy.drag((0.5, 0.5), (0.8, 0.8))
    assert (len(copy.marks()), len(canvas.marks())) == (2, 1)
    # Marks go from one to the other by the clipboard, and only those.
    copy.press("Escape", "Control+c")
    canvas.stage.focus()
    canvas.press("Control+v")
    canvas.wait_for_marks(2)
    assert canvas.marks()[1] == copy.marks()[1]
    assert len(page.graph()["nodes"]) == 2
    # The one is gone, the other stays and works.
    canvas.page.evaluate("(id) => app.graph.remove(app.graph.getNodeById(id))", number)
    canvas.tool("box")
    canvas.drag((0.7, 0.1), (0.9, 0.3))
    assert len(canvas.marks()) == 3


def test_a_removed_canvas_does_nothing_any_more(page, new):
    canvas = new(page)
    looks = canvas.page.evaluate(
        """async (id) => {
            const node = app.graph.getNodeById(id), panel = node.widgets.find(({flowinone}) => flowinone).flowinone;
            let looks = 0;
            panel.look = () => looks++;
            panel.stage.draw = () => looks++;
            await new Promise((done) => setTimeout(done, 1000));
            const before = looks;
            app.graph.remove(node);
            looks = 0;
            await new Promise((done) => setTimeout(done, 1000));
            return [before > 0, looks];
        }""",
        canvas.node,
    )
    assert looks == [True, 0]


def test_a_dropped_and_a_pasted_picture_are_drawn_on(page, new, client, server, tmp_path):
    from devtools.browser.canvas import add, connect

    canvas = new(page)
    save = add(page, "SaveImage", (1100, 100), (400, 460))
    connect(page, canvas.node, "IMAGE", save, "images")
    for kind, color in (("drop", (10, 200, 30)), ("paste", (200, 10, 30))):
        picture = Image.new("RGB", (300, 200), color)
        picture.save(tmp_path / "own.png")
        canvas.stage.focus()
        canvas.give(
            kind,
            f"{kind}ed {page.vue}.png",
            "image/png",
            base64.b64encode((tmp_path / "own.png").read_bytes()).decode(),
        )
        canvas.wait_for_background(f"flowinone/{kind}ed {page.vue}.png [input]")
    canvas.drag((0.2, 0.2), (0.6, 0.6))
    canvas.page.keyboard.type("a fox")
    _, content = run(page, client, save)
    assert np.array_equal(opened(content), as_saved(composed(canvas.value(), tmp_path / "own.png", tmp_path)))
    canvas.give("drop", "notes.txt", "text/plain", base64.b64encode(b"no picture").decode())
    canvas.page.wait_for_function("() => document.querySelector('.fio-error')?.textContent.includes('notes.txt')")


def test_the_connected_picture_is_shown_as_early_as_it_can_be(page, new):
    from devtools.browser.canvas import add, connect

    canvas, load, _ = on_picture(new, page)
    page.set(load, "image", "meadow.png")
    canvas.wait_for_background("meadow.png")
    # A node that shows nothing: what it hands on is known once as much as that has run.
    invert = add(page, "ImageInvert", (100, 620))
    connect(page, load, "IMAGE", invert, "image")
    connect(page, invert, "IMAGE", canvas.node, "image")
    canvas.wait_for_background(None)
    page.set(load, "image", WIDE)
    canvas.element.get_by_role("button", name="Run up to this node").click()
    canvas.page.wait_for_function("() => ended.length")
    canvas.page.wait_for_function(
        "(id) => app.graph.getNodeById(id).widgets.find((w) => w.flowinone).flowinone.background.photo", arg=canvas.node
    )
    canvas.drag((0.3, 0.3), (0.7, 0.7))
    expected = render(loads(canvas.value()), Image.fromarray(INVERTED), 512)
    assert np.array_equal(opened(canvas.exact())[..., :3], np.asarray(expected))
    # A bypassed node hands on what it was given.
    canvas.page.evaluate("(id) => { app.graph.getNodeById(id).mode = 4; }", invert)
    canvas.wait_for_background(WIDE)
    canvas.page.evaluate("(id) => app.graph.getNodeById(id).disconnectInput(0)", canvas.node)
    canvas.wait_for_background(None)
    canvas.page.evaluate("() => { ended.length = 0; }")


def test_a_canvas_works_within_a_subgraph(page, new):
    canvas, _, _ = on_picture(new, page)
    canvas.drag((0.1, 0.1), (0.3, 0.3))
    drawn = canvas.value()
    canvas.page.evaluate(
        "(id) => { app.canvas.deselectAll(); app.canvas.select(app.graph.getNodeById(id)); }", canvas.node
    )
    page.command("Comfy.Graph.ConvertToSubgraph")
    canvas.page.wait_for_function("() => app.graph.nodes.some((node) => node.isSubgraphNode?.())")
    canvas.page.evaluate(
        """() => {
            const host = app.graph.nodes.find((node) => node.isSubgraphNode?.());
            app.canvas.openSubgraph(host.subgraph, host);
        }"""
    )
    canvas.page.wait_for_function("() => app.canvas.graph.nodes.some(({type}) => type === 'FlowInOneCanvas')")
    number = canvas.page.evaluate("() => app.canvas.graph.nodes.find(({type}) => type === 'FlowInOneCanvas').id")
    canvas.page.evaluate(
        "() => { Object.assign(app.canvas.ds, {scale: 1, offset: [-300, 0]}); app.canvas.setDirty(true, true); }"
    )
    inside = type(canvas)(page, number)
    inside.page.wait_for_timeout(500)
    assert inside.value() == drawn
    inside.wait_for_background(WIDE)
    inside.drag((0.5, 0.5), (0.8, 0.8))
    assert len(inside.marks()) == 2
    page.problems.clear()  # ComfyUI mentions the subgraph that it opens


@pytest.mark.parametrize("zoom", [0.3, 1, 3])
def test_points_are_where_they_are_drawn_at_every_zoom(page, new, zoom):
    canvas = new(page, (0, 0), picture="meadow.png")
    # The middle of the canvas, in the middle of the window.
    canvas.page.evaluate(
        """(zoom) => {
            Object.assign(app.canvas.ds, {scale: zoom, offset: [900 / zoom - 230, 600 / zoom - 350]});
            app.canvas.setDirty(true, true);
        }""",
        zoom,
    )
    canvas.page.wait_for_timeout(600)
    near = 0.1 if zoom == 3 else 0.3
    canvas.drag((0.5 - near, 0.5 - near), (0.5 + near, 0.5 + near))
    canvas.press("Escape")
    pixel = 1.5 / (400 * zoom)
    assert np.abs(np.array(canvas.marks()[0]["area"]) - [0.5 - near, 0.5 - near, 0.5 + near, 0.5 + near]).max() < pixel
    # Zoomed in within the canvas, too.
    canvas.stage.focus()
    canvas.press("+", "+", "+")
    canvas.press("Escape")
    canvas.tool("box") if zoom < 3 else canvas.press("b")
    canvas.drag((0.45, 0.45), (0.55, 0.52))
    assert np.abs(np.array(canvas.marks()[1]["area"]) - [0.45, 0.45, 0.55, 0.52]).max() < pixel


@pytest.mark.parametrize("size", [(200, 200), (1500, 900)])
def test_the_drawing_stays_square_in_every_size_of_the_node(page, new, size):
    canvas = new(page, (100, 80), size)
    canvas.page.wait_for_timeout(500)
    (left, top), (right, bottom) = canvas.at((0, 0), (1, 1))
    box = canvas.stage.bounding_box()
    assert abs((right - left) - (bottom - top)) < 1 and right - left > 100
    assert (
        box["x"] <= left and box["y"] <= top and right <= box["x"] + box["width"] and bottom <= box["y"] + box["height"]
    )


BOXES = '{"version": 1, "task": "text_box", "canvas": {"type": "photo"}, '
HOSTILE = [
    "{",
    BOXES + '"marks": [{"type": "script", "src": "x"}]}',
    BOXES + '"onload": "alert(1)"}',
    BOXES + '"marks": [{"type": "box", "area": [0, 0, 1, 1e308]}]}',
    # Only Python knows these.
    BOXES + '"marks": [{"type": "box", "area": [0, 0, 1, 1], "width": 1e300}]}',
    BOXES + '"marks": [{"type": "box", "area": [0.5, 0.5, 0.1, 0.1]}]}',
    BOXES + '"marks": [{"type": "box", "area": [0, 0, 1, 1], "color": "url(x)"}]}',
]


def test_a_broken_or_hostile_drawing_is_refused_and_changes_nothing(page, new):
    canvas = new(page)
    canvas.drag((0.2, 0.2), (0.4, 0.4))
    canvas.press("Escape")
    before = canvas.value()
    for text in HOSTILE:
        canvas.press("Escape")
        canvas.status.evaluate("(status) => { status.textContent = ''; }")
        canvas.page.evaluate("(text) => navigator.clipboard.writeText(text)", text)
        canvas.stage.focus()
        canvas.press("Control+v")
        canvas.page.wait_for_function(
            "(status) => status.classList.contains('fio-error') && status.textContent",
            arg=canvas.status.element_handle(),
        )
        assert canvas.value() == before, text
    # One that is fine is taken, whatever its label says.
    label = "<img src=x onerror=window.hacked=1>"
    fine = {
        "version": 1,
        "task": "text_box",
        "canvas": {"type": "photo"},
        "marks": [{"type": "box", "area": [0.5, 0.5, 0.9, 0.9], "label": label}],
    }
    canvas.page.evaluate("(text) => navigator.clipboard.writeText(text)", json.dumps(fine))
    canvas.press("Control+v")
    canvas.page.wait_for_function("(words) => words.value", arg=canvas.words.element_handle())
    assert canvas.marks()[1]["label"] == label
    assert canvas.page.evaluate("window.hacked") is None
    # A file's text that cannot be read is kept, and said.
    page.set(canvas.node, "drawing", '{"version": 99}')
    assert "newer FlowInOne" in canvas.status.text_content()
    assert canvas.value() == '{"version": 99}'
    page.problems[:] = [
        problem for problem in page.problems if "400" not in problem
    ]  # the refusals, in the browser's words


def test_the_words_are_those_of_the_users_language(open_page, new, browser, server):
    chinese = json.loads((ROOT / "locales" / "zh" / "main.json").read_text(encoding="utf-8"))["flowinoneCanvas"]
    opener = open_page("classic")
    settings = f"{server.url}/api/settings"
    opener.context.request.post(settings, data={"Comfy.Locale": "zh"})
    try:
        page = open_page("classic")
        page.clear()
        canvas = new(page)
        assert canvas.status.text_content() == chinese["how_box"]
        labels = canvas.element.locator("button, select").evaluate_all(
            "(controls) => controls.map(({ariaLabel}) => ariaLabel).filter(Boolean)"
        )
        assert set(labels) <= set(chinese.values())
        assert chinese["task_text_box"] in canvas.element.locator("select").first.text_content()
    finally:
        opener.context.request.post(settings, data={"Comfy.Locale": "en"})
        opener.context.close()
        page.context.close()


@pytest.mark.parametrize("renderer", ["classic", "Nodes 2.0"])
def test_fingers_and_pens_draw_and_two_fingers_zoom_the_drawing_alone(open_page, new, renderer):
    page = open_page(renderer, has_touch=True, device_scale_factor=2)
    page.clear()
    canvas = new(page, picture="meadow.png")
    canvas.wait_for_background("meadow.png")
    protocol = page.context.new_cdp_session(page.page)

    def touch(kind, *points):
        places = canvas.at(*points) if points else []
        fingers = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
        protocol.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    touch("touchStart", (0.1, 0.1))
    for share in (0.2, 0.3, 0.4):
        touch("touchMove", (share, share))
    touch("touchEnd")
    assert np.allclose(canvas.marks()[0]["area"], [0.1, 0.1, 0.4, 0.4], atol=5e-3)
    # No keyboard comes up for a label.
    assert canvas.page.evaluate("document.activeElement.tagName") == "CANVAS"
    graph = "[app.canvas.ds.scale, ...app.canvas.ds.offset]"
    before = canvas.page.evaluate(graph)
    spread = [canvas.at((0.5 - away, 0.6), (0.5 + away, 0.6)) for away in (0.05, 0.08, 0.11, 0.15)]
    for kind, places in zip(["touchStart"] + ["touchMove"] * 3, spread):
        fingers = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
        if kind == "touchStart":
            protocol.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers[:1]})
        protocol.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
    protocol.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    zoom = canvas.page.evaluate(
        "(id) => app.graph.getNodeById(id).widgets.find((w) => w.flowinone).flowinone.stage.zoom", canvas.node
    )
    assert zoom > 2 and canvas.page.evaluate(graph) == before
    assert len(canvas.marks()) == 1
    for kind, point in (("mousePressed", (0.45, 0.5)), ("mouseMoved", (0.5, 0.55)), ("mouseReleased", (0.55, 0.6))):
        ((x, y),) = canvas.at(point)
        pen = {"pointerType": "pen", "force": 0.3, "button": "left", "buttons": 1, "clickCount": 1}
        protocol.send("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y} | pen)
    assert len(canvas.marks()) == 2
    # Sharp: two pixels for each of the page.
    width, shown = canvas.stage.evaluate("(stage) => [stage.width, stage.clientWidth]")
    assert width == 2 * shown
    assert not page.problems
    page.context.close()


def test_a_limit_is_said_and_what_was_drawn_stays(classic, new):
    canvas = new(classic)
    canvas.task("doodle")
    line = [[round(step * 7919 % 1000 / 1000, 3), round(step * 104729 % 997 / 997, 3)] for step in range(19_999)]
    drawing = canvas.drawing() | {
        "marks": [{"type": "doodle", "strokes": [{"points": line}]}],
        "canvas": {"type": "solid"},
    }
    classic.set(canvas.node, "drawing", json.dumps(drawing))
    canvas.tool("exact")
    canvas.draw_ring(0.5, 0.5, 0.2)
    assert "at most 20000" in canvas.status.text_content()
    assert len(canvas.marks()) == 1
    assert not classic.problems


def test_strengths_are_shown_as_numbers_and_can_be_typed(page, new):
    canvas = new(page)
    for task, field, name in (
        ("point_force", "Strength of the push", "magnitude"),
        ("wind", "Strength of the wind", "strength"),
    ):
        canvas.task(task)
        canvas.drag((0.3, 0.6), (0.6, 0.4))
        number = canvas.element.get_by_label(field)
        assert float(number.input_value()) == pytest.approx(canvas.marks()[-1][name], abs=0.01)
        number.fill("1.5")
        assert canvas.marks()[-1][name] == 1.5
        # Typing is one step.
        canvas.tool("undo")
        canvas.tool("undo")
        assert canvas.types() == ["text"]
