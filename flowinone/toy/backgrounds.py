"""Random backgrounds of scenes, and random canvases for class names and captions."""

import colorsys

from ..prompts.spec import Canvas, GradientCanvas, SolidCanvas
from .scene import Background, Color
from .split import SplitRandom


def plain_background(random: SplitRandom) -> Background:
    """A pale background of one colour or of a gradient."""
    return Background(random.choice(("plain", "down", "right")), (_pale(random), _pale(random)))


def any_background(random: SplitRandom) -> Background:
    """A pale background of any kind."""
    kind = random.choice(("plain", "down", "right", "clouds", "clouds", "room", "room"))
    upper, lower = _pale(random), _pale(random)
    if kind == "room":
        # The floor is darker, so that there is an edge.
        return Background(kind, (upper, tuple(round(value * 0.84) for value in lower)), random.uniform(0.45, 0.85))
    if kind == "clouds":
        darker = random.choice((16, 24))
        seed = int(random.rng.integers(1 << 30))
        return Background(kind, (upper, tuple(value - darker for value in upper)), seed=seed)
    return Background(kind, (upper, lower))


def random_canvas(random: SplitRandom) -> Canvas:
    """The pink of the published training data, a grey, any colour, or a gradient."""
    kind = random.choice(("pink", "grey", "color", "gradient", "gradient"))
    if kind == "pink":
        return SolidCanvas()
    if kind == "grey":
        return SolidCanvas(_hex((round(random.uniform(40, 230)),) * 3))
    first, second = (_any(random) for _ in range(2))
    if kind == "color":
        return SolidCanvas(first)
    return GradientCanvas(first, second, random.choice(("vertical", "horizontal")))


def _pale(random: SplitRandom) -> Color:
    return _rgb(random.uniform(0, 1), random.uniform(0.02, 0.22), random.uniform(0.82, 0.98))


def _any(random: SplitRandom) -> str:
    return _hex(_rgb(random.uniform(0, 1), random.uniform(0.15, 0.8), random.uniform(0.35, 0.98)))


def _rgb(hue: float, saturation: float, value: float) -> Color:
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, saturation, value))


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
