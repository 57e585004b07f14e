"""The toy scenes that shipped workflows open with, and the answers that mini must give.

In place of a photo a workflow has a canvas, "Toy photo", with the scene drawn on it: a graph can't bring along a
picture for Load Image. `python devtools/environment.py scripts/workflows.py` writes the scenes into the workflows.
Positions in the answers are those of the workflows' marks.
"""

import dataclasses

from PIL import Image

from flowinone.prompts import SolidCanvas, VisualPrompt, dumps, tasks
from flowinone.prompts.spec import Erase, TextStyle
from flowinone.toy import BACKGROUND_COLORS, COLORS, Answer, Background, Scene, SceneObject, judge
from flowinone.toy.rules import BOX_RADIUS, DEFAULT_LOOK, SIZE_RADII
from flowinone.toy.scene import Color, outline

GROUND = Background("plain", ((222, 234, 246),) * 2)
BOX = (0.42, 0.26, 0.82, 0.66)


@dataclasses.dataclass(frozen=True)
class Toy:
    """What the toy photo shows, None without one, and the right answer; `prompt` is drawn on the canvas, too."""

    photo: Scene | None
    answer: Answer
    prompt: VisualPrompt | None = None


def edit(
    before: tuple[SceneObject, ...],
    after: tuple[SceneObject, ...],
    put: int | None = None,
    prompt: VisualPrompt | None = None,
) -> Toy:
    """A photo and what is to become of it; `put` is the number of the thing that the prompt puts where it is."""
    numbers = frozenset() if put is None else frozenset([put])
    return Toy(Scene(GROUND, before), Answer(Scene(GROUND, after), numbers), prompt)


def alone(thing: SceneObject, ground: Background = GROUND, judged: str = "free") -> Toy:
    """A new picture of one thing."""
    return Toy(None, Answer(Scene(ground, (thing,)), frozenset([0]), judged))


def own(shape: str, *place) -> SceneObject:
    """A thing in its shape's own colour and texture."""
    color, texture = DEFAULT_LOOK[shape]
    return SceneObject(shape, color, *place, texture)


def boxed(shape: str, color: str) -> SceneObject:
    """What is to appear in the box."""
    left, top, right, bottom = BOX
    return SceneObject(
        shape, color, ((left + right) / 2, (top + bottom) / 2), BOX_RADIUS * min(right - left, bottom - top)
    )


def at(thing: SceneObject, center: tuple[float, float]) -> SceneObject:
    return dataclasses.replace(thing, center=center)


def blue(thing: SceneObject) -> SceneObject:
    return dataclasses.replace(thing, color="blue")


HEART = SceneObject("heart", "red", (0.31, 0.36), 0.14)
BALL, SQUARE = SceneObject("ball", "purple", (0.77, 0.4), 0.12), SceneObject("square", "blue", (0.76, 0.38), 0.12)
RING, LOW = SceneObject("ring", "purple", (0.2, 0.74), 0.12), at(SQUARE, (0.2, 0.72))
PUSHED, BESIDE = SceneObject("ball", "red", (0.24, 0.46), 0.1), SceneObject("ball", "blue", (0.82, 0.5), 0.1)
MARKED = SceneObject("ball", "green", (0.31, 0.36), 0.13)
LED, ASIDE = SceneObject("star", "yellow", (0.19, 0.4), 0.13), SceneObject("square", "blue", (0.5, 0.53), 0.1)
HEART_LABEL = tasks.text_box(
    [(BOX, "put a purple heart")], style=TextStyle("sans", size=48, min_size=36, letter_spacing=1), width=6
)

TOYS = {
    "Class to image": alone(own("star", (0.5, 0.5), SIZE_RADII[""])),
    "Text to image": alone(
        SceneObject("heart", "red", (0.5, 0.5), SIZE_RADII[""]),
        Background("plain", (BACKGROUND_COLORS["yellow"],) * 2),
        "named",
    ),
    "Text in image": edit((HEART, BALL), (blue(HEART), BALL)),
    "Text box": edit((RING,), (boxed("star", "yellow"), RING), 0),
    "Visual marker": edit((MARKED, SQUARE), (SQUARE,)),
    "Doodle": edit((BALL,), (own("heart", (0.32, 0.37), 0.15), BALL), 0),
    "Force": edit((PUSHED, BESIDE), (at(PUSHED, (0.587, 0.298)), BESIDE), 0),
    "Trajectory": edit((LED, ASIDE), (at(LED, (0.8, 0.27)), ASIDE), 0),
    "Visual prompt to image": edit((LOW,), (boxed("heart", "purple"), LOW), 0, HEART_LABEL),
    "Upscale": edit((RING,), (boxed("star", "yellow"), RING), 0),
    "Photo edit": edit((RING,), (boxed("star", "yellow"), RING), 0),
    "Two passes": edit((HEART, BALL), (blue(HEART), BALL)),
    "ComfyUI samplers": edit(
        (MARKED, SQUARE), (SceneObject("ring", "purple", MARKED.center, MARKED.radius), SQUARE), 0
    ),
    "Motion video": edit((LED, ASIDE), (at(LED, (0.8, 0.27)), ASIDE), 0),
    "Solver comparison": edit((PUSHED, BESIDE), (at(PUSHED, (0.587, 0.298)), BESIDE), 0),
}
"""By workflow; for Motion video the end of the way."""
ROW = "euler | heun, half the steps | rk4, a quarter"
SHOWN = {"Upscale": "The answer", "Two passes": "First pass", "Solver comparison": ROW}
"""Titles of the nodes that show mini's answer, where those are not "Save Image"."""


def shown_by(name: str) -> str:
    """The title of the node of a workflow that shows mini's answer."""
    return SHOWN.get(name, "Save Image")


def in_a_row(picture: Image.Image) -> list[Image.Image]:
    """The three answers that stand side by side."""
    return [picture.crop((left, 0, left + 128, 128)) for left in (0, 136, 272)]


def faults(name: str, picture: Image.Image) -> list[str]:
    """What is wrong with a workflow's picture as an answer, or three side by side, to its toy scene."""
    answers = in_a_row(picture) if shown_by(name) == ROW else [picture]
    return [reason for answer in answers for reason in judge(TOYS[name], answer).reasons]


def drawing(toy: Toy) -> str:
    """What the canvas of a workflow holds: the photo, and the prompt if that is drawn on it."""
    ground = toy.photo.background.colors[0]
    marks = [mark for thing in toy.photo.objects for mark in _painted(thing, ground)]
    task, asked = (toy.prompt.task, toy.prompt.marks) if toy.prompt else ("text_in_image", ())
    return dumps(VisualPrompt(task, SolidCanvas(_hex(ground)), (*marks, *asked)))


def _painted(thing: SceneObject, ground: Color) -> list[Erase]:
    """A plain thing as painted regions; its hole shows the ground."""
    loops = [(loop * thing.radius + thing.center).round(4).tolist() for loop in outline(thing.shape)]
    return [Erase(tuple(map(tuple, loop)), _hex(color)) for loop, color in zip(loops, (COLORS[thing.color], ground))]


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
