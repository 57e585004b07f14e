"""Marks as nodes receive them: drawn on the square canvas, or found on a photo that is not square yet.

Nodes pass FLOWINONE_MARKS, a tuple of mark sources. Compose Visual Prompt calls each source once per photo of a batch,
when it knows how that photo is made square.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from ..flowinone.prompts.checks import UNITS, Point, PromptError
from ..flowinone.prompts.ink import smooth
from ..flowinone.prompts.spec import Box, Mark
from ..flowinone.prompts.squaring import Squaring
from .contours import contours

MarkSource = Callable[[int, Squaring | None], Sequence[Mark]]
"""Marks for the photo of an index in the batch, placed on the canvas by its squaring; None if there is no photo."""

SMALLEST_BOX = 0.01
"""Smaller boxes, in fractions of the canvas, are left out: a detector's boxes may be outside of a cropped canvas."""

REACH = -1.0, 2.0
"""Coordinates that a mark may have: it may reach beyond the canvas, but not without bound."""


def on_canvas(*marks: Mark) -> MarkSource:
    """Marks whose coordinates are the canvas's already."""
    return lambda index, squaring: marks


def gathered(sources: Sequence[MarkSource], index: int, squaring: Squaring | None) -> tuple[Mark, ...]:
    """All marks for one photo, in drawing order."""
    return tuple(mark for source in sources for mark in source(index, squaring))


def opaque(color: str) -> str:
    """A colour without the alpha that one of ComfyUI's colour pickers adds: `#rrggbbaa` becomes `#rrggbb`."""
    return color[:7] if re.fullmatch(r"#[0-9a-fA-F]{8}", color) else color


def lines_of_points(text: str, field: str) -> list[tuple[Point, ...]]:
    """The points of every line of text that is not blank, written as `0.1,0.8 0.5,0.4`.

    Raises PromptError for `field`, which names the line.
    """
    lines = []
    for number, line in enumerate(filter(None, map(str.strip, text.splitlines())), start=1):
        points = []
        for pair in line.split():
            if not re.fullmatch(r"[^,]+,[^,]+", pair):
                raise PromptError(field, f"line {number} has {pair!r}; write points as x,y with spaces between them")
            try:
                x, y = map(float, pair.split(","))
            except ValueError:
                raise PromptError(
                    field, f"line {number} has {pair!r}, which are not numbers; write points like 0.5,0.25"
                ) from None
            points.append((x, y))
        lines.append(tuple(points))
    return lines


def detected_boxes(boxes, template: Box) -> MarkSource:
    """A box like `template` around each of ComfyUI's BOUNDING_BOX values, which are in pixels of the photo.

    `boxes` is one box, a list of boxes for all photos, or a list of such lists, one per photo; the last one is used for
    further photos. If the label of `template` is empty, the detector's label is written. Boxes outside of the canvas
    are left out. Raises ValueError for values that are not boxes.
    """
    boxes_per_photo = _boxes_per_photo(boxes)

    def marks(index: int, squaring: Squaring | None) -> list[Mark]:
        _require_photo(squaring, "boxes")
        found = boxes_per_photo[min(index, len(boxes_per_photo) - 1)] or ()
        return [mark for box in found if (mark := _box_mark(box, squaring, template)) is not None]

    return marks


def _boxes_per_photo(boxes) -> list[list[dict]]:
    if isinstance(boxes, dict):
        boxes = [[boxes]]
    if not isinstance(boxes, list):
        raise ValueError(f"boxes is a {type(boxes).__name__}; connect BOUNDING_BOX, from a detector or a box node")
    if not boxes or isinstance(boxes[0], dict):
        boxes = [boxes]
    for box in (box for found in boxes for box in found or ()):
        if not isinstance(box, dict) or not all(
            isinstance(box.get(side), (int, float)) for side in ("x", "y", "width", "height")
        ):
            raise ValueError(f"boxes contains {box!r}; expected x, y, width and height in pixels")
    return boxes


def _box_mark(box: dict, squaring: Squaring, template: Box) -> Box | None:
    left, top = squaring.to_canvas(box["x"], box["y"])
    right, bottom = squaring.to_canvas(box["x"] + box["width"], box["y"] + box["height"])
    area = tuple(min(max(float(side), 0.0), 1.0) for side in (left, top, right, bottom))
    if area[2] - area[0] < SMALLEST_BOX or area[3] - area[1] < SMALLEST_BOX:
        return None
    metadata = box["metadata"] if isinstance(box.get("metadata"), dict) else {}
    label = template.label or box.get("label") or metadata.get("text") or metadata.get("desc") or ""
    return dataclasses.replace(template, area=area, label=label)


def tracked_paths(tracks: dict, mark: Callable[[tuple[Point, ...]], Mark]) -> MarkSource:
    """`mark` of each path of ComfyUI's TRACKS, as far as it is visible.

    `track_path` is [frames, tracks, 2], in pixels of the photo; `track_visibility` is [frames, tracks] or [frames, 1].
    Raises ValueError for positions that are not finite, and for a visibility of another shape.
    """
    path = np.asarray(tracks["track_path"].cpu(), dtype=float)
    visible = np.asarray(tracks["track_visibility"].cpu(), dtype=bool)
    if not np.isfinite(path).all():
        raise ValueError("tracks contain positions that are NaN or infinite; create the tracks again")
    if visible.shape not in ((path.shape[0], 1), path.shape[:2]):
        raise ValueError(
            f"tracks have the visibility of {visible.shape[-1]} of {path.shape[1]} paths only: "
            "joining masked tracks drops it; connect each to a FlowInOne Draw Trajectory of its own"
        )
    visible = np.broadcast_to(visible, path.shape[:2])

    def marks(index: int, squaring: Squaring | None) -> list[Mark]:
        _require_photo(squaring, "tracks")
        lines = []
        for track in range(path.shape[1]):
            points = [squaring.to_canvas(*point) for point in path[visible[:, track], track]]
            points = tuple(_within_reach(point) for point in points)
            if len(points) > 1 and len(set(points)) > 1:
                lines.append(mark(points))
        return lines

    return marks


Region = tuple[tuple[Point, ...], list[tuple[Point, ...]]]
"""A region's outline, and those of its holes."""


def masked_regions(mask: Tensor, marks_of: Callable[[list[Region]], Sequence[Mark]]) -> MarkSource:
    """`marks_of` the regions in each photo's MASK [B, H, W], of any size in the photo's proportions.

    The last mask is used for further photos. The source raises ValueError for a mask that has specks only.
    """
    masks = [np.asarray(single.cpu()) > 0.5 for single in mask.reshape(-1, *mask.shape[-2:])]
    traced = [contours(single) for single in masks]

    def marks(index: int, squaring: Squaring | None) -> Sequence[Mark]:
        def placed(outline: list[Point]) -> tuple[Point, ...]:
            if squaring is not None:
                outline = [squaring.to_canvas(x * squaring.width, y * squaring.height) for x, y in outline]
            return tuple(_within_reach(point) for point in outline)

        row = min(index, len(traced) - 1)
        regions = traced[row]
        if not regions and masks[row].any():
            raise ValueError("mask has only specks, which are too small to draw; paint larger regions")
        return (
            marks_of([(placed(outer), [placed(hole) for hole in holes]) for outer, holes in regions]) if regions else ()
        )

    return marks


def with_holes(region: Region) -> tuple[Point, ...]:
    """One closed line around a region with holes: into each hole and out again over the same bridge."""
    outer, holes = region
    line = list(outer)
    for hole in holes:
        line += [*hole, outer[0]]
    return tuple(line)


def curve_through(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """The points of a smooth curve through `points`."""
    curve = smooth(np.array(points, dtype=float) * UNITS) / UNITS
    return tuple(_within_reach(point) for point in curve.tolist())


def _within_reach(point: Point) -> Point:
    least, most = REACH
    return min(max(float(point[0]), least), most), min(max(float(point[1]), least), most)


def _require_photo(squaring: Squaring | None, name: str) -> None:
    if squaring is None:
        raise ValueError(f"{name} are in pixels of a photo; connect that photo to image of Compose Visual Prompt")
