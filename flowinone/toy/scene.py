"""Scenes: coloured shapes, or a flag, on a plain background, as data and rasterized at any size.

Positions and lengths are fractions of the side of the square picture, x to the right and y downwards.
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
"""RGB colours of objects. Backgrounds are pale, so that every object contrasts with every background."""
BACKGROUND_COLORS: dict[str, Color] = {
    "white": (250, 250, 250),
    "grey": (170, 172, 178),
    "blue": (160, 192, 246),
    "green": (160, 226, 166),
    "yellow": (250, 234, 140),
    "pink": (250, 184, 212),
}
"""RGB colours of named backgrounds: a caption's "on blue" means this pale blue."""
SHAPES = ("ball", "square", "triangle", "star", "heart", "ring", "cross", "moon")
TEXTURES = ("plain", "striped", "dotted", "checked")

_SUPERSAMPLING = 4
"""Samples per pixel along each axis, for antialiased edges."""


@dataclasses.dataclass(frozen=True)
class SceneObject:
    """A shape with its centroid at `center`."""

    shape: str
    color: str
    center: Point
    radius: float
    texture: str = "plain"


@dataclasses.dataclass(frozen=True)
class Flag:
    """A cloth on a pole, tied at `top`. `direction` is the unit vector along which it streams, None if it hangs."""

    top: Point
    color: str
    direction: Point | None = None
    length: float = 0.3
    height: float = 0.17
    pole: float = 0.5

    def cloth_outline(self) -> np.ndarray:
        """The polygon [n, 2] of the cloth."""
        along = np.linspace(0, 1, 24)[:, None]
        if self.direction is None:
            # A bundle of folds, narrowest at the top where the cloth is tied.
            width = 0.035 + 0.035 * along + 0.008 * np.sin(9 * along)
            down = np.array(self.top) + along * (0, self.length)
            return np.concatenate([down, (down + width * (1, 0))[::-1]])
        across = np.array((-self.direction[1], self.direction[0]))
        ripple = 0.022 * np.sin(2 * np.pi * along) * along**0.5
        upper = np.array(self.top) + along * self.length * self.direction + ripple * across
        return np.concatenate([upper, (upper + (0, self.height))[::-1]])


@dataclasses.dataclass(frozen=True)
class Background:
    """One colour ("plain"), a gradient of two, top to bottom ("down") or left to right ("right"), "clouds" of the two
    drawn from `seed`, or a "room": a wall in the first colour and, below `level`, a floor in the second."""

    kind: Literal["plain", "down", "right", "clouds", "room"]
    colors: tuple[Color, Color]
    level: float = 0
    seed: int = 0

    def paint(self, size: int) -> np.ndarray:
        """The picture as float32 [size, size, 3], 0 to 255."""
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
    """A whole picture: the objects in the order in which they are painted."""

    background: Background
    objects: tuple[SceneObject, ...] = ()
    flag: Flag | None = None

    def render(self, size: int) -> Image.Image:
        """The RGB picture, `size` pixels wide and high."""
        canvas = self.background.paint(size)
        if self.flag:
            _paint_pole(canvas, self.flag)
            (top, left), mask = polygon_mask([self.flag.cloth_outline()], size)
            _blend(canvas, top, left, mask, COLORS[self.flag.color])
        for item in self.objects:
            (top, left), mask = object_mask(item, size)
            height, width = mask.shape
            x, y = (np.arange(left, left + width) + 0.5) / size, (np.arange(top, top + height) + 0.5) / size
            u, v = (x - item.center[0]) / item.radius, (y - item.center[1]) / item.radius
            first, second = tones(item.color)
            share = _texture(item.texture, u[None], v[:, None], item.radius * size)
            _blend(canvas, top, left, mask, first + share[..., None] * (second - first))
        return _picture(canvas)

    def render_background(self, size: int) -> Image.Image:
        """The picture without objects and without the flag's cloth, but with its pole."""
        canvas = self.background.paint(size)
        if self.flag:
            _paint_pole(canvas, self.flag)
        return _picture(canvas)


def tones(color: str) -> tuple[np.ndarray, np.ndarray]:
    """A colour and the second tone of its textures, as float32 RGB, 0 to 255.

    The second tone covers at most half of an object.
    """
    first = np.array(COLORS[color], np.float32)
    return first, first + 60 if color == "black" else first * 0.72


@functools.cache
def outline(shape: str) -> tuple[np.ndarray, ...]:
    """The polygons [n, 2] of a shape in radii around its centroid: its outline, then its holes.

    Raises ValueError for an unknown shape.
    """
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
        # Two arcs between the horns, the intersections of a circle with a smaller one to its right.
        horn, inner_horn = math.radians(50), math.radians(80)
        outer = np.linspace(horn, 2 * np.pi - horn, 40)
        radius = math.sin(horn) / math.sin(inner_horn)
        middle = math.cos(horn) - radius * math.cos(inner_horn)
        inner = np.linspace(2 * np.pi - inner_horn, inner_horn, 30)
        arcs = [(0, 1, outer), (middle, radius, inner)]
        loops = [np.concatenate([np.stack([x + r * np.cos(t), r * np.sin(t)], axis=1) for x, r, t in arcs])]
    else:
        raise ValueError(f"shape {shape!r} is unknown; choose one of {', '.join(SHAPES)}")
    return tuple(loop - _centroid(loops[0]) for loop in loops)


def object_mask(item: SceneObject, size: int) -> tuple[tuple[int, int], np.ndarray]:
    """The mask of an object, as `polygon_mask` returns it."""
    return polygon_mask([np.array(item.center) + item.radius * loop for loop in outline(item.shape)], size)


def polygon_mask(loops: list[np.ndarray], size: int) -> tuple[tuple[int, int], np.ndarray]:
    """The antialiased inside of a polygon [n, 2] without its holes, the further loops, in a picture of `size` pixels.

    Returns a patch that contains it: its top and left in pixels, and its mask [h, w] as float32, 0 to 1.
    """
    low = np.clip(np.floor(loops[0].min(axis=0) * size).astype(int) - 1, 0, size - 1)
    high = np.clip(np.ceil(loops[0].max(axis=0) * size).astype(int) + 1, low + 1, size)
    width, height = (high - low).tolist()
    patch = Image.new("L", (width * _SUPERSAMPLING, height * _SUPERSAMPLING))
    pen = ImageDraw.Draw(patch)
    for number, loop in enumerate(loops):
        corners = (loop * size - low) * _SUPERSAMPLING
        pen.polygon(list(map(tuple, corners.tolist())), fill=0 if number else 255)
    return (int(low[1]), int(low[0])), np.asarray(patch.reduce(_SUPERSAMPLING), np.float32) / 255


def _paint_pole(canvas: np.ndarray, flag: Flag) -> None:
    size = len(canvas)
    (x, top), wide = flag.top, 0.014
    corners = np.array([(x - wide, top - 0.02), (x, top - 0.02), (x, top + flag.pole), (x - wide, top + flag.pole)])
    (top, left), mask = polygon_mask([corners], size)
    _blend(canvas, top, left, mask, (96, 84, 78))


def _texture(texture: str, u: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """The share of the second tone [h, w] at the positions u [1, w] and v [h, 1], which are in radii.

    `radius` is in pixels; edges are one pixel wide.
    """
    if texture == "striped":
        return _square_wave((u + v) * math.sqrt(0.5), 0.62, radius)
    if texture == "checked":
        rows, columns = (2 * _square_wave(along, 0.9, radius) - 1 for along in (u, v))
        return 0.5 + 0.5 * rows * columns
    if texture == "dotted":
        away = [np.abs((along + 0.32) % 0.64 - 0.32) for along in (u, v)]
        return np.clip((0.2 - np.hypot(*away)) * radius + 0.5, 0, 1)
    return np.zeros(np.broadcast_shapes(u.shape, v.shape), np.float32)


def _square_wave(along: np.ndarray, period: float, radius: float) -> np.ndarray:
    """Alternately 1 and 0, for half a period each, with edges one pixel wide."""
    return np.clip(0.5 + np.sin(2 * np.pi * along / period) * period * radius / (2 * np.pi), 0, 1)


def _blend(canvas: np.ndarray, top: int, left: int, mask: np.ndarray, color) -> None:
    patch = canvas[top : top + mask.shape[0], left : left + mask.shape[1]]
    patch += mask[..., None] * (np.asarray(color, np.float32) - patch)


def _picture(canvas: np.ndarray) -> Image.Image:
    return Image.fromarray(canvas.round().clip(0, 255).astype(np.uint8))


def _centroid(loop: np.ndarray) -> np.ndarray:
    """The centroid of the area inside a polygon [n, 2]."""
    after = np.roll(loop, -1, axis=0)
    cross = loop[:, 0] * after[:, 1] - after[:, 0] * loop[:, 1]
    return ((loop + after) * cross[:, None]).sum(axis=0) / (3 * cross.sum())
