"""Every shipped workflow runs; its two forms, the graph for the browser and the prompt for the API, say the same."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import flowinone
from tests.host.comfyui.prompt import inputs_of
from tests.host.conftest import ROOT

WORKFLOWS = ROOT / "workflows"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
TASKS = {"Text in image", "Text box", "Visual marker", "Doodle", "Force", "Trajectory"}
TEXTS = {"Class to image", "Text to image"}

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR", "IMAGEUPLOAD"}
NOTES = {"MarkdownNote", "Note"}
# Values that a widget keeps in the graph alone.
NOT_SENT = {"control_after_generate", "upload"}


def shipped(name):
    graph = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    prompt = json.loads((WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))
    return graph, prompt


def widget_names(info):
    """The names of a node's widgets by /object_info, in the order of `widgets_values`."""
    names = []
    for group in ("required", "optional"):
        for name in info["input_order"].get(group, ()):
            kind, *options = info["input"][group][name]
            options = options[0] if options else {}
            is_list = isinstance(kind, list)
            if options.get("forceInput") or not (is_list or kind in WIDGET_TYPES):
                continue
            names.append(name)
            if options.get("control_after_generate"):
                names.append("control_after_generate")
            if options.get("image_upload"):
                names.append("upload")
    return names


def prompt_of(graph, object_info):
    """The API prompt that the browser makes of a graph, without titles."""
    origins = {number: [str(node), slot] for number, node, slot, *_ in graph["links"]}
    prompt = {}
    for node in graph["nodes"]:
        if node["type"] in NOTES:
            continue
        names = widget_names(object_info[node["type"]])
        assert len(names) == len(node["widgets_values"]), f"{node['type']}: {names} for {node['widgets_values']}"
        inputs = {name: value for name, value in zip(names, node["widgets_values"]) if name not in NOT_SENT}
        inputs |= {slot["name"]: origins[slot["link"]] for slot in node["inputs"] if slot["link"] is not None}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


@pytest.fixture(scope="module")
def object_info(server):
    return server.client().object_info()


def test_there_is_a_workflow_for_every_task():
    assert set(NAMES) == TASKS | TEXTS | {"Visual prompt to image"}
    assert {path.stem for path in (WORKFLOWS / "api").glob("*.json")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_gives_a_picture(client, name):
    _, prompt = shipped(name)
    inputs_of(prompt, "FlowInOneLoader").update(
        checkpoint="flowinone_tiny.safetensors", vision="janus_vision_tiny.safetensors", vae="vae_tiny.safetensors"
    )
    inputs_of(prompt, "FlowInOneSampler")["steps"] = 4
    if name not in TEXTS:
        photo = ROOT / "tests" / "fixtures" / "preprocess" / "wide.png"
        inputs_of(prompt, "LoadImage")["image"] = client.upload(photo)
    save = next(number for number, node in prompt.items() if node["class_type"] == "SaveImage")
    client.free()  # a node whose results are cached shows nothing
    history = client.run(prompt)
    assert history["status"]["status_str"] == "success"
    ((_, content),) = client.images({"outputs": {save: history["outputs"][save]}})
    picture = np.asarray(Image.open(io.BytesIO(content)))
    assert picture.shape == (256, 256, 3)
    assert picture.std() > 5
    composed = [
        number for number, node in prompt.items() if node["class_type"] in ("FlowInOneCompose", "FlowInOneTextPrompt")
    ]
    assert all(history["outputs"][number]["images"] for number in composed), "the composed prompt is shown in its node"


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_and_its_api_form_say_the_same(object_info, name):
    graph, prompt = shipped(name)
    for node in prompt.values():
        node.pop("_meta")
    assert prompt_of(graph, object_info) == prompt


@pytest.mark.parametrize("name", NAMES)
def test_a_graphs_links_fit_its_sockets(object_info, name):
    graph, _ = shipped(name)
    nodes = {node["id"]: node for node in graph["nodes"]}
    assert len(nodes) == len(graph["nodes"]) and max(nodes) == graph["last_node_id"]
    seen = set()
    for number, source, out, target, into, kind in graph["links"]:
        output, slot = nodes[source]["outputs"][out], nodes[target]["inputs"][into]
        assert (output["type"], slot["type"]) == (kind, kind)
        assert number in output["links"] and slot["link"] == number
        assert object_info[nodes[source]["type"]]["output"][out] == kind
        seen.add(number)
    assert len(seen) == len(graph["links"])
    named = {number for node in graph["nodes"] for slot in node["inputs"] if (number := slot["link"]) is not None}
    assert named == seen and max(seen) == graph["last_link_id"]


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_says_where_its_nodes_and_models_come_from(object_info, name):
    graph, _ = shipped(name)
    for node in graph["nodes"]:
        if node["type"] in NOTES:
            continue
        ours = node["type"].startswith("FlowInOne")
        properties = node["properties"]
        assert properties["cnr_id"] == ("flowinone" if ours else "comfy-core")
        assert properties["ver"] and properties["Node name for S&R"] == node["type"]
        assert not ours or properties["ver"] == flowinone.__version__
    (loader,) = (node for node in graph["nodes"] if node["type"] == "FlowInOneLoader")
    models = loader["properties"]["models"]
    assert [model["name"] for model in models] == loader["widgets_values"][:3]
    assert [model["directory"] for model in models] == ["flowinone", "clip_vision", "vae"]
    # The browser offers no other downloads than those.
    assert all(model["url"].startswith("https://huggingface.co/") for model in models)
    assert all(model["url"].endswith((".pth", ".safetensors")) for model in models)


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_has_a_note_and_a_thumbnail(name):
    graph, _ = shipped(name)
    (note,) = (node for node in graph["nodes"] if node["type"] in NOTES)
    (text,) = note["widgets_values"]
    assert text.startswith(f"## {name}\n") and "models/flowinone" in text
    thumbnail = WORKFLOWS / f"{name}.jpg"
    with Image.open(thumbnail) as picture:
        assert picture.format == "JPEG" and picture.size == (400, 400)
    assert thumbnail.stat().st_size <= 40_000


@pytest.mark.parametrize("name", NAMES)
def test_nodes_do_not_overlap(name):
    graph, _ = shipped(name)
    title = 30
    boxes = [
        (x, y - title, x + width, y + height)
        for (x, y), (width, height) in ((n["pos"], n["size"]) for n in graph["nodes"])
    ]
    for number, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[:number]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


@pytest.mark.parametrize("name", sorted(TASKS | TEXTS))
def test_one_wire_brings_the_prompt_to_the_sampler(name):
    _, prompt = shipped(name)
    sampler = inputs_of(prompt, "FlowInOneSampler")
    assert "image" not in sampler
    source = prompt[sampler["prompt"][0]]
    assert source["class_type"] == ("FlowInOneTextPrompt" if name in TEXTS else "FlowInOneCompose")
    assert sampler["prompt"][1] == 0
    if name in TASKS:
        assert source["inputs"]["marks.marks0"] and source["inputs"]["image"]
