"""Outlines of a mask's regions: labelled by scipy, traced along pixel edges, simplified."""

import numpy as np
from scipy import ndimage

Outline = list[tuple[float, float]]

MAX_SIDE = 512
"""Larger masks are reduced to this many pixels first: a doodle's line is wider than the detail that is lost."""

MAX_REGIONS = 100
"""Only this many of the largest regions are traced."""

SPECK = 1e-4
"""Regions and holes below this fraction of the mask are left out."""


def contours(mask: np.ndarray, tolerance: float = 0.75) -> list[tuple[Outline, list[Outline]]]:
    """The closed outline of each region of a boolean mask [H, W] with the outlines of its holes, largest region first.

    Points are fractions of width and height. Points nearer than `tolerance` pixels to the simplified line are dropped.
    """
    small = _reduced(mask)
    height, width = small.shape
    least = max(1.0, small.size * SPECK)

    def outline(region: np.ndarray, place: tuple[slice, slice]) -> Outline:
        corners = simplified(_boundary(region), tolerance)
        return [((x + place[1].start) / width, (y + place[0].start) / height) for x, y in corners]

    found = []
    for region, place in _regions(small, least):
        filled = ndimage.binary_fill_holes(region)
        inner_holes = _regions(filled & ~region, least, diagonal=False)
        holes = [outline(hole, _within(place, inner)) for hole, inner in inner_holes]
        found.append((outline(filled, place), holes))
    return found


def _reduced(mask: np.ndarray) -> np.ndarray:
    """The mask at no more than MAX_SIDE pixels. A cell is set if any of its pixels is, so that thin lines survive."""
    step = max(1, -(-max(mask.shape) // MAX_SIDE))
    height, width = (-(-side // step) for side in mask.shape)
    padded = np.zeros((height * step, width * step), dtype=bool)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return padded.reshape(height, step, width, step).any(axis=(1, 3))


def _regions(mask: np.ndarray, least: float, diagonal: bool = True) -> list[tuple[np.ndarray, tuple[slice, slice]]]:
    """The connected regions of at least `least` pixels, largest first, each cut out, with its place in the mask.

    Pixels that touch at a corner only are connected if `diagonal`.
    """
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)) if diagonal else None)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    places = ndimage.find_objects(labels)
    order = [number for number in np.argsort(-sizes, kind="stable") if sizes[number] >= least][:MAX_REGIONS]
    return [(labels[places[number]] == number + 1, places[number]) for number in order]


def _within(place: tuple[slice, slice], inner: tuple[slice, slice]) -> tuple[slice, slice]:
    return tuple(slice(a.start + b.start, a.start + b.stop) for a, b in zip(place, inner))


def _boundary(region: np.ndarray) -> np.ndarray:
    """The closed line [N, 2] (x, y) along the pixel edges around one filled region, from its top left corner."""
    padded = np.pad(region, 1)
    rows, columns = np.nonzero(region)
    start = (int(columns[0]), int(rows[0]))
    # Walk along pixel edges with the region on the right hand; directions are right, down, left, up.
    moves = ((1, 0), (0, 1), (-1, 0), (0, -1))
    # The two pixels ahead of a corner, left and right of each direction, as offsets into `padded` (row, column).
    ahead = (((0, 1), (1, 1)), ((1, 1), (1, 0)), ((1, 0), (0, 0)), ((0, 0), (0, 1)))
    x, y, direction = *start, 0
    corners = [start]
    while True:
        x, y = x + moves[direction][0], y + moves[direction][1]
        corners.append((x, y))
        if (x, y) == start:
            return np.array(corners, dtype=float)
        (left_row, left_column), (right_row, right_column) = ahead[direction]
        if padded[y + left_row, x + left_column]:
            direction = (direction - 1) % 4
        elif not padded[y + right_row, x + right_column]:
            direction = (direction + 1) % 4


def simplified(points: np.ndarray, tolerance: float) -> list[tuple[float, float]]:
    """A line [N, 2] simplified by the Ramer-Douglas-Peucker algorithm, which keeps the ends."""
    keep = np.zeros(len(points), dtype=bool)
    # A closed line has no chord to measure from, so its farthest point splits it first.
    halves = [0, int(np.linalg.norm(points - points[0], axis=1).argmax()), len(points) - 1]
    keep[halves] = True
    pending = [pair for pair in zip(halves, halves[1:]) if pair[1] > pair[0] + 1]
    while pending:
        first, last = pending.pop()
        chord = points[last] - points[first]
        between = points[first + 1 : last] - points[first]
        distances = np.abs(chord[0] * between[:, 1] - chord[1] * between[:, 0]) / max(float(np.hypot(*chord)), 1e-12)
        farthest = int(distances.argmax())
        if distances[farthest] > tolerance:
            middle = first + 1 + farthest
            keep[middle] = True
            pending += [pair for pair in ((first, middle), (middle, last)) if pair[1] > pair[0] + 1]
    return [tuple(point) for point in points[keep].tolist()]
