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
    """FLOWINONE_PROMPT: for each picture its document, its rendering IMAGE [B, S, S, 3], and how its photo was squared, if it has one.

    `photos` are the photos themselves, IMAGE [B, H, W, C] as it came in; `font` is the file that all text was written with, if not the bundled.
    """

    prompts: tuple[VisualPrompt, ...]
    images: Tensor
    squarings: tuple[Squaring | None, ...]
    photos: Tensor | None = None
    font: str | None = None

    @property
    def size(self) -> int:
        """Side of the renderings in pixels."""
        return self.images.shape[1]

    @property
    def bypass(self) -> list[bool]:
        return [prompt.bypass for prompt in self.prompts]

    def as_text(self) -> str:
        """The document as JSON; a list of documents where the pictures' differ."""
        return dumps_many(self.prompts, indent=1)


def composed(
    prompts: Sequence[VisualPrompt],
    photos: Sequence[Image.Image | None],
    size: int,
    font: str | None = None,
    image: Tensor | None = None,
) -> ComposedPrompt:
    """Render one prompt for each photo (None where the canvas needs none), at `size` pixels, with a font file's letters if one is given.

    `image` is the IMAGE that the photos were made of.
    """
    images = [as_image(rendered(prompt, photo, size, font)) for prompt, photo in zip(prompts, photos)]
    squarings = tuple(map(squaring_of, prompts, photos))
    return ComposedPrompt(tuple(prompts), torch.stack(images), squarings, image if any(squarings) else None, font)


def rendered(prompt: VisualPrompt, photo: Image.Image | None, size: int, font: str | None) -> Image.Image:
    """`render`, for a photo that may be connected to a canvas which shows none."""
    return render(prompt, photo if isinstance(prompt.canvas, PhotoCanvas) else None, size, font)


def as_image(picture: Image.Image) -> Tensor:
    """One row [H, W, 3] of an IMAGE."""
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)


def squaring_of(prompt: VisualPrompt, photo: Image.Image | None) -> Squaring | None:
    """How the photo lies on the prompt's canvas; None where there is no photo, or the canvas shows none."""
    if photo is None or not isinstance(prompt.canvas, PhotoCanvas):
        return None
    return Squaring(prompt.canvas.fit, *photo.size)
