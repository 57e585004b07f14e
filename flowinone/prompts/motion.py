"""A part of the motion that a prompt asks for, along its trajectories and of its forces and winds."""

import dataclasses

import numpy as np

from .checks import MAX_POINTS, UNITS, Point, PromptError
from .ink import smooth
from .spec import ForceArrow, Mark, Trajectory, VisualPrompt, Wind, point_count

# In sides of the canvas: what `spec` demands, plus a margin for rounding errors.
_SHORTEST_ARROW, _SMALLEST_GLYPH = 0.01 * (1 + 1e-9), 0.02 * (1 + 1e-9)


def part(prompt: VisualPrompt, start: float, end: float) -> VisualPrompt:
    """The prompt with every motion cut to the fractions `start` to `end` of its path, 0 <= start < end <= 1.

    Trajectories are cut by length along the line that `render` draws. A force arrow starts at the fraction `start` of
    its length and has `end - start` of its magnitude; a wind has that share of its strength. Neither gets smaller than
    can be drawn. From 0 to 1 it is the prompt itself. Raises PromptError for other fractions, and if nothing moves.
    """
    if not 0 <= start < end <= 1:
        raise PromptError("", f"{start:g} to {end:g} is not a part of a motion; expected 0 <= start < end <= 1")
    if not any(isinstance(mark, (Trajectory, ForceArrow, Wind)) for mark in prompt.marks):
        raise PromptError("marks", "hold nothing that moves; draw a trajectory, a force arrow or wind")
    if (start, end) == (0, 1):
        return prompt
    finer = _corners_per_point(prompt.marks)
    return dataclasses.replace(prompt, marks=tuple(_part(mark, start, end, finer) for mark in prompt.marks))


def _part(mark: Mark, start: float, end: float, finer: int) -> Mark:
    if isinstance(mark, Trajectory):
        line = _drawn(mark, finer)
        return dataclasses.replace(mark, points=_cut(line, start, end), smooth=False)
    if isinstance(mark, ForceArrow):
        (x, y), (tip_x, tip_y) = mark.start, mark.tip
        least = min(mark.magnitude, max(_SHORTEST_ARROW / mark.scale, 1e-3))
        begins = _within_reach((x + start * (tip_x - x), y + start * (tip_y - y)))
        return dataclasses.replace(mark, start=begins, magnitude=max((end - start) * mark.magnitude, least))
    if isinstance(mark, Wind):
        least = min(mark.strength, max(_SMALLEST_GLYPH / mark.scale, 1e-3))
        return dataclasses.replace(mark, strength=max((end - start) * mark.strength, least))
    return mark


def _corners_per_point(marks: tuple[Mark, ...]) -> int:
    """How many corners smooth trajectories may have per point within the limit on a prompt's points."""
    curves = sum(point_count(mark) for mark in marks if isinstance(mark, Trajectory) and mark.smooth)
    others = sum(point_count(mark) for mark in marks) - curves
    return (MAX_POINTS - others) // max(curves, 1)


def _drawn(path: Trajectory, finer: int) -> np.ndarray:
    """The line [n, 2] drawn for a trajectory, in fractions of the canvas, with at most `finer` corners per point."""
    points = np.array(path.points, dtype=float)
    if not path.smooth:
        return points
    line = smooth(points * UNITS) / UNITS
    most = finer * len(points)
    return line if len(line) <= most else line[np.linspace(0, len(line) - 1, most).round().astype(int)]


def _cut(line: np.ndarray, start: float, end: float) -> tuple[Point, ...]:
    """The points of a line [n, 2] from one fraction of its length to another."""
    way = np.append(0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1)))
    begin, stop = start * way[-1], end * way[-1]
    first, last = ([np.interp(at, way, axis) for axis in line.T] for at in (begin, stop))
    return tuple(_within_reach(point) for point in (first, *line[(way > begin) & (way < stop)], last))


def _within_reach(point: Point) -> Point:
    # Curves swing out beyond their points, and a mark's points have bounds.
    return min(max(float(point[0]), -1.0), 2.0), min(max(float(point[1]), -1.0), 2.0)
