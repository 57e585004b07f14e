"""A prompt of each task with its right answer, as data."""

import dataclasses
import math
import zlib
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from ..prompts import tasks
from ..prompts.spec import ForceArrow, Task, TextStyle, VisualPrompt
from . import wording
from .backgrounds import any_ground, paper, quiet
from .painting import COLORS, GROUNDS, SHAPES, TEXTURES, Flag, Ground, Point, Scene, Thing
from .placement import ROOM, first, hand_drawn, led, pointed_at, pushed, scatter, things_at
from .split import Draw
from .wording import a, fixed, say, spelled

OWN: dict[str, tuple[str, str]] = {
    "ball": ("orange", "striped"),
    "square": ("blue", "checked"),
    "triangle": ("green", "dotted"),
    "star": ("yellow", "plain"),
    "heart": ("red", "plain"),
    "ring": ("black", "plain"),
    "cross": ("pink", "plain"),
    "moon": ("purple", "striped"),
}
"""A shape's own colour and texture, which it has where the prompt names none: of a class and of a doodle."""
SIZES = {"small": 0.14, "": 0.23, "big": 0.33}
"""Radii of the one thing of a caption, by what it says; a class has the middle one."""
SIDES = {"above": ((0.5, 0.27), (0.5, 0.73)), "left": ((0.27, 0.5), (0.73, 0.5))}
"""Where a caption's two things are, the upper or left one first."""
PAIR_RADIUS = 0.17
SLOTS = {"on the left": (0.2, 0.34), "in the middle": (0.5, 0.34), "on the right": (0.8, 0.34)}
"""Where an instruction adds things."""
SLOT_RADIUS = 0.13
IN_BOX = 0.4
"""Radius of a thing in a box, in shorter sides of the box, whose middle it is in."""
WEIGHT = 0.45
"""What pulls a flag down; a wind of strength 1 pulls with 1 where it blows."""

_COUNTS, _MANY = (1, 2, 3), (0.3, 0.4, 0.3)
"""How many things are in a photo, and how often."""
_TWO = 0.4
"""How often two are drawn, pushed or led, where there are two."""
_VIVID = ("#00e5ff", "#ff2d2d", "#ff00c8", "#7cff00", "#ffe600", "#2f6fff")
_GLYPH = 0.2
"""Sides of the picture: the wavy lines of a wind of strength 1."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What is right. `put` are the numbers of the things that the prompt put where they are; the others stay as they
    are in the photo. The `ground` is the photo's ("kept"), the caption's ("named") or any quiet one ("free")."""

    scene: Scene
    put: frozenset[int] = frozenset()
    ground: Literal["kept", "named", "free"] = "kept"


@dataclasses.dataclass(frozen=True)
class Plan:
    """A prompt, what its words say, the photo that it stands on, if any, and the right answer."""

    task: Task
    prompt: VisualPrompt
    words: str
    photo: Scene | None
    answer: Answer


def plan(task: Task, seed: int, held_out: bool = False) -> Plan:
    """A prompt with its answer, always the same for the same arguments; `held_out` is the examination's side of the
    split. Raises ValueError for a task without scenes."""
    if task not in _PLANNERS:
        raise ValueError(f"task: {task!r} has no scenes; choose one of {', '.join(_PLANNERS)}")
    return _PLANNERS[task](Draw((zlib.crc32(task.encode()), seed), held_out))


def _class_to_image(draw: Draw) -> Plan:
    """A class's thing in its own look, in the middle.

    A label has nine letterings, three cases in three faces, of which one is kept back, another for each shape.
    """
    number = int(draw.rng.integers(len(SHAPES)))
    shape = SHAPES[number]
    kept = (4 * number + 1) % 9
    lettering = kept if draw.held_out else draw.one_of([which for which in range(9) if which != kept])
    label = (shape, shape.capitalize(), shape.upper())[lettering % 3]
    face = ("serif", "sans", "comic")[lettering // 3]
    style = TextStyle(
        face, size=draw.one_of((72, 84, 96)), min_size=56, fill="#ffffff", outline="#000000", outline_width=3
    )
    x, y = draw.place(0.4, 0.25, 0.6, 0.85)
    half = min(x, 1 - x) - 0.02
    area = (x - half, y - 0.14, x + half, y + 0.14)
    prompt = tasks.class_to_image(label, canvas=paper(draw), style=style, area=area)
    color, texture = OWN[shape]
    right = Scene(quiet(draw), (Thing(shape, color, (0.5, 0.5), SIZES[""], texture),))
    return Plan("class_to_image", prompt, label, None, Answer(right, frozenset([0]), "free"))


def _text_to_image(draw: Draw) -> Plan:
    """One thing in the middle, on a named ground or any, or two beside or above each other."""
    ground, judged = quiet(draw), "free"
    if draw.chance(0.4):
        where = draw.one_of(tuple(wording.PLACED))
        words, (_, _, *pairs) = say(draw, wording.PLACED[where], lambda: _two_named(draw))
        one, other = SIDES["above" if where in ("above", "below") else "left"]
        places = (other, one) if where in ("below", "right") else (one, other)
        things = tuple(Thing(*pair, place, PAIR_RADIUS) for pair, place in zip(pairs, places))
    else:
        grounded = draw.chance(0.6)
        phrasings = wording.CAPTION_ON if grounded else wording.CAPTION
        words, (_, name, size, *pair) = say(draw, phrasings, lambda: _one_named(draw))
        things = (Thing(*pair, (0.5, 0.5), SIZES[size]),)
        if grounded:
            ground, judged = Ground("plain", (GROUNDS[name],) * 2), "named"
    style = TextStyle(
        draw.one_of(("serif", "sans")),
        size=draw.one_of((56, 64)),
        min_size=44,
        pitch=1.2,
        letter_spacing=2.5,
        align=draw.one_of(("left", "center", "right")),
    )
    x, y = draw.place(0.45, 0.38, 0.55, 0.62)
    area = (x - 0.43, y - 0.36, x + 0.43, y + 0.36)
    prompt = tasks.text_to_image(spelled(draw, words), canvas=paper(draw), style=style, area=area)
    answer = Answer(Scene(ground, things), frozenset(range(len(things))), judged)
    return Plan("text_to_image", prompt, words, None, answer)


def _text_in_image(draw: Draw) -> Plan:
    """A thing recoloured, removed, or added at a slot; no shape is twice in the photo."""
    kind = draw.one_of(("recolor", "remove", "add"))
    count = draw.one_of(_COUNTS, _MANY)
    ground = any_ground(draw)
    if kind == "add":
        words, (_, slot, *pair) = say(draw, wording.ADDITION, lambda: _added(draw))
        new = Thing(*pair, SLOTS[slot], SLOT_RADIUS)
        before = things_at(draw, scatter(draw, count - 1, [(new.center, new.radius)]), but=new.shape)
        after, put = (new, *before), [0]
    else:
        phrasings = wording.RECOLOR if kind == "recolor" else wording.REMOVAL
        words, (_, new_color, shape, color) = say(draw, phrasings, lambda: _referred_to(draw))
        circle, *circles = scatter(draw, count)
        meant = Thing(shape, color, *circle, draw.one_of(TEXTURES))
        others = things_at(draw, circles, but=shape)
        before, put = (meant, *others), []
        after = others if kind == "remove" else (dataclasses.replace(meant, color=new_color), *others)
    style = TextStyle("sans", size=draw.one_of((48, 54, 60)), min_size=40, pitch=1.12, letter_spacing=1)
    prompt = tasks.text_in_image(spelled(draw, words), style=style)
    return Plan("text_in_image", prompt, words, Scene(ground, before), Answer(Scene(ground, after), frozenset(put)))


def _text_box(draw: Draw) -> Plan:
    """A thing in the middle of a box."""
    words, (_, *pair) = say(draw, wording.BOXED, lambda: _named(draw))
    width = draw.number(0.3, 0.44)
    height = min(max(width * draw.number(0.85, 1.18), 0.3), 0.44)
    x, y = draw.place(width / 2 + 0.03, height / 2 + 0.14, 0.97 - width / 2, 0.95 - height / 2)
    left, top, right, bottom = x - width / 2, y - height / 2, x + width / 2, y + height / 2

    def beside(center: Point, radius: float) -> bool:
        """Clear of the box and of its label."""
        (across, down), room = center, ROOM * radius + 0.03
        in_box = left - room < across < right + room and top - room < down < bottom + room
        return not in_box and not (abs(across - x) < 0.4 + room and top - 0.12 - room < down < top + room)

    others = things_at(draw, scatter(draw, draw.one_of(_COUNTS, _MANY) - 1, floor=0.98, clear=beside))
    ground = any_ground(draw)
    new = Thing(*pair, (x, y), IN_BOX * min(width, height))
    style = TextStyle("sans", size=draw.one_of((44, 48, 52)), min_size=36, letter_spacing=1)
    prompt = tasks.text_box([((left, top, right, bottom), words)], style=style, width=draw.one_of((4, 6, 8)))
    return Plan("text_box", prompt, words, Scene(ground, others), Answer(Scene(ground, (new, *others)), frozenset([0])))


def _visual_marker(draw: Draw) -> Plan:
    """The thing at an arrow's tip removed, or swapped for one of another shape."""
    count = draw.one_of(_COUNTS, _MANY)
    things, tip, start = first(lambda: pointed_at(draw, count))
    meant, *others = things
    if draw.chance(0.5):
        words, (_, *pair) = say(draw, wording.SWAPPED, lambda: _named(draw, but=meant.shape))
        after, put = (Thing(*pair, meant.center, meant.radius), *others), [0]
    else:
        words, after, put = fixed(draw, wording.MARKED), tuple(others), []
    ground = any_ground(draw)
    style = TextStyle("sans", size=draw.one_of((40, 46)), min_size=34, pitch=1.12, letter_spacing=1)
    look = dict(color=draw.one_of(_VIVID), width=draw.one_of((6, 8)), head=draw.one_of((26, 32)))
    area = (0.05, 0.67, 0.95, 0.97)
    prompt = tasks.visual_marker(start, tip, instruction=words, style=style, area=area, **look)
    return Plan("visual_marker", prompt, words, Scene(ground, things), Answer(Scene(ground, after), frozenset(put)))


def _doodle(draw: Draw) -> Plan:
    """Outlines become things of their shape in its own colour and texture, where they are."""
    circles = scatter(draw, draw.one_of(_COUNTS, _MANY))
    count = 2 if len(circles) > 1 and draw.chance(_TWO) else 1
    shapes = draw.some_of(SHAPES, count)
    new = tuple(Thing(shape, OWN[shape][0], *circle, OWN[shape][1]) for shape, circle in zip(shapes, circles))
    others = things_at(draw, circles[count:])
    strokes = [stroke for thing in new for stroke in hand_drawn(draw, thing)]
    words, ground = fixed(draw, wording.DOODLE), any_ground(draw)
    prompt = tasks.doodle(strokes, instruction=words, width=draw.one_of((14, 18)))
    answer = Answer(Scene(ground, (*new, *others)), frozenset(range(count)))
    return Plan("doodle", prompt, words, Scene(ground, others), answer)


def _point_force(draw: Draw) -> Plan:
    """Balls go to the tips of their arrows; those without one stay."""
    count = draw.one_of(_COUNTS, _MANY)
    moving = 2 if count > 1 and draw.chance(_TWO) else 1
    balls, ends = first(lambda: pushed(draw, count, moving))
    arrows = []
    for ball, end in zip(balls, ends):
        (x, y), (to_x, to_y) = ball.center, end
        angle = math.degrees(math.atan2(y - to_y, to_x - x))
        arrows.append((ball.center, angle, math.dist(ball.center, end) / ForceArrow.scale))
    words, ground = fixed(draw, wording.FORCE), any_ground(draw)
    look = dict(color=draw.one_of(_VIVID), width=draw.one_of((6, 8)), head=draw.one_of((22, 28)))
    prompt = tasks.point_force(arrows, instruction=words, **look)
    return Plan("point_force", prompt, words, Scene(ground, balls), _moved(ground, balls, ends))


def _wind(draw: Draw) -> Plan:
    """A flag that hangs streams with the wind, the flatter the stronger it is."""
    to_right, strength = draw.chance(0.5), draw.number(0.6, 1.6)
    angle = draw.number(-30, 30) + (0 if to_right else 180)
    pull = strength * math.cos(math.radians(angle)), WEIGHT - strength * math.sin(math.radians(angle))
    top = draw.place(0.1 if to_right else 0.38, 0.12, 0.62 if to_right else 0.9, 0.17)
    color = draw.one_of(tuple(COLORS))
    flag = Flag(top, color, None, draw.number(0.26, 0.32), draw.number(0.14, 0.18))
    blown = dataclasses.replace(flag, blow=(pull[0] / math.hypot(*pull), pull[1] / math.hypot(*pull)))
    pole = np.array(top) + np.linspace(0, flag.pole, 12)[:, None] * (0, 1)
    taken = np.concatenate([flag.cloth(), blown.cloth(), pole])
    room = 0.55 * strength * _GLYPH

    def beside() -> Point | None:
        """A place for the wavy lines."""
        center = draw.number(room + 0.02, 0.98 - room), draw.number(0.6 * room + 0.02, 0.74 - 0.6 * room)
        return center if np.linalg.norm(taken - center, axis=1).min() > room else None

    words, ground = fixed(draw, wording.WIND), any_ground(draw)
    look = dict(scale=_GLYPH, color=draw.one_of(("#2f6fff", "#0a3cc0", "#00a0c8")), width=draw.one_of((4, 6)))
    prompt = tasks.wind(first(beside), angle, strength, instruction=words, **look)
    return Plan("wind", prompt, words, Scene(ground, flag=flag), Answer(Scene(ground, flag=blown)))


def _trajectory(draw: Draw) -> Plan:
    """Things go to the ends of their lines; those without one stay."""
    count = draw.one_of(_COUNTS, _MANY)
    moving = 2 if count > 1 and draw.chance(_TWO) else 1
    things, paths = first(lambda: led(draw, count, moving))
    words, ground = fixed(draw, wording.PATH), any_ground(draw)
    prompt = tasks.trajectory(paths, instruction=words, color=draw.one_of(_VIVID), width=draw.one_of((6, 8)))
    return Plan(
        "trajectory", prompt, words, Scene(ground, things), _moved(ground, things, [path[-1] for path in paths])
    )


_PLANNERS: dict[Task, Callable[[Draw], Plan]] = {
    "class_to_image": _class_to_image,
    "text_to_image": _text_to_image,
    "text_in_image": _text_in_image,
    "text_box": _text_box,
    "visual_marker": _visual_marker,
    "doodle": _doodle,
    "point_force": _point_force,
    "wind": _wind,
    "trajectory": _trajectory,
}
SCENE_TASKS: tuple[Task, ...] = tuple(_PLANNERS)


def _named(draw: Draw, size: str = "", but: str | None = None) -> tuple[str, str, str]:
    """What a thing is called, with its article; its shape, which is not `but`, and its colour."""
    shape = draw.one_of([shape for shape in SHAPES if shape != but])
    color = draw.color(shape)
    return a(" ".join(filter(None, (size, color, shape)))), shape, color


def _one_named(draw: Draw) -> tuple:
    """A thing, a ground of another colour, the thing's size, shape and colour."""
    size = draw.one_of(tuple(SIZES), (0.25, 0.5, 0.25))
    called, shape, color = _named(draw, size)
    return called, draw.one_of([name for name in GROUNDS if name != color]), size, shape, color


def _two_named(draw: Draw) -> tuple:
    """Two things, and their shapes and colours, which are not both the same."""
    (called, *one), (other_called, *other) = _named(draw), _named(draw)
    return (called, other_called, one, other) if one != other else _two_named(draw)


def _added(draw: Draw) -> tuple:
    """A thing, its slot, its shape and colour."""
    called, shape, color = _named(draw)
    return called, draw.one_of(tuple(SLOTS)), shape, color


def _referred_to(draw: Draw) -> tuple:
    """A thing that is there, another colour, the thing's shape and colour."""
    shape = draw.one_of(SHAPES)
    color = draw.color(shape)
    called = f"the {shape}" if draw.chance(0.5) else f"the {color} {shape}"
    return called, draw.color(shape, but=color), shape, color


def _moved(ground: Ground, things: tuple[Thing, ...], ends: Sequence[Point]) -> Answer:
    moved = [dataclasses.replace(thing, center=tuple(end)) for thing, end in zip(things, ends)]
    return Answer(Scene(ground, (*moved, *things[len(moved) :])), frozenset(range(len(moved))))
