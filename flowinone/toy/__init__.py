"""The toy world: prompts with known correct answers, coloured shapes on plain backgrounds, for all nine tasks.

- `example(task, seed)` returns a prompt with its correct answer, as data and as pictures; what the correct answer is,
  `rules` says. `held_out=True` takes examples that training never sees (`split`).
- `judge(example, picture)` returns a `Verdict` on a picture as an answer.
- `SceneSource` is an endless source of training pairs, and `open_scenes` opens one for a run file's `scenes:`.
"""

from .builders import Answer
from .examples import SCENE_TASKS, Example, example, example_from_name
from .judge import FAULT_KINDS, Fault, Verdict, judge
from .scene import BACKGROUND_COLORS, COLORS, SHAPES, TEXTURES, Background, Flag, Scene, SceneObject
from .scene_source import SOURCE_NAME, SceneSource, open_scenes

__all__ = [
    "Answer",
    "BACKGROUND_COLORS",
    "Background",
    "COLORS",
    "Example",
    "FAULT_KINDS",
    "Fault",
    "Flag",
    "SCENE_TASKS",
    "SHAPES",
    "SOURCE_NAME",
    "Scene",
    "SceneObject",
    "SceneSource",
    "TEXTURES",
    "Verdict",
    "example",
    "example_from_name",
    "judge",
    "open_scenes",
]
