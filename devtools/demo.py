"""The demo's prompts, a toy scene for each task with a known answer, and graphs for ComfyUI's API that answer them.

A prompt is tests/fixtures/mini/TASK.json, the visual prompt as a document, and where it is drawn on a photo TASK.png.
Training has seen none of these scenes. Imports NumPy and Pillow at most: the demo runs without torch.
"""

from __future__ import annotations

from pathlib import Path

from devtools import FIXTURES
from devtools.comfyui.prompt import titled
from flowinone.prompts.tasks import TASKS
from flowinone.toy import SCENE_TASKS, Example, example

PROMPTS = FIXTURES / "mini"
SIDE = 512
"""Pixels of a photo, and of a prompt as ComfyUI composes it."""
SEEDS = {
    "class_to_image": 2,
    "text_to_image": 3,
    "text_in_image": 0,
    "text_box": 3,
    "visual_marker": 7,
    "doodle": 1,
    "point_force": 1,
    "wind": 0,
    "trajectory": 45,
}
"""The scenes, by task: held-out ones that mini answers correctly."""
MINI = dict.fromkeys(("checkpoint", "vision", "vae"), "mini (bundled)")
"""The files of Load FlowInOne for the bundled model."""


def demo_example(task: str) -> Example:
    """A demo prompt with its correct answer."""
    return example(task, SEEDS[task], SIDE, held_out=True)


def demo_tasks() -> dict[str, str]:
    """The tasks' names for people, by task, in the order of the demo."""
    return {task: TASKS[task].title for task in SCENE_TASKS}


def photo(task: str) -> Path | None:
    """The photo that a demo prompt is drawn on, if any."""
    path = PROMPTS / f"{task}.png"
    return path if path.exists() else None


def task_graph(task: str, uploaded: str | None, sampling: dict) -> dict:
    """A graph in which mini answers a demo prompt: Compose ("prompt") shows the prompt, Save Image ("save") the answer.

    `uploaded` is its photo's name for LoadImage; `sampling` has `seed`, `steps` and `guidance_scale`.
    """
    # The document overrides task, instruction, fit and bypass.
    inputs = dict(task=task, instruction="", fit="crop", bypass="by task", size=SIDE, font="bundled")
    inputs["spec"] = (PROMPTS / f"{task}.json").read_text(encoding="utf-8")
    nodes = {}
    if uploaded:
        nodes["photo"] = titled("Load Image", "LoadImage", image=uploaded)
        inputs["image"] = ["photo", 0]
    nodes["prompt"] = titled("Compose Visual Prompt", "FlowInOneCompose", **inputs)
    return nodes | _answered(MINI, sampling, prompt=["prompt", 0])


def picture_graph(uploaded: str, bypass: bool, files: dict, sampling: dict) -> dict:
    """A graph in which the models in these files answer a picture that is a whole prompt, else like `task_graph`."""
    nodes = {"prompt": titled("Load Image", "LoadImage", image=uploaded)}
    return nodes | _answered(files, sampling, image=["prompt", 0], bypass=bypass)


def _answered(files: dict, sampling: dict, **prompt) -> dict:
    parts = dict(model=["load", 0], encoder=["load", 1], vae=["load", 2])
    settings = dict(solver="euler", bypass=False, sample_posterior=True) | sampling | prompt
    decoding = dict(samples=["sample", 0], vae=["load", 2], size="answer")
    return {
        "load": titled("Load FlowInOne", "FlowInOneLoader", dtype="default", **files),
        "sample": titled("FlowInOne Sampler", "FlowInOneSampler", **parts, **settings),
        "decode": titled("VAE Decode", "FlowInOneVAEDecode", **decoding),
        "save": titled("Save Image", "SaveImage", images=["decode", 0], filename_prefix="FlowInOne/demo"),
    }
