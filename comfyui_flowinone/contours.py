"""Outlines of a mask's regions."""

import numpy as np
from scipy import ndimage

Outline = list[tuple[float, float]]

MAX_SIDE = 512
"""Masks are traced at this size at the most: a doodle's line is wider than what a larger one would add."""


def contours(mask: np.ndarray, tolerance: float = 0.75) -> list[Outline]:
    """The closed outer outline of every region of a boolean mask [H, W], largest first, as fractions of width and height.

    Regions smaller than 1/10,000 of the mask are specks and left out. Points nearer than `tolerance` pixels to the simplified line are dropped.
    """
    step = max(1, -(-max(mask.shape) // MAX_SIDE))
    small = mask[::step, ::step]
    regions, count = ndimage.label(small, structure=np.ones((3, 3)))
    sizes = ndimage.sum_labels(small, regions, range(1, count + 1)) if count else []
    order = [1 + i for i in np.argsort(sizes, kind="stable")[::-1] if sizes[i] >= max(4, small.size / 10_000)]
    height, width = small.shape
    outlines = []
    for region in order:
        corners = simplified(_boundary(ndimage.binary_fill_holes(regions == region)), tolerance)
        outlines.append([(x / width, y / height) for x, y in corners])
    return outlines


def _boundary(region: np.ndarray) -> np.ndarray:
    """The corners [N, 2] (x, y), in order and closed, of the pixel edges around one filled region, the first at its top left."""
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
    """Ramer, Douglas and Peucker's simplification of a line [N, 2]; the ends stay."""
    keep = np.zeros(len(points), dtype=bool)
    # A closed line has no chord to measure from: its farthest point halves it first.
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
