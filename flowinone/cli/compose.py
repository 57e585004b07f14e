"""`flowinone compose`: prompt images from options or documents."""

import argparse
import dataclasses
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import get_args

from ..files import STANDARD_STREAM, write_output
from ..prompts import TASKS, GradientCanvas, PhotoCanvas, SolidCanvas, VisualPrompt, dumps, tasks
from ..prompts.checks import Point
from ..prompts.prompt_files import PROMPT_CHUNK, read_prompt, render_with_photo, write_png
from ..prompts.spec import Canvas, Fit
from .argument_types import file_path, numbers, points, positive_int

DESCRIPTION = (
    "Draw a visual prompt from a document, or from options that make one. Positions are fractions of the square "
    "canvas, x to the right and y downwards; angles are degrees counter-clockwise from the right."
)

PromptBuilder = Callable[..., VisualPrompt]
_BUILDERS: dict[str, PromptBuilder] = {}
"""By task: makes its prompt. The parameters are the options that the task takes."""
_ALIASES: dict[str, str] = {}
"""Short names of tasks."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "spec",
        type=file_path,
        nargs="?",
        metavar="SPEC",
        help="a document (.json, - for standard input), or a PNG that carries one",
    )
    command.add_argument("--image", type=file_path, metavar="PHOTO", help="the photo that the prompt is drawn on")
    command.add_argument(
        "--out",
        type=file_path,
        metavar="PROMPT.png",
        help="the prompt image, or - for standard output; it carries its document",
    )
    command.add_argument("--spec-out", type=file_path, metavar="SPEC.json", help="the document")
    command.add_argument("--size", type=positive_int, default=512, help="width and height in pixels (default: 512)")
    command.add_argument(
        "--font", type=file_path, metavar="FILE", help="TrueType or OpenType file for all text; default: bundled fonts"
    )
    command.add_argument(
        "--bypass",
        action=argparse.BooleanOptionalAction,
        help="whether the document tells the model to bypass the dual path; default: as suits the task",
    )
    command.add_argument("--overwrite", action="store_true", help="replace files that exist")
    task = command.add_argument_group("instead of SPEC")
    task.add_argument("--task", help=_listed(TASKS))
    task.add_argument("--text", help="the label, the caption, or an instruction that replaces the task's own")
    task.add_argument("--preset", help=f"text_in_image's instruction: {_listed(tasks.SUBTASK_INSTRUCTIONS)}")
    task.add_argument("--caption", help="what the image shows, for the presets canny and depth")
    task.add_argument("--thing", help="what replaces visual_marker's object; without it, the object is removed")
    task.add_argument(
        "--box",
        type=numbers(4),
        action="append",
        metavar="LEFT,TOP,RIGHT,BOTTOM",
        help="repeatable, with one --label each",
    )
    task.add_argument("--label", action="append", help='a box\'s text: "put a blue jay"')
    task.add_argument(
        "--arrow", type=numbers(4), action="append", metavar="X0,Y0,X1,Y1", help="visual_marker's, from start to tip"
    )
    task.add_argument(
        "--force",
        type=numbers(3, 4),
        action="append",
        metavar="X,Y,ANGLE,MAGNITUDE",
        help="a push on the object at x,y; repeatable",
    )
    task.add_argument("--wind", type=numbers(2, 4), metavar="X,Y,ANGLE,STRENGTH", help="wind around x,y")
    task.add_argument(
        "--path",
        type=points,
        action="append",
        metavar="POINTS",
        help='trajectory\'s line: "x,y x,y …", starting at the object; repeatable',
    )
    task.add_argument(
        "--stroke", type=points, action="append", metavar="POINTS", help='doodle\'s line: "x,y x,y …"; repeatable'
    )
    task.add_argument("--fit", choices=get_args(Fit), help="how the photo becomes square (default: crop)")
    task.add_argument("--color", help="colour of the marks: #rrggbb or a CSS name")
    task.add_argument(
        "--canvas",
        metavar="COLORS",
        help="background of class_to_image and text_to_image: '#fd6fa7', or a gradient '#8ec5fc,#e0c3fc' from top to "
        "bottom; with ,horizontal appended, from left to right",
    )


def run(options: argparse.Namespace) -> int:
    if not (options.out or options.spec_out):
        raise ValueError("nowhere to write to: give --out, --spec-out or both")
    names = dict.fromkeys(name for build in _BUILDERS.values() for name in inspect.signature(build).parameters)
    given = {name: getattr(options, name) for name in names}
    if (options.spec is None) == (options.task is None):
        raise ValueError("give a SPEC or a --task, one of them")
    if options.spec == options.image == STANDARD_STREAM:
        raise ValueError("standard input can be the SPEC or the photo, not both")
    if options.spec is not None:
        surplus = [name for name, value in given.items() if value is not None]
        if surplus:
            raise ValueError(f"--{surplus[0]} goes with --task, and {options.spec} is a whole prompt; leave one out")
        prompt = read_prompt(options.spec)
    else:
        if options.canvas is not None:
            given["canvas"] = canvas_of(options.canvas)
        prompt = prompt_of(options.task, given)
    if options.bypass is not None:
        prompt = dataclasses.replace(prompt, bypass=options.bypass)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *place: print(f"flowinone: {message}", file=sys.stderr)
        kept = write_prompt(
            prompt, options.image, options.size, options.out, options.spec_out, options.overwrite, options.font
        )
    for path in kept:
        print(f"{path} exists already and is kept (--overwrite replaces it)", file=sys.stderr)
    return 0


def write_prompt(
    prompt: VisualPrompt,
    photo: str | None,
    size: int,
    out: str | None,
    spec_out: str | None,
    overwrite: bool,
    font: str | None = None,
) -> list[str]:
    """Write the prompt's image, `size` x `size` pixels, to `out`, and its document to `spec_out`.

    A file that exists is kept unless `overwrite`. Returns the kept ones. Raises ValueError for a photo that is missing
    or not wanted, and for files that cannot be written to.
    """
    if photo is not None and not isinstance(prompt.canvas, PhotoCanvas):
        raise ValueError(f"--image {photo} has no place in this prompt: its canvas is not a photo; leave --image out")
    if out and out != STANDARD_STREAM and not out.lower().endswith(".png"):
        raise ValueError(f"{out} is not a .png file, which a prompt image needs to carry its document")
    if out and out == spec_out:
        raise ValueError(f"{out} cannot be both the image and the document; choose another file for one")
    targets = [path for path in (out, spec_out) if path]
    if photo and photo != STANDARD_STREAM and Path(photo).resolve() in [Path(path).resolve() for path in targets]:
        raise ValueError(f"{photo} is the photo and would be replaced; choose another file to write to")
    kept = [path for path in targets if path != STANDARD_STREAM and os.path.exists(path) and not overwrite]
    if out and out not in kept:
        write_png(render_with_photo(prompt, photo, size, font), out, {PROMPT_CHUNK: dumps(prompt)})
    if spec_out and spec_out not in kept:
        write_output((dumps(prompt, indent=2) + "\n").encode(), spec_out)
    return kept


def prompt_of(task: str, given: Mapping[str, object]) -> VisualPrompt:
    """A task's prompt from the values of the options, by their names; None means that an option was not given.

    Raises ValueError for an unknown task, for options that do not go with the task, and for missing ones.
    """
    task = _ALIASES.get(task, task)
    if task not in TASKS:
        raise ValueError(f"task {task!r} is unknown; choose one of {', '.join(TASKS)}")
    build = _BUILDERS[task]
    options = {name: value for name, value in given.items() if value is not None}
    known = inspect.signature(build).parameters
    needed = [name for name, option in known.items() if option.default is inspect.Parameter.empty]
    spelled = ", ".join(f"--{name}" for name in known)
    for name in options:
        if name not in known:
            raise ValueError(f"--{name} does not go with {task}, which takes {spelled}")
    for name in needed:
        if name not in options:
            raise ValueError(f"{task} needs --{name}; it takes {spelled}")
    return build(**options)


def canvas_of(text: str) -> Canvas:
    """`#fd6fa7` is one colour, `#8ec5fc,#e0c3fc` a gradient downwards, with `,horizontal` from left to right."""
    colors = [part.strip() for part in text.split(",")]
    if len(colors) > 3:
        raise ValueError(f"--canvas {text} has {len(colors)} parts; expected one colour, or two and a direction")
    return SolidCanvas(*colors) if len(colors) == 1 else GradientCanvas(*colors)


def _listed(names: Sequence[str] | Mapping[str, object]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"


def _builds(task: str, alias: str | None = None) -> Callable[[PromptBuilder], PromptBuilder]:
    """Register the function that makes a task's prompt, and a short name for the task."""

    def register(build: PromptBuilder) -> PromptBuilder:
        _BUILDERS[task] = build
        if alias:
            _ALIASES[alias] = task
        return build

    return register


@_builds("class_to_image", "class")
def _class_to_image(text: str, canvas: Canvas | None = None) -> VisualPrompt:
    return tasks.class_to_image(text, canvas=canvas)


@_builds("text_to_image", "text")
def _text_to_image(text: str, canvas: Canvas | None = None) -> VisualPrompt:
    return tasks.text_to_image(text, canvas=canvas)


@_builds("text_in_image")
def _text_in_image(
    text: str | None = None, preset: str | None = None, caption: str | None = None, fit: str | None = None
) -> VisualPrompt:
    if (text is None) == (preset is None):
        raise ValueError("text_in_image needs --text or --preset, one of them")
    if caption is not None and preset is None:
        raise ValueError("--caption goes with a --preset; put the words in --text instead")
    instruction = text if preset is None else tasks.subtask_instruction(preset, caption)
    return tasks.text_in_image(instruction, **_look(fit))


@_builds("text_box", "box")
def _text_box(box: Sequence, label: Sequence[str], color: str | None = None, fit: str | None = None) -> VisualPrompt:
    if len(box) != len(label):
        raise ValueError(f"{len(box)} --box and {len(label)} --label do not pair; give each box a label")
    return tasks.text_box(zip(box, label), **_look(fit, color))


@_builds("visual_marker", "marker")
def _visual_marker(
    arrow: Sequence, text: str | None = None, thing: str | None = None, color: str | None = None, fit: str | None = None
) -> VisualPrompt:
    if len(arrow) != 1:
        raise ValueError(f"--arrow was given {len(arrow)} times; visual_marker has one arrow")
    x0, y0, x1, y1 = arrow[0]
    return tasks.visual_marker((x0, y0), (x1, y1), instruction=text, thing=thing, **_look(fit, color))


@_builds("doodle")
def _doodle(
    stroke: Sequence[Sequence[Point]], text: str | None = None, color: str | None = None, fit: str | None = None
) -> VisualPrompt:
    # The trained brush is black and white; a colour asks for the plain one.
    brush = {} if color is None else {"brush": "round"}
    return tasks.doodle(stroke, instruction=text, **brush, **_look(fit, color))


@_builds("point_force", "force")
def _point_force(
    force: Sequence, text: str | None = None, color: str | None = None, fit: str | None = None
) -> VisualPrompt:
    return tasks.point_force([((x, y), *rest) for x, y, *rest in force], instruction=text, **_look(fit, color))


@_builds("wind")
def _wind(
    wind: Sequence[float], text: str | None = None, color: str | None = None, fit: str | None = None
) -> VisualPrompt:
    x, y, *rest = wind
    return tasks.wind((x, y), *rest, instruction=text, **_look(fit, color))


@_builds("trajectory")
def _trajectory(
    path: Sequence[Sequence[Point]], text: str | None = None, color: str | None = None, fit: str | None = None
) -> VisualPrompt:
    return tasks.trajectory(path, instruction=text, **_look(fit, color))


def _look(fit: str | None, color: str | None = None) -> dict[str, object]:
    look = {} if color is None else {"color": color}
    return look if fit is None else look | {"canvas": dataclasses.replace(PhotoCanvas(), fit=fit)}
