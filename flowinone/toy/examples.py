"""Examples: a prompt of the toy world with its correct answer, as data and as pictures."""

import dataclasses
import functools
import zlib

from PIL import Image

from ..prompts.render import render
from ..prompts.spec import Task, VisualPrompt
from .builders import BUILDERS, Answer
from .scene import Scene
from .split import SplitRandom

SCENE_TASKS: tuple[Task, ...] = tuple(BUILDERS)
"""The tasks that the toy world has examples for."""


@dataclasses.dataclass(frozen=True)
class Example:
    """A prompt and its correct answer. The pictures are rendered when they are first asked for.

    `words` is what the prompt says, `photo_scene` what the photo below it shows, None without one. The answer's and the
    photo's pictures are `size` pixels wide and high, the prompt's `prompt_size`.

    With `input`, `output`, `bypass` and `name` an example is a training pair.
    """

    name: str
    task: Task
    prompt: VisualPrompt
    words: str
    photo_scene: Scene | None
    answer: Answer
    size: int
    prompt_size: int

    @property
    def bypass(self) -> bool:
        """Whether the model's dual path is off for this prompt."""
        return self.prompt.bypass

    @functools.cached_property
    def photo(self) -> Image.Image | None:
        """The RGB photo below the prompt."""
        return self.photo_scene.render(self.size) if self.photo_scene else None

    @functools.cached_property
    def input(self) -> Image.Image:
        """The RGB prompt picture."""
        photo = self.photo
        if self.photo_scene and self.prompt_size != self.size:
            photo = self.photo_scene.render(self.prompt_size)
        return render(self.prompt, photo, self.prompt_size)

    @functools.cached_property
    def output(self) -> Image.Image:
        """The RGB picture of the correct answer."""
        return self.answer.scene.render(self.size)


def example(task: Task, seed: int, size: int = 128, held_out: bool = False, prompt_size: int | None = None) -> Example:
    """The example of a task and a seed, always the same for the same arguments.

    `size` is the side of the pictures in pixels. `prompt_size` is that of the prompt, if it is to be another one: words
    need more pixels than answers do. `held_out` takes the side of the split (`split`) that training never sees. Raises
    ValueError for a task without scenes.
    """
    if task not in BUILDERS:
        raise ValueError(f"task {task!r} has no scenes; choose one of {', '.join(BUILDERS)}")
    problem = BUILDERS[task](SplitRandom((zlib.crc32(task.encode()), seed), held_out))
    name = f"{task}-{seed}{'-held-out' if held_out else ''}"
    return Example(
        name, task, problem.prompt, problem.words, problem.photo_scene, problem.answer, size, prompt_size or size
    )


def example_from_name(name: str, size: int = 128) -> Example:
    """The example of that name, with pictures of `size` pixels."""
    task, seed, *held_out = name.split("-", 2)
    return example(task, int(seed), size, bool(held_out))
