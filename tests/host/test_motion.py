"""Motion asks for its prompt's way bit by bit, and its frames are what the sampler answers to each bit."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from devtools import tiny
from devtools.comfyui.client import ExecutionFailed, ExecutionInterrupted
from flowinone.prompts import PhotoCanvas, VisualPrompt, dumps, render, tasks
from flowinone.prompts.motion import part

PHOTO = tiny.FIXTURES / "preprocess" / "wide.png"
MODELS = dict(
    checkpoint="flowinone_tiny.safetensors", vision="janus_vision_tiny.safetensors", vae="vae_tiny.safetensors"
)
SAMPLING = dict(
    model=["load", 0],
    encoder=["load", 1],
    vae=["load", 2],
    seed=5,
    steps=2,
    guidance_scale=3.0,
    solver="euler",
    sample_posterior=True,
)
QUICK = dict(steps=1, guidance_scale=1.0)
PATH = tasks.trajectory([((0.2, 0.7), (0.5, 0.3), (0.8, 0.6))])
PUSH = tasks.point_force([((0.3, 0.5), 0, 2), ((0.6, 0.8), 90, 1)])


def node(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}


def compose(spec, image):
    return node(
        "FlowInOneCompose",
        image=image,
        task="trajectory",
        instruction="",
        fit="crop",
        bypass="by task",
        size=256,
        font="bundled",
        spec=spec,
    )


def written(prompt):
    return node("PrimitiveStringMultiline", value=dumps(prompt))


@pytest.fixture
def motion(client):
    """Run Motion on a prompt; the pictures that the named nodes saved."""
    photo = client.upload(PHOTO)

    def run(prompt=PATH, nodes=None, on_event=None, queue_only=False, **inputs):
        chosen = dict(prompt=["compose", 0], stages=2, start_from="photo", include_photo=False) | SAMPLING | inputs
        graph = {
            "load": node("FlowInOneLoader", dtype="float32", **MODELS),
            "photo": node("LoadImage", image=photo),
            "spec": written(prompt),
            "compose": compose(["spec", 0], ["photo", 0]),
            "motion": node("FlowInOneMotion", **chosen),
            "frames": node("SaveImage", images=["motion", 0], filename_prefix="frames"),
            "prompts": node("SaveImage", images=["motion", 1], filename_prefix="prompts"),
            **(nodes or {}),
        }
        if queue_only:
            return client.queue(graph)
        outputs = client.run(graph, on_event)["outputs"]

        def saved(name):
            contents = client.images({"outputs": {name: outputs[name]}})
            return [np.asarray(Image.open(io.BytesIO(content))).astype(int) for _, content in contents]

        return {name: saved(name) for name, given in graph.items() if given["class_type"] == "SaveImage"}

    return run


def sampled(prompt_node):
    """Nodes that answer one composed prompt by the pack's sampler, as Motion is to answer it."""
    return {
        f"{prompt_node} sampled": node("FlowInOneSampler", prompt=[prompt_node, 0], bypass=False, **SAMPLING),
        f"{prompt_node} decoded": node("FlowInOneVAEDecode", samples=[f"{prompt_node} sampled", 0], vae=["load", 2]),
        f"{prompt_node} saved": node("SaveImage", images=[f"{prompt_node} decoded", 0], filename_prefix="sampled"),
    }


def alone(prompt, number, before):
    """Nodes that compose and sample a prompt by hand on the picture that a node gives."""
    name = f"alone{number}"
    return {f"{name} spec": written(prompt), name: compose([f"{name} spec", 0], before), **sampled(name)}


def test_every_stage_goes_up_to_its_share_of_the_way_on_the_photo(motion):
    shares = [part(PATH, 0, 0.5), PATH]
    nodes = {}
    for number, prompt in enumerate(shares):
        nodes |= alone(prompt, number, ["photo", 0])
    saved = motion(nodes=nodes)
    assert len(saved["frames"]) == len(saved["prompts"]) == 2
    for number, prompt in enumerate(shares):
        expected = render(prompt, Image.open(PHOTO), 256)
        assert np.abs(saved["prompts"][number] - np.asarray(expected)).max() <= 1
        # Sampled together they are rounded otherwise, which the random decoder amplifies here and there.
        difference = np.abs(saved["frames"][number] - saved[f"alone{number} saved"][0])
        assert difference.max() <= 2 and saved["frames"][number].shape == (256, 256, 3)
    assert np.abs(saved["frames"][0] - saved["frames"][1]).max() > 10


def test_from_stage_to_stage_the_pieces_of_the_way_are_drawn_on_the_last_answer(motion):
    shares = [part(PUSH, 0, 0.5), part(PUSH, 0.5, 1)]
    nodes = {}
    for number, prompt in enumerate(shares):
        nodes |= alone(prompt, number, ["photo", 0] if number == 0 else [f"alone{number - 1} decoded", 0])
    saved = motion(PUSH, nodes, start_from="last stage")
    assert len(saved["frames"]) == 2
    for number in range(2):
        assert np.array_equal(saved["frames"][number], saved[f"alone{number} saved"][0])
    on_answer = render(shares[1], Image.fromarray(saved["frames"][0].astype(np.uint8)), 256)
    # SaveImage cuts the answer's levels off, where Motion rounds them.
    assert np.abs(saved["prompts"][1] - np.asarray(on_answer)).max() <= 2


def test_the_red_end_of_a_path_moves_on(motion):
    straight = tasks.trajectory([((0.1, 0.3), (0.9, 0.3))], smooth=False, color="#ff0000", width=8)

    def ends(pictures):
        along = [picture[int(0.3 * 256)] for picture in pictures]
        red = [np.flatnonzero((line[:, 0] > 250) & (line[:, 1:].max(axis=-1) < 6)) for line in along]
        return [(found.min() / 256, found.max() / 256) for found in red]

    gray = {"photo": node("EmptyImage", width=300, height=300, batch_size=1, color=0x808080)}
    grown = ends(motion(straight, gray, stages=4, **QUICK)["prompts"])
    assert grown == [pytest.approx((0.1, 0.1 + 0.2 * stage), abs=0.02) for stage in (1, 2, 3, 4)]
    walked = ends(motion(straight, gray, stages=4, start_from="last stage", **QUICK)["prompts"])
    assert walked == [pytest.approx((0.2 * stage - 0.1, 0.2 * stage + 0.1), abs=0.02) for stage in (1, 2, 3, 4)]


@pytest.mark.parametrize("start_from", ["photo", "last stage"])
def test_the_photo_itself_may_come_first(motion, start_from):
    with_photo = motion(start_from=start_from, include_photo=True, **QUICK)
    without = motion(start_from=start_from, **QUICK)
    assert len(with_photo["frames"]) == 3 and len(with_photo["prompts"]) == 2
    expected = render(VisualPrompt("trajectory", PhotoCanvas()), Image.open(PHOTO), 256)
    assert np.abs(with_photo["frames"][0] - np.asarray(expected)).max() <= 1
    assert np.array_equal(with_photo["frames"][1:], without["frames"])


def test_frames_become_a_video(client, motion):
    video = {
        "video": node("CreateVideo", images=["motion", 0], fps=8.0),
        "keep": node("SaveVideo", video=["video", 0], filename_prefix="motion", format="mp4", codec="h264"),
    }
    assert len(motion(nodes=video, include_photo=True, **QUICK)["frames"]) == 3


@pytest.mark.parametrize("start_from", ["photo", "last stage"])
def test_cancel_ends_motion_within_a_step(client, motion, start_from):
    prompt_id = motion(steps=1000, seed=77, start_from=start_from, queue_only=True)
    cancelled_at = []

    def cancel_once_sampling(kind, data):
        if kind == "progress" and data["node"] == "motion" and not cancelled_at:
            cancelled_at.append(time.monotonic())
            client.interrupt(prompt_id)

    with pytest.raises(ExecutionInterrupted):
        client.wait(prompt_id, cancel_once_sampling)
    assert time.monotonic() - cancelled_at[0] < 5


@pytest.mark.parametrize(("start_from", "total"), [("photo", 4), ("last stage", 12)])
def test_progress_counts_the_steps_of_all_stages(motion, start_from, total):
    reported = []

    def hear(kind, data):
        if kind == "progress" and data["node"] == "motion":
            reported.append((data["value"], data["max"]))

    motion(start_from=start_from, stages=3, steps=4, seed=6, guidance_scale=1.0, on_event=hear)
    assert reported == sorted(reported) and reported[-1] == (total, total)
    assert {most for _, most in reported} == {total}


TWO = {
    "mirrored": node("ImageFlip", image=["photo", 0], flip_method="y-axis: horizontally"),
    "two": node("ImageBatch", image1=["photo", 0], image2=["mirrored", 0]),
    "compose": compose(["spec", 0], ["two", 0]),
}


@pytest.mark.parametrize(
    ("prompt", "nodes", "message"),
    [
        (
            tasks.text_box([((0.1, 0.1, 0.5, 0.5), "put a cat")]),
            {},
            "marks: hold nothing that moves; draw a trajectory, a force",
        ),
        (
            tasks.text_to_image("a cat"),
            {"compose": compose(["spec", 0], None)},
            "prompt shows no photo, so there is nothing to move",
        ),
        (PATH, TWO, "prompt has 2 pictures; Motion moves one"),
    ],
)
def test_prompts_that_motion_cannot_walk_are_explained(motion, prompt, nodes, message):
    nodes = {
        name: dict(given, inputs={k: v for k, v in given["inputs"].items() if v is not None})
        for name, given in nodes.items()
    }
    with pytest.raises(ExecutionFailed) as failure:
        motion(prompt, nodes)
    assert message in failure.value.details["exception_message"]
