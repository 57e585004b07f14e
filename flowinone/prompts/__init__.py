"""The visual prompt language: prompts as data, as JSON documents, and rendered as the prompt images the model reads.

`tasks` has a constructor of prompts for each task that the model was trained on; `render` draws what they return.
"""

from . import tasks
from .checks import PromptError
from .document import dumps, dumps_many, from_document, json_schema, loads, loads_many, to_document
from .render import render
from .spec import (
    Box,
    Doodle,
    Erase,
    ForceArrow,
    GradientCanvas,
    MarkerArrow,
    PhotoCanvas,
    SolidCanvas,
    Stroke,
    Text,
    TextStyle,
    Trajectory,
    VisualPrompt,
    Wind,
)
from .tasks import TASKS

__all__ = [
    "Box",
    "Doodle",
    "Erase",
    "ForceArrow",
    "GradientCanvas",
    "MarkerArrow",
    "PhotoCanvas",
    "PromptError",
    "SolidCanvas",
    "Stroke",
    "TASKS",
    "Text",
    "TextStyle",
    "Trajectory",
    "VisualPrompt",
    "Wind",
    "dumps",
    "dumps_many",
    "from_document",
    "json_schema",
    "loads",
    "loads_many",
    "render",
    "tasks",
    "to_document",
]
