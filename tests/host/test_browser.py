"""The shipped workflows in ComfyUI's page, in both renderers: they open, run, show their picture and load from it."""

import io
import json
import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from devtools import ROOT
from devtools.comfyui.fixtures import TINY

WORKFLOWS = ROOT / "workflows"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
QUICK = {"steps": 4, "stages": 2}
# Nodes that choose their height themselves, each renderer another one.
OF_OWN_SIZE = {"SaveVideo"}
RENDERERS = ["classic", "Nodes 2.0"]
# All run in the classic renderer. What Nodes 2.0 could do otherwise there, it shows with one of each kind.
SOME = ["Text box", "Text to image", "Visual prompt to image"]
in_each_renderer = pytest.mark.parametrize(
    "page, name", [("classic", name) for name in NAMES] + [("Nodes 2.0", name) for name in SOME], indirect=["page"]
)


def shipped(name):
    return json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))


def models_of(graph):
    return [model for node in graph["nodes"] for model in node["properties"].get("models", [])]


def essence(graph):
    """What a person would miss if it changed: nodes with their places, settings and wires, as one flat dict."""
    known = {"graph": graph["id"], "wires": sorted(graph["links"]), "groups": graph["groups"]}
    for node in graph["nodes"]:
        name = f"{node['type']} {node['id']}"
        for key in ("title", "mode", "widgets_values", "properties", "color"):
            known[f"{name}: {key}"] = node.get(key)
        for key in ("pos", "size"):
            known[f"{name}: {key}"] = [round(side) for side in node[key]]
        if node["type"] in OF_OWN_SIZE:
            del known[f"{name}: size"]
        known[f"{name}: inputs"] = [(slot["name"], slot["link"]) for slot in node.get("inputs", [])]
        known[f"{name}: outputs"] = [(slot["name"], slot["links"] or []) for slot in node.get("outputs", [])]
    return known


def changes(before, after):
    """What is not the same in two graphs, as pairs."""
    one, other = essence(before), essence(after)
    return {key: (one.get(key), other.get(key)) for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def overlapping(boxes):
    """Pairs of nodes that cover each other, by id."""
    return [
        (one, other)
        for one, (left, top, right, bottom) in boxes.items()
        for other, (x0, y0, x1, y1) in boxes.items()
        if one < other and left < x1 and x0 < right and top < y1 and y0 < bottom
    ]


def keep_screenshot(page, name, moment):
    """Save what the page looks like, if FLOWINONE_SCREENSHOTS names a folder for it."""
    folder = os.environ.get("FLOWINONE_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(Path(folder) / f"{name}, {'Nodes 2.0' if page.vue else 'classic'}, {moment}.png")


@pytest.fixture(scope="module")
def pages(browser, server):
    """ComfyUI's page by renderer, one for all workflows. As in every ComfyUI, example.png lies in the input folder."""
    from devtools.browser.page import ComfyPage

    shutil.copy(server.comfyui / "input" / "example.png", server.base / "input")
    opened = {}
    with ExitStack() as stack:

        def page(renderer):
            if renderer not in opened:
                opened[renderer] = stack.enter_context(ComfyPage(browser, server.url, vue=renderer == "Nodes 2.0"))
            return opened[renderer]

        yield page


@pytest.fixture(params=RENDERERS)
def page(request, pages):
    return pages(request.param)


def open_file(page, name):
    """Drag a workflow's file into the page; return its graph."""
    page.problems.clear()
    path = WORKFLOWS / f"{name}.json"
    page.drop(path.name, path.read_bytes())
    return json.loads(path.read_text(encoding="utf-8"))


def choose_tiny_models(page, graph):
    """Choose tiny files in place of other people's models, which are not there; mini is chosen already."""
    for node in graph["nodes"]:
        for widget, file in TINY.get(node["type"], {}).items():
            page.choose(node["id"], widget, file)


def unexpected(page, graph):
    """The page's problems but one: ComfyUI asks the hosts of missing model files for their sizes, and is not let."""
    return [problem for problem in page.problems if not any(model["url"] in problem for model in models_of(graph))]


@pytest.fixture(scope="module")
def answers():
    return {}


@pytest.fixture
def answer(page, client, answers, name):
    """A workflow's run in the page: the graph that was queued, the pictures that it saved, and what the page showed."""
    if (page, name) not in answers:
        graph = open_file(page, name)
        choose_tiny_models(page, graph)
        for widget, value in QUICK.items():
            for node in page.with_widget(widget):
                page.set(node, widget, value)
        queued = page.graph()
        end = page.run()
        assert end["kind"] == "execution_success", end
        outputs = client.wait(end["prompt_id"])["outputs"]
        saved = {
            node["id"]: client.images({"outputs": {node["id"]: outputs[str(node["id"])]}})
            for node in graph["nodes"]
            if node["type"] == "SaveImage"
        }
        shown = {node: page.pictures(node) for node in saved}
        keep_screenshot(page, name, "done")
        answers[page, name] = SimpleNamespace(
            queued=queued,
            saved=saved,
            shown=shown,
            problems=unexpected(page, graph),
            red=page.red_nodes(),
            overlapping=overlapping(page.boxes()),
        )
    return answers[page, name]


def test_the_page_has_nothing_to_say_about_the_pack_when_it_opens(page):
    assert not [problem for problem in page.opening if "flowinone" in problem.lower()]


def test_the_pack_offers_its_workflows_as_templates_with_pictures(page):
    assert page.browse_templates("flowinone") == dict.fromkeys(NAMES, 400)
    page.open_template("Text box")
    assert not changes(shipped("Text box"), page.graph())


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_opens_as_it_was_made(page, name):
    graph = open_file(page, name)
    assert not changes(graph, page.graph())
    api = (WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8")
    assert page.prompt() == json.loads(api)
    keep_screenshot(page, name, "opened")
    assert not overlapping(page.boxes())
    assert page.hidden_text() == 0
    choose_tiny_models(page, graph)
    assert not page.complaint()
    assert not page.red_nodes()
    assert not unexpected(page, graph)


def test_missing_model_files_are_offered_with_their_folders(page):
    graph = open_file(page, "Upscale")
    (loader,) = (node for node in graph["nodes"] if node["type"] == "UpscaleModelLoader")
    assert page.missing_models() == {(model["name"], model["directory"]) for model in loader["properties"]["models"]}


@in_each_renderer
def test_a_workflow_runs_and_shows_its_picture(page, name, answer):
    assert answer.saved
    for node, pictures in answer.saved.items():
        assert len(answer.shown[node]) == len(pictures) > 0
        for (file, content), (address, width) in zip(pictures, answer.shown[node]):
            picture = np.asarray(Image.open(io.BytesIO(content)))
            assert f"filename={file}&" in address
            assert picture.shape[1] == width >= 128
            assert picture.std() > 5
    assert not answer.problems
    assert not answer.red
    assert not answer.overlapping


@in_each_renderer
def test_a_picture_dragged_into_the_page_brings_its_graph_back(page, name, answer):
    ((file, content), *_), *_ = answer.saved.values()
    page.drop(file, content)
    assert not changes(answer.queued, page.graph())


def test_a_photo_of_ones_own_is_uploaded_and_shown(page):
    graph = open_file(page, "Doodle from a mask")
    (node,) = (node["id"] for node in graph["nodes"] if node["type"] == "LoadImage")
    page.upload(node, ROOT / "tests" / "fixtures" / "preprocess" / "wide.png")
    ((address, width),) = page.pictures(node)
    assert "filename=wide" in address and width == 512
