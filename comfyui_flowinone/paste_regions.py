"""Which part of the output image Paste Back takes: marks, changes, a mask, or all of it, as weights of the blend.

Weights [h, w] in 0..1 go with a box of the photo's pixels and say how much of each pixel is taken from the output
image; pixels outside of the box stay the photo's. `grow` and `feather` are fractions of the canvas.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from torch import Tensor

from ..flowinone.prompts.checks import UNITS
from ..flowinone.prompts.ink import smooth
from ..flowinone.prompts.spec import Box, Doodle, Erase, Mark, Text, Trajectory
from .images import resampled
from .photo_place import Area, PhotoPlace, PixelBox, same_proportions

Weights = tuple[np.ndarray, PixelBox]

WHOLE_CANVAS: Area = (0, 0, 1, 1)

PATH_REACH = 0.2
"""Fraction of the canvas around a trajectory that belongs to it: it starts at an object of unknown size."""

_MAP_SIDE = 1024
"""Pixels of the finest maps that distances are measured on; weights are enlarged from them and are soft anyway."""
_COMPARED_SIDE = 256
"""Pixels at which photo and output image are compared, or fewer if the output image is smaller."""
_BLUR = 2.5
"""Pixels at that size. Finer detail differs between any photo and what a VAE reconstructs of it."""
_DRIFT = 0.04
"""A colour shift up to this, if the whole image has it, comes from the VAE and is not an edit."""
_SPECK = 0.001
"""Fraction of the canvas; smaller changes are ignored."""


def whole(place: PhotoPlace, feather: float) -> Weights:
    """All that the canvas shows; the feather is inside of the edges where the photo goes on."""
    box = place.shown
    return _faded(place, np.ones((box[3] - box[1], box[2] - box[0]), dtype=np.float32), box, feather)


def around_marks(place: PhotoPlace, marks: Sequence[Mark], grow: float, feather: float) -> Weights | None:
    """The area of boxes, doodles, erased regions and trajectories; all that the canvas shows if a mark has no extent.

    An arrow points at an object of unknown size, a pushed object can end up anywhere, and text without other marks is
    about the whole photo. None if the marks are outside of what the canvas shows.
    """
    marks = [mark for mark in marks if not isinstance(mark, Text)]
    if not marks or not all(isinstance(mark, (Box, Doodle, Erase, Trajectory)) for mark in marks):
        return whole(place, feather)
    areas = [area for mark in marks for area in _enclosed(mark)]
    parts = [_around_areas(place, areas, grow, feather)] if areas else []
    for kind, reach in ((Erase, 0), (Trajectory, PATH_REACH)):
        parts.append(
            _around_map(place, _map_of([m for m in marks if isinstance(m, kind)]), WHOLE_CANVAS, grow + reach, feather)
        )
    return _joined(place, parts, feather)


def around_changes(
    place: PhotoPlace, photo: Tensor, output: Tensor, threshold: float, grow: float, feather: float
) -> Weights | None:
    """Where the output image [h, w, 3] has other colours than the photo [H, W, 3 or 4]; None if nowhere."""
    left, top, right, bottom = place.area(place.shown)
    side = min(_COMPARED_SIDE, len(output))
    size = max(1, round((right - left) * side)), max(1, round((bottom - top) * side))
    new = resampled(output, in_pixels((left, top, right, bottom), output), size)
    old = resampled(photo, place.shown, size)
    if old.shape[-1] == 4:  # the prompt image shows transparent pixels on white
        old = 1 + old[..., 3:] * (old[..., :3] - 1)
    changed = _changed(new - old, threshold, _SPECK * side**2)
    return _joined(place, [_around_map(place, changed, (left, top, right, bottom), grow, feather)], feather)


def around_mask(place: PhotoPlace, mask: Tensor, grow: float, feather: float) -> Weights | None:
    """What a mask [h, w] of the photo selects; None if that is outside of what the canvas shows.

    The mask may have any size in the photo's proportions. Raises ValueError for other proportions.
    """
    height, width = mask.shape
    if not same_proportions((width, height), (place.width, place.height)):
        raise ValueError(
            f"mask is {width} x {height} pixels and the photo {place.width} x {place.height}, "
            "which has other proportions; connect a mask of the whole photo, in any size"
        )
    rows, columns = (np.flatnonzero(mask.amax(dim=axis).cpu().numpy() > 0) for axis in (1, 0))
    if not len(rows):
        return None
    across, down = place.width / width, place.height / height
    selected = (columns[0] * across, rows[0] * down, (columns[-1] + 1) * across, (rows[-1] + 1) * down)
    box = place.around(place.area(selected))
    if box is None:
        return None
    # The mask keeps its soft edges and thin lines; only grow and feather around it are measured on a coarser map.
    source = (box[0] / across, box[1] / down, box[2] / across, box[3] / down)
    selection = resampled(mask[..., None], source, box_size(box), Image.Resampling.BILINEAR)[..., 0].clip(0, 1)
    parts = [(selection, box)]
    if grow or feather:
        coarser = min(1, _MAP_SIDE / max(width, height))
        size = max(1, round(width * coarser)), max(1, round(height * coarser))
        inside = resampled(mask[..., None], (0, 0, width, height), size, Image.Resampling.BOX)[..., 0] >= 0.5
        parts.append(_around_map(place, inside, place.photo, grow, feather))
    return _joined(place, parts, feather)


def _enclosed(mark: Mark) -> list[Area]:
    """The area of a box; of a doodle an area around each group of strokes whose areas touch; else none."""
    if isinstance(mark, Box):
        return [mark.area]
    if not isinstance(mark, Doodle):
        return []
    groups: list[Area] = []
    for stroke in mark.strokes:
        (left, top), (right, bottom) = np.min(stroke.points, axis=0), np.max(stroke.points, axis=0)
        brush = stroke.width / UNITS
        area = left - brush, top - brush, right + brush, bottom + brush
        while touching := [other for other in groups if _touch(area, other)]:
            groups = [other for other in groups if other not in touching]
            area = _bounds([area, *touching])
        groups.append(area)
    return groups


def _touch(one: Area, other: Area) -> bool:
    return all(one[axis] <= other[axis + 2] and other[axis] <= one[axis + 2] for axis in (0, 1))


def _bounds(boxes: Sequence[Area | PixelBox]) -> Area | PixelBox:
    """The smallest area or box around several."""
    left, top, right, bottom = zip(*boxes)
    return min(left), min(top), max(right), max(bottom)


def _map_of(marks: Sequence[Erase | Trajectory]) -> np.ndarray:
    """A boolean map [h, w] of the whole canvas, true inside of erased regions and on trajectories' lines."""
    drawn = Image.new("1", (_MAP_SIDE, _MAP_SIDE))
    draw = ImageDraw.Draw(drawn)
    for mark in marks:
        points = np.array(mark.points, dtype=float)
        if isinstance(mark, Erase):
            draw.polygon([tuple(point) for point in points * _MAP_SIDE], fill=1)
        else:
            line = smooth(points * UNITS) / UNITS if mark.smooth else points
            draw.line([tuple(point) for point in line * _MAP_SIDE], fill=1)
    return np.asarray(drawn)


def _changed(difference: np.ndarray, threshold: float, speck: float) -> np.ndarray:
    """A boolean map [h, w] of the edits in a difference of colours [h, w, 3]: no grain, colour shift or specks."""
    difference = difference - np.median(difference, axis=(0, 1)).clip(-_DRIFT, _DRIFT)
    distance = np.linalg.norm(ndimage.gaussian_filter(difference, (_BLUR, _BLUR, 0)), axis=-1)
    # Hysteresis: an edit is clear somewhere, and extends as far as it is visible.
    labels, count = ndimage.label(distance > threshold)
    numbers = np.arange(1, count + 1)
    clear = ndimage.maximum(distance, labels, numbers) > 1.5 * threshold
    large = ndimage.sum_labels(labels > 0, labels, numbers) >= speck
    return ndimage.binary_fill_holes(np.isin(labels, numbers[clear & large]))


def _around_areas(place: PhotoPlace, areas: Sequence[Area], grow: float, feather: float) -> Weights | None:
    """The weights in and around areas."""
    reach = grow + feather
    left, top, right, bottom = _bounds(areas)
    box = place.around((left - reach, top - reach, right + reach, bottom + reach))
    if box is None:
        return None
    x, y = place.centres(box)
    weights = np.zeros((len(y), len(x)), dtype=np.float32)
    for left, top, right, bottom in areas:
        beside = np.maximum(np.maximum(left - x, x - right), 0)
        above = np.maximum(np.maximum(top - y, y - bottom), 0)
        columns, rows = (_extent(distance <= reach) for distance in (beside, above))
        distance = np.hypot(beside[None, columns], above[rows, None])
        part = weights[rows, columns]
        np.maximum(part, _falling(distance, grow, feather), out=part)
    return weights, box


def _around_map(place: PhotoPlace, inside: np.ndarray, area: Area, grow: float, feather: float) -> Weights | None:
    """The weights in and around the true pixels of a map [h, w] that covers an area of the canvas."""
    if not inside.any():
        return None
    height, width = inside.shape
    across, down = (area[2] - area[0]) / width, (area[3] - area[1]) / height
    weights = _falling(ndimage.distance_transform_edt(~inside, sampling=(down, across)), grow, feather)
    columns, rows = (_extent(weights.max(axis=axis) > 0) for axis in (0, 1))
    # One more pixel of the map on each side, where interpolation takes the weights down to 0.
    box = place.around(
        (
            area[0] + (columns.start - 1) * across,
            area[1] + (rows.start - 1) * down,
            area[0] + (columns.stop + 1) * across,
            area[1] + (rows.stop + 1) * down,
        )
    )
    if box is None:
        return None
    left, top, right, bottom = place.area(box)
    source = (left - area[0]) / across, (top - area[1]) / down, (right - area[0]) / across, (bottom - area[1]) / down
    return resampled(weights[..., None], source, box_size(box), Image.Resampling.BILINEAR)[..., 0], box


def _falling(distance: np.ndarray, grow: float, feather: float) -> np.ndarray:
    """1 up to the distance `grow`, then smoothly down to 0 within `feather`; float32."""
    if not feather:
        return (distance <= grow).astype(np.float32)
    share = ((grow + feather - distance) / feather).clip(0, 1).astype(np.float32)
    return share * share * (3 - 2 * share)


def _joined(place: PhotoPlace, parts: Sequence[Weights | None], feather: float) -> Weights | None:
    """The maximum of several weights, in one box."""
    parts = [part for part in parts if part is not None]
    if not parts:
        return None
    box = _bounds([box for _, box in parts])
    joined = np.zeros((box[3] - box[1], box[2] - box[0]), dtype=np.float32)
    for weights, (left, top, right, bottom) in parts:
        part = joined[top - box[1] : bottom - box[1], left - box[0] : right - box[0]]
        np.maximum(part, weights, out=part)
    return _faded(place, joined, box, feather)


def _faded(place: PhotoPlace, weights: np.ndarray, box: PixelBox, feather: float) -> Weights:
    """The weights, faded in place towards the canvas's edges where the photo goes on: the output image ends there."""
    if feather:
        left, top, right, bottom = place.area(place.shown)
        goes_on = [place.shown[0] > 0, place.shown[1] > 0, place.shown[2] < place.width, place.shown[3] < place.height]
        x, y = place.centres(box)
        inward = [(x - left)[None], (y - top)[:, None], (right - x)[None], (bottom - y)[:, None]]
        for distance in itertools.compress(inward, goes_on):
            np.minimum(weights, 1 - _falling(distance, 0, feather), out=weights)
    return weights, box


def in_pixels(area: Area, image: Tensor) -> tuple[float, float, float, float]:
    """An area of the canvas, in pixels of an image [h, w, C] of the canvas."""
    height, width = image.shape[:2]
    return area[0] * width, area[1] * height, area[2] * width, area[3] * height


def box_size(box: PixelBox) -> tuple[int, int]:
    """Width and height of a box."""
    return box[2] - box[0], box[3] - box[1]


def _extent(wanted: np.ndarray) -> slice:
    """From the first to the last true value."""
    found = np.flatnonzero(wanted)
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)
