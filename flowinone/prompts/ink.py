"""Antialiased lines and polygons: drawn at a multiple of the picture's resolution, then averaged."""

import math

import numpy as np
from PIL import Image, ImageDraw

_SAMPLES = 4_000_000
"""About how many samples a patch is drawn with."""
_COARSEST, _FINEST = 2, 8
"""Samples per pixel and axis; the smaller the patch, the more."""
_TANGLE = 50
"""A line longer than this many times its patch's sides gets fewer samples: it costs more, and hides its own edges."""
_TOO_NEAR = 0.3
"""Pixels; points of a line closer than this to the last one drawn change nothing."""
_MOST_CORNERS = 30_000
"""Of a smooth line, the given points included."""


class Ink:
    """A patch of a picture to draw on, just large enough for `points` [n, 2] (pixels) and `reach` pixels around them.

    Shapes have a level from 1 to 255; `paint` turns levels into colours.
    """

    def __init__(self, picture: Image.Image, points: np.ndarray, reach: float = 0):
        self.picture = picture
        low = np.floor(points.min(axis=0) - reach - 1).astype(int)
        high = np.ceil(points.max(axis=0) + reach + 1).astype(int)
        self.corner = np.clip(low, 0, np.array(picture.size) - 1)
        sides = np.clip(high, self.corner + 1, picture.size) - self.corner
        tangle = np.abs(np.diff(points, axis=0)).sum() / (sides.sum() * _TANGLE)
        coarsest = _COARSEST if tangle <= 1 else 1
        self.finer = int(min(max(math.sqrt(_SAMPLES / sides.prod() / max(tangle, 1)), coarsest), _FINEST))
        self.samples = Image.new("L", tuple((sides * self.finer).tolist()))
        self._draw = ImageDraw.Draw(self.samples)

    def line(self, points: np.ndarray, width: float, level: int = 255) -> None:
        """A line through the points, `width` pixels wide, with round joins and ends."""
        fine = self._fine(thinned(points))
        wide = max(1, round(width * self.finer))
        self._draw.line(fine, fill=level, width=wide)
        radius = (wide - 1) / 2
        if radius >= 1:
            for x, y in fine:
                self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=level)

    def polygon(self, points: np.ndarray, level: int = 255) -> None:
        """The area inside the outline through the points, by the even-odd rule."""
        self._draw.polygon(self._fine(points), fill=level)

    def paint(self, color: tuple[int, int, int], least: int = 1) -> None:
        """Paint the colour on the picture where the level is at least `least`."""
        mask = self.samples.point([255 * (level >= least) for level in range(256)])
        self.picture.paste(color, tuple(self.corner.tolist()), mask.reduce(self.finer))

    def _fine(self, points: np.ndarray) -> list[tuple[int, int]]:
        # Pillow's integer coordinates are the middles of pixels, half a pixel from our corners.
        return [(x, y) for x, y in np.rint((points - self.corner) * self.finer - 0.5).astype(int).tolist()]


def thinned(points: np.ndarray) -> np.ndarray:
    """The points [n, 2] without those too close to the one before; the first and the last stay."""
    kept = [0]
    listed = points.tolist()
    x, y = listed[0]
    for number, (next_x, next_y) in enumerate(listed):
        if abs(next_x - x) + abs(next_y - y) >= _TOO_NEAR:
            kept.append(number)
            x, y = next_x, next_y
    return points[[*kept, len(listed) - 1]]


def smooth(points: np.ndarray, step: float = 2) -> np.ndarray:
    """A smooth curve through the points [n, 2], as a polyline with corners about `step` pixels apart.

    A centripetal Catmull-Rom spline, which has no loops or overshoots between unevenly spaced points (Yuksel et al.
    2011, section 3).
    """
    points = thinned(points)
    points = points[np.append(True, np.abs(np.diff(points, axis=0)).sum(axis=1) > 1e-6)]
    if len(points) < 3:
        return points
    around = np.concatenate([[2 * points[0] - points[1]], points, [2 * points[-1] - points[-2]]])
    gaps = np.sqrt(np.linalg.norm(np.diff(around, axis=0), axis=1))
    step = max(step, (gaps[1:-1] ** 2).sum() / _MOST_CORNERS)
    counts = np.clip(np.ceil(gaps[1:-1] ** 2 / step), 1, 64).astype(int)
    which = np.repeat(np.arange(len(counts)), counts)
    share = (np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)) / counts[which]
    a, b, c, d = (around[which + offset] for offset in range(4))
    ta, tb, tc = (gaps[which + offset][:, None] for offset in range(3))
    t = share[:, None] * tb
    ab, bc, cd = b + (b - a) * t / ta, b + (c - b) * t / tb, c + (d - c) * (t - tb) / tc
    abc = ab + (bc - ab) * (t + ta) / (ta + tb)
    bcd = bc + (cd - bc) * t / (tb + tc)
    return np.concatenate([abc + (bcd - abc) * t / tb, points[-1:]])
