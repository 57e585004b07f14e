"""The visual prompt as data: a canvas and marks, in vector form.

Positions are fractions of the square canvas, x to the right and y downwards, 0..1; marks may reach beyond and are cut
off there. Sizes of strokes and letters are *units*, 1/512 of the canvas's side: pixels on the 512 px canvases of the
training data. Angles are degrees counter-clockwise from "to the right". Colours are `#rrggbb` or CSS names; "auto"
contrasts with the picture beneath. Every class validates its fields and raises PromptError, which names the field.
"""

import dataclasses
import math
from typing import Literal

from PIL import ImageColor

from .checks import (
    AUTO,
    MAX_ALL_TEXT,
    MAX_MARKS,
    MAX_POINTS,
    MAX_STROKES,
    Area,
    Point,
    PromptError,
    check_area,
    check_choice,
    check_color,
    check_flag,
    check_kind,
    check_kinds,
    check_number,
    check_point,
    check_points,
    check_text,
)

VERSION = 1
"""Version of the document format."""

Task = Literal[
    "class_to_image",
    "text_to_image",
    "text_in_image",
    "text_box",
    "visual_marker",
    "doodle",
    "point_force",
    "wind",
    "trajectory",
]
Face = Literal["serif", "sans", "comic", "mono", "condensed"]
Align = Literal["left", "center", "right"]
Fit = Literal["crop", "letterbox", "stretch"]
Direction = Literal["vertical", "horizontal"]
Role = Literal["caption", "label", "instruction"]
VerticalAlign = Literal["top", "middle", "bottom"]
Brush = Literal["multiline", "round"]


@dataclasses.dataclass(frozen=True)
class TextStyle:
    """How text looks. `pitch` is the line spacing as a multiple of `size`, which may shrink to `min_size` to fit."""

    face: Face = "serif"
    bold: bool = True
    size: float = 28
    min_size: float = 20
    pitch: float = 1.25
    letter_spacing: float = 0
    align: Align = "center"
    fill: str = AUTO
    outline: str = AUTO
    outline_width: float = 2

    def __post_init__(self):
        check_number("size", self.size, 4, 256)
        check_number("min_size", self.min_size, 4, self.size)
        check_number("pitch", self.pitch, 0.8, 4)
        check_number("letter_spacing", self.letter_spacing, -4, 64)
        check_number("outline_width", self.outline_width, 0, 32)
        check_choice("face", self.face, Face)
        check_flag("bold", self.bold)
        check_choice("align", self.align, Align)
        check_color("fill", self.fill, auto=True)
        check_color("outline", self.outline, auto=True)


@dataclasses.dataclass(frozen=True)
class SolidCanvas:
    """One colour."""

    color: str = "#fd6fa7"

    def __post_init__(self):
        check_color("color", self.color)


@dataclasses.dataclass(frozen=True)
class GradientCanvas:
    """Two colours, from top to bottom or from left to right."""

    start: str = "#8ec5fc"
    end: str = "#e0c3fc"
    direction: Direction = "vertical"

    def __post_init__(self):
        check_color("start", self.start)
        check_color("end", self.end)
        check_choice("direction", self.direction, Direction)


@dataclasses.dataclass(frozen=True)
class PhotoCanvas:
    """A picture, not part of the document, made square by `fit`; `letterbox` fills its bars with `background`."""

    fit: Fit = "crop"
    background: str = "#7f7f7f"

    def __post_init__(self):
        check_choice("fit", self.fit, Fit)
        check_color("background", self.background)


@dataclasses.dataclass(frozen=True)
class Text:
    """Text in `area` (left, top, right, bottom), at its top, middle or bottom."""

    text: str
    area: Area = (0.04, 0.72, 0.96, 0.96)
    role: Role = "instruction"
    valign: VerticalAlign = "bottom"
    style: TextStyle = TextStyle()

    def __post_init__(self):
        check_text("text", self.text)
        check_area("area", self.area)
        check_choice("role", self.role, Role)
        check_choice("valign", self.valign, VerticalAlign)


@dataclasses.dataclass(frozen=True)
class Box:
    """An unfilled box around `area` (left, top, right, bottom), its label just above; an empty one is not drawn."""

    area: Area
    label: str = ""
    color: str = "#ff0000"
    width: float = 3
    style: TextStyle = TextStyle(bold=False, fill="#ffffff", outline="#000000")

    def __post_init__(self):
        check_area("area", self.area)
        check_text("label", self.label, empty=True)
        check_color("color", self.color)
        check_number("width", self.width, 0.5, 64)


@dataclasses.dataclass(frozen=True)
class MarkerArrow:
    """An arrow whose tip is on an object; `head` is the length of its head, which is one and a half times as wide."""

    start: Point
    tip: Point
    color: str = "#00e5ff"
    width: float = 3.5
    head: float = 17

    def __post_init__(self):
        check_point("start", self.start)
        check_point("tip", self.tip)
        if math.dist(self.start, self.tip) < 1e-3:
            raise PromptError("tip", "is the same point as start; an arrow needs a length")
        check_color("color", self.color)
        check_number("width", self.width, 0.5, 64)
        check_number("head", self.head, 1, 128)


@dataclasses.dataclass(frozen=True)
class ForceArrow:
    """A push on the object at `start` towards `angle`: an arrow `magnitude · scale` (fractions of the canvas) long.

    `width` is the shaft's without its rim, one unit wide in the colour `edge`; `head` is the length of the head, which
    is one and a half times as wide. What the lengths in the training data mean is not documented: a sample's, 109 of
    512 pixels, is magnitude 1 here.
    """

    start: Point
    angle: float
    magnitude: float = 1
    scale: float = 109 / 512
    color: str = "#ff2d2d"
    edge: str = "#ffffff"
    width: float = 6
    head: float = 17

    def __post_init__(self):
        check_point("start", self.start)
        check_number("angle", self.angle, -360_000, 360_000)
        check_number("magnitude", self.magnitude, 1e-3, 1e3)
        check_number("scale", self.scale, 1e-4, 2)
        if not 0.01 <= self.magnitude * self.scale <= 2:
            raise PromptError(
                "magnitude",
                f"makes an arrow {self.magnitude * self.scale:.3g} canvases long; choose magnitude and scale for 0.01 "
                "to 2",
            )
        check_color("color", self.color)
        check_color("edge", self.edge)
        check_number("width", self.width, 0.5, 64)
        check_number("head", self.head, 1, 128)

    @property
    def tip(self) -> Point:
        radians, length = math.radians(self.angle), self.magnitude * self.scale
        return self.start[0] + length * math.cos(radians), self.start[1] - length * math.sin(radians)


@dataclasses.dataclass(frozen=True)
class Wind:
    """Wavy lines around `center` that blow towards `angle`, `strength · scale` (fractions of the canvas) long."""

    center: Point
    angle: float = 0
    strength: float = 1
    scale: float = 0.18
    color: str = "#2f6fff"
    width: float = 3

    def __post_init__(self):
        check_point("center", self.center)
        check_number("angle", self.angle, -360_000, 360_000)
        check_number("strength", self.strength, 1e-3, 1e3)
        check_number("scale", self.scale, 1e-4, 2)
        if not 0.02 <= self.strength * self.scale <= 2:
            raise PromptError(
                "strength",
                f"makes a glyph {self.strength * self.scale:.3g} canvases long; choose strength and scale for 0.02 "
                "to 2",
            )
        check_color("color", self.color)
        check_number("width", self.width, 0.5, 64)


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """A solid line without a head, from an object along its path: a polyline, or a curve with `smooth`."""

    points: tuple[Point, ...]
    smooth: bool = True
    color: str = "#ff2d2d"
    width: float = 4

    def __post_init__(self):
        check_points("points", self.points)
        check_flag("smooth", self.smooth)
        check_color("color", self.color)
        check_number("width", self.width, 0.5, 64)


@dataclasses.dataclass(frozen=True)
class Stroke:
    """A line of a doodle: in the trained `multiline` brush, parallel black and white lines, or `round`, in `color`."""

    points: tuple[Point, ...]
    brush: Brush = "multiline"
    width: float = 9
    color: str = "#000000"

    def __post_init__(self):
        check_points("points", self.points)
        check_choice("brush", self.brush, Brush)
        check_number("width", self.width, 0.5, 128)
        check_color("color", self.color)


@dataclasses.dataclass(frozen=True)
class Doodle:
    """A freehand line drawing."""

    strokes: tuple[Stroke, ...]

    def __post_init__(self):
        check_kinds("strokes", self.strokes, (Stroke,))
        if not self.strokes:
            raise PromptError("strokes", "is empty; a doodle needs at least one stroke")


@dataclasses.dataclass(frozen=True)
class Erase:
    """A region for the model to fill: the polygon through `points`, painted over with one colour."""

    points: tuple[Point, ...]
    color: str = "#808080"

    def __post_init__(self):
        check_points("points", self.points, least=3)
        check_color("color", self.color)


Canvas = SolidCanvas | GradientCanvas | PhotoCanvas
Mark = Text | Box | MarkerArrow | ForceArrow | Wind | Trajectory | Doodle | Erase

CANVAS_TYPES: dict[str, type] = {"solid": SolidCanvas, "gradient": GradientCanvas, "photo": PhotoCanvas}
MARK_TYPES: dict[str, type] = {
    "text": Text,
    "box": Box,
    "marker": MarkerArrow,
    "force": ForceArrow,
    "wind": Wind,
    "trajectory": Trajectory,
    "doodle": Doodle,
    "erase": Erase,
}
"""Canvases and marks by their `type` in documents."""


@dataclasses.dataclass(frozen=True)
class VisualPrompt:
    """A prompt: its task, a canvas, marks in drawing order, and whether the model's dual path is bypassed."""

    task: Task
    canvas: Canvas
    marks: tuple[Mark, ...] = ()
    bypass: bool = False

    def __post_init__(self):
        check_choice("task", self.task, Task)
        check_flag("bypass", self.bypass)
        check_kind("canvas", self.canvas, tuple(CANVAS_TYPES.values()))
        check_kinds("marks", self.marks, tuple(MARK_TYPES.values()))
        if len(self.marks) > MAX_MARKS:
            raise PromptError("marks", f"has {len(self.marks)} entries; at most {MAX_MARKS} are drawn")
        strokes = sum(len(mark.strokes) for mark in self.marks if isinstance(mark, Doodle))
        if strokes > MAX_STROKES:
            raise PromptError("marks", f"have {strokes:,} strokes together; at most {MAX_STROKES} are drawn, join some")
        letters = sum(len(getattr(mark, "text", getattr(mark, "label", ""))) for mark in self.marks)
        if letters > MAX_ALL_TEXT:
            raise PromptError(
                "marks", f"have {letters:,} characters together; at most {MAX_ALL_TEXT:,} can be laid out"
            )
        points = sum(point_count(mark) for mark in self.marks)
        if points > MAX_POINTS:
            raise PromptError(
                "marks", f"have {points:,} points together; at most {MAX_POINTS:,} are drawn, simplify the strokes"
            )


def point_count(mark: Mark) -> int:
    """The number of points in a mark's lines."""
    if isinstance(mark, Doodle):
        return sum(len(stroke.points) for stroke in mark.strokes)
    return len(getattr(mark, "points", ()))


def rgb(color: str) -> tuple[int, int, int]:
    """Red, green and blue, 0..255, of a checked colour other than "auto"."""
    return ImageColor.getrgb(color)[:3]
