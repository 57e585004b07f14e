"""The demo's prompts as graphs for ComfyUI's API. Standard library only."""

from __future__ import annotations

from pathlib import Path

PROMPTS = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "mini"
TASKS = (
    "class_to_image",
    "text_to_image",
    "text_in_image",
    "text_box",
    "visual_marker",
    "doodle",
    "point_force",
    "wind",
    "trajectory",
)
MINI = dict.fromkeys(("checkpoint", "vision", "vae"), "mini (bundled)")
"""What Load FlowInOne is to load: the model that comes with the pack."""


def title(task: str) -> str:
    """A task's name for people."""
    return task.replace("_", " ").capitalize()


def photo(task: str) -> Path | None:
    """The photo that a demo prompt stands on, if any."""
    path = PROMPTS / f"{task}.png"
    return path if path.exists() else None


def task_graph(task: str, uploaded: str | None, sampling: dict) -> dict:
    """The answer of mini to a demo prompt: Compose ("prompt") shows the prompt, Save Image ("save") the answer.

    `uploaded` is its photo's name for LoadImage; `sampling` has `seed`, `steps` and `guidance_scale`.
    """
    # Task, instruction, fit and bypass are the document's.
    composing = dict(task=task, instruction="", fit="crop", bypass="by task", size=512, font="bundled")
    composing["spec"] = (PROMPTS / f"{task}.json").read_text(encoding="utf-8")
    nodes = {}
    if uploaded:
        nodes["photo"] = _node("LoadImage", "Load Image", image=uploaded)
        composing["image"] = ["photo", 0]
    nodes["prompt"] = _node("FlowInOneCompose", "Compose Visual Prompt", **composing)
    return nodes | _answered(MINI, sampling, prompt=["prompt", 0])


def picture_graph(uploaded: str, bypass: bool, files: dict, sampling: dict) -> dict:
    """The answer to a picture that is a whole prompt, by the models of these files; as `task_graph` otherwise."""
    nodes = {"prompt": _node("LoadImage", "Load Image", image=uploaded)}
    return nodes | _answered(files, sampling, image=["prompt", 0], bypass=bypass)


def _answered(files: dict, sampling: dict, **prompt) -> dict:
    parts = dict(model=["load", 0], encoder=["load", 1], vae=["load", 2])
    settings = dict(solver="euler", bypass=False, sample_posterior=True) | sampling | prompt
    return {
        "load": _node("FlowInOneLoader", "Load FlowInOne", dtype="default", **files),
        "sample": _node("FlowInOneSampler", "FlowInOne Sampler", **parts, **settings),
        "decode": _node("FlowInOneVAEDecode", "VAE Decode", samples=["sample", 0], vae=["load", 2], size="answer"),
        "save": _node("SaveImage", "Save Image", images=["decode", 0], filename_prefix="FlowInOne/demo"),
    }


def _node(kind: str, called: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": called}}
