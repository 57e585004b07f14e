"""Fitting a picture onto the square canvas."""

import dataclasses

from PIL import Image

from .checks import Point, PromptError, check_choice
from .spec import Fit, rgb

MAX_SIDE = 16_384
"""Longest side of a photo in pixels; larger ones would be decoded into gigabytes."""


@dataclasses.dataclass(frozen=True)
class Squaring:
    """How a picture of `width` x `height` pixels is placed on the square canvas.

    `crop` shows the centre square, `letterbox` the whole picture between bars, `stretch` the whole picture distorted.
    Raises PromptError for an unknown fit, and sides of 0 or more than 16,384 pixels.
    """

    fit: Fit
    width: int
    height: int

    def __post_init__(self):
        check_choice("fit", self.fit, Fit)
        if min(self.width, self.height) < 1 or max(self.width, self.height) > MAX_SIDE:
            raise PromptError(
                "photo", f"is {self.width} x {self.height} pixels; expected 1 to {MAX_SIDE:,} on each side"
            )

    @property
    def window(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of what the canvas shows, in the picture's pixels.

        With letterbox it reaches beyond the picture.
        """
        if self.fit == "stretch":
            return 0, 0, self.width, self.height
        side = min(self.width, self.height) if self.fit == "crop" else max(self.width, self.height)
        return (self.width - side) / 2, (self.height - side) / 2, side, side

    def to_canvas(self, x: float, y: float) -> Point:
        """A position in the picture's pixels as fractions of the canvas."""
        left, top, width, height = self.window
        return (x - left) / width, (y - top) / height

    def apply(self, picture: Image.Image, size: int, background: str = "#7f7f7f") -> Image.Image:
        """The RGB picture on a `size` x `size` canvas."""
        left, top, width, height = self.window
        if self.fit != "letterbox":
            box = (left, top, left + width, top + height)
            return picture.resize((size, size), Image.Resampling.BICUBIC, box=box)
        scaled = [max(1, round(side * size / width)) for side in picture.size]
        canvas = Image.new("RGB", (size, size), rgb(background))
        place = tuple((size - side) // 2 for side in scaled)
        canvas.paste(picture.resize(scaled, Image.Resampling.BICUBIC), place)
        return canvas
