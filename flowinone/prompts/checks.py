"""Validating the fields of visual prompts, and the error for invalid ones."""

import math
import re
from collections.abc import Sequence

from PIL import ImageColor

# Limits of a prompt: what can be drawn, and read by the canvas, in a moment.
MAX_MARKS = 200
MAX_POINTS = 20_000
MAX_STROKES = 300
MAX_TEXT = 2_000
MAX_ALL_TEXT = 20_000
AUTO = "auto"
UNITS = 512
"""Units of length along the canvas's side; see `spec`."""

Point = tuple[float, float]
"""x and y."""
Area = tuple[float, float, float, float]
"""Left, top, right and bottom."""


class PromptError(ValueError):
    """An invalid visual prompt.

    `field` is the path of the invalid field (`marks[2].points[0]`), `problem` says what is wrong and what to do.
    """

    def __init__(self, field: str, problem: str):
        self.field, self.problem = field, problem
        super().__init__(f"{field}: {problem}" if field else problem)

    def within(self, parent: str) -> "PromptError":
        """The same error with a path that starts at `parent`."""
        joint = "" if not self.field or self.field.startswith("[") else "."
        return PromptError(f"{parent}{joint}{self.field}", self.problem)


def check_number(field: str, value: float, least: float, most: float) -> None:
    # Not math.isfinite, which overflows on large ints.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -math.inf < value < math.inf:
        raise PromptError(field, f"is {_short(value)}; expected a finite number")
    if not least <= value <= most:
        raise PromptError(field, f"is {_short(value)}; expected {least:g} to {most:g}")


def check_point(field: str, point: Point) -> None:
    if not isinstance(point, tuple) or len(point) != 2:
        raise PromptError(field, f"is {_short(point)}; expected two numbers, x and y")
    for axis, value in enumerate(point):
        check_number(f"{field}[{axis}]", value, -1, 2)


def check_points(field: str, points: Sequence[Point], least: int = 2) -> None:
    if not isinstance(points, tuple) or len(points) < least:
        raise PromptError(field, f"needs at least {least} points")
    if len(points) > MAX_POINTS:
        raise PromptError(field, f"has {len(points):,} points; at most {MAX_POINTS:,} are drawn, simplify the stroke")
    for number, point in enumerate(points):
        check_point(f"{field}[{number}]", point)


def check_area(field: str, area: Sequence[float]) -> None:
    if not isinstance(area, tuple) or len(area) != 4:
        raise PromptError(field, f"is {_short(area)}; expected four numbers: left, top, right, bottom")
    for side, value in enumerate(area):
        check_number(f"{field}[{side}]", value, -1, 2)
    left, top, right, bottom = area
    if min(right, 1) - max(left, 0) < 1e-3 or min(bottom, 1) - max(top, 0) < 1e-3:
        raise PromptError(field, "has no area on the canvas; expected left < right and top < bottom, within 0 to 1")


def check_text(field: str, text: str, empty: bool = False) -> None:
    if not isinstance(text, str):
        raise PromptError(field, f"is {_short(text)}; expected text")
    if not empty and not text.strip():
        raise PromptError(field, "is empty; write something")
    if len(text) > MAX_TEXT:
        raise PromptError(field, f"has {len(text):,} characters; at most {MAX_TEXT:,} can be laid out")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise PromptError(field, "holds half a character (a lone surrogate); type it again")


def check_color(field: str, color: str, auto: bool = False) -> None:
    if auto and color == AUTO:
        return
    # Pillow also parses rgb(…) and hsl(…), which documents do not need.
    if isinstance(color, str) and (
        re.fullmatch(r"#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})", color) or color.lower() in ImageColor.colormap
    ):
        return
    raise PromptError(
        field, f"is {_short(color)}, not a colour; write #rrggbb or a CSS name{' or auto' if auto else ''}"
    )


def check_flag(field: str, value: bool) -> None:
    if not isinstance(value, bool):
        raise PromptError(field, f"is {_short(value)}; expected true or false")


def check_kind(field: str, value: object, kinds: tuple[type, ...]) -> None:
    if not isinstance(value, kinds):
        raise PromptError(field, f"is {_short(value)}; expected {', '.join(kind.__name__ for kind in kinds)}")


def check_kinds(field: str, values: Sequence[object], kinds: tuple[type, ...]) -> None:
    check_kind(field, values, (tuple,))
    for number, value in enumerate(values):
        check_kind(f"{field}[{number}]", value, kinds)


def check_choice(field: str, value: str, choices) -> None:
    if value not in choices.__args__:
        raise PromptError(field, f"is {_short(value)}; choose one of {', '.join(choices.__args__)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
