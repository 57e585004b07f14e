"""Drawing the marks that are not text: boxes, arrows, wind, trajectories, doodles and erased regions."""

import math

import numpy as np
from PIL import Image

from .checks import UNITS
from .ink import Ink, smooth
from .spec import Box, Doodle, Erase, ForceArrow, MarkerArrow, Stroke, Trajectory, Wind, rgb

HEAD_SLIMNESS = 0.75
"""Half the width of an arrow's head as a fraction of its length: heads are 17 units long and 25 wide in the samples."""
FORCE_EDGE = 1
"""Width of a force arrow's rim in units."""
_MULTILINE = (7, 5, 3, 1)
"""Widths, in sevenths of the stroke's, of alternating black and white lines on top of each other."""


def draw_box(picture: Image.Image, box: Box) -> None:
    """Four sides along the area's edges, on whole pixels if they are at least one wide, as in the training data."""
    unit = picture.width / UNITS
    width = max(1, round(box.width * unit))
    strength = round(255 * min(1, box.width * unit))
    left, top, right, bottom = (round(edge * picture.width - width / 2) for edge in box.area)
    far_right, far_bottom = right + width, bottom + width
    for side in (
        (left, top, far_right, top + width),
        (left, bottom, far_right, far_bottom),
        (left, top + width, left + width, bottom),
        (right, top + width, far_right, bottom),
    ):
        side = tuple(min(max(edge, 0), picture.width) for edge in side)
        if side[0] < side[2] and side[1] < side[3]:
            picture.paste(rgb(box.color), side, Image.new("L", (side[2] - side[0], side[3] - side[1]), strength))


def draw_marker(picture: Image.Image, arrow: MarkerArrow) -> None:
    """A flat arrow with a square tail."""
    unit = picture.width / UNITS
    start, tip = _pixels(picture, (arrow.start, arrow.tip))
    neck, head = _head(start, tip, arrow.head * unit)
    across = _across(start, tip) * min(arrow.width * unit, 2 * np.linalg.norm(head[1] - neck)) / 2
    ink = Ink(picture, np.stack([start, *head]), arrow.width * unit)
    ink.polygon(np.stack([start + across, neck + across, neck - across, start - across]))
    ink.polygon(head)
    ink.paint(rgb(arrow.color))


def draw_force(picture: Image.Image, arrow: ForceArrow) -> None:
    """An arrow with a rim, whose tip is the arrow's, and a round tail around `start`."""
    unit = picture.width / UNITS
    start, tip = _pixels(picture, (arrow.start, arrow.tip))
    neck, head = _head(start, tip, arrow.head * unit)
    edge = FORCE_EDGE * unit
    length, half = np.linalg.norm(tip - neck), np.linalg.norm(head[1] - neck)
    # A triangle on the same base whose two other sides are `edge` further in.
    inner = neck + (head - neck) * max(0, 1 - edge * math.hypot(length, half) / (length * half))
    width = min(arrow.width * unit, half)
    ink = Ink(picture, np.stack([start, *head]), width + edge)
    ink.line(np.stack([start, neck]), width + 2 * edge, level=1)
    ink.polygon(head, level=1)
    ink.line(np.stack([start, neck]), width, level=2)
    ink.polygon(inner, level=2)
    ink.paint(rgb(arrow.edge))
    ink.paint(rgb(arrow.color), least=2)


def draw_wind(picture: Image.Image, wind: Wind) -> None:
    """Three gusts, wavy lines with curled ends."""
    angle = math.radians(wind.angle)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    center = _pixels(picture, (wind.center,))[0]
    lines = [center + line @ turn * (wind.strength * wind.scale * picture.width) for line in _gusts()]
    width = wind.width * picture.width / UNITS
    ink = Ink(picture, np.concatenate(lines), width)
    for line in lines:
        ink.line(line, width)
    ink.paint(rgb(wind.color))


def draw_trajectory(picture: Image.Image, path: Trajectory) -> None:
    """A line through the points."""
    points = _pixels(picture, path.points)
    width = path.width * picture.width / UNITS
    points = smooth(points) if path.smooth else points
    ink = Ink(picture, points, width)
    ink.line(points, width)
    ink.paint(rgb(path.color))


def draw_doodle(picture: Image.Image, doodle: Doodle) -> None:
    """Every stroke in its brush."""
    for stroke in doodle.strokes:
        _draw_stroke(picture, stroke)


def draw_erase(picture: Image.Image, region: Erase) -> None:
    """The filled polygon."""
    points = _pixels(picture, region.points)
    ink = Ink(picture, points)
    ink.polygon(points)
    ink.paint(rgb(region.color))


def _draw_stroke(picture: Image.Image, stroke: Stroke) -> None:
    points = _pixels(picture, stroke.points)
    width = stroke.width * picture.width / UNITS
    ink = Ink(picture, points, width)
    if stroke.brush == "round":
        ink.line(points, width)
        ink.paint(rgb(stroke.color))
        return
    for number, share in enumerate(_MULTILINE):
        ink.line(points, width * share / _MULTILINE[0], level=1 + number % 2)
    ink.paint((0, 0, 0))
    ink.paint((255, 255, 255), least=2)


def _head(start: np.ndarray, tip: np.ndarray, length: float) -> tuple[np.ndarray, np.ndarray]:
    """The middle of a head's base, and the triangle [3, 2], tip first. A short arrow has a smaller head."""
    length = min(length, 0.75 * float(np.linalg.norm(tip - start)))
    neck = tip + (start - tip) / np.linalg.norm(tip - start) * length
    across = _across(start, tip) * length * HEAD_SLIMNESS
    return neck, np.stack([tip, neck + across, neck - across])


def _across(start: np.ndarray, tip: np.ndarray) -> np.ndarray:
    along = (tip - start) / np.linalg.norm(tip - start)
    return np.array([along[1], -along[0]])


def _gusts() -> list[np.ndarray]:
    """Lines [n, 2] in units of the glyph's length, from left to right, y downwards: waves that end in curls."""
    lines = []
    for start, end, height, radius, side in (
        (-0.4, 0.11, -0.1, 0.1, -1),
        (-0.5, 0.37, 0.02, 0.13, -1),
        (-0.36, 0.2, 0.14, 0.1, 1),
    ):
        along = np.linspace(0, 1, 48)
        # The wave fades out towards the curl, which starts level.
        wave = 0.03 * np.sin(4 * np.pi * along) * (1 - along**2)
        body = np.stack([start + (end - start) * along, height + wave], axis=1)
        turn = np.linspace(0, 1.45 * np.pi, 40)
        # The curl tightens as it turns in on itself.
        shrinking = radius * (1 - 0.35 * turn / turn[-1])
        curl = np.stack([end + shrinking * np.sin(turn), height + side * (radius - shrinking * np.cos(turn))], axis=1)
        lines.append(np.concatenate([body, curl[1:]]))
    return lines


def _pixels(picture: Image.Image, points) -> np.ndarray:
    return np.array(points, dtype=np.float64) * picture.width
