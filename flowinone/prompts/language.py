"""The prompt language as data, for the canvas, which draws prompts in JavaScript."""

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
"""Least and greatest width of lines, or height of letters, in units, by type of mark."""


def language() -> dict:
    """The JSON Schema of documents, the task registry, and limits that the schema lacks, as JSON values."""
    tasks = {
        name: {field.name: encoded(getattr(info, field.name)) for field in dataclasses.fields(info)}
        for name, info in TASKS.items()
    }
    widths = {kind: list(limits) for kind, limits in WIDTHS.items()}
    limits = {"marks": MAX_MARKS, "points": MAX_POINTS, "strokes": MAX_STROKES, "widths": widths}
    return {"schema": json_schema(), "tasks": tasks, "limits": limits}
