"""Vector pictures of coloured shapes, and a flag, on quiet grounds.

Places and lengths are fractions of the square picture's side, x to the right and y downwards: a scene is the same at
every size.
"""

import dataclasses
import functools
import math
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]
Color = tuple[int, int, int]

COLORS: dict[str, Color] = {
    "red": (222, 45, 50),
    "orange": (245, 135, 20),
    "yellow": (248, 212, 30),
    "green": (45, 160, 70),
    "blue": (45, 95, 215),
    "purple": (135, 60, 180),
    "pink": (245, 105, 175),
    "black": (40, 40, 46),
}
"""Of things. Grounds are pale, so that every one of these stands out from every ground."""
GROUNDS: dict[str, Color] = {
    "white": (250, 250, 250),
    "grey": (170, 172, 178),
    "blue": (160, 192, 246),
    "green": (160, 226, 166),
    "yellow": (250, 234, 140),
    "pink": (250, 184, 212),
}
"""What a caption's "on blue" means: the pale colour of that name."""
SHAPES = ("ball", "square", "triangle", "star", "heart", "ring", "cross", "moon")
TEXTURES = ("plain", "striped", "dotted", "checked")

_FINER = 4
"""Samples per pixel and side for smooth edges."""


@dataclasses.dataclass(frozen=True)
class Thing:
    """A shape around `center`, which is where its area balances."""

    shape: str
    color: str
    center: Point
    radius: float
    texture: str = "plain"


@dataclasses.dataclass(frozen=True)
class Flag:
    """A cloth on a pole, tied at `top`; `blow` is the way that it streams, a unit vector, or None where no wind is."""

    top: Point
    color: str
    blow: Point | None = None
    length: float = 0.3
    height: float = 0.17
    pole: float = 0.5

    def cloth(self) -> np.ndarray:
        """The outline [n, 2]."""
        along = np.linspace(0, 1, 24)[:, None]
        if self.blow is None:
            # A bundle of folds that narrows upwards to where the cloth is tied.
            width = 0.035 + 0.035 * along + 0.008 * np.sin(9 * along)
            down = np.array(self.top) + along * (0, self.length)
            return np.concatenate([down, (down + width * (1, 0))[::-1]])
        across = np.array((-self.blow[1], self.blow[0]))
        ripple = 0.022 * np.sin(2 * np.pi * along) * along**0.5
        upper = np.array(self.top) + along * self.length * self.blow + ripple * across
        return np.concatenate([upper, (upper + (0, self.height))[::-1]])


@dataclasses.dataclass(frozen=True)
class Ground:
    """What things stand on: one colour, the two from the top down or from the left to the right, soft clouds of them
    (by `seed`), or a wall and, below `level`, a floor."""

    kind: Literal["plain", "down", "right", "clouds", "room"]
    colors: tuple[Color, Color]
    level: float = 0
    seed: int = 0

    def paint(self, size: int) -> np.ndarray:
        """Float32 [size, size, 3], 0..255."""
        first, second = (np.array(color, np.float32) for color in self.colors)
        if self.kind == "plain":
            share = np.zeros((size, size), np.float32)
        elif self.kind in ("down", "right"):
            ramp = np.linspace(0, 1, size, dtype=np.float32)
            share = np.broadcast_to(ramp if self.kind == "right" else ramp[:, None], (size, size))
        elif self.kind == "clouds":
            blobs = Image.fromarray(np.random.default_rng(self.seed).uniform(0, 1, (5, 5)).astype(np.float32))
            share = np.asarray(blobs.resize((size, size), Image.Resampling.BICUBIC))
        else:
            share = np.broadcast_to(
                np.clip(np.arange(size, dtype=np.float32) + 1 - self.level * size, 0, 1)[:, None], (size, size)
            )
        return first + share[..., None] * (second - first)


@dataclasses.dataclass(frozen=True)
class Scene:
    """A whole picture."""

    ground: Ground
    things: tuple[Thing, ...] = ()
    flag: Flag | None = None

    def draw(self, size: int) -> Image.Image:
        """The RGB picture."""
        canvas = self.ground.paint(size)
        if self.flag:
            _paint_pole(canvas, self.flag)
            (top, left), mask = area([self.flag.cloth()], size)
            _blend(canvas, top, left, mask, COLORS[self.flag.color])
        for thing in self.things:
            (top, left), mask = silhouette(thing, size)
            height, width = mask.shape
            x, y = (np.arange(left, left + width) + 0.5) / size, (np.arange(top, top + height) + 0.5) / size
            u, v = (x - thing.center[0]) / thing.radius, (y - thing.center[1]) / thing.radius
            first, second = tones(thing.color)
            share = _texture(thing.texture, u[None], v[:, None], thing.radius * size)
            _blend(canvas, top, left, mask, first + share[..., None] * (second - first))
        return _picture(canvas)

    def bare(self, size: int) -> Image.Image:
        """The picture without things and without the flag's cloth, but with its pole."""
        canvas = self.ground.paint(size)
        if self.flag:
            _paint_pole(canvas, self.flag)
        return _picture(canvas)


def tones(color: str) -> tuple[np.ndarray, np.ndarray]:
    """A colour and the second one of its textures, which cover at most half of a thing with it; float32, 0..255."""
    first = np.array(COLORS[color], np.float32)
    return first, first + 60 if color == "black" else first * 0.72


@functools.cache
def outline(shape: str) -> tuple[np.ndarray, ...]:
    """A shape's outline [n, 2] in radii around its centre, and after it those of its holes."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    circle = np.stack([np.sin(turn), -np.cos(turn)], axis=1)
    if shape == "ball":
        loops = [0.95 * circle]
    elif shape == "ring":
        loops = [1.02 * circle, 0.54 * circle]
    elif shape == "square":
        loops = [0.84 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])]
    elif shape == "triangle":
        loops = [1.18 * circle[::16]]
    elif shape == "star":
        points = np.linspace(0, 2 * np.pi, 10, endpoint=False)
        reach = np.where(np.arange(10) % 2 == 0, 1.18, 0.52)
        loops = [np.stack([reach * np.sin(points), -reach * np.cos(points)], axis=1)]
    elif shape == "heart":
        x = 16 * np.sin(turn) ** 3
        y = -13 * np.cos(turn) + 5 * np.cos(2 * turn) + 2 * np.cos(3 * turn) + np.cos(4 * turn)
        loops = [np.stack([x, y], axis=1) / 15.5]
    elif shape == "cross":
        a, b = 0.36, 1.04
        corners = [
            (-a, -b),
            (a, -b),
            (a, -a),
            (b, -a),
            (b, a),
            (a, a),
            (a, b),
            (-a, b),
            (-a, a),
            (-b, a),
            (-b, -a),
            (-a, -a),
        ]
        loops = [np.array(corners)]
    elif shape == "moon":
        # Two arcs between the horns, where a circle and a smaller one to its right meet.
        horn, inner_horn = math.radians(50), math.radians(80)
        outer = np.linspace(horn, 2 * np.pi - horn, 40)
        radius = math.sin(horn) / math.sin(inner_horn)
        middle = math.cos(horn) - radius * math.cos(inner_horn)
        inner = np.linspace(2 * np.pi - inner_horn, inner_horn, 30)
        arcs = [(0, 1, outer), (middle, radius, inner)]
        loops = [np.concatenate([np.stack([x + r * np.cos(t), r * np.sin(t)], axis=1) for x, r, t in arcs])]
    else:
        raise ValueError(f"shape: {shape!r} is none that is drawn; choose one of {', '.join(SHAPES)}")
    return tuple(loop - _balance(loops[0]) for loop in loops)


def silhouette(thing: Thing, size: int) -> tuple[tuple[int, int], np.ndarray]:
    """A thing's mask as `area` gives it."""
    return area([np.array(thing.center) + thing.radius * loop for loop in outline(thing.shape)], size)


def area(loops: list[np.ndarray], size: int) -> tuple[tuple[int, int], np.ndarray]:
    """The inside of the first loop [n, 2] less those of the others: a patch's top and left, and its mask, 0..1."""
    low = np.clip(np.floor(loops[0].min(axis=0) * size).astype(int) - 1, 0, size - 1)
    high = np.clip(np.ceil(loops[0].max(axis=0) * size).astype(int) + 1, low + 1, size)
    width, height = (high - low).tolist()
    patch = Image.new("L", (width * _FINER, height * _FINER))
    pen = ImageDraw.Draw(patch)
    for number, loop in enumerate(loops):
        corners = (loop * size - low) * _FINER
        pen.polygon(list(map(tuple, corners.tolist())), fill=0 if number else 255)
    return (int(low[1]), int(low[0])), np.asarray(patch.reduce(_FINER), np.float32) / 255


def _paint_pole(canvas: np.ndarray, flag: Flag) -> None:
    size = len(canvas)
    (x, top), wide = flag.top, 0.014
    corners = np.array([(x - wide, top - 0.02), (x, top - 0.02), (x, top + flag.pole), (x - wide, top + flag.pole)])
    (top, left), mask = area([corners], size)
    _blend(canvas, top, left, mask, (96, 84, 78))


def _texture(texture: str, u: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """How much of the second tone [h, w] lies at the places u [1, w] and v [h, 1] in radii.

    Knowing the `radius` in pixels, edges are one pixel wide.
    """
    if texture == "striped":
        return _steps((u + v) * math.sqrt(0.5), 0.62, radius)
    if texture == "checked":
        rows, columns = (2 * _steps(along, 0.9, radius) - 1 for along in (u, v))
        return 0.5 + 0.5 * rows * columns
    if texture == "dotted":
        away = [np.abs((along + 0.32) % 0.64 - 0.32) for along in (u, v)]
        return np.clip((0.2 - np.hypot(*away)) * radius + 0.5, 0, 1)
    return np.zeros(np.broadcast_shapes(u.shape, v.shape), np.float32)


def _steps(along: np.ndarray, period: float, radius: float) -> np.ndarray:
    """1 and 0 in turn, for half a period each."""
    return np.clip(0.5 + np.sin(2 * np.pi * along / period) * period * radius / (2 * np.pi), 0, 1)


def _blend(canvas: np.ndarray, top: int, left: int, mask: np.ndarray, color) -> None:
    patch = canvas[top : top + mask.shape[0], left : left + mask.shape[1]]
    patch += mask[..., None] * (np.asarray(color, np.float32) - patch)


def _picture(canvas: np.ndarray) -> Image.Image:
    return Image.fromarray(canvas.round().clip(0, 255).astype(np.uint8))


def _balance(loop: np.ndarray) -> np.ndarray:
    """The centroid of the area inside a loop [n, 2]."""
    after = np.roll(loop, -1, axis=0)
    cross = loop[:, 0] * after[:, 1] - after[:, 0] * loop[:, 1]
    return ((loop + after) * cross[:, None]).sum(axis=0) / (3 * cross.sum())
