"""Detects the objects in a picture of the toy world: estimates the background and segments what differs from it."""

import dataclasses
import functools
import math

import numpy as np
from PIL import Image, ImageFilter
from scipy import ndimage

from .scene import COLORS, SHAPES, SceneObject, object_mask, tones

SIDE = 128
"""Pixels: the side of the pictures that are analysed."""

_CONTRAST = 38
"""Differences from the background up to this value, of 255, are background."""
_MIN_AREA = 36
"""Pixels: smaller regions are ignored."""
_GRID, _WINDOW = 32, 1.1
"""Shapes are compared on a grid of this many cells a side, which extends this many square roots of the area from the
centroid."""


@dataclasses.dataclass(frozen=True, eq=False)
class DetectedObject:
    """A region that differs from the background.

    `mask` [SIDE, SIDE] is 0 to 1, `center` in 0..1, `area` in pixels. `color` is the nearest name in `COLORS`, and
    `color_distance` its distance in RGB.
    """

    mask: np.ndarray
    center: tuple[float, float]
    area: float
    color: str
    color_distance: float

    def shape_overlaps(self) -> dict[str, float]:
        """The intersection over union with each shape, at the same centroid and area."""
        normalized = _normalized(self.mask, self.center, self.area)
        return {
            shape: overlap(normalized, _template(shape, round(2 * _shape_radius(shape, self.area)))) for shape in SHAPES
        }


def detect_objects(picture: np.ndarray, background: np.ndarray) -> list[DetectedObject]:
    """The objects in a picture in front of a background, both [SIDE, SIDE, 3] and 0 to 255; the largest first."""
    difference = np.abs(picture - background).max(axis=-1)
    labels, count = ndimage.label(difference > _CONTRAST)
    detected = []
    for label in range(1, count + 1):
        region = labels == label
        inner = ~dilated(~region, 1)
        if region.sum() < _MIN_AREA or not inner.any():
            continue
        # A pixel counts in full where it differs as much as the inside does, for a texture its paler tone.
        full = max(float(np.percentile(difference[inner], 25)), _CONTRAST)
        mask = np.clip(difference / full, 0, 1) * dilated(region, 2)
        color = nearest_color(picture[inner].mean(axis=0))
        detected.append(DetectedObject(mask, centroid(mask), float(mask.sum()), *color))
    return sorted(detected, key=lambda item: -item.area)


def nearest_color(color: np.ndarray) -> tuple[str, float]:
    """The name of the nearest object colour and its distance, for RGB 0 to 255.

    A mixture of a colour with up to half of its second tone counts as that colour.
    """
    distances = {}
    for name in COLORS:
        first, second = tones(name)
        step = 0.55 * (second - first)
        share = np.clip((color - first) @ step / (step @ step), 0, 1)
        distances[name] = float(np.linalg.norm(color - first - share * step))
    return min(distances.items(), key=lambda item: item[1])


def fit_background(picture: np.ndarray) -> np.ndarray:
    """The smooth background [SIDE, SIDE, 3] of a picture: a polynomial of degree two, fitted to its edges and then to
    all pixels that it predicts well."""
    y, x = (np.mgrid[0:SIDE, 0:SIDE].reshape(2, -1) + 0.5) / SIDE - 0.5
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    pixels = picture.reshape(-1, 3)
    used = np.maximum(np.abs(x), np.abs(y)) > 0.5 - 8 / SIDE
    for _ in range(3):
        known = terms[used]
        background = terms @ np.linalg.solve(known.T @ known, known.T @ pixels[used])
        inliers = np.abs(pixels - background).max(axis=1) < 24
        if inliers.sum() < 500:
            break
        used = inliers
    return background.reshape(SIDE, SIDE, 3).astype(np.float32)


def shape_area(shape: str, radius: float) -> float:
    """The pixels that a shape covers; its radius is a fraction of the picture's side."""
    return _unit_area(shape) * (radius * SIDE) ** 2


def dilated(mask: np.ndarray, by: int) -> np.ndarray:
    """A bool mask [h, w], grown by so many pixels in each direction, diagonals included."""
    return ndimage.maximum_filter(mask, size=2 * by + 1, mode="constant", cval=False)


def centroid(mask: np.ndarray) -> tuple[float, float]:
    """The centroid (x, y) of a mask [SIDE, SIDE], in 0..1."""
    y, x = ndimage.center_of_mass(mask)
    return float((x + 0.5) / SIDE), float((y + 0.5) / SIDE)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """The intersection over union of two masks of values 0 to 1."""
    return float(np.minimum(one, other).sum() / max(np.maximum(one, other).sum(), 1e-6))


def on_canvas(corner: tuple[int, int], mask: np.ndarray) -> np.ndarray:
    """A patch's mask with its top and left, as `polygon_mask` returns it, in a picture [SIDE, SIDE]."""
    canvas = np.zeros((SIDE, SIDE), np.float32)
    canvas[corner[0] : corner[0] + mask.shape[0], corner[1] : corner[1] + mask.shape[1]] = mask
    return canvas


def blurred(picture: Image.Image, sigma: float) -> np.ndarray:
    """A picture blurred by Pillow, as float32, 0 to 255. The judge's tolerances are tuned to Pillow's approximation."""
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(sigma)), np.float32)


def _normalized(mask: np.ndarray, center: tuple[float, float], area: float) -> np.ndarray:
    """A mask on the grid, its centroid in the middle and scaled to a fixed area."""
    reach = _WINDOW * math.sqrt(area)
    step = 2 * reach / _GRID
    left, top = (along * SIDE - reach for along in center)
    picture = Image.fromarray(mask.astype(np.float32))
    transform = (step, 0, left, 0, step, top)
    return np.asarray(picture.transform((_GRID,) * 2, Image.Transform.AFFINE, transform, Image.Resampling.BILINEAR))


@functools.lru_cache(maxsize=1024)
def _template(shape: str, half_pixels: int) -> np.ndarray:
    """A shape of a radius in half pixels on the grid, a little blurred, as all analysed pictures are."""
    mask = on_canvas(*object_mask(SceneObject(shape, "red", (0.5, 0.5), min(half_pixels, SIDE) / 2 / SIDE), SIDE))
    soft = blurred(Image.fromarray((mask * 255).astype(np.uint8)), 1) / 255
    return _normalized(soft, (0.5, 0.5), float(soft.sum()))


@functools.cache
def _unit_area(shape: str) -> float:
    return float(object_mask(SceneObject(shape, "red", (0.5, 0.5), 0.4), 256)[1].sum()) / (0.4 * 256) ** 2


def _shape_radius(shape: str, area: float) -> float:
    """The radius in pixels of a shape that covers so many pixels."""
    return math.sqrt(area / _unit_area(shape))
