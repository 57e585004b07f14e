"""Prompts drawn with the pack's nodes are what the library makes of the same words, and the sampler takes them."""

import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from devtools import tiny
from devtools.comfyui.client import ExecutionFailed
from flowinone.prompts import Box, PhotoCanvas, VisualPrompt, Wind, dumps, loads, render, tasks, typeface

PHOTO = tiny.FIXTURES / "preprocess" / "wide.png"  # 512 x 340


def node(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}


DEFAULTS = {
    "FlowInOneDrawBox": dict(
        x=0.2, y=0.3, box_width=0.3, box_height=0.4, label="put a blue jay", color="#ff0000", width=3.0
    ),
    "FlowInOneDrawMarker": dict(tip_x=0.5, tip_y=0.5, start_x=0.7, start_y=0.3, color="#00e5ff", width=3.5),
    "FlowInOneDrawForce": dict(
        kind="point", x=0.5, y=0.5, angle=30.0, strength=1.0, scale=0.0, color="#ff2d2d", width=4.0
    ),
    "FlowInOneDrawTrajectory": dict(points="0.2,0.7 0.5,0.4 0.8,0.6", smooth=True, color="#ff2d2d", width=4.0),
    "FlowInOneDrawDoodle": dict(
        mask_as="doodle", strokes="0.3,0.3 0.6,0.3 0.5,0.6", brush="multiline", color="#000000", width=8.0, smooth=False
    ),
    "FlowInOneDrawInstruction": dict(
        text="make it snow", position="bottom", face="serif", bold=True, text_size=28.0, align="center"
    ),
    "FlowInOneCompose": dict(task="text_box", instruction="", fit="crop", bypass="by task", size=256, font="bundled"),
    "FlowInOneTextPrompt": dict(
        kind="caption",
        text="a red bicycle",
        background="trained",
        color="#fd6fa7",
        second_color="#e0c3fc",
        face="trained",
        text_size=0.0,
        align="center",
        size=256,
        font="bundled",
    ),
}


def default(class_type, **inputs):
    return node(class_type, **(DEFAULTS[class_type] | inputs))


@pytest.fixture
def photo(client):
    return client.upload(PHOTO)


@pytest.fixture
def composed(client, photo):
    """Run Compose on the photo with other nodes in front of it; the prompt pictures and the document."""

    def run(nodes=None, **inputs):
        graph = {
            "photo": node("LoadImage", image=photo),
            "compose": default("FlowInOneCompose", **({"image": ["photo", 0]} | inputs)),
            "text": node("PreviewAny", source=["compose", 2]),
            "save": node("SaveImage", images=["compose", 1], filename_prefix="prompt"),
            **(nodes or {}),
        }
        history = client.run({name: given for name, given in graph.items() if given is not None})
        saved = {"outputs": {"save": history["outputs"]["save"]}}
        pictures = [np.asarray(Image.open(io.BytesIO(content))) for _, content in client.images(saved)]
        return pictures, history["outputs"]["text"]["text"][0]

    return run


def differs(picture, expected):
    # SaveImage cuts where the renderer's 8-bit levels were divided and multiplied again.
    return np.abs(picture.astype(int) - np.asarray(expected)).max()


TASK_NODES = {
    "text_box": "FlowInOneDrawBox",
    "visual_marker": "FlowInOneDrawMarker",
    "doodle": "FlowInOneDrawDoodle",
    "point_force": "FlowInOneDrawForce",
    "trajectory": "FlowInOneDrawTrajectory",
    "text_in_image": "FlowInOneDrawInstruction",
}


@pytest.mark.parametrize("task", TASK_NODES)
def test_a_composed_prompt_is_the_librarys_rendering_of_its_document(composed, task):
    nodes = {"draw": default(TASK_NODES[task])}
    (picture,), text = composed(nodes, task=task, **{"marks.marks0": ["draw", 0]})
    prompt = loads(text)
    assert prompt.task == task and not prompt.bypass
    assert differs(picture, render(prompt, Image.open(PHOTO), 256)) <= 1
    trained = tasks.TASKS[task].instruction
    assert not trained or trained in text


def test_wind_is_drawn_by_the_force_node(composed):
    nodes = {"draw": default("FlowInOneDrawForce", kind="wind", angle=180.0, strength=2.0, width=0.0)}
    _, text = composed(nodes, task="wind", **{"marks.marks0": ["draw", 0]})
    (wind, words) = loads(text).marks
    assert (wind.angle, wind.strength, wind.width, wind.color) == (180.0, 2.0, 3.0, Wind.color)
    assert "wavy lines" in words.text


def test_the_document_is_what_the_constructor_makes(composed):
    nodes = {"draw": default("FlowInOneDrawBox")}
    _, text = composed(nodes, **{"marks.marks0": ["draw", 0]})
    assert loads(text) == tasks.text_box([((0.2, 0.3, 0.5, 0.7), "put a blue jay")])


def test_a_boxs_label_is_lettered_as_chosen(composed):
    for size, least in ((48.0, 20), (12.0, 12)):
        nodes = {"draw": default("FlowInOneDrawBox", face="sans", bold=True, text_size=size)}
        _, text = composed(nodes, **{"marks.marks0": ["draw", 0]})
        (box,) = loads(text).marks
        assert box.style == dataclasses.replace(Box.style, face="sans", bold=True, size=size, min_size=least)


def test_marks_are_chained_and_collected_in_order(composed):
    nodes = {
        "first": default("FlowInOneDrawBox", label="first"),
        "second": default("FlowInOneDrawBox", label="second", marks=["first", 0]),
        "third": default("FlowInOneDrawBox", label="third"),
    }
    _, text = composed(nodes, **{"marks.marks0": ["second", 0], "marks.marks1": ["third", 0]})
    assert [mark.label for mark in loads(text).marks] == ["first", "second", "third"]


def test_boxes_of_a_detector_are_found_again_on_the_squared_picture(composed):
    # In pixels of the 512 x 340 photo, of which the centre square of 340 is kept.
    nodes = {
        "box": node("PrimitiveBoundingBox", x=171, y=34, width=85, height=170),
        "draw": default("FlowInOneDrawBox", boxes=["box", 0]),
    }
    _, text = composed(nodes, **{"marks.marks0": ["draw", 0]})
    (box,) = loads(text).marks
    assert box.area == pytest.approx(((171 - 86) / 340, 0.1, (256 - 86) / 340, 0.6))
    _, text = composed(nodes, fit="stretch", **{"marks.marks0": ["draw", 0]})
    assert loads(text).marks[0].area == pytest.approx((171 / 512, 0.1, 0.5, 0.6))


def test_boxes_of_the_box_editor_are_drawn(composed):
    drawn = {"x": 171, "y": 34, "width": 85, "height": 170, "metadata": {}}
    nodes = {
        "editor": node("CreateBoundingBoxes", width=512, height=336, editor_state={"__value__": [drawn]}),
        "draw": default("FlowInOneDrawBox", boxes=["editor", 1], label=""),
    }
    _, text = composed(nodes, **{"marks.marks0": ["draw", 0]})
    (box,) = loads(text).marks
    assert box.area[0] == pytest.approx((171 - 86) / 340, abs=0.01)


def test_tracks_become_trajectories(composed):
    nodes = {
        "tracks": node(
            "GenerateTracks",
            width=512,
            height=336,
            start_x=0.3,
            start_y=0.5,
            end_x=0.7,
            end_y=0.5,
            num_frames=5,
            num_tracks=2,
            track_spread=0.1,
            bezier=False,
            mid_x=0.5,
            mid_y=0.5,
            interpolation="linear",
        ),
        "draw": default("FlowInOneDrawTrajectory", tracks=["tracks", 0]),
    }
    _, text = composed(nodes, task="trajectory", **{"marks.marks0": ["draw", 0]})
    lines = [mark for mark in loads(text).marks if hasattr(mark, "points")]
    assert len(lines) == 2 and all(len(line.points) == 5 for line in lines)
    assert lines[0].points[0][0] == pytest.approx((0.3 * 512 - 86) / 340)


@pytest.mark.parametrize(("mask_as", "kind"), [("doodle", "doodle"), ("erased region", "erase")])
def test_masks_become_doodles_and_erased_regions(composed, mask_as, kind):
    nodes = {
        "inside": node("SolidMask", value=1.0, width=100, height=85),
        "outside": node("SolidMask", value=0.0, width=512, height=340),
        "mask": node("MaskComposite", destination=["outside", 0], source=["inside", 0], x=206, y=85, operation="add"),
        "draw": default("FlowInOneDrawDoodle", mask=["mask", 0], mask_as=mask_as, strokes=""),
    }
    _, text = composed(nodes, task="doodle", **{"marks.marks0": ["draw", 0]})
    mark = json.loads(text)["marks"][0]
    assert mark["type"] == kind
    points = mark["points"] if kind == "erase" else mark["strokes"][0]["points"]
    xs, ys = zip(*points)
    assert (min(xs), max(xs)) == pytest.approx((120 / 340, 220 / 340), abs=0.01)
    assert (min(ys), max(ys)) == pytest.approx((0.25, 0.5), abs=0.01)


@pytest.mark.parametrize("mask_as", ["doodle", "erased region"])
def test_an_inverted_mask_leaves_what_it_spares(composed, mask_as):
    nodes = {
        "inside": node("SolidMask", value=1.0, width=100, height=85),
        "outside": node("SolidMask", value=0.0, width=512, height=340),
        "mask": node("MaskComposite", destination=["outside", 0], source=["inside", 0], x=206, y=85, operation="add"),
        "inverted": node("InvertMask", mask=["mask", 0]),
        "draw": default("FlowInOneDrawDoodle", mask=["inverted", 0], mask_as=mask_as, strokes=""),
    }
    (picture,), text = composed(nodes, task="text_in_image", instruction="x", **{"marks.marks0": ["draw", 0]})
    mark = json.loads(text)["marks"][0]
    if mask_as == "doodle":
        assert len(mark["strokes"]) == 2
    else:
        photo = render(VisualPrompt("text_in_image", PhotoCanvas()), Image.open(PHOTO), 256)
        # The spared rectangle, 0.35 to 0.64 across and 0.25 to 0.5 down, and a place outside it.
        assert differs(picture[70:120, 95:160], np.asarray(photo)[70:120, 95:160]) <= 1
        assert tuple(picture[20, 20]) == (128, 128, 128)


def test_thin_lines_of_large_masks_are_kept(composed):
    nodes = {
        "line": node("SolidMask", value=1.0, width=2048, height=2),
        "ground": node("SolidMask", value=0.0, width=2048, height=2048),
        "mask": node("MaskComposite", destination=["ground", 0], source=["line", 0], x=0, y=1001, operation="add"),
        "draw": default("FlowInOneDrawDoodle", mask=["mask", 0], strokes=""),
    }
    _, text = composed(nodes, task="doodle", fit="stretch", **{"marks.marks0": ["draw", 0]})
    ((stroke,), *_) = (mark["strokes"] for mark in json.loads(text)["marks"] if mark["type"] == "doodle")
    assert {round(y, 2) for _, y in stroke["points"]} == {0.49}


def test_half_masked_tracks_are_refused_in_words(composed):
    common = dict(
        width=512,
        height=336,
        start_x=0.3,
        start_y=0.5,
        end_x=0.7,
        end_y=0.5,
        num_frames=5,
        num_tracks=3,
        track_spread=0.1,
        bezier=False,
        mid_x=0.5,
        mid_y=0.5,
        interpolation="linear",
    )
    nodes = {
        "shown": node("SolidMask", value=1.0, width=8, height=8),
        "frames": node("RepeatImageBatch", image=["picture", 0], amount=5),
        "picture": node("MaskToImage", mask=["shown", 0]),
        "shown5": node("ImageToMask", image=["frames", 0], channel="red"),
        "one": node("GenerateTracks", **common, track_mask=["shown5", 0]),
        "two": node("GenerateTracks", **common, track_mask=["shown5", 0]),
        "both": node("WanMoveConcatTrack", tracks_1=["one", 0], tracks_2=["two", 0]),
        "draw": default("FlowInOneDrawTrajectory", tracks=["both", 0]),
    }
    with pytest.raises(ExecutionFailed, match="tracks have the visibility of 2 of 6 paths only"):
        composed(nodes, task="trajectory", **{"marks.marks0": ["draw", 0]})


def test_a_font_file_letters_the_prompt(server, composed):
    folder = server.base / "models" / "fonts"
    folder.mkdir(exist_ok=True)
    shutil.copy(Path(typeface.__file__).with_name("fonts") / "ComicNeue-Bold.otf", folder / "comic.otf")
    nodes = {"draw": default("FlowInOneDrawInstruction")}
    inputs = {"task": "text_in_image", "marks.marks0": ["draw", 0]}
    (usual,), text = composed(nodes, **inputs)
    (picture,), _ = composed(nodes, **inputs, font="comic.otf")
    expected = render(loads(text), Image.open(PHOTO), 256, folder / "comic.otf")
    assert differs(picture, expected) <= 1 < differs(usual, expected)


def test_words_of_a_spec_stay_on_top_of_what_is_added(composed):
    prompt = tasks.text_in_image("make it snow")
    nodes = {"spec": node("PrimitiveStringMultiline", value=dumps(prompt)), "draw": default("FlowInOneDrawBox")}
    _, text = composed(nodes, spec=["spec", 0], **{"marks.marks0": ["draw", 0]})
    assert [mark["type"] for mark in json.loads(text)["marks"]] == ["box", "text"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (dict(task="text_in_image"), "instruction: is empty; the task text_in_image needs text"),
        (
            dict(task="text_to_image"),
            "image: is connected, but the task text_to_image makes a new image from text alone",
        ),
    ],
)
def test_tasks_without_words_or_with_a_picture_too_many_are_explained(composed, inputs, message):
    with pytest.raises(ExecutionFailed, match=message):
        composed(**inputs)


def test_strokes_may_be_smoothed_and_colours_may_carry_alpha(composed):
    nodes = {"draw": default("FlowInOneDrawDoodle", strokes="0.2,0.5 0.5,0.2 0.8,0.5", smooth=True, color="#33669980")}
    _, text = composed(nodes, task="doodle", **{"marks.marks0": ["draw", 0]})
    stroke = json.loads(text)["marks"][0]["strokes"][0]
    assert len(stroke["points"]) > 20 and [0.2, 0.5] in stroke["points"]
    assert stroke["color"] == "#336699"


def test_every_picture_of_a_batch_becomes_a_prompt_of_its_own(composed):
    nodes = {
        "mirrored": node("ImageFlip", image=["photo", 0], flip_method="y-axis: horizontally"),
        "batch": node("ImageBatch", image1=["photo", 0], image2=["mirrored", 0]),
        "draw": default("FlowInOneDrawBox"),
    }
    pictures, text = composed(nodes, image=["batch", 0], **{"marks.marks0": ["draw", 0]})
    assert len(pictures) == 2
    prompt, source = loads(text), Image.open(PHOTO).convert("RGB")
    for picture, given in zip(pictures, (source, source.transpose(Image.Transpose.FLIP_LEFT_RIGHT))):
        assert differs(picture, render(prompt, given, 256)) <= 1


def test_a_spec_can_be_fed_back_in(composed):
    prompt = tasks.text_box([((0.1, 0.2, 0.6, 0.7), "place a bench")], canvas=PhotoCanvas("letterbox"))
    nodes = {"spec": node("PrimitiveStringMultiline", value=dumps(prompt)), "draw": default("FlowInOneDrawBox")}
    (picture,), text = composed(nodes, spec=["spec", 0])
    assert loads(text) == prompt
    assert differs(picture, render(prompt, Image.open(PHOTO), 256)) <= 1
    _, text = composed(nodes, spec=["spec", 0], **{"marks.marks0": ["draw", 0]})
    assert loads(text).marks == (*prompt.marks, Box((0.2, 0.3, 0.5, 0.7), "put a blue jay"))


@pytest.mark.parametrize(("kind", "task"), [("caption", "text_to_image"), ("class", "class_to_image")])
def test_a_text_prompt_needs_no_picture_and_bypasses(client, kind, task):
    graph = {
        "words": default("FlowInOneTextPrompt", kind=kind, text="arch"),
        "text": node("PreviewAny", source=["words", 2]),
        "bypass": node("PreviewAny", source=["words", 3]),
    }
    outputs = client.run(graph)["outputs"]
    prompt: VisualPrompt = loads(outputs["text"]["text"][0])
    assert prompt == getattr(tasks, task)("arch")
    assert prompt.bypass and outputs["bypass"]["text"][0].lower() == "true"


def test_the_sampler_takes_picture_and_bypass_from_one_wire(client, workflow):
    def answer(**prompt_inputs):
        graph = {name: dict(given, inputs=dict(given["inputs"])) for name, given in workflow.items()}
        (sampler,) = (n for n in graph.values() if n["class_type"] == "FlowInOneSampler")
        del sampler["inputs"]["image"]
        graph["words"] = default("FlowInOneTextPrompt")
        sampler["inputs"].update(prompt_inputs)
        saved = [n for n, given in graph.items() if given["class_type"] == "SaveImage"]
        outputs = client.run(graph)["outputs"]
        ((_, content),) = client.images({"outputs": {saved[0]: outputs[saved[0]]}})
        return np.asarray(Image.open(io.BytesIO(content)))

    by_prompt = answer(prompt=["words", 0], bypass=False)
    by_hand = answer(image=["words", 1], bypass=True)
    assert np.array_equal(by_prompt, by_hand)
    assert not np.array_equal(by_prompt, answer(image=["words", 1], bypass=False))


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (default("FlowInOneDrawTrajectory", points="0.1;0.2"), "points: line 1 has '0.1;0.2'; write points as x,y"),
        (default("FlowInOneDrawTrajectory", points="a,b c,d"), "which are not numbers"),
        (default("FlowInOneDrawTrajectory", points="nan,0.2 0.3,0.4"), "expected a finite number"),
        (default("FlowInOneDrawDoodle", strokes=""), "strokes: is empty and no mask is connected"),
        (default("FlowInOneDrawBox", x=1.5), "area: has no area on the canvas"),
        (default("FlowInOneDrawInstruction", text="  "), "text: is empty; write something"),
    ],
)
def test_a_bad_mark_is_explained_by_field(composed, draw, message):
    with pytest.raises(ExecutionFailed) as failure:
        composed({"draw": draw}, **{"marks.marks0": ["draw", 0]})
    assert message in failure.value.details["exception_message"]


def test_broken_specs_and_missing_pictures_are_explained(client, composed):
    with pytest.raises(ExecutionFailed) as failure:
        composed({"spec": node("PrimitiveStringMultiline", value='{"version": 1,')}, spec=["spec", 0])
    assert "line 1" in failure.value.details["exception_message"]

    graph = {"compose": default("FlowInOneCompose"), "save": node("PreviewImage", images=["compose", 1])}
    with pytest.raises(ExecutionFailed) as failure:
        client.run(graph)
    assert "image: is not connected; the task text_box edits a photo" in failure.value.details["exception_message"]


def test_a_sampler_without_a_picture_says_what_to_connect(client, workflow):
    (sampler,) = (n for n in workflow.values() if n["class_type"] == "FlowInOneSampler")
    del sampler["inputs"]["image"]
    with pytest.raises(ExecutionFailed) as failure:
        client.run(workflow)
    assert "connect either a prompt picture or a prompt" in failure.value.details["exception_message"]
