"""Composed prompts: rendered pictures with the documents they were rendered from."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..flowinone.prompts import VisualPrompt, dumps_many, render
from ..flowinone.prompts.spec import PhotoCanvas
from ..flowinone.prompts.squaring import Squaring


@dataclasses.dataclass(frozen=True)
class ComposedPrompt:
    """FLOWINONE_PROMPT: for each picture its document, its rendering IMAGE [B, S, S, 3], and how its photo was squared, if it has one."""

    prompts: tuple[VisualPrompt, ...]
    images: Tensor
    squarings: tuple[Squaring | None, ...]

    @property
    def bypass(self) -> list[bool]:
        return [prompt.bypass for prompt in self.prompts]

    def as_text(self) -> str:
        """The document as JSON; a list of documents where the pictures' differ."""
        return dumps_many(self.prompts, indent=1)


def composed(
    prompts: Sequence[VisualPrompt], photos: Sequence[Image.Image | None], size: int, font: str | None = None
) -> ComposedPrompt:
    """Render one prompt for each photo (None where the canvas needs none), at `size` pixels, with a font file's letters if one is given."""
    images = []
    for prompt, photo in zip(prompts, photos):
        ground = photo if isinstance(prompt.canvas, PhotoCanvas) else None
        images.append(np.asarray(render(prompt, ground, size, font), dtype=np.float32) / 255)
    squarings = tuple(map(squaring_of, prompts, photos))
    return ComposedPrompt(tuple(prompts), torch.from_numpy(np.stack(images)), squarings)


def squaring_of(prompt: VisualPrompt, photo: Image.Image | None) -> Squaring | None:
    """How the photo lies on the prompt's canvas; None where there is no photo, or the canvas shows none."""
    if photo is None or not isinstance(prompt.canvas, PhotoCanvas):
        return None
    return Squaring(prompt.canvas.fit, *photo.size)
