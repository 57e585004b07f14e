"""The toy world as a source of training pairs."""

from collections.abc import Iterable

from ..prompts.spec import Task
from .examples import SCENE_TASKS, Example, example

SOURCE_NAME = "scenes"
"""What a data path begins with, before a colon, that stands for the toy world: `scenes:`, or `scenes:doodle,wind`."""


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


def open_scenes(path: str, *, seed: int, image_size: int, vision_size: int) -> SceneSource:
    """The source for what follows `scenes:` in a data path: tasks, separated by commas; without any, all tasks.

    Answers are `image_size` pixels wide, prompts `vision_size`. Training calls it as a `SourceOpener`. Raises
    ValueError for a task without scenes.
    """
    tasks = tuple(filter(None, path.split(","))) or SCENE_TASKS
    unknown = [task for task in tasks if task not in SCENE_TASKS]
    if unknown:
        raise ValueError(
            f"{SOURCE_NAME}:{path}: there are no scenes for {unknown[0]}; choose from {', '.join(SCENE_TASKS)}"
        )
    return SceneSource(tasks, seed, image_size, vision_size)
