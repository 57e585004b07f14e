"""Marks on their way through a graph: drawn on the square canvas, or found on a picture that is yet to be made square.

Nodes pass a tuple of mark sources (FLOWINONE_MARKS). A source is asked once for each picture of a batch.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from ..flowinone.prompts.checks import UNITS, Point
from ..flowinone.prompts.ink import smooth
from ..flowinone.prompts.spec import Box, Mark
from ..flowinone.prompts.squaring import Squaring
from .contours import contours

MarkSource = Callable[[int, Squaring | None], Sequence[Mark]]
"""Marks for the picture of that number in the batch, which lies on the canvas as the squaring says (None: there is no picture)."""


def on_canvas(*marks: Mark) -> MarkSource:
    """Marks whose coordinates are the canvas' already."""
    return lambda number, squaring: marks


def gathered(sources: Sequence[MarkSource], number: int, squaring: Squaring | None) -> tuple[Mark, ...]:
    """All marks for one picture, in drawing order."""
    return tuple(mark for source in sources for mark in source(number, squaring))


def detected_boxes(boxes, template: Box) -> MarkSource:
    """A box like `template` around each of ComfyUI's BOUNDING_BOX values, which are in the picture's pixels.

    `boxes` is one box, a list of boxes for every picture, or a list of such lists, of which the last serves for the pictures beyond. An empty label in `template`
    gives way to the detector's. What lies off the canvas is left out. Raises ValueError for values that are no boxes.
    """
    per_picture = _per_picture(boxes)

    def marks(number: int, squaring: Squaring | None) -> list[Mark]:
        _require_picture(squaring, "boxes")
        found = per_picture[min(number, len(per_picture) - 1)] or ()
        return [mark for box in found if (mark := _box_mark(box, squaring, template)) is not None]

    return marks


def _per_picture(boxes) -> list[list[dict]]:
    if isinstance(boxes, dict):
        boxes = [[boxes]]
    if not isinstance(boxes, list):
        raise ValueError(f"boxes is a {type(boxes).__name__}; expected BOUNDING_BOX, from a detector or a box node")
    if not boxes or isinstance(boxes[0], dict):
        boxes = [boxes]
    for box in (box for found in boxes for box in found or ()):
        if not isinstance(box, dict) or not all(
            isinstance(box.get(side), (int, float)) for side in ("x", "y", "width", "height")
        ):
            raise ValueError(f"boxes holds {box!r}; a box has x, y, width and height, in pixels")
    return boxes


def _box_mark(box: dict, squaring: Squaring, template: Box) -> Box | None:
    left, top = squaring.to_canvas(box["x"], box["y"])
    right, bottom = squaring.to_canvas(box["x"] + box["width"], box["y"] + box["height"])
    area = tuple(min(max(float(side), 0.0), 1.0) for side in (left, top, right, bottom))
    if area[2] - area[0] < 0.01 or area[3] - area[1] < 0.01:
        return None
    metadata = box["metadata"] if isinstance(box.get("metadata"), dict) else {}
    label = template.label or box.get("label") or metadata.get("text") or metadata.get("desc") or ""
    return dataclasses.replace(template, area=area, label=label)


def tracked_paths(tracks: dict, mark: Callable[[tuple[Point, ...]], Mark]) -> MarkSource:
    """`mark` of the path of each of ComfyUI's TRACKS (`track_path` [frames, tracks, 2], in the picture's pixels), while it is visible."""
    path = np.asarray(tracks["track_path"].cpu(), dtype=float)
    visible = np.asarray(tracks["track_visibility"].cpu(), dtype=bool)
    if not np.isfinite(path).all():
        raise ValueError("tracks hold positions that are no numbers; make them anew")
    if visible.shape not in ((path.shape[0], 1), path.shape[:2]):
        raise ValueError(
            f"tracks say for {visible.shape[-1]} of {path.shape[1]} paths when they are visible; join masked tracks after drawing, not before"
        )
    visible = np.broadcast_to(visible, path.shape[:2])

    def marks(number: int, squaring: Squaring | None) -> list[Mark]:
        _require_picture(squaring, "tracks")
        lines = []
        for track in range(path.shape[1]):
            points = [squaring.to_canvas(*point) for point in path[visible[:, track], track]]
            points = tuple(_within_reach(point) for point in points)
            if len(points) > 1 and len(set(points)) > 1:
                lines.append(mark(points))
        return lines

    return marks


Region = tuple[tuple[Point, ...], list[tuple[Point, ...]]]


def masked_regions(mask: Tensor, mark: Callable[[list[Region]], Sequence[Mark]]) -> MarkSource:
    """`mark` of the regions of each picture's MASK [B, H, W] (of any size, in the picture's proportions): outlines, and their holes'.

    The last mask serves for the pictures beyond.
    """
    masks = [np.asarray(single.cpu()) > 0.5 for single in mask.reshape(-1, *mask.shape[-2:])]
    traced = [contours(single) for single in masks]

    def marks(number: int, squaring: Squaring | None) -> Sequence[Mark]:
        def placed(outline: list[Point]) -> tuple[Point, ...]:
            if squaring is not None:
                outline = [squaring.to_canvas(x * squaring.width, y * squaring.height) for x, y in outline]
            return tuple(_within_reach(point) for point in outline)

        which = min(number, len(traced) - 1)
        regions = traced[which]
        if not regions and masks[which].any():
            raise ValueError("mask holds only specks, too small to draw; paint larger regions")
        return mark([(placed(outer), [placed(hole) for hole in holes]) for outer, holes in regions]) if regions else ()

    return marks


def with_holes(region: Region) -> tuple[Point, ...]:
    """One closed line around a region with holes: into each hole and out again over the same bridge."""
    outer, holes = region
    line = list(outer)
    for hole in holes:
        line += [*hole, outer[0]]
    return tuple(line)


def curve_through(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """A smooth line through the points, as points of its own."""
    curve = smooth(np.array(points, dtype=float) * UNITS) / UNITS
    return tuple(_within_reach(point) for point in curve.tolist())


def _within_reach(point: Point) -> Point:
    # Marks may reach beyond the canvas, but not without bound.
    return min(max(float(point[0]), -1.0), 2.0), min(max(float(point[1]), -1.0), 2.0)


def _require_picture(squaring: Squaring | None, what: str) -> None:
    if squaring is None:
        raise ValueError(f"{what} are in a picture's pixels: connect that picture to Compose Visual Prompt")
