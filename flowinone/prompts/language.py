"""The prompt language as data, for programs in other languages that draw prompts."""

import dataclasses

from .checks import MAX_MARKS, MAX_POINTS, MAX_STROKES
from .document import encoded, json_schema
from .tasks import TASKS

WIDTHS = {
    "box": (0.5, 64),
    "marker": (0.5, 64),
    "force": (0.5, 64),
    "wind": (0.5, 64),
    "trajectory": (0.5, 64),
    "doodle": (0.5, 128),
    "text": (4, 256),
}
"""Least and most width of lines, or height of letters, by kind of mark."""


def language() -> dict:
    """The documents' JSON Schema, what each task brings, and the limits that the schema does not tell; of dicts, lists, text and numbers."""
    tasks = {
        name: {field.name: encoded(getattr(info, field.name)) for field in dataclasses.fields(info)}
        for name, info in TASKS.items()
    }
    widths = {kind: list(limits) for kind, limits in WIDTHS.items()}
    limits = {"marks": MAX_MARKS, "points": MAX_POINTS, "strokes": MAX_STROKES, "widths": widths}
    return {"schema": json_schema(), "tasks": tasks, "limits": limits}
