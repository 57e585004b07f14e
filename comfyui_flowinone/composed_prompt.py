"""Composed prompts: visual prompts put together from a graph's inputs, and rendered."""

import dataclasses
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from ..flowinone.prompts import Text, VisualPrompt, dumps_many, render
from ..flowinone.prompts.checks import PromptError
from ..flowinone.prompts.spec import Mark, PhotoCanvas
from ..flowinone.prompts.squaring import Squaring
from ..flowinone.prompts.tasks import TASKS
from .images import as_image


@dataclasses.dataclass(frozen=True)
class ComposedPrompt:
    """The value of FLOWINONE_PROMPT: a batch of visual prompts with their prompt images.

    `images` are the prompt images, IMAGE [B, S, S, 3]. `squarings` say how each photo was made square, None where the
    canvas shows none. `photos` are the photos as they came in, IMAGE [B, H, W, C]. `font` is the path of the font file
    of all text, None for the bundled fonts.
    """

    prompts: tuple[VisualPrompt, ...]
    images: Tensor
    squarings: tuple[Squaring | None, ...]
    photos: Tensor | None = None
    font: str | None = None

    @property
    def size(self) -> int:
        """Side of the prompt images in pixels."""
        return self.images.shape[1]

    @property
    def bypass(self) -> list[bool]:
        return [prompt.bypass for prompt in self.prompts]

    def as_text(self) -> str:
        """The visual prompt as JSON; a list of them if they differ within the batch."""
        return dumps_many(self.prompts, indent=1)


def composed(
    prompts: Sequence[VisualPrompt],
    photos: Sequence[Image.Image | None],
    size: int,
    font: str | None = None,
    image: Tensor | None = None,
) -> ComposedPrompt:
    """Render each prompt on its photo (None if its canvas needs none), at `size` pixels, with a font file if given.

    `image` is the IMAGE that the photos were made from.
    """
    images = [as_image(rendered(prompt, photo, size, font)) for prompt, photo in zip(prompts, photos)]
    squarings = tuple(map(squaring_of, prompts, photos))
    return ComposedPrompt(tuple(prompts), torch.stack(images), squarings, image if any(squarings) else None, font)


def rendered(prompt: VisualPrompt, photo: Image.Image | None, size: int, font: str | None) -> Image.Image:
    """The prompt image. A photo is ignored if the canvas does not show one."""
    return render(prompt, photo if isinstance(prompt.canvas, PhotoCanvas) else None, size, font)


def squaring_of(prompt: VisualPrompt, photo: Image.Image | None) -> Squaring | None:
    """How the photo is placed on the prompt's canvas; None without a photo, or if the canvas does not show it."""
    if photo is None or not isinstance(prompt.canvas, PhotoCanvas):
        return None
    return Squaring(prompt.canvas.fit, *photo.size)


def unmarked_prompt(task: str, fit: str | None, bypass: bool | None) -> VisualPrompt:
    """A task's prompt without marks, on a photo if `fit` is given; with the task's own bypass if `bypass` is None."""
    info = TASKS[task]
    canvas = info.canvas if fit is None else PhotoCanvas(fit)
    return VisualPrompt(task, canvas, (), info.bypass if bypass is None else bypass)


def with_marks(prompt: VisualPrompt, marks: tuple[Mark, ...]) -> VisualPrompt:
    """The prompt with further marks, drawn beneath the text that it ends with."""
    end = len(prompt.marks)
    while end and isinstance(prompt.marks[end - 1], Text):
        end -= 1
    return dataclasses.replace(prompt, marks=(*prompt.marks[:end], *marks, *prompt.marks[end:]))


def with_instruction(prompt: VisualPrompt, instruction: str) -> VisualPrompt:
    """The prompt with the instruction written on it, or the task's own if it is empty and no mark is text.

    Raises PromptError if the task needs text and there is none.
    """
    info = TASKS[prompt.task]
    has_text = any(isinstance(mark, Text) for mark in prompt.marks)
    text = instruction.strip() or ("" if has_text else info.instruction)
    if text:
        mark = Text(text, info.area, info.role, info.valign, info.style)
        return dataclasses.replace(prompt, marks=(*prompt.marks, mark))
    if not has_text and info.marks[0] == "text":
        raise PromptError(
            "instruction",
            f"is empty; the task {prompt.task} needs text, so write some or connect FlowInOne Draw Instruction",
        )
    return prompt
