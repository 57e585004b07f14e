"""Every shipped workflow runs as it is, and its graph for the browser equals its prompt for the API."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import flowinone
from devtools import ROOT
from devtools.comfyui.fixtures import PHOTO, TINY
from devtools.comfyui.object_info import widget_names
from devtools.comfyui.prompt import inputs_of, node_id
from devtools.workflow_scenes import ROW, TOYS, drawing, faults, in_a_row, shown_by
from flowinone import mini
from flowinone.prompts import loads, render
from flowinone.toy import judge

WORKFLOWS = ROOT / "workflows"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
TASKS = {"Text in image", "Text box", "Visual marker", "Doodle", "Force", "Trajectory"}
TEXTS = {"Class to image", "Text to image"}
AROUND = {"Upscale", "Two passes", "ComfyUI samplers", "Folder", "Detector boxes", "Doodle from a mask"}
AROUND |= {"Photo edit", "Motion video", "Solver comparison"}
# Width and height of the pictures that a workflow saves, where that is not a single answer.
SAVED = {
    "Upscale": [(512, 512)],
    "Two passes": [(128, 128)] * 2,
    "Folder": [(128, 128)] * 2,
    "Photo edit": [(512, 512)],
    "Motion video": [(128, 128)] * 5,
    "Solver comparison": [(3 * 128 + 2 * 8, 128)],
}
# The files that the page knows where to get, with their places in the models folder.
FILES = {
    "FlowInOneLoader": {
        "flowinone_256px.pth": "flowinone",
        "janus_pro_1b.safetensors": "clip_vision",
        "vae-ft-mse-840000-ema-pruned.safetensors": "vae",
    },
    "UpscaleModelLoader": {"RealESRGAN_x4plus.safetensors": "upscale_models"},
    "UNETLoader": {"rt_detr_v4-x-hgnet_fp16.safetensors": "diffusion_models"},
}
MINI = "mini (bundled)"
BYPASSED = 4
# What is painted over that photo: left, top, right and bottom.
PAINTED = (180, 80, 300, 160)

NOTES = {"MarkdownNote", "Note"}
# Values that a widget keeps in the graph alone.
NOT_SENT = {"control_after_generate", "upload"}


def shipped(name):
    graph = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    prompt = json.loads((WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))
    return graph, prompt


def prompt_of(graph, object_info):
    """The API prompt that the browser makes of a graph, without titles."""
    origins = {number: [str(node), slot] for number, node, slot, *_ in graph["links"]}
    # What is bypassed passes on what it gets of the kind that it gives.
    for node in graph["nodes"]:
        if node["mode"] == BYPASSED:
            for output in node["outputs"]:
                passed = [
                    origins[slot["link"]]
                    for slot in node["inputs"]
                    if slot["type"] == output["type"] and slot["link"] is not None
                ]
                origins |= {link: passed[0] for link in output["links"] or () if passed}
    prompt = {}
    for node in graph["nodes"]:
        if node["type"] in NOTES or node["mode"] == BYPASSED:
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
    assert set(NAMES) == TASKS | TEXTS | AROUND | {"Visual prompt to image"}
    assert {path.stem for path in (WORKFLOWS / "api").glob("*.json")} == set(NAMES)


class Run:
    """A workflow's outputs: what its nodes show and save, by their titles."""

    def __init__(self, client, prompt):
        self.prompt = prompt
        client.free()  # a node whose results are cached shows nothing
        history = client.run(prompt)
        assert history["status"]["status_str"] == "success"
        self.files = {}
        for number, output in history["outputs"].items():
            contents = [content for _, content in client.images({"outputs": {number: output}})]
            self.files.setdefault(prompt[number]["_meta"]["title"], []).extend(contents)

    def pictures(self, title):
        """The pictures [height, width, RGB] of the nodes of that title."""
        return [np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int) for content in self.files[title]]

    def titles(self, *classes):
        """The titles of all nodes of those classes."""
        return sorted({node["_meta"]["title"] for node in self.prompt.values() if node["class_type"] in classes})


@pytest.fixture(scope="module")
def runs():
    return {}


@pytest.fixture
def run(client, runs, tmp_path):
    """Run a workflow as it is shipped, once for all tests.

    Only files that come from elsewhere are stood in for: a photo for Load Image, which `own_photo` puts in the toy
    photo's place, too, and other models than ours.
    """

    def run(name, own_photo=False):
        if (name, own_photo) not in runs:
            _, prompt = shipped(name)
            photo = PHOTO
            if name == "Doodle from a mask":
                photo = tmp_path / "painted.png"
                painted = Image.open(PHOTO)
                kept = Image.new("L", painted.size, 255)
                kept.paste(0, PAINTED)
                painted.putalpha(kept)
                painted.save(photo)
            if own_photo:
                canvas = node_id(prompt, "FlowInOneCanvas")
                prompt[canvas] |= {"class_type": "LoadImage", "inputs": {}}
                inputs_of(prompt, "FlowInOneCompose")["image"] = [canvas, 0]
            for node in prompt.values():
                node["inputs"] |= TINY.get(node["class_type"], {})
                if node["class_type"] == "LoadImage":
                    node["inputs"]["image"] = client.upload(photo)
            runs[name, own_photo] = Run(client, prompt)
        return runs[name, own_photo]

    return run


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_gives_a_picture(run, name):
    done = run(name)
    saved = [picture for title in done.titles("SaveImage") for picture in done.pictures(title)]
    assert [picture.shape[1::-1] for picture in saved] == SAVED.get(name, [(128, 128)])
    assert all(picture.std() > 5 for picture in saved)
    composed = done.titles("FlowInOneCompose", "FlowInOneTextPrompt")
    assert all(done.pictures(title) for title in composed), "the composed prompt is shown in its node"


@pytest.mark.parametrize("name", TOYS)
def test_the_right_answer_to_a_toy_scene_would_be_judged_right(name):
    assert judge(TOYS[name], TOYS[name].answer.scene.render(128)).reasons == ()


@pytest.mark.parametrize("name", TOYS)
def test_mini_does_what_the_toy_scene_asks_for(run, name):
    picture = run(name).pictures(shown_by(name))[-1]
    assert faults(name, Image.fromarray(picture.astype(np.uint8))) == []


def test_the_upscaler_enlarges_the_answer(run):
    done = run("Upscale")
    (answer,), (large,) = done.pictures("The answer"), done.pictures("Save Image")
    # The tiny one repeats pixels.
    assert np.array_equal(large, answer.repeat(4, axis=0).repeat(4, axis=1))


def test_a_second_pass_makes_something_else_of_the_first(run):
    done = run("Two passes")
    (first,), (second,) = done.pictures("First pass"), done.pictures("Second pass")
    assert 0.3 < np.corrcoef(first.ravel(), second.ravel())[0, 1] < 1


def test_pictures_of_a_folder_become_prompts_of_their_own(run):
    one, other = run("Folder").pictures("FlowInOne Compose Visual Prompt")
    assert one.shape == other.shape == (512, 512, 3)
    assert np.abs(one - other).mean() > 5


def changed(prompt):
    """Where a prompt [512, 512, RGB] shows something else than the photo, of which it has the middle square."""
    width, height = (photo := Image.open(PHOTO)).size
    left = (width - height) / 2
    square = photo.resize((512, 512), Image.Resampling.BICUBIC, (left, 0, left + height, height))
    return np.abs(prompt - np.asarray(square)).max(axis=-1) > 40


def bounds(mask):
    """Left, top, right and bottom of what is true."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def on_canvas(left, top, right, bottom):
    """Pixels of the photo as pixels of a prompt."""
    return tuple((side - offset) * 512 / 340 for side, offset in ((left, 86), (top, 0), (right, 86), (bottom, 0)))


def test_what_the_detector_sees_is_boxed(run):
    (prompt,) = run("Detector boxes").pictures("FlowInOne Compose Visual Prompt")
    drawn = bounds((prompt == (255, 0, 0)).all(axis=-1) & changed(prompt))
    # In every photo the inspector pack's detector sees a thing in the second quarter from the left, and half as high.
    assert drawn == pytest.approx(on_canvas(512 / 4, 340 * 3 / 8, 512 / 2, 340 * 7 / 8), abs=2.5)


def test_the_outline_of_what_is_painted_becomes_a_doodle(run):
    (prompt,) = run("Doodle from a mask").pictures("FlowInOne Compose Visual Prompt")
    left, top, right, bottom = on_canvas(*PAINTED)
    drawn = changed(prompt)
    drawn[400:] = False  # the words
    # The brush is nine pixels wide.
    assert bounds(drawn) == pytest.approx((left, top, right, bottom), abs=7)
    assert not drawn[int(top) + 8 : int(bottom) - 8, int(left) + 8 : int(right) - 8].any()


def test_a_photo_changes_only_where_the_answer_was_pasted(run):
    done = run("Photo edit", own_photo=True)
    (edited,), (mask,) = done.pictures("Save Image"), done.pictures("What was pasted")
    photo = np.asarray(Image.open(PHOTO)).astype(int)
    left, top, right, bottom = bounds(mask.any(axis=-1))
    outside = np.ones(mask.shape[:2], bool)
    outside[max(top - 3, 0) : bottom + 3, left - 3 : right + 3] = False  # shares under one level are shown black
    assert 0.5 < outside.mean() < 0.95
    assert np.array_equal(edited[outside], photo[outside])
    assert np.abs(edited - photo)[(mask == 255).all(axis=-1)].mean() > 10


def test_a_motion_becomes_a_video(run):
    import av

    done = run("Motion video")
    (content,) = done.files["Save Video"]
    with av.open(io.BytesIO(content)) as video:
        (stream,) = video.streams
        assert stream.average_rate == 4
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in video.decode(stream)]
    pictures = done.pictures("Save Image")
    assert [frame.shape for frame in frames] == [picture.shape for picture in pictures]
    # Noise suffers most from what makes videos small.
    for frame, picture in zip(frames, pictures):
        assert np.corrcoef(frame.ravel(), picture.ravel())[0, 1] > 0.7
    assert len(done.pictures("What was asked")) == 4


def test_the_answers_of_the_solvers_stand_side_by_side(run):
    (row,) = run("Solver comparison").pictures(ROW)
    assert (row[:, 128:136] == 255).all() and (row[:, 264:272] == 255).all()
    answers = [np.asarray(answer) for answer in in_a_row(Image.fromarray(row.astype(np.uint8)))]
    assert not any(np.array_equal(one, other) for one, other in zip(answers, answers[1:]))


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_has_minis_files_and_numbers(name):
    _, prompt = shipped(name)
    loader = inputs_of(prompt, "FlowInOneLoader")
    assert {loader[kind] for kind in ("checkpoint", "vision", "vae")} == {MINI}
    for inputs in (node["inputs"] for node in prompt.values()):
        assert inputs.get("guidance_scale", inputs.get("cfg", mini.GUIDANCE_SCALE)) == mini.GUIDANCE_SCALE
        # As many steps as cost the same: heun asks twice a step, rk4 four times.
        share = {"heun": 2, "rk4": 4}.get(inputs.get("solver"), 1)
        assert inputs.get("steps", mini.STEPS // share) == mini.STEPS // share


@pytest.mark.parametrize("name", [name for name, toy in TOYS.items() if toy.photo])
def test_a_canvas_shows_the_toy_scene(name):
    _, prompt = shipped(name)
    drawn, toy = loads(inputs_of(prompt, "FlowInOneCanvas")["drawing"]), TOYS[name]
    assert drawn == loads(drawing(toy))
    if toy.prompt is None:
        shown, scene = (np.asarray(picture, int) for picture in (render(drawn), toy.photo.render(512)))
        # They smooth edges each in its own way.
        assert np.abs(shown - scene).mean() < 0.1


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
        assert output["type"] == kind and kind in slot["type"].split(",")
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
        models = properties.get("models", [])
        assert {model["name"]: model["directory"] for model in models} == FILES.get(node["type"], {})
        chosen = [value for value in node["widgets_values"] if str(value).endswith((".pth", ".safetensors"))]
        assert set(chosen) <= {model["name"] for model in models}
        # The browser offers no other downloads than those.
        assert all(model["url"].startswith("https://huggingface.co/") for model in models)
        assert all(model["url"].endswith((".pth", ".safetensors")) for model in models)


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_has_a_note_and_a_thumbnail(name):
    graph, _ = shipped(name)
    (note,) = (node for node in graph["nodes"] if node["type"] in NOTES)
    (text,) = note["widgets_values"]
    assert text.startswith(f"## {name}\n") and "models/flowinone" in text
    assert "*mini*, which comes with the pack, draws toy scenes" in text
    assert "The released weights draw photographs" in text
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
