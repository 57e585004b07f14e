"""The prompt language as data, for programs in other languages that draw prompts."""

import dataclasses

from .checks import MAX_MARKS, MAX_POINTS, MAX_STROKES
from .document import encoded, json_schema
from .tasks import TASKS


def language() -> dict:
    """The documents' JSON Schema, what each task brings, and the limits on all marks together; of dicts, lists, text and numbers."""
    tasks = {
        name: {field.name: encoded(getattr(info, field.name)) for field in dataclasses.fields(info)}
        for name, info in TASKS.items()
    }
    limits = {"marks": MAX_MARKS, "points": MAX_POINTS, "strokes": MAX_STROKES}
    return {"schema": json_schema(), "tasks": tasks, "limits": limits}
