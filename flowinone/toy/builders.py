"""One builder for each task: a random prompt and its correct answer, as data."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from ..prompts import tasks
from ..prompts.spec import ForceArrow, Task, TextStyle, VisualPrompt
from . import wording
from .backgrounds import any_background, plain_background, random_canvas
from .placement import ROOM, objects_in, place_circles, place_marker, place_pushes, place_trajectories, retry, sketch
from .rules import (
    BOX_RADIUS,
    DEFAULT_LOOK,
    GRAVITY,
    PAIR_POSITIONS,
    PAIR_RADIUS,
    SIZE_RADII,
    SLOT_RADIUS,
    SLOTS,
)
from .scene import BACKGROUND_COLORS, COLORS, SHAPES, TEXTURES, Background, Flag, Point, Scene, SceneObject
from .split import SplitRandom
from .wording import draw_casing, draw_instruction, draw_sentence, with_article

_COUNTS, _COUNT_WEIGHTS = (1, 2, 3), (0.3, 0.4, 0.3)
"""The number of objects in a photo, and how often."""
_TWO_TARGETS = 0.4
"""How often two objects are drawn, pushed or led, where there are two."""
_MARK_COLORS = ("#00e5ff", "#ff2d2d", "#ff00c8", "#7cff00", "#ffe600", "#2f6fff")
_WIND_SCALE = 0.2
"""Length of the wavy lines of a wind of strength 1, as a fraction of the picture's side."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """The correct answer to a prompt.

    `placed` are the indices of the objects that the prompt placed; the others stay where they are in the photo. The
    `background` is the photo's ("kept"), the one that the caption names ("named") or any plain one ("free").
    """

    scene: Scene
    placed: frozenset[int] = frozenset()
    background: Literal["kept", "named", "free"] = "kept"


@dataclasses.dataclass(frozen=True)
class Problem:
    """A prompt, its words, the scene of the photo below it (None without one), and the correct answer."""

    prompt: VisualPrompt
    words: str
    photo_scene: Scene | None
    answer: Answer


def _class_to_image(random: SplitRandom) -> Problem:
    """The object of a class, with the default look, in the centre.

    There are nine letterings, three cases in three typefaces; one is held out, a different one for each shape.
    """
    number = int(random.rng.integers(len(SHAPES)))
    shape = SHAPES[number]
    held_out = (4 * number + 1) % 9
    lettering = held_out if random.held_out else random.choice([other for other in range(9) if other != held_out])
    label = (shape, shape.capitalize(), shape.upper())[lettering % 3]
    face = ("serif", "sans", "comic")[lettering // 3]
    style = TextStyle(
        face, size=random.choice((72, 84, 96)), min_size=56, fill="#ffffff", outline="#000000", outline_width=3
    )
    x, y = random.position(0.4, 0.25, 0.6, 0.85)
    half = min(x, 1 - x) - 0.02
    area = (x - half, y - 0.14, x + half, y + 0.14)
    prompt = tasks.class_to_image(label, canvas=random_canvas(random), style=style, area=area)
    color, texture = DEFAULT_LOOK[shape]
    new = SceneObject(shape, color, (0.5, 0.5), SIZE_RADII[""], texture)
    return Problem(prompt, label, None, Answer(Scene(plain_background(random), (new,)), frozenset([0]), "free"))


def _text_to_image(random: SplitRandom) -> Problem:
    """One object in the centre, on a named background or any, or two objects next to or above each other."""
    background, judged = plain_background(random), "free"
    if random.chance(0.4):
        relation = random.choice(tuple(wording.RELATION))
        words, (_, _, *pairs) = draw_sentence(random, wording.RELATION[relation], lambda: _two_named(random))
        one, other = PAIR_POSITIONS["above" if relation in ("above", "below") else "left"]
        positions = (other, one) if relation in ("below", "right") else (one, other)
        objects = tuple(SceneObject(*pair, position, PAIR_RADIUS) for pair, position in zip(pairs, positions))
    else:
        names_background = random.chance(0.6)
        phrasings = wording.CAPTION_ON if names_background else wording.CAPTION
        words, (_, name, size, *pair) = draw_sentence(random, phrasings, lambda: _one_named(random))
        objects = (SceneObject(*pair, (0.5, 0.5), SIZE_RADII[size]),)
        if names_background:
            background, judged = Background("plain", (BACKGROUND_COLORS[name],) * 2), "named"
    style = TextStyle(
        random.choice(("serif", "sans")),
        size=random.choice((56, 64)),
        min_size=44,
        pitch=1.2,
        letter_spacing=2.5,
        align=random.choice(("left", "center", "right")),
    )
    x, y = random.position(0.45, 0.38, 0.55, 0.62)
    area = (x - 0.43, y - 0.36, x + 0.43, y + 0.36)
    prompt = tasks.text_to_image(draw_casing(random, words), canvas=random_canvas(random), style=style, area=area)
    return Problem(prompt, words, None, Answer(Scene(background, objects), frozenset(range(len(objects))), judged))


def _text_in_image(random: SplitRandom) -> Problem:
    """An object recoloured, removed, or added at a slot; the photo's objects have different shapes."""
    kind = random.choice(("recolor", "remove", "add"))
    count = random.choice(_COUNTS, _COUNT_WEIGHTS)
    background = any_background(random)
    if kind == "add":
        words, (_, slot, *pair) = draw_sentence(random, wording.ADDITION, lambda: _added(random))
        new = SceneObject(*pair, SLOTS[slot], SLOT_RADIUS)
        circles = place_circles(random, count - 1, [(new.center, new.radius)])
        before = objects_in(random, circles, exclude=new.shape)
        after, placed = (new, *before), [0]
    else:
        phrasings = wording.RECOLOR if kind == "recolor" else wording.REMOVAL
        words, (_, new_color, shape, color) = draw_sentence(random, phrasings, lambda: _referred_to(random))
        circle, *circles = place_circles(random, count)
        target = SceneObject(shape, color, *circle, random.choice(TEXTURES))
        others = objects_in(random, circles, exclude=shape)
        before, placed = (target, *others), []
        after = others if kind == "remove" else (dataclasses.replace(target, color=new_color), *others)
    style = TextStyle("sans", size=random.choice((48, 54, 60)), min_size=40, pitch=1.12, letter_spacing=1)
    prompt = tasks.text_in_image(draw_casing(random, words), style=style)
    return _edit(prompt, words, background, before, after, placed)


def _text_box(random: SplitRandom) -> Problem:
    """An object in the centre of a box."""
    words, (_, *pair) = draw_sentence(random, wording.BOXED, lambda: _named(random))
    width = random.uniform(0.3, 0.44)
    height = min(max(width * random.uniform(0.85, 1.18), 0.3), 0.44)
    x, y = random.position(width / 2 + 0.03, height / 2 + 0.14, 0.97 - width / 2, 0.95 - height / 2)
    left, top, right, bottom = x - width / 2, y - height / 2, x + width / 2, y + height / 2

    def is_free(center: Point, radius: float) -> bool:
        """Whether a circle is outside the box and its label."""
        (across, down), room = center, ROOM * radius + 0.03
        in_box = left - room < across < right + room and top - room < down < bottom + room
        return not in_box and not (abs(across - x) < 0.4 + room and top - 0.12 - room < down < top + room)

    count = random.choice(_COUNTS, _COUNT_WEIGHTS) - 1
    others = objects_in(random, place_circles(random, count, bottom=0.98, is_free=is_free))
    background = any_background(random)
    new = SceneObject(*pair, (x, y), BOX_RADIUS * min(width, height))
    style = TextStyle("sans", size=random.choice((44, 48, 52)), min_size=36, letter_spacing=1)
    prompt = tasks.text_box([((left, top, right, bottom), words)], style=style, width=random.choice((4, 6, 8)))
    return _edit(prompt, words, background, others, (new, *others), [0])


def _visual_marker(random: SplitRandom) -> Problem:
    """The object at an arrow's tip removed, or swapped for one of another shape."""
    count = random.choice(_COUNTS, _COUNT_WEIGHTS)
    objects, tip, start = retry(lambda: place_marker(random, count))
    target, *others = objects
    if random.chance(0.5):
        words, (_, *pair) = draw_sentence(random, wording.SWAPPED, lambda: _named(random, exclude=target.shape))
        after, placed = (SceneObject(*pair, target.center, target.radius), *others), [0]
    else:
        words, after, placed = draw_instruction(random, wording.MARKED), tuple(others), []
    background = any_background(random)
    style = TextStyle("sans", size=random.choice((40, 46)), min_size=34, pitch=1.12, letter_spacing=1)
    look = dict(color=random.choice(_MARK_COLORS), width=random.choice((6, 8)), head=random.choice((26, 32)))
    area = (0.05, 0.67, 0.95, 0.97)
    prompt = tasks.visual_marker(start, tip, instruction=words, style=style, area=area, **look)
    return _edit(prompt, words, background, objects, after, placed)


def _doodle(random: SplitRandom) -> Problem:
    """Sketched outlines become objects of their shape, with its default look, in the same place."""
    circles = place_circles(random, random.choice(_COUNTS, _COUNT_WEIGHTS))
    count = 2 if len(circles) > 1 and random.chance(_TWO_TARGETS) else 1
    shapes = random.sample(SHAPES, count)
    new = tuple(
        SceneObject(shape, DEFAULT_LOOK[shape][0], *circle, DEFAULT_LOOK[shape][1])
        for shape, circle in zip(shapes, circles)
    )
    others = objects_in(random, circles[count:])
    strokes = [stroke for item in new for stroke in sketch(random, item)]
    words, background = draw_instruction(random, wording.DOODLE), any_background(random)
    prompt = tasks.doodle(strokes, instruction=words, width=random.choice((14, 18)))
    return _edit(prompt, words, background, others, (*new, *others), range(count))


def _point_force(random: SplitRandom) -> Problem:
    """Balls move to the tips of their arrows; those without one stay."""
    count = random.choice(_COUNTS, _COUNT_WEIGHTS)
    moving = 2 if count > 1 and random.chance(_TWO_TARGETS) else 1
    balls, ends = retry(lambda: place_pushes(random, count, moving))
    arrows = []
    for ball, end in zip(balls, ends):
        (x, y), (to_x, to_y) = ball.center, end
        angle = math.degrees(math.atan2(y - to_y, to_x - x))
        arrows.append((ball.center, angle, math.dist(ball.center, end) / ForceArrow.scale))
    words, background = draw_instruction(random, wording.FORCE), any_background(random)
    look = dict(color=random.choice(_MARK_COLORS), width=random.choice((6, 8)), head=random.choice((22, 28)))
    prompt = tasks.point_force(arrows, instruction=words, **look)
    return _edit(prompt, words, background, balls, _moved(balls, ends), range(len(ends)))


def _wind(random: SplitRandom) -> Problem:
    """A hanging flag streams with the wind, the flatter the stronger it is."""
    to_right, strength = random.chance(0.5), random.uniform(0.6, 1.6)
    angle = random.uniform(-30, 30) + (0 if to_right else 180)
    pull = strength * math.cos(math.radians(angle)), GRAVITY - strength * math.sin(math.radians(angle))
    top = random.position(0.1 if to_right else 0.38, 0.12, 0.62 if to_right else 0.9, 0.17)
    color = random.choice(tuple(COLORS))
    flag = Flag(top, color, None, random.uniform(0.26, 0.32), random.uniform(0.14, 0.18))
    streaming = dataclasses.replace(flag, direction=(pull[0] / math.hypot(*pull), pull[1] / math.hypot(*pull)))
    pole = np.array(top) + np.linspace(0, flag.pole, 12)[:, None] * (0, 1)
    taken = np.concatenate([flag.cloth_outline(), streaming.cloth_outline(), pole])
    room = 0.55 * strength * _WIND_SCALE

    def place_lines() -> Point | None:
        """A centre for the wavy lines, away from the flag."""
        center = random.uniform(room + 0.02, 0.98 - room), random.uniform(0.6 * room + 0.02, 0.74 - 0.6 * room)
        return center if np.linalg.norm(taken - center, axis=1).min() > room else None

    words, background = draw_instruction(random, wording.WIND), any_background(random)
    color = random.choice(("#2f6fff", "#0a3cc0", "#00a0c8"))
    look = dict(scale=_WIND_SCALE, color=color, width=random.choice((4, 6)))
    prompt = tasks.wind(retry(place_lines), angle, strength, instruction=words, **look)
    return Problem(prompt, words, Scene(background, flag=flag), Answer(Scene(background, flag=streaming)))


def _trajectory(random: SplitRandom) -> Problem:
    """Objects move to the ends of their lines; those without one stay."""
    count = random.choice(_COUNTS, _COUNT_WEIGHTS)
    moving = 2 if count > 1 and random.chance(_TWO_TARGETS) else 1
    objects, lines = retry(lambda: place_trajectories(random, count, moving))
    words, background = draw_instruction(random, wording.TRAJECTORY), any_background(random)
    look = dict(color=random.choice(_MARK_COLORS), width=random.choice((6, 8)))
    prompt = tasks.trajectory(lines, instruction=words, **look)
    after = _moved(objects, [line[-1] for line in lines])
    return _edit(prompt, words, background, objects, after, range(len(lines)))


BUILDERS: dict[Task, Callable[[SplitRandom], Problem]] = {
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


def _edit(
    prompt: VisualPrompt,
    words: str,
    background: Background,
    before: Sequence[SceneObject],
    after: Sequence[SceneObject],
    placed: Sequence[int],
) -> Problem:
    """The problem of changing a photo's objects."""
    answer = Answer(Scene(background, tuple(after)), frozenset(placed))
    return Problem(prompt, words, Scene(background, tuple(before)), answer)


def _moved(objects: Sequence[SceneObject], ends: Sequence[Point]) -> tuple[SceneObject, ...]:
    """The objects, the first of them moved to these centres."""
    moved = [dataclasses.replace(item, center=tuple(end)) for item, end in zip(objects, ends)]
    return (*moved, *objects[len(moved) :])


# Below, the values of sentences: first those that the templates take, then what the builders need to know.


def _named(random: SplitRandom, size: str = "", exclude: str | None = None) -> tuple[str, str, str]:
    """An object's name with its article, its shape, which is not `exclude`, and its colour."""
    shape = random.choice([shape for shape in SHAPES if shape != exclude])
    color = random.color(shape)
    return with_article(" ".join(filter(None, (size, color, shape)))), shape, color


def _one_named(random: SplitRandom) -> tuple:
    """An object's name, a background of another colour, and the object's size, shape and colour."""
    size = random.choice(tuple(SIZE_RADII), (0.25, 0.5, 0.25))
    name, shape, color = _named(random, size)
    return name, random.choice([name for name in BACKGROUND_COLORS if name != color]), size, shape, color


def _two_named(random: SplitRandom) -> tuple:
    """The names of two objects, and their shapes and colours, which are not both the same."""
    (name, *one), (other_name, *other) = _named(random), _named(random)
    return (name, other_name, one, other) if one != other else _two_named(random)


def _added(random: SplitRandom) -> tuple:
    """An object's name, a slot, and the object's shape and colour."""
    name, shape, color = _named(random)
    return name, random.choice(tuple(SLOTS)), shape, color


def _referred_to(random: SplitRandom) -> tuple:
    """The name of an object in the photo, another colour, and the object's shape and colour."""
    shape = random.choice(SHAPES)
    color = random.color(shape)
    name = f"the {shape}" if random.chance(0.5) else f"the {color} {shape}"
    return name, random.color(shape, exclude=color), shape, color
