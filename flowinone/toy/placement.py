"""Where things stand and marks go: with room for each other, above the words, and on the right side of the split."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..prompts.checks import UNITS
from ..prompts.ink import smooth
from .painting import SHAPES, TEXTURES, Point, Thing, outline
from .split import Draw

MARGIN, GAP, FLOOR = 0.02, 0.045, 0.66
"""Room beside things, room between them, and how far down they may reach where words stand below."""
ROOM = 1.12
"""Radii of room that a thing takes."""
RADII = {1: (0.11, 0.16), 2: (0.1, 0.145), 3: (0.1, 0.125)}
BALL_RADII = {1: (0.09, 0.12), 2: (0.085, 0.11), 3: (0.08, 0.095)}
"""Least and most, by how many things there are."""
SHORTEST_WAY, LONGEST_PUSH = 0.24, 0.55

Circle = tuple[Point, float]


def first(make: Callable):
    """The first thing made that is one, not None."""
    while (made := make()) is None:
        pass
    return made


def scatter(
    draw: Draw, count: int, taken: Sequence[Circle] = (), floor: float = FLOOR, clear: Callable[..., bool] | None = None
) -> list[Circle]:
    """Circles clear of each other, of those taken and by `clear(center, radius)`; fewer where there is no room."""
    found: list[Circle] = []
    least, most = RADII[max(1, min(count + len(taken), 3))]
    for _ in range(40):
        if len(found) == count:
            break
        radius = draw.number(least, most)
        edge = ROOM * radius + MARGIN
        center = draw.place(edge, edge, 1 - edge, floor - edge)
        apart = all(math.dist(center, other) > ROOM * (radius + reach) + GAP for other, reach in (*taken, *found))
        if apart and (clear is None or clear(center, radius)):
            found.append((center, radius))
    return found


def things_at(draw: Draw, circles: Sequence[Circle], but: str | None = None) -> tuple[Thing, ...]:
    """Things of different shapes, none of them `but`."""
    shapes = draw.some_of([shape for shape in SHAPES if shape != but], len(circles))
    looks = [(draw.color(shape), draw.one_of(TEXTURES)) for shape in shapes]
    return tuple(
        Thing(shape, color, *circle, texture) for shape, circle, (color, texture) in zip(shapes, circles, looks)
    )


def pointed_at(draw: Draw, count: int) -> tuple[tuple[Thing, ...], Point, Point] | None:
    """Things, an arrow's tip on the first, and its start; None where no arrow was found that is clear of the others."""
    meant, *others = things = things_at(draw, scatter(draw, count))
    for _ in range(20):
        turn, away = draw.number(0, 2 * math.pi), meant.radius + draw.number(0.08, 0.16)
        way = math.cos(turn), math.sin(turn)
        tip, start = (
            (meant.center[0] + far * way[0], meant.center[1] + far * way[1]) for far in (0.3 * meant.radius, away)
        )
        if _inside(start) and all(math.dist(start, other.center) > ROOM * other.radius + 0.04 for other in others):
            return things, tip, start
    return None


def pushed(draw: Draw, count: int, moving: int) -> tuple[tuple[Thing, ...], list[Point]] | None:
    """Balls, and the places where the first of them go; None where there was no room."""
    radius = draw.number(*BALL_RADII[count])
    edge = ROOM * radius + MARGIN
    area = edge, edge, 1 - edge, FLOOR - edge
    ways: list[np.ndarray] = []
    for number in range(count):
        for _ in range(60):
            way = np.array([draw.place(*area)])
            if number < moving:
                way = np.linspace(way[0], draw.place(*area), 16)
            wanted = number >= moving or SHORTEST_WAY < math.dist(way[0], way[-1]) < LONGEST_PUSH
            if wanted and all(_clear(way, radius, other, radius) for other in ways):
                ways.append(way)
                break
        else:
            return None
    looks = [(draw.color("ball"), draw.one_of(TEXTURES)) for _ in ways]
    balls = (
        Thing("ball", color, tuple(way[0].tolist()), radius, texture) for way, (color, texture) in zip(ways, looks)
    )
    return tuple(balls), [tuple(way[-1].tolist()) for way in ways[:moving]]


def led(draw: Draw, count: int, moving: int) -> tuple[tuple[Thing, ...], list[list[Point]]] | None:
    """Things, and the lines that the first of them follow; None where there was no room."""
    things = things_at(draw, scatter(draw, count))
    ways = [np.array([thing.center]) for thing in things]
    paths = []
    for number, thing in enumerate(things[:moving]):
        others = [(way, other.radius) for way, other in zip(ways, things) if other is not thing]
        path = next(filter(None, (_path(draw, thing, others) for _ in range(40))), None)
        if path is None:
            return None
        ways[number] = _curve(path)
        paths.append(path)
    return things, paths


def hand_drawn(draw: Draw, thing: Thing) -> list[list[Point]]:
    """A thing's outlines as a hand would draw them: a little off, and not always closed."""
    strokes = []
    for loop in outline(thing.shape):
        sides = np.linalg.norm(np.roll(loop, -1, axis=0) - loop, axis=1)
        corners = np.concatenate([loop, loop[:1]])
        along = np.append(0, np.cumsum(sides))
        # About eight points a radius, and every corner.
        at = np.unique(np.concatenate([along[:-1], np.arange(0, along[-1], 0.12)]))
        line = np.stack([np.interp(at, along, axis) for axis in corners.T], axis=1)
        turn = 2 * np.pi * at / along[-1]
        for wave in (2, 3, 5):
            shifts = [draw.number(0, 2 * math.pi) for _ in range(2)]
            line = line + 0.025 * np.stack([np.sin(wave * turn + shift) for shift in shifts], axis=1)
        line = np.roll(line, int(draw.rng.integers(len(line))), axis=0)
        stroke = np.concatenate([line, line[: draw.one_of((0, 1, 2))]])
        strokes.append((stroke * thing.radius + thing.center).tolist())
    return strokes


def _path(draw: Draw, thing: Thing, others: list[tuple[np.ndarray, float]]) -> list[Point] | None:
    """Points of a line with one or two bends from a thing to somewhere; None where it meets the others, which have ways
    [n, 2] and radii, or is too short."""
    edge = ROOM * thing.radius + MARGIN
    end = draw.place(edge, edge, 1 - edge, FLOOR - edge)
    straight = np.array([thing.center, end])
    # Before more is drawn: where most fail.
    if math.dist(thing.center, end) < SHORTEST_WAY or not all(_apart(straight, thing.radius, *way) for way in others):
        return None
    start, way = straight[0], straight[1] - straight[0]
    across = np.array((-way[1], way[0]))
    shares = [share + draw.number(-0.08, 0.08) for share in draw.one_of(((0.5,), (0.33, 0.67)))]
    bends = [start + share * way + draw.number(-0.4, 0.4) * across for share in shares]
    path = [thing.center, *(tuple(bend.tolist()) for bend in bends), end]
    curve = _curve(path)
    inside = _inside(curve.min(axis=0)) and _inside(curve.max(axis=0))
    return path if inside and all(_clear(curve, thing.radius, *way) for way in others) else None


def _curve(path: list[Point]) -> np.ndarray:
    """The line [n, 2] that is drawn through the points."""
    return smooth(np.array(path) * UNITS, step=12) / UNITS


def _inside(point: Sequence[float]) -> bool:
    """Whether a mark that reaches there is whole and above the words."""
    return 0.03 < point[0] < 0.97 and 0.03 < point[1] < FLOOR - 0.02


def _apart(way: np.ndarray, radius: float, other_way: np.ndarray, other_radius: float) -> bool:
    """Whether two things that go ways [n, 2] have room: before, after, and where one ends and the other was."""
    room = ROOM * (radius + other_radius) + GAP
    return all(math.dist(here, there) > room for here in (way[0], way[-1]) for there in (other_way[0], other_way[-1]))


def _clear(way: np.ndarray, radius: float, other_way: np.ndarray, other_radius: float) -> bool:
    """Whether they are apart, and their lines clear of where the other was."""
    if not _apart(way, radius, other_way, other_radius):
        return False
    lines = ((way, other_way[0], other_radius), (other_way, way[0], radius))
    return all(np.linalg.norm(line - start, axis=1).min() > ROOM * reach + 0.04 for line, start, reach in lines)
