"""The tasks that the model was trained on: `TASKS`, the registry, and a constructor of prompts for each.

The constructors have the names of their tasks. Placing, wording and colours are those of the training data; `canvas`,
`style`, `area` and `bypass` override them, and further keywords (`look`) go to the marks: `text_box(boxes,
color="blue", width=5)`. Lists and arrays are accepted for tuples, and marks for their values. Invalid arguments raise
PromptError, which names the argument.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from .checks import Area, Point, PromptError, check_text
from .spec import (
    Box,
    Canvas,
    Doodle,
    ForceArrow,
    GradientCanvas,
    Mark,
    MarkerArrow,
    PhotoCanvas,
    Role,
    SolidCanvas,
    Stroke,
    Task,
    Text,
    TextStyle,
    Trajectory,
    VerticalAlign,
    VisualPrompt,
    Wind,
)

REMOVE = "Remove the object pointed to by the arrow."
SWAP = "Swap the object pointed to by the arrow with {thing}."
IMPULSE = (
    "Apply an impulse to the object according to the arrow, "
    "and generate an image of its pose at the end of its first swing."
)
"""Instruction for a force on a plant."""

SUBTASK_INSTRUCTIONS: dict[str, str] = {
    "inpaint": "Fill in the gaps in this portrait to restore the whole face.",
    "canny": "Canny to image: {caption}",
    "depth": "Depth to image: {caption}",
    "restore": "Image restoration",
    "sketch": "Convert the image to display a sketch map.",
}
"""The trained instructions of text in image on a masked, edge, depth, degraded or plain photo.

No sample with canny's instruction is known; it is worded like depth's.
"""


@dataclasses.dataclass(frozen=True)
class TaskInfo:
    """A task: what users see of it, which marks belong to it, and how its text is worded and placed."""

    title: str
    description: str
    marks: tuple[str, ...]
    """Types of the marks that belong to the task, as in documents."""
    canvas: Canvas
    style: TextStyle
    """Of the text, or of a box's label."""
    instruction: str = ""
    """The trained wording; empty if users write their own."""
    area: Area = (0.05, 0.7, 0.95, 0.97)
    valign: VerticalAlign = "bottom"
    role: Role = "instruction"
    bypass: bool = False
    """Whether the model's dual path is bypassed."""

    @property
    def needs_photo(self) -> bool:
        return isinstance(self.canvas, PhotoCanvas)


def _plain(size: float, **ink: str) -> TextStyle:
    return TextStyle(bold=False, size=size, pitch=1.08, **ink)


_BLACK_ON_WHITE = dict(fill="#000000", outline="#ffffff")
"""As in every sample of forces and trajectories, whatever is beneath."""


TASKS: dict[Task, TaskInfo] = {
    "class_to_image": TaskInfo(
        title="Class to image",
        description="A picture of the thing whose name is on the canvas.",
        marks=("text",),
        canvas=GradientCanvas(),
        style=TextStyle(size=64, fill="#ffffff", outline="#000000"),
        area=(0.05, 0.52, 0.95, 0.95),
        valign="middle",
        role="label",
        bypass=True,
    ),
    "text_to_image": TaskInfo(
        title="Text to image",
        description="A picture of what the caption on the canvas describes.",
        marks=("text",),
        canvas=SolidCanvas(),
        style=TextStyle(size=48, pitch=4 / 3, letter_spacing=2.5),
        area=(0.05, 0.05, 0.95, 0.95),
        valign="middle",
        role="caption",
        bypass=True,
    ),
    "text_in_image": TaskInfo(
        title="Text in image",
        description="Changes the photo as the instruction on it says.",
        marks=("text", "erase"),
        canvas=PhotoCanvas(),
        style=TextStyle(face="sans", size=30, pitch=1.3, letter_spacing=1),
    ),
    "text_box": TaskInfo(
        title="Text box",
        description="Puts into each box what its label says.",
        marks=("box", "text"),
        canvas=PhotoCanvas(),
        style=Box.style,
        role="label",
    ),
    "visual_marker": TaskInfo(
        title="Visual marker",
        description="Removes or swaps the object that the arrow points at.",
        marks=("marker", "text"),
        canvas=PhotoCanvas(),
        style=_plain(28),
        instruction=REMOVE,
        area=(0.11, 0.66, 0.89, 0.97),
        valign="middle",
    ),
    "doodle": TaskInfo(
        title="Doodle",
        description="Turns drawn lines on the photo into real things.",
        marks=("doodle", "text"),
        canvas=PhotoCanvas(),
        style=_plain(25),
        instruction="Turn the doodle in the image into a realistic real-world object",
    ),
    "point_force": TaskInfo(
        title="Point force",
        description="Pushes each object along its arrow, harder the longer the arrow is.",
        marks=("force", "text"),
        canvas=PhotoCanvas(),
        style=_plain(26, **_BLACK_ON_WHITE),
        instruction="Apply forces to the object according to the arrows until stop, and generate the final image.",
    ),
    "wind": TaskInfo(
        title="Wind",
        description="Blows over the picture the way the wavy lines go.",
        marks=("wind", "text"),
        canvas=PhotoCanvas(),
        style=_plain(26, **_BLACK_ON_WHITE),
        instruction="Interpret the wavy lines as wind and generate the resulting wind-blown image.",
    ),
    "trajectory": TaskInfo(
        title="Trajectory",
        description="Moves each object along the line that starts at it.",
        marks=("trajectory", "text"),
        canvas=PhotoCanvas(),
        style=_plain(23, **_BLACK_ON_WHITE),
        instruction="Follow the solid line as the trajectory of objects and generate the final image",
    ),
}


def class_to_image(
    label: str,
    *,
    canvas: Canvas | None = None,
    style: TextStyle | None = None,
    area: Area | None = None,
    bypass: bool | None = None,
) -> VisualPrompt:
    """A class name on a gradient. The model was trained with and without bypass for this task."""
    return _prompt("class_to_image", (), ("label", label), canvas, style, area, bypass)


def text_to_image(
    caption: str,
    *,
    canvas: Canvas | None = None,
    style: TextStyle | None = None,
    area: Area | None = None,
    bypass: bool | None = None,
) -> VisualPrompt:
    """A caption on a canvas of one colour, or on a gradient."""
    return _prompt("text_to_image", (), ("caption", caption), canvas, style, area, bypass)


def text_in_image(
    instruction: str,
    *,
    canvas: Canvas | None = None,
    style: TextStyle | None = None,
    area: Area | None = None,
    bypass: bool | None = None,
) -> VisualPrompt:
    """A free instruction on a photo; `subtask_instruction` has the trained ones of the sub-tasks."""
    return _prompt("text_in_image", (), ("instruction", instruction), canvas, style, area, bypass)


def subtask_instruction(preset: str, caption: str | None = None) -> str:
    """One of `SUBTASK_INSTRUCTIONS`, with the caption that canny's and depth's need."""
    if preset not in SUBTASK_INSTRUCTIONS:
        raise PromptError("preset", f"is {preset!r}; choose one of {', '.join(SUBTASK_INSTRUCTIONS)}")
    instruction = SUBTASK_INSTRUCTIONS[preset]
    if "{caption}" in instruction and caption is None:
        raise PromptError("caption", f"is missing; the preset {preset} needs one")
    if "{caption}" not in instruction and caption is not None:
        raise PromptError("caption", f"has no place in the preset {preset}; leave it out")
    return instruction if caption is None else instruction.replace("{caption}", caption)


def text_box(
    boxes: Iterable[tuple[Area, str] | Box],
    *,
    canvas: Canvas | None = None,
    style: TextStyle | None = None,
    bypass: bool | None = None,
    **look,
) -> VisualPrompt:
    """Boxes (area, label) on a photo; a label is a verb and an object: "put a blue jay". `look`: `color`, `width`."""
    style = style or TASKS["text_box"].style
    marks = _marks("boxes", boxes, Box, ("area", "label"), {"style": style} | look)
    return _prompt("text_box", marks, None, canvas, None, None, bypass)


def visual_marker(
    start: Point,
    tip: Point,
    *,
    thing: str | None = None,
    instruction: str | None = None,
    canvas: Canvas | None = None,
    style: TextStyle | None = None,
    area: Area | None = None,
    bypass: bool | None = None,
    **look,
) -> VisualPrompt:
    """An arrow whose tip is on the object to remove, to swap with `thing`, or that `instruction` is about.

    `look`: `color`, `width`, `head`.
    """
    if thing is not None:
        if instruction is not None:
            raise PromptError("thing", "is given together with an instruction; give one of them")
        check_text("thing", thing)
        instruction = SWAP.replace("{thing}", thing.strip().removesuffix("."))
    arrow = MarkerArrow(freeze(start), freeze(tip), **look)
    return _prompt("visual_marker", (arrow,), ("instruction", instruction), canvas, style, area, bypass)


def doodle(
    strokes: Iterable[Sequence[Point] | Stroke],
    *,
    instruction: str | None = None,
    canvas: Canvas | None = None,
    style: TextStyle | None = None,
    area: Area | None = None,
    bypass: bool | None = None,
    **look,
) -> VisualPrompt:
    """A line drawing on a photo: strokes, each a sequence of points. `look`: `brush`, `width`, `color`."""
    drawing = Doodle(_marks("strokes", strokes, Stroke, None, look))
    return _prompt("doodle", (drawing,), ("instruction", instruction), canvas, style, area, bypass)


def point_force(
    arrows: Iterable[tuple[Point, float] | tuple[Point, float, float] | ForceArrow],
    *,
    instruction: str | None = None,
    canvas: Canvas | None = None,
    style: TextStyle | None = None,
    area: Area | None = None,
    bypass: bool | None = None,
    **look,
) -> VisualPrompt:
    """Pushes (start, angle, magnitude): from the object's centre, in degrees; the magnitude is optional and 1.

    `IMPULSE` is the instruction for plants. `look`: `scale`, `color`, `edge`, `width`, `head`.
    """
    marks = _marks("arrows", arrows, ForceArrow, ("start", "angle", "magnitude"), look)
    return _prompt("point_force", marks, ("instruction", instruction), canvas, style, area, bypass)


def wind(
    center: Point,
    angle: float = 0,
    strength: float = 1,
    *,
    instruction: str | None = None,
    canvas: Canvas | None = None,
    style: TextStyle | None = None,
    area: Area | None = None,
    bypass: bool | None = None,
    **look,
) -> VisualPrompt:
    """Wavy lines around `center`, next to the object, that blow towards `angle` (degrees).

    `look`: `scale`, `color`, `width`.
    """
    glyph = Wind(freeze(center), freeze(angle), freeze(strength), **look)
    return _prompt("wind", (glyph,), ("instruction", instruction), canvas, style, area, bypass)


def trajectory(
    paths: Iterable[Sequence[Point] | Trajectory],
    *,
    instruction: str | None = None,
    canvas: Canvas | None = None,
    style: TextStyle | None = None,
    area: Area | None = None,
    bypass: bool | None = None,
    **look,
) -> VisualPrompt:
    """Lines, each a sequence of points that starts at an object. `look`: `smooth`, `color`, `width`."""
    marks = _marks("paths", paths, Trajectory, None, look)
    return _prompt("trajectory", marks, ("instruction", instruction), canvas, style, area, bypass)


def freeze(value):
    """Nested lists, arrays and tensors as nested tuples of Python numbers; anything else unchanged."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return tuple(map(freeze, value)) if isinstance(value, (list, tuple)) else value


def _marks(argument: str, given: Iterable, kind: type, fields: tuple[str, ...] | None, look: dict) -> tuple:
    """The given values as marks: each is a mark, or the values of its first `fields`; without `fields`, its points."""
    marks = []
    for number, item in enumerate(given):
        if not isinstance(item, kind):
            item = freeze(item)
            if fields and not (isinstance(item, tuple) and 2 <= len(item) <= len(fields)):
                raise PromptError(f"{argument}[{number}]", f"is {item!r:.60}; expected {', '.join(fields)}")
            try:
                item = kind(*item, **look) if fields else kind(item, **look)
            except PromptError as error:
                raise error.within(f"{argument}[{number}]") from None
        marks.append(item)
    if not marks:
        raise PromptError(argument, "is empty; give at least one")
    return tuple(marks)


def _prompt(
    task: Task,
    marks: tuple[Mark, ...],
    words: tuple[str, str | None] | None,
    canvas: Canvas | None,
    style: TextStyle | None,
    area: Area | None,
    bypass: bool | None,
) -> VisualPrompt:
    """The prompt with the marks and, on top, the text; `words` is its argument's name and value (None: as trained)."""
    info = TASKS[task]
    if words is not None:
        argument, text = words
        text = info.instruction if text is None and info.instruction else text
        check_text(argument, text)
        placed = info.area if area is None else freeze(area)
        marks = (*marks, Text(text, placed, info.role, info.valign, style or info.style))
    return VisualPrompt(task, canvas or info.canvas, marks, info.bypass if bypass is None else bypass)
