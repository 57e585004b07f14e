"""The judge: whether a picture is a correct answer to a prompt of the toy world, from the picture alone.

The judge estimates the background, detects the objects, and compares the shape, colour, position and size of each with
the answer's. A picture is correct if it shows exactly the answer's objects, within the tolerances below. An edited
photo must also look the same everywhere else. The tolerances allow for the soft edges of an autoencoder that
downsamples three times, not for another answer. Textures are not judged.
"""

import dataclasses
import math
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from .builders import Answer
from .detection import (
    SIDE,
    DetectedObject,
    blurred,
    centroid,
    detect_objects,
    dilated,
    fit_background,
    on_canvas,
    overlap,
    shape_area,
)
from .scene import BACKGROUND_COLORS, object_mask, polygon_mask

PLACED_DISTANCE, KEPT_DISTANCE = 0.08, 0.04
"""How far an object's centre may be from where the prompt places it, and from where it was if it stays; in sides of the
picture."""
SIZE_RATIO = 1.25
"""How many times as wide, or as narrow, an object may be."""
SHAPE_OVERLAP = 0.64
"""The least intersection over union with the correct shape; no other shape may fit better."""
COLOR_DISTANCE = 75
"""The largest distance from a colour in RGB, 0 to 255 a channel."""
BACKGROUND_MEAN, BACKGROUND_PATCH = 14, 36
"""The largest difference of the background, of 255: its mean, and the mean of any patch of 8 x 8 pixels."""
CLOTH_OVERLAP, CLOTH_AREA_RATIO, CLOTH_ANGLE = 0.6, 1.3, 12
"""For a streaming cloth the least intersection over union, how many times as large or as small its area may be, and the
largest error of its angle around the pole in degrees."""

FAULT_KINDS = ("missing", "shape", "size", "colour", "turn", "form", "surplus", "ground")
"""missing: no object where one should be. shape, size, colour: of an object or a cloth. turn: a cloth's angle. form: a
cloth's position or outline. surplus: an object that should not be there. ground: the background."""


class Fault(NamedTuple):
    """Something wrong with an answer: its kind, one of `FAULT_KINDS`, and the reason as text."""

    kind: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is wrong with an answer; a correct one has no faults."""

    faults: tuple[Fault, ...] = ()

    @property
    def correct(self) -> bool:
        return not self.faults

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(fault.kind for fault in self.faults)

    @property
    def reasons(self) -> tuple[str, ...]:
        return tuple(fault.reason for fault in self.faults)


class HasAnswer(Protocol):
    """An example, or anything else with a correct answer."""

    @property
    def answer(self) -> Answer: ...


def judge(example: HasAnswer, picture: Image.Image) -> Verdict:
    """Whether a picture of any size is a correct answer to an example's prompt."""
    answer = example.answer
    seen = blurred(_resized(picture), 0.7)
    if answer.background == "kept":
        # More blurred than the picture, like an autoencoder's edges, so that a pole and a floor's edge are background.
        background = blurred(answer.scene.render_background(SIDE), 1)
    else:
        background = fit_background(seen)
    detected = detect_objects(seen, background)
    faults = _flag_faults(answer, detected) if answer.scene.flag else _object_faults(answer, detected)
    return Verdict((*faults, *_background_faults(answer, seen, background, detected)))


def _object_faults(answer: Answer, detected: list[DetectedObject]) -> list[Fault]:
    faults, left = [], list(detected)
    for number, item in enumerate(answer.scene.objects):
        expected = f"{item.color} {item.shape} at {_position(item.center)}"
        nearest = min(left, key=lambda found: math.dist(found.center, item.center), default=None)
        distance = math.dist(nearest.center, item.center) if nearest else 1
        if distance > (PLACED_DISTANCE if number in answer.placed else KEPT_DISTANCE):
            where = f": the nearest object is {distance:.2f} away" if nearest else ""
            faults.append(Fault("missing", f"no {expected}{where}"))
            continue
        left.remove(nearest)
        overlaps = nearest.shape_overlaps()
        shape = max(overlaps, key=overlaps.get)
        ratio = math.sqrt(nearest.area / shape_area(item.shape, item.radius))
        if shape != item.shape:
            faults.append(Fault("shape", f"{expected} is a {shape}"))
        elif overlaps[shape] < SHAPE_OVERLAP:
            faults.append(Fault("shape", f"{expected} has no clear shape ({overlaps[shape]:.2f})"))
        elif not 1 / SIZE_RATIO <= ratio <= SIZE_RATIO:
            faults.append(Fault("size", f"{expected} is {ratio:.2f} times as wide"))
        if nearest.color != item.color or nearest.color_distance > COLOR_DISTANCE:
            faults.append(Fault("colour", f"{expected} is {nearest.color} ({nearest.color_distance:.0f} off)"))
    return faults + [_surplus(found) for found in left]


def _flag_faults(answer: Answer, detected: list[DetectedObject]) -> list[Fault]:
    flag = answer.scene.flag
    if not detected:
        return [Fault("missing", "no cloth")]
    cloth, *others = detected
    faults = [_surplus(found) for found in others]
    expected = on_canvas(*polygon_mask([flag.cloth_outline()], SIDE))
    pole = flag.top[0], flag.top[1] + flag.height / 2
    angles = [math.degrees(math.atan2(y - pole[1], x - pole[0])) for x, y in (cloth.center, centroid(expected))]
    turn = abs((angles[0] - angles[1] + 180) % 360 - 180)
    if cloth.color != flag.color or cloth.color_distance > COLOR_DISTANCE:
        faults.append(Fault("colour", f"the {flag.color} cloth is {cloth.color} ({cloth.color_distance:.0f} off)"))
    if turn > CLOTH_ANGLE:
        faults.append(Fault("turn", f"the cloth is turned by {turn:.0f} degrees"))
    ratio = cloth.area / float(expected.sum())
    if not 1 / CLOTH_AREA_RATIO <= ratio <= CLOTH_AREA_RATIO:
        faults.append(Fault("size", f"the cloth is {ratio:.2f} times as large"))
    common = overlap(cloth.mask, expected)
    if common < CLOTH_OVERLAP:
        faults.append(Fault("form", f"the cloth has another position or outline (overlap {common:.2f})"))
    return faults


def _background_faults(
    answer: Answer, seen: np.ndarray, background: np.ndarray, detected: list[DetectedObject]
) -> list[Fault]:
    taken = np.zeros((SIDE, SIDE), np.float32)
    for item in answer.scene.objects:
        taken += on_canvas(*object_mask(item, SIDE))
    if answer.scene.flag:
        taken += on_canvas(*polygon_mask([answer.scene.flag.cloth_outline()], SIDE))
    for found in detected:
        taken += found.mask > 0.2
    free = ~dilated(taken > 0.05, 4)
    difference = (seen - background) * free[..., None]
    cells = free.reshape(SIDE // 8, 8, SIDE // 8, 8).sum(axis=(1, 3))
    patches = difference.reshape(SIDE // 8, 8, SIDE // 8, 8, 3).sum(axis=(1, 3)) / np.maximum(cells, 1)[..., None]
    worst = float(np.abs(patches).max(axis=-1)[cells >= 24].max(initial=0))
    mean = float(np.abs(difference).sum() / max(3 * free.sum(), 1))
    faults = []
    if mean > BACKGROUND_MEAN:
        faults.append(Fault("ground", f"the background is {mean:.0f} off"))
    if worst > BACKGROUND_PATCH:
        faults.append(Fault("ground", f"a part of the background is {worst:.0f} off"))
    if answer.background == "named":
        color = background[free].mean(axis=0) if free.any() else np.zeros(3)
        distances = {name: float(np.linalg.norm(color - pale)) for name, pale in BACKGROUND_COLORS.items()}
        nearest = min(distances, key=distances.get)
        if BACKGROUND_COLORS[nearest] != answer.scene.background.colors[0] or distances[nearest] > COLOR_DISTANCE:
            faults.append(Fault("ground", f"the background is {nearest} ({distances[nearest]:.0f} off)"))
    return faults


def _surplus(found: DetectedObject) -> Fault:
    return Fault("surplus", f"something {found.color} at {_position(found.center)} that should not be there")


def _resized(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGB")
    return picture if picture.size == (SIDE, SIDE) else picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _position(center: tuple[float, float]) -> str:
    return f"({center[0]:.2f}, {center[1]:.2f})"
