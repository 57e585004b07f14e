"""From options, documents and photos to prompt pictures that carry their document: what `flowinone compose` does."""

import contextlib
import dataclasses
import inspect
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .prompts import PromptError, dumps, loads, render, tasks
from .prompts.document import MAX_CHARACTERS
from .prompts.spec import Canvas, GradientCanvas, PhotoCanvas, Point, SolidCanvas, VisualPrompt

STANDARD = "-"
"""Standard input or output in place of a file."""

CHUNK = "flowinone_prompt"
"""Name of the PNG text chunk that holds a prompt picture's document."""


def compose(
    prompt: VisualPrompt,
    photo: str | None,
    size: int,
    out: str | None,
    spec_out: str | None,
    overwrite: bool,
    font: str | None = None,
) -> list[str]:
    """Write the prompt's picture, `size` pixels wide and high, to `out`, and its document to `spec_out`.

    A file that exists is kept unless `overwrite`. Returns the kept ones. Raises ValueError for a photo too many or too few, and for files
    that cannot be written to.
    """
    if photo is not None and not isinstance(prompt.canvas, PhotoCanvas):
        raise ValueError(f"--image {photo} has no place in this prompt: its canvas is no photo")
    if out and out != STANDARD and not out.lower().endswith(".png"):
        raise ValueError(f"{out} is not a .png file, which a prompt picture needs to carry its document")
    if out and out == spec_out:
        raise ValueError(f"{out} cannot be both the picture and the document; choose another file for one")
    if (
        photo
        and photo != STANDARD
        and Path(photo).resolve() in [Path(path).resolve() for path in (out, spec_out) if path]
    ):
        raise ValueError(f"{photo} is the photo and would be replaced; choose another file to write to")
    kept = [path for path in (out, spec_out) if path and path != STANDARD and os.path.exists(path) and not overwrite]
    if out and out not in kept:
        write_png(picture_of(prompt, photo, size, font), out, {CHUNK: dumps(prompt)})
    if spec_out and spec_out not in kept:
        write_whole((dumps(prompt, indent=2) + "\n").encode(), spec_out)
    return kept


def picture_of(prompt: VisualPrompt, photo: str | None, size: int = 512, font: str | None = None) -> Image.Image:
    """The rendered prompt, on the photo in that file if its canvas is one, lettered with the font file if one is named."""
    if not isinstance(prompt.canvas, PhotoCanvas):
        return render(prompt, None, size, font)
    if photo is None:
        raise ValueError("the prompt stands on a photo; give it with --image")
    try:
        with Image.open(io.BytesIO(sys.stdin.buffer.read()) if photo == STANDARD else photo) as picture:
            return render(prompt, picture, size, font)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{photo} cannot be read: {error}") from None


def read_prompt(source: str) -> VisualPrompt:
    """The prompt in a JSON file, or in a PNG that `compose` wrote. Raises ValueError, which names the file."""
    if source == STANDARD:
        content = sys.stdin.buffer.read(MAX_CHARACTERS + 1)
    else:
        with open(source, "rb") as file:
            content = file.read(MAX_CHARACTERS + 1)
    try:
        if not content.startswith(b"\x89PNG"):
            return loads(content)
        with Image.open(io.BytesIO(content)) as picture:
            prompt = embedded_prompt(picture)
    except (PromptError, OSError, SyntaxError) as error:
        raise ValueError(f"{source}: {error}") from None
    if prompt is None:
        raise ValueError(
            f"{source} is a picture without a visual prompt in it; `flowinone compose` writes ones that have it"
        )
    return prompt


def embedded_prompt(picture: Image.Image) -> VisualPrompt | None:
    """The prompt in an opened PNG's text chunk, None without one. Raises PromptError for one that cannot be read."""
    text = picture.info.get(CHUNK)
    return loads(text) if isinstance(text, str) else None


def write_png(image: Image.Image, target: str, chunks: Mapping[str, str]) -> None:
    """Write a PNG with text chunks."""
    text = PngInfo()
    for name, value in chunks.items():
        text.add_text(name, value)
    content = io.BytesIO()
    image.save(content, "PNG", pnginfo=text)
    write_whole(content.getvalue(), target)


def write_whole(content: bytes, target: str) -> None:
    """Write a file whole or not at all, or to standard output."""
    if target == STANDARD:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            unfinished.unlink()


def prompt_from_options(task: str, given: Mapping[str, object]) -> VisualPrompt:
    """The prompt of a task from the command's options, by their names; those that are None were not given.

    Raises ValueError for options that do not fit the task, and for those that it lacks.
    """
    task = _SHORT.get(task, task)
    if task not in _BUILDERS:
        raise ValueError(f"task {task!r} is unknown; choose one of {', '.join(_BUILDERS)}")
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


def canvas_from(text: str) -> Canvas:
    """`#fd6fa7` as one colour, `#8ec5fc,#e0c3fc` as two from the top down, and with `,horizontal` from the left to the right."""
    colors = [part.strip() for part in text.split(",")]
    if len(colors) > 3:
        raise ValueError(f"--canvas {text} has {len(colors)} parts; expected one colour, or two and a direction")
    return SolidCanvas(*colors) if len(colors) == 1 else GradientCanvas(*colors)


def _class_to_image(text: str, canvas: Canvas | None = None) -> VisualPrompt:
    return tasks.class_to_image(text, canvas=canvas)


def _text_to_image(text: str, canvas: Canvas | None = None) -> VisualPrompt:
    return tasks.text_to_image(text, canvas=canvas)


def _text_in_image(
    text: str | None = None, preset: str | None = None, caption: str | None = None, fit: str | None = None
) -> VisualPrompt:
    if (text is None) == (preset is None):
        raise ValueError("text_in_image needs --text or --preset, one of them")
    if caption is not None and preset is None:
        raise ValueError("--caption goes with a --preset; put the words in --text instead")
    return tasks.text_in_image(text if preset is None else tasks.preset(preset, caption), **_look(fit))


def _text_box(box: Sequence, label: Sequence[str], color: str | None = None, fit: str | None = None) -> VisualPrompt:
    if len(box) != len(label):
        raise ValueError(f"{len(box)} --box and {len(label)} --label do not pair; give each box a label")
    return tasks.text_box(zip(box, label), **_look(fit, color))


def _visual_marker(
    arrow: Sequence, text: str | None = None, thing: str | None = None, color: str | None = None, fit: str | None = None
) -> VisualPrompt:
    if len(arrow) != 1:
        raise ValueError(f"--arrow was given {len(arrow)} times; visual_marker has one arrow")
    x0, y0, x1, y1 = arrow[0]
    return tasks.visual_marker((x0, y0), (x1, y1), instruction=text, thing=thing, **_look(fit, color))


def _doodle(
    stroke: Sequence[Sequence[Point]], text: str | None = None, color: str | None = None, fit: str | None = None
) -> VisualPrompt:
    # The trained brush is black and white; a colour asks for the plain one.
    brush = {} if color is None else {"brush": "round"}
    return tasks.doodle(stroke, instruction=text, **brush, **_look(fit, color))


def _point_force(
    force: Sequence, text: str | None = None, color: str | None = None, fit: str | None = None
) -> VisualPrompt:
    return tasks.point_force([((x, y), *rest) for x, y, *rest in force], instruction=text, **_look(fit, color))


def _wind(
    wind: Sequence[float], text: str | None = None, color: str | None = None, fit: str | None = None
) -> VisualPrompt:
    x, y, *rest = wind
    return tasks.wind((x, y), *rest, instruction=text, **_look(fit, color))


def _trajectory(
    path: Sequence[Sequence[Point]], text: str | None = None, color: str | None = None, fit: str | None = None
) -> VisualPrompt:
    return tasks.trajectory(path, instruction=text, **_look(fit, color))


_SHORT = {
    "class": "class_to_image",
    "text": "text_to_image",
    "box": "text_box",
    "marker": "visual_marker",
    "force": "point_force",
}

_BUILDERS: dict[str, Callable[..., VisualPrompt]] = {
    "class_to_image": _class_to_image,
    "text_to_image": _text_to_image,
    "text_in_image": _text_in_image,
    "text_box": _text_box,
    "visual_marker": _visual_marker,
    "doodle": _doodle,
    "point_force": _point_force,
    "wind": _wind,
    "trajectory": _trajectory,
}


def _look(fit: str | None, color: str | None = None) -> dict[str, object]:
    look = {} if color is None else {"color": color}
    return look if fit is None else look | {"canvas": dataclasses.replace(PhotoCanvas(), fit=fit)}
