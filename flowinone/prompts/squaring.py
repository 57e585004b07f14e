"""Making a picture square, and finding the way back."""

import dataclasses

from PIL import Image

from .checks import Point, PromptError, check_choice
from .spec import Fit, rgb

MAX_SIDE = 16_384
"""Pixels; larger photos are refused rather than decoded into gigabytes."""


@dataclasses.dataclass(frozen=True)
class Squaring:
    """How a picture of `width` x `height` pixels lies on the square canvas.

    `crop` keeps the centre square, `letterbox` the whole picture between bars, `stretch` the whole picture out of proportion.
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
        """Left, top, width and height, in the picture's pixels, of what the canvas shows; letterbox reaches beyond the picture."""
        if self.fit == "stretch":
            return 0, 0, self.width, self.height
        side = min(self.width, self.height) if self.fit == "crop" else max(self.width, self.height)
        return (self.width - side) / 2, (self.height - side) / 2, side, side

    def to_canvas(self, x: float, y: float) -> Point:
        """A pixel position of the picture as fractions of the canvas."""
        left, top, width, height = self.window
        return (x - left) / width, (y - top) / height

    def to_picture(self, x: float, y: float) -> Point:
        """Fractions of the canvas as a pixel position of the picture."""
        left, top, width, height = self.window
        return left + x * width, top + y * height

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
