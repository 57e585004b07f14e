"""Grounds of pictures, and what the words of a class or a caption stand on."""

import colorsys

from ..prompts.spec import Canvas, GradientCanvas, SolidCanvas
from .painting import Color, Ground
from .split import Draw


def quiet(draw: Draw) -> Ground:
    """A pale ground of one colour or two."""
    return Ground(draw.one_of(("plain", "down", "right")), (_pale(draw), _pale(draw)))


def any_ground(draw: Draw) -> Ground:
    """A pale ground of any kind."""
    kind = draw.one_of(("plain", "down", "right", "clouds", "clouds", "room", "room"))
    upper, lower = _pale(draw), _pale(draw)
    if kind == "room":
        # The floor is the darker one, so that there is an edge.
        return Ground(kind, (upper, tuple(round(value * 0.84) for value in lower)), draw.number(0.45, 0.85))
    if kind == "clouds":
        darker = draw.one_of((16, 24))
        return Ground(kind, (upper, tuple(value - darker for value in upper)), seed=int(draw.rng.integers(1 << 30)))
    return Ground(kind, (upper, lower))


def paper(draw: Draw) -> Canvas:
    """The pink of the training data, a grey, or any colour or two."""
    kind = draw.one_of(("pink", "grey", "color", "gradient", "gradient"))
    if kind == "pink":
        return SolidCanvas()
    if kind == "grey":
        return SolidCanvas(_hex((round(draw.number(40, 230)),) * 3))
    first, second = (_any(draw) for _ in range(2))
    return (
        SolidCanvas(first)
        if kind == "color"
        else GradientCanvas(first, second, draw.one_of(("vertical", "horizontal")))
    )


def _pale(draw: Draw) -> Color:
    return _rgb(draw.number(0, 1), draw.number(0.02, 0.22), draw.number(0.82, 0.98))


def _any(draw: Draw) -> str:
    return _hex(_rgb(draw.number(0, 1), draw.number(0.15, 0.8), draw.number(0.35, 0.98)))


def _rgb(hue: float, saturation: float, value: float) -> Color:
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, saturation, value))


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
