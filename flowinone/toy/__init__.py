"""Prompts with known answers: coloured shapes on quiet grounds, for all nine tasks, as many as wanted.

What is right, wherever a prompt leaves it open, by rule:

- A class is one thing in the middle, in its shape's own colour and texture (`OWN`); the ground is any quiet one.
- A caption's one thing is in the middle, small, as a class or big (`SIZES`). Two are beside or above each other
  (`SIDES`); "and" means beside, the first on the left. "on blue" is the pale colour of that name (`GROUNDS`); without
  it the ground is any quiet one. What the canvas looks like says nothing.
- Recoloured things keep place, size and texture; what is added stands at its slot (`SLOTS`); where something was, the
  ground is seen.
- A box's thing is in its middle and `IN_BOX` of its shorter side in radius; a swapped one has the place and radius of
  the old one.
- A doodle becomes a thing of its shape, in that shape's own colour and texture, where the lines are.
- A pushed ball stops with its centre at the tip of its arrow, a led thing at the end of its line; the rest stays.
- A flag streams along the sum of the wind (1 at strength 1) and of its weight (`WEIGHT`, downwards); its length stays.
- New things are plain, unless they have their shape's own texture. Nothing turns.

`split` says what training never sees.
"""

import dataclasses
from collections.abc import Iterable

from PIL import Image

from ..prompts.render import render
from ..prompts.spec import Task, VisualPrompt
from ..training.pairs import Pair
from .painting import COLORS, GROUNDS, SHAPES, TEXTURES, Flag, Ground, Scene, Thing
from .plans import IN_BOX, OWN, SCENE_TASKS, SIDES, SIZES, SLOTS, WEIGHT, Answer, Plan, plan

__all__ = [
    "Answer",
    "COLORS",
    "Example",
    "Flag",
    "GROUNDS",
    "Ground",
    "IN_BOX",
    "OWN",
    "Plan",
    "SCENE_TASKS",
    "SHAPES",
    "SIDES",
    "SIZES",
    "SLOTS",
    "Scene",
    "SceneSource",
    "TEXTURES",
    "Thing",
    "WEIGHT",
    "example",
    "plan",
    "plan_of",
]


@dataclasses.dataclass(frozen=True)
class Example:
    """A prompt, the photo that it stands on, if any, its picture and the right answer, as a picture and as data."""

    task: Task
    prompt: VisualPrompt
    photo: Image.Image | None
    input: Image.Image
    output: Image.Image
    answer: Answer
    name: str


def example(task: Task, seed: int, size: int = 128, held_out: bool = False, prompt_size: int | None = None) -> Example:
    """An example of a task, always the same for the same arguments.

    Pictures are `size` pixels wide, the prompt's `prompt_size`, if that is given: words want more pixels than answers
    do. `held_out` examples are for the examination. Raises ValueError for a task without scenes.
    """
    planned = plan(task, seed, held_out)
    side = prompt_size or size
    photo = planned.photo.draw(size) if planned.photo else None
    ground = planned.photo.draw(side) if planned.photo and side != size else photo
    name = f"{task}-{seed}{'-held-out' if held_out else ''}"
    right = planned.answer.scene.draw(size)
    return Example(task, planned.prompt, photo, render(planned.prompt, ground, side), right, planned.answer, name)


def plan_of(name: str) -> Plan:
    """The plan of the example of that name."""
    task, seed, *held_out = name.split("-", 2)
    return plan(task, int(seed), bool(held_out))


class SceneSource:
    """Examples of some tasks in turn as training pairs; another `seed` gives others."""

    def __init__(
        self, tasks: Iterable[Task] = SCENE_TASKS, seed: int = 0, size: int = 128, prompt_size: int | None = None
    ):
        self.tasks, self.seed, self.size, self.prompt_size = tuple(tasks), seed, size, prompt_size
        for task in self.tasks:
            plan(task, 0)
        self.name = f"scenes of seed {seed} ({', '.join(self.tasks)})"

    def __len__(self) -> int:
        return 2**31

    def pair(self, index: int) -> Pair:
        """The pair of a number from 0 to the length; IndexError beyond."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has pairs 0 to {len(self) - 1}, not {index}")
        made = example(
            self.tasks[index % len(self.tasks)], self.seed * len(self) + index, self.size, prompt_size=self.prompt_size
        )
        return Pair(made.input, made.output, made.prompt.bypass, made.name)
