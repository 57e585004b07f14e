"""Answers back at their place on the photo: where the canvas lies on it, which part of the answer counts, and the blend.

Areas are (left, top, right, bottom) in fractions of the square canvas, boxes the same in whole pixels of the photo. Weights [h, w],
0..1, say for the pixels of a box how much of them is the answer's; pixels outside it are the photo's.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import comfy.utils
import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy import ndimage
from torch import Tensor

from ..flowinone.prompts.checks import UNITS
from ..flowinone.prompts.ink import smooth
from ..flowinone.prompts.spec import Box, Doodle, Erase, Mark, Text, Trajectory
from ..flowinone.prompts.squaring import Squaring
from .composed_prompt import ComposedPrompt

Area = tuple[float, float, float, float]
PixelBox = tuple[int, int, int, int]
Weights = tuple[np.ndarray, PixelBox]

CANVAS: Area = (0, 0, 1, 1)

PATH_REACH = 0.2
"""Canvases around a trajectory that count as its own. It starts at an object's edge, and nothing says how large the object is."""

_DRAWN_SIDE = 1024
"""Pixels: the finest maps that distances are measured on. They grow with the square, and what is blurred by them is soft anyway."""
_COMPARED_SIDE = 256
"""Pixels that photo and answer are compared at; fewer where the answer has no more."""
_BLUR = 2.5
"""Pixels of those: what is finer than this differs between any photo and what a VAE makes of it."""
_DRIFT = 0.04
"""How much of a difference that all pixels have in common is the VAE's, and not a change."""
_SPECK = 0.001
"""Of the canvas: smaller changes are none."""


@dataclasses.dataclass(frozen=True)
class Place:
    """How the canvas lies on a photo of `width` x `height` pixels: `window` is its left, top, width and height in the photo's pixels."""

    width: int
    height: int
    window: tuple[float, float, float, float]

    @property
    def shown(self) -> PixelBox:
        """The pixels of the photo that the canvas shows whole."""
        left, top, width, height = self.window
        return (
            max(0, int(np.ceil(left))),
            max(0, int(np.ceil(top))),
            min(self.width, int(np.floor(left + width))),
            min(self.height, int(np.floor(top + height))),
        )

    @property
    def photo(self) -> Area:
        """Where the whole photo lies, in fractions of the canvas."""
        return self.area((0, 0, self.width, self.height))

    def area(self, box: PixelBox) -> Area:
        """Where a box of the photo lies on the canvas."""
        left, top, width, height = self.window
        return (box[0] - left) / width, (box[1] - top) / height, (box[2] - left) / width, (box[3] - top) / height

    def around(self, area: Area) -> PixelBox | None:
        """The shown pixels that an area of the canvas touches; None if there are none."""
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
        """The middles of a box's columns [w] and rows [h], in fractions of the canvas."""
        left, top, width, height = self.window
        x, y = np.arange(box[0], box[2]) + 0.5, np.arange(box[1], box[3]) + 0.5
        return ((x - left) / width).astype(np.float32), ((y - top) / height).astype(np.float32)


def place_on(squaring: Squaring, width: int, height: int) -> Place:
    """The place on a photo of `width` x `height` pixels: the one that was squared, or a larger or smaller copy of it.

    Raises ValueError for a photo of other proportions.
    """
    if not _same_proportions((squaring.width, squaring.height), (width, height)):
        raise ValueError(
            f"photo is {width} x {height} pixels and the prompt's {squaring.width} x {squaring.height}, which has other proportions: "
            "connect the picture that Compose Visual Prompt got, in any size, but not cropped"
        )
    across, down = width / squaring.width, height / squaring.height
    left, top, wide, high = squaring.window
    return Place(width, height, (left * across, top * down, wide * across, high * down))


def _same_proportions(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one size is the other's, scaled and rounded to whole pixels."""
    (width, height), (large_width, large_height) = sorted((one, other))
    return (
        abs(height - large_height * width / large_width) <= 1 or abs(width - large_width * height / large_height) <= 1
    )


# What counts.


def whole(place: Place, feather: float) -> Weights:
    """All that the canvas shows; where the photo goes on beyond it, the blend lies within."""
    box = place.shown
    return _faded(place, np.ones((box[3] - box[1], box[2] - box[0]), dtype=np.float32), box, feather)


def around_marks(place: Place, marks: Sequence[Mark], grow: float, feather: float) -> Weights | None:
    """What boxes, doodles, erased regions and trajectories enclose; all that the canvas shows if a mark does not say how far it goes.

    An arrow points at a thing of unknown size, and pushed things go where they will; words speak of everything unless they stand beside marks.
    None if the marks enclose nothing that the canvas shows.
    """
    marks = [mark for mark in marks if not isinstance(mark, Text)]
    if not marks or not all(isinstance(mark, (Box, Doodle, Erase, Trajectory)) for mark in marks):
        return whole(place, feather)
    areas = [area for mark in marks for area in _enclosed(mark)]
    parts = [_around_areas(place, areas, grow, feather)] if areas else []
    for kind, reach in ((Erase, 0), (Trajectory, PATH_REACH)):
        parts.append(
            _around_map(place, _drawing([m for m in marks if isinstance(m, kind)]), CANVAS, grow + reach, feather)
        )
    return _joined(place, parts, feather)


def around_changes(
    place: Place, photo: Tensor, answer: Tensor, threshold: float, grow: float, feather: float
) -> Weights | None:
    """Where the answer [h, w, 3] shows other colours than the photo [H, W, 3 or 4]; None if it does so nowhere."""
    left, top, right, bottom = place.area(place.shown)
    side = min(_COMPARED_SIDE, len(answer))
    size = max(1, round((right - left) * side)), max(1, round((bottom - top) * side))
    ours = resampled(answer, _in_pixels((left, top, right, bottom), answer), size)
    theirs = resampled(photo, place.shown, size)
    if theirs.shape[-1] == 4:  # the canvas shows what is transparent on white
        theirs = 1 + theirs[..., 3:] * (theirs[..., :3] - 1)
    changed = _changed(ours - theirs, threshold, _SPECK * side**2)
    return _joined(place, [_around_map(place, changed, (left, top, right, bottom), grow, feather)], feather)


def around_mask(place: Place, mask: Tensor, grow: float, feather: float) -> Weights | None:
    """What a mask [h, w] over the photo selects, in any size of the photo's proportions; None if that is nothing the canvas shows.

    Raises ValueError for a mask of other proportions.
    """
    height, width = mask.shape
    if not _same_proportions((width, height), (place.width, place.height)):
        raise ValueError(
            f"mask is {width} x {height} pixels and the photo {place.width} x {place.height}: "
            "connect a mask of the photo, in any size of its proportions"
        )
    rows, columns = (np.flatnonzero(mask.amax(dim=axis).cpu().numpy() > 0) for axis in (1, 0))
    if not len(rows):
        return None
    across, down = place.width / width, place.height / height
    selected = (columns[0] * across, rows[0] * down, (columns[-1] + 1) * across, (rows[-1] + 1) * down)
    box = place.around(place.area(selected))
    if box is None:
        return None
    # The mask itself counts as it is, soft edges and thin lines included; only what surrounds it is measured on a coarser map.
    source = (box[0] / across, box[1] / down, box[2] / across, box[3] / down)
    itself = resampled(mask[..., None], source, _size(box), Image.Resampling.BILINEAR)[..., 0].clip(0, 1)
    parts = [(itself, box)]
    if grow or feather:
        coarser = min(1, _DRAWN_SIDE / max(width, height))
        size = max(1, round(width * coarser)), max(1, round(height * coarser))
        inside = resampled(mask[..., None], (0, 0, width, height), size, Image.Resampling.BOX)[..., 0] >= 0.5
        parts.append(_around_map(place, inside, place.photo, grow, feather))
    return _joined(place, parts, feather)


def _enclosed(mark: Mark) -> list[Area]:
    """A box's area; one for each drawing of a doodle, which is all of its strokes that touch."""
    if isinstance(mark, Box):
        return [mark.area]
    if not isinstance(mark, Doodle):
        return []
    apart: list[Area] = []
    for stroke in mark.strokes:
        (left, top), (right, bottom) = np.min(stroke.points, axis=0), np.max(stroke.points, axis=0)
        brush = stroke.width / UNITS
        area = left - brush, top - brush, right + brush, bottom + brush
        while touching := [other for other in apart if _touch(area, other)]:
            apart = [other for other in apart if other not in touching]
            area = _bounds([area, *touching])
        apart.append(area)
    return apart


def _touch(one: Area, other: Area) -> bool:
    return all(one[axis] <= other[axis + 2] and other[axis] <= one[axis + 2] for axis in (0, 1))


def _bounds(boxes: Sequence[Area | PixelBox]) -> Area | PixelBox:
    """The smallest area or box around several."""
    left, top, right, bottom = zip(*boxes)
    return min(left), min(top), max(right), max(bottom)


def _drawing(marks: Sequence[Erase | Trajectory]) -> np.ndarray:
    """A map [h, w] of the whole canvas, true within erased regions and on trajectories' lines."""
    picture = Image.new("1", (_DRAWN_SIDE, _DRAWN_SIDE))
    draw = ImageDraw.Draw(picture)
    for mark in marks:
        points = np.array(mark.points, dtype=float)
        if isinstance(mark, Erase):
            draw.polygon([tuple(point) for point in points * _DRAWN_SIDE], fill=1)
        else:
            line = smooth(points * UNITS) / UNITS if mark.smooth else points
            draw.line([tuple(point) for point in line * _DRAWN_SIDE], fill=1)
    return np.asarray(picture)


def _changed(difference: np.ndarray, threshold: float, speck: float) -> np.ndarray:
    """The regions [h, w] of a difference of colours [h, w, 3] that are no grain, no drift of all colours together and no smaller than a speck."""
    difference = difference - np.median(difference, axis=(0, 1)).clip(-_DRIFT, _DRIFT)
    distance = np.linalg.norm(ndimage.gaussian_filter(difference, (_BLUR, _BLUR, 0)), axis=-1)
    # A change is clear somewhere, and reaches as far as it can be seen at all.
    labels, count = ndimage.label(distance > threshold)
    numbers = np.arange(1, count + 1)
    clear = ndimage.maximum(distance, labels, numbers) > 1.5 * threshold
    large = ndimage.sum_labels(labels > 0, labels, numbers) >= speck
    regions = np.isin(labels, numbers[clear & large])
    return ndimage.binary_fill_holes(regions)


# From shapes to weights.


def _around_areas(place: Place, areas: Sequence[Area], grow: float, feather: float) -> Weights | None:
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
        columns, rows = (_stretch(distance <= reach) for distance in (beside, above))
        distance = np.hypot(beside[None, columns], above[rows, None])
        part = weights[rows, columns]
        np.maximum(part, _falling(distance, grow, feather), out=part)
    return weights, box


def _around_map(place: Place, inside: np.ndarray, area: Area, grow: float, feather: float) -> Weights | None:
    """The weights around a map [h, w] that covers an area of the canvas."""
    if not inside.any():
        return None
    height, width = inside.shape
    across, down = (area[2] - area[0]) / width, (area[3] - area[1]) / height
    weights = _falling(ndimage.distance_transform_edt(~inside, sampling=(down, across)), grow, feather)
    columns, rows = (_stretch(weights.max(axis=axis) > 0) for axis in (0, 1))
    # A pixel of the map more on each side, into which the weights run out.
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
    return resampled(weights[..., None], source, _size(box), Image.Resampling.BILINEAR)[..., 0], box


def _falling(distance: np.ndarray, grow: float, feather: float) -> np.ndarray:
    """1 up to the distance `grow`, then softly down to 0 within `feather`; float32."""
    if not feather:
        return (distance <= grow).astype(np.float32)
    share = ((grow + feather - distance) / feather).clip(0, 1).astype(np.float32)
    return share * share * (3 - 2 * share)


def _joined(place: Place, parts: Sequence[Weights | None], feather: float) -> Weights | None:
    """The largest of several weights, in one box."""
    parts = [part for part in parts if part is not None]
    if not parts:
        return None
    box = _bounds([box for _, box in parts])
    joined = np.zeros((box[3] - box[1], box[2] - box[0]), dtype=np.float32)
    for weights, (left, top, right, bottom) in parts:
        part = joined[top - box[1] : bottom - box[1], left - box[0] : right - box[0]]
        np.maximum(part, weights, out=part)
    return _faded(place, joined, box, feather)


def _faded(place: Place, weights: np.ndarray, box: PixelBox, feather: float) -> Weights:
    """The weights, running out towards the canvas' edges wherever the photo goes on beyond them: there is no answer to blend with."""
    if feather:
        left, top, right, bottom = place.area(place.shown)
        goes_on = [place.shown[0] > 0, place.shown[1] > 0, place.shown[2] < place.width, place.shown[3] < place.height]
        x, y = place.centres(box)
        inward = [(x - left)[None], (y - top)[:, None], (right - x)[None], (bottom - y)[:, None]]
        for distance in itertools.compress(inward, goes_on):
            np.minimum(weights, 1 - _falling(distance, 0, feather), out=weights)
    return weights, box


# The blend.


def paste_back(
    image: Tensor,
    prompt: ComposedPrompt,
    choose: Callable[[int, Place, Tensor, Tensor], Weights | None],
    photo: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Each answer of `image` [B, h, w, C] in a copy of its photo [H, W, C]: IMAGE [B, H, W, C], and MASK [B, H, W] of how much is the answer's.

    The photos are the prompt's own, or `photo`, the same in another size. `choose(number, place, answer, photo)` gives an answer's weights,
    None for none of it. Raises ValueError for answers that are not the square canvas, and for inputs that do not belong together.
    """
    height, width = image.shape[1:3]
    if abs(height - width) > max(1, max(height, width) // 50):
        raise ValueError(
            f"image is {width} x {height} pixels; expected the whole square answer, plain or upscaled, with size answer in VAE Decode"
        )
    which = rows_for("prompt", len(prompt.prompts), len(image))
    if any(prompt.squarings[row] is None for row in which):
        raise ValueError("prompt shows no photo to put the answer into; connect a picture to its Compose Visual Prompt")
    photos = prompt.photos if photo is None else photo
    rows = which if photo is None else rows_for("photo", len(photo), len(image))
    channels = max(3, photos.shape[-1])
    result = photos.new_empty(len(image), *photos.shape[1:3], channels)
    mask = torch.zeros(result.shape[:3], device=result.device)
    progress = comfy.utils.ProgressBar(len(image))
    for number, answer in enumerate(image):
        result[number] = photos[rows[number]]
        place = place_on(prompt.squarings[which[number]], *reversed(result.shape[1:3]))
        answer = answer[..., :3].expand(-1, -1, 3)
        weights = choose(number, place, answer, result[number])
        if weights is not None:
            _paste(result[number], mask[number], answer, place, weights)
        progress.update(1)  # hears Cancel
    return result, mask


def rows_for(name: str, given: int, count: int) -> list[int]:
    """Which of an input's `given` rows belongs to each of `count` answers: its own, or the only one. Raises ValueError for other numbers."""
    if given not in (1, count):
        raise ValueError(f"{name} has {given} pictures for {count} answers in image; connect as many, or one for all")
    return list(range(count)) if given == count else [0] * count


def _paste(photo: Tensor, mask: Tensor, answer: Tensor, place: Place, weights: Weights) -> None:
    """Blend the answer into the photo in place: of weight 0 it stays, to the bit; of weight 1 it is the answer, and opaque."""
    weight, box = weights
    left, top, right, bottom = box
    part = resampled(answer, _in_pixels(place.area(box), answer), _size(box))
    part = torch.from_numpy(part.clip(0, 1, out=part)).to(photo)
    weight = torch.from_numpy(weight).to(photo.device)
    mask[top:bottom, left:right] = weight
    weight = weight[..., None].to(photo.dtype)
    target = photo[top:bottom, left:right]
    target[..., :3].lerp_(part, weight)
    if photo.shape[-1] == 4:
        target[..., 3:].lerp_(torch.ones_like(weight), weight)


def resampled(
    picture: Tensor | np.ndarray,
    source: Sequence[float],
    size: tuple[int, int],
    method: Image.Resampling = Image.Resampling.BICUBIC,
) -> np.ndarray:
    """The part of a picture [h, w, C] within `source` (left, top, right, bottom, in its pixels), at `size` (width, height); float32 [H, W, C].

    Bicubic as the canvas itself is made; what is reduced is averaged, not sampled.
    """
    height, width = picture.shape[:2]
    # Pillow refuses what floating point takes beyond the edge.
    source = tuple(float(min(max(side, 0), most)) for side, most in zip(source, (width, height, width, height)))
    array = picture.float().cpu().numpy() if isinstance(picture, Tensor) else picture
    channels = [
        Image.fromarray(np.ascontiguousarray(array[..., channel])).resize(size, method, box=source)
        for channel in range(array.shape[-1])
    ]
    return np.stack(channels, axis=-1)


def _in_pixels(area: Area, picture: Tensor) -> tuple[float, float, float, float]:
    height, width = picture.shape[:2]
    return area[0] * width, area[1] * height, area[2] * width, area[3] * height


def _size(box: PixelBox) -> tuple[int, int]:
    return box[2] - box[0], box[3] - box[1]


def _stretch(wanted: np.ndarray) -> slice:
    """From the first to the last true value."""
    found = np.flatnonzero(wanted)
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)
