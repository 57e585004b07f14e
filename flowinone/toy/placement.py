"""Random layouts: objects and marks with room for each other, above the words, on the right side of the split."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..prompts.checks import UNITS
from ..prompts.ink import smooth
from .scene import SHAPES, TEXTURES, Point, SceneObject, outline
from .split import SplitRandom

MARGIN, GAP = 0.02, 0.045
"""Free space between an object and the picture's edge, and between two objects."""
TEXT_TOP = 0.66
"""Where the words below a photo begin: objects stay above it."""
ROOM = 1.12
"""Radii of free space that an object takes."""
RADII = {1: (0.11, 0.16), 2: (0.1, 0.145), 3: (0.1, 0.125)}
BALL_RADII = {1: (0.09, 0.12), 2: (0.085, 0.11), 3: (0.08, 0.095)}
"""Smallest and largest radius, by the number of objects."""
SHORTEST_MOVE, LONGEST_PUSH = 0.24, 0.55

Circle = tuple[Point, float]
"""A centre and a radius."""


def retry(make: Callable):
    """Call `make` until it returns something other than None."""
    while (made := make()) is None:
        pass
    return made


def place_circles(
    random: SplitRandom,
    count: int,
    taken: Sequence[Circle] = (),
    bottom: float = TEXT_TOP,
    is_free: Callable[[Point, float], bool] | None = None,
) -> list[Circle]:
    """Circles above `bottom` that are apart from each other and from those taken; fewer than `count` in lack of space.

    `is_free(center, radius)` may exclude more positions.
    """
    found: list[Circle] = []
    low, high = RADII[max(1, min(count + len(taken), 3))]
    for _ in range(40):
        if len(found) == count:
            break
        radius = random.uniform(low, high)
        edge = ROOM * radius + MARGIN
        center = random.position(edge, edge, 1 - edge, bottom - edge)
        apart = all(math.dist(center, other) > ROOM * (radius + reach) + GAP for other, reach in (*taken, *found))
        if apart and (is_free is None or is_free(center, radius)):
            found.append((center, radius))
    return found


def objects_in(random: SplitRandom, circles: Sequence[Circle], exclude: str | None = None) -> tuple[SceneObject, ...]:
    """An object in each circle, all of different shapes other than `exclude`."""
    shapes = random.sample([shape for shape in SHAPES if shape != exclude], len(circles))
    looks = [(random.color(shape), random.choice(TEXTURES)) for shape in shapes]
    return tuple(
        SceneObject(shape, color, *circle, texture) for shape, circle, (color, texture) in zip(shapes, circles, looks)
    )


def place_marker(random: SplitRandom, count: int) -> tuple[tuple[SceneObject, ...], Point, Point] | None:
    """Objects, and the tip and the start of an arrow to the first; None if no arrow avoids the others."""
    target, *others = objects = objects_in(random, place_circles(random, count))
    for _ in range(20):
        angle, length = random.uniform(0, 2 * math.pi), target.radius + random.uniform(0.08, 0.16)
        direction = math.cos(angle), math.sin(angle)
        tip, start = (
            (target.center[0] + far * direction[0], target.center[1] + far * direction[1])
            for far in (0.3 * target.radius, length)
        )
        if _inside(start) and all(math.dist(start, other.center) > ROOM * other.radius + 0.04 for other in others):
            return objects, tip, start
    return None


def place_pushes(random: SplitRandom, count: int, moving: int) -> tuple[tuple[SceneObject, ...], list[Point]] | None:
    """Balls, and the positions to which the first `moving` of them are pushed; None in lack of space."""
    radius = random.uniform(*BALL_RADII[count])
    edge = ROOM * radius + MARGIN
    area = edge, edge, 1 - edge, TEXT_TOP - edge
    paths: list[np.ndarray] = []
    for number in range(count):
        for _ in range(60):
            path = np.array([random.position(*area)])
            if number < moving:
                path = np.linspace(path[0], random.position(*area), 16)
            suitable = number >= moving or SHORTEST_MOVE < math.dist(path[0], path[-1]) < LONGEST_PUSH
            if suitable and all(_paths_clear(path, radius, other, radius) for other in paths):
                paths.append(path)
                break
        else:
            return None
    looks = [(random.color("ball"), random.choice(TEXTURES)) for _ in paths]
    balls = (
        SceneObject("ball", color, tuple(path[0].tolist()), radius, texture)
        for path, (color, texture) in zip(paths, looks)
    )
    return tuple(balls), [tuple(path[-1].tolist()) for path in paths[:moving]]


def place_trajectories(
    random: SplitRandom, count: int, moving: int
) -> tuple[tuple[SceneObject, ...], list[list[Point]]] | None:
    """Objects, and the control points of the lines that the first `moving` of them follow; None in lack of space."""
    objects = objects_in(random, place_circles(random, count))
    curves = [np.array([item.center]) for item in objects]
    lines = []
    for number, item in enumerate(objects[:moving]):
        others = [(curve, other.radius) for curve, other in zip(curves, objects) if other is not item]
        line = next(filter(None, (_line(random, item, others) for _ in range(40))), None)
        if line is None:
            return None
        curves[number] = _curve(line)
        lines.append(line)
    return objects, lines


def sketch(random: SplitRandom, item: SceneObject) -> list[list[Point]]:
    """An object's outlines as a hand would draw them: a little off, and not always closed."""
    strokes = []
    for loop in outline(item.shape):
        sides = np.linalg.norm(np.roll(loop, -1, axis=0) - loop, axis=1)
        corners = np.concatenate([loop, loop[:1]])
        along = np.append(0, np.cumsum(sides))
        # About eight points a radius, and every corner.
        at = np.unique(np.concatenate([along[:-1], np.arange(0, along[-1], 0.12)]))
        line = np.stack([np.interp(at, along, axis) for axis in corners.T], axis=1)
        angle = 2 * np.pi * at / along[-1]
        for wave in (2, 3, 5):
            shifts = [random.uniform(0, 2 * math.pi) for _ in range(2)]
            line = line + 0.025 * np.stack([np.sin(wave * angle + shift) for shift in shifts], axis=1)
        line = np.roll(line, int(random.rng.integers(len(line))), axis=0)
        stroke = np.concatenate([line, line[: random.choice((0, 1, 2))]])
        strokes.append((stroke * item.radius + item.center).tolist())
    return strokes


def _line(random: SplitRandom, item: SceneObject, others: list[tuple[np.ndarray, float]]) -> list[Point] | None:
    """Control points of a line with one or two bends that starts at an object.

    `others` are the paths [n, 2] and radii of the other objects. None for a line that is too short or meets them.
    """
    edge = ROOM * item.radius + MARGIN
    end = random.position(edge, edge, 1 - edge, TEXT_TOP - edge)
    straight = np.array([item.center, end])
    # Most lines fail here, so this is checked before the bends are drawn.
    if math.dist(item.center, end) < SHORTEST_MOVE or not all(
        _ends_apart(straight, item.radius, *other) for other in others
    ):
        return None
    start, step = straight[0], straight[1] - straight[0]
    normal = np.array((-step[1], step[0]))
    shares = [share + random.uniform(-0.08, 0.08) for share in random.choice(((0.5,), (0.33, 0.67)))]
    bends = [start + share * step + random.uniform(-0.4, 0.4) * normal for share in shares]
    line = [item.center, *(tuple(bend.tolist()) for bend in bends), end]
    curve = _curve(line)
    inside = _inside(curve.min(axis=0)) and _inside(curve.max(axis=0))
    return line if inside and all(_paths_clear(curve, item.radius, *other) for other in others) else None


def _curve(line: list[Point]) -> np.ndarray:
    """The curve [n, 2] that is drawn through control points."""
    return smooth(np.array(line) * UNITS, step=12) / UNITS


def _inside(point: Sequence[float]) -> bool:
    """Whether a mark at this point is whole and above the words."""
    return 0.03 < point[0] < 0.97 and 0.03 < point[1] < TEXT_TOP - 0.02


def _ends_apart(path: np.ndarray, radius: float, other_path: np.ndarray, other_radius: float) -> bool:
    """Whether two objects on paths [n, 2] are apart before and after they move, and each from where the other was."""
    room = ROOM * (radius + other_radius) + GAP
    ends = ((here, there) for here in (path[0], path[-1]) for there in (other_path[0], other_path[-1]))
    return all(math.dist(here, there) > room for here, there in ends)


def _paths_clear(path: np.ndarray, radius: float, other_path: np.ndarray, other_radius: float) -> bool:
    """Whether two objects on paths [n, 2] are apart, and neither path crosses the other object's first position."""
    if not _ends_apart(path, radius, other_path, other_radius):
        return False
    crossings = ((path, other_path[0], other_radius), (other_path, path[0], radius))
    return all(np.linalg.norm(line - start, axis=1).min() > ROOM * reach + 0.04 for line, start, reach in crossings)
