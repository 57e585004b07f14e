"""Where the square canvas is on a photo of any resolution.

Areas are (left, top, right, bottom) in fractions of the canvas; pixel boxes are the same in whole pixels of the photo.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..flowinone.prompts.squaring import Squaring

Area = tuple[float, float, float, float]
PixelBox = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class PhotoPlace:
    """The canvas on a photo of `width` x `height` pixels; `window` is its left, top, width and height in pixels."""

    width: int
    height: int
    window: tuple[float, float, float, float]

    @property
    def shown(self) -> PixelBox:
        """The photo's pixels that the canvas shows whole."""
        left, top, width, height = self.window
        return (
            max(0, int(np.ceil(left))),
            max(0, int(np.ceil(top))),
            min(self.width, int(np.floor(left + width))),
            min(self.height, int(np.floor(top + height))),
        )

    @property
    def photo(self) -> Area:
        """The whole photo, in fractions of the canvas."""
        return self.area((0, 0, self.width, self.height))

    def area(self, box: Sequence[float]) -> Area:
        """A box of the photo's pixels, in fractions of the canvas."""
        left, top, width, height = self.window
        return (box[0] - left) / width, (box[1] - top) / height, (box[2] - left) / width, (box[3] - top) / height

    def around(self, area: Area) -> PixelBox | None:
        """The shown pixels that an area touches; None if there are none."""
        left, top, width, height = self.window
        shown = self.shown
        box = (
            max(shown[0], int(np.floor(left + area[0] * width))),
            max(shown[1], int(np.floor(top + area[1] * height))),
            min(shown[2], int(np.ceil(left + area[2] * width))),
            min(shown[3], int(np.ceil(top + area[3] * height))),
        )
        return box if box[0] < box[2] and box[1] < box[3] else None

    def centres(self, box: PixelBox) -> tuple[np.ndarray, np.ndarray]:
        """The centres of a box's columns [w] and rows [h], in fractions of the canvas; float32."""
        left, top, width, height = self.window
        x, y = np.arange(box[0], box[2]) + 0.5, np.arange(box[1], box[3]) + 0.5
        return ((x - left) / width).astype(np.float32), ((y - top) / height).astype(np.float32)


def place_on(squaring: Squaring, width: int, height: int) -> PhotoPlace:
    """The canvas of `squaring` on a photo of `width` x `height` pixels: the one that was squared, or a resized copy.

    Raises ValueError for a photo of other proportions.
    """
    if not same_proportions((squaring.width, squaring.height), (width, height)):
        raise ValueError(
            f"photo is {width} x {height} pixels and the prompt's {squaring.width} x {squaring.height}, "
            "which has other proportions; connect Compose Visual Prompt's photo, in any resolution but not cropped"
        )
    across, down = width / squaring.width, height / squaring.height
    left, top, wide, high = squaring.window
    return PhotoPlace(width, height, (left * across, top * down, wide * across, high * down))


def same_proportions(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one size is the other, scaled and rounded to whole pixels."""
    (width, height), (large_width, large_height) = sorted((one, other))
    return (
        abs(height - large_height * width / large_width) <= 1 or abs(width - large_width * height / large_height) <= 1
    )
