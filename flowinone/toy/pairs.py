"""The toy world as a source of training pairs."""

from collections.abc import Iterable

from ..prompts.spec import Task
from .examples import SCENE_TASKS, Example, example

PATH_PREFIX = "scenes:"
"""What a data path begins with that stands for the toy world: `scenes:`, or `scenes:doodle,wind` for some tasks."""


class SceneSource:
    """Training examples of some tasks in turn, by index; another `seed` gives others.

    It has a name, a length and `pair(index)`, holds no open files and can be pickled. Raises ValueError for a task
    without scenes.
    """

    def __init__(
        self, tasks: Iterable[Task] = SCENE_TASKS, seed: int = 0, size: int = 128, prompt_size: int | None = None
    ):
        self.tasks, self.seed, self.size, self.prompt_size = tuple(tasks), seed, size, prompt_size
        for task in self.tasks:
            example(task, 0)
        self.name = f"scenes of seed {seed} ({', '.join(self.tasks)})"

    def __len__(self) -> int:
        return 2**31

    def pair(self, index: int) -> Example:
        """The example at an index from 0 to the length. Raises IndexError beyond."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has pairs 0 to {len(self) - 1}, not {index}")
        task = self.tasks[index % len(self.tasks)]
        return example(task, self.seed * len(self) + index, self.size, prompt_size=self.prompt_size)


def open_scenes(path: str, seed: int, size: int, prompt_size: int) -> SceneSource:
    """The source that a data path stands for; it begins with `PATH_PREFIX`, and without tasks it means all.

    Answers are `size` pixels wide, prompts `prompt_size`. Raises ValueError for a task without scenes.
    """
    tasks = tuple(filter(None, path.removeprefix(PATH_PREFIX).split(","))) or SCENE_TASKS
    unknown = [task for task in tasks if task not in SCENE_TASKS]
    if unknown:
        raise ValueError(f"data {path!r}: there are no scenes for {unknown[0]}; choose of {', '.join(SCENE_TASKS)}")
    return SceneSource(tasks, seed, size, prompt_size)
