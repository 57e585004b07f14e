"""Whether a picture is the right answer to a made-up prompt, by looking at the picture alone.

The judge takes the ground away, finds what stands out, and tells each find's shape, colour, place and size. Right is a
picture that has exactly the things of the answer, within these tolerances, and nothing else; an edited photo must look
the same everywhere else. They leave room for what an autoencoder that halves three times does to edges, not for another
answer. Textures are not judged.
"""

import dataclasses
import functools
import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageFilter

from . import GROUNDS, SHAPES, Answer, Example, Plan, Thing
from .painting import COLORS, area, silhouette, tones

SIDE = 128
"""Pixels: pictures of other sizes are scaled to this one."""
PUT, STAYED = 0.08, 0.04
"""Sides of the picture: how far a thing's centre may be from where the prompt puts it, or if it stays, from where it
was."""
SIZE = 1.25
"""Times, either way, that a thing may be larger or smaller across."""
SHAPE = 0.64
"""Overlap (intersection over union) with its shape that a find has at least; no other shape may fit better."""
COLOR = 75
"""Distance in RGB, of 255 a channel, from the nearest colour at most."""
GROUND, PATCH = 14, 36
"""Mean difference, of 255, from the photo's ground, and the largest of an 8 x 8 patch's mean, where nothing stands."""
CLOTH, CLOTH_SIZE, TURN = 0.6, 1.3, 12
"""A streaming cloth's overlap at least, times that its area may be larger or smaller, and degrees that it may be off
around the pole."""

KINDS = ("missing", "shape", "size", "colour", "turn", "form", "surplus", "ground")
"""Of what can be wrong: a thing that is not where it should be, or is of another shape, size or colour; a cloth that
streams another way, or has another place or outline; a thing that should not be there; the ground."""

_Fault = tuple[str, str]
"""A kind, and a reason."""

_CONTRAST = 38
"""What differs less from the ground is ground."""
_SPECK = 36
"""Pixels; smaller finds are nothing."""
_GRID, _WINDOW = 32, 1.1
"""Cells of the grid on which shapes are compared, which reaches so many square roots of the area from the middle."""


@dataclasses.dataclass(frozen=True)
class Judgement:
    """Whether an answer is right, and what is wrong with it: reasons to read, and the kind (of `KINDS`) of each."""

    success: bool
    reasons: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Find:
    """What stands out from the ground: its soft mask [SIDE, SIDE], centre in 0..1, area in pixels, nearest colour, and
    how far that is."""

    mask: np.ndarray
    center: tuple[float, float]
    area: float
    color: str
    distance: float

    def overlaps(self) -> dict[str, float]:
        """How well each shape fits."""
        seen = _normal(self.mask, self.center, self.area)
        return {shape: _overlap(seen, _template(shape, round(2 * _radius(shape, self.area)))) for shape in SHAPES}


def judge(example: Example | Plan, picture: Image.Image) -> Judgement:
    """Whether a picture, of any size, is a right answer to the prompt of an example, drawn or only planned."""
    answer = example.answer
    seen = _soft(_scaled(picture), 0.7)
    # Softer than what is compared with it, as an autoencoder's edges are: a pole and a floor's edge are ground.
    ground = _soft(answer.scene.bare(SIDE), 1) if answer.ground == "kept" else fitted_ground(seen)
    finds = found(seen, ground)
    wrong = _flag_reasons(answer, finds) if answer.scene.flag else _thing_reasons(answer, finds)
    wrong += _ground_reasons(answer, seen, ground, finds)
    return Judgement(not wrong, tuple(reason for _, reason in wrong), tuple(kind for kind, _ in wrong))


def found(seen: np.ndarray, ground: np.ndarray) -> list[Find]:
    """What stands out in a picture [SIDE, SIDE, 3] from its ground, largest first."""
    difference = np.abs(seen - ground).max(axis=-1)
    finds = []
    for region in _regions(difference > _CONTRAST):
        inner = ~_grown(~region, 1)
        if region.sum() < _SPECK or not inner.any():
            continue
        # A pixel is covered whole where it differs as the inside does; of a texture's tones, as the paler one.
        full = max(float(np.percentile(difference[inner], 25)), _CONTRAST)
        mask = np.clip(difference / full, 0, 1) * _grown(region, 2)
        finds.append(Find(mask, _middle(mask), float(mask.sum()), *nearest_color(seen[inner].mean(axis=0))))
    return sorted(finds, key=lambda find: -find.area)


def nearest_color(color: np.ndarray) -> tuple[str, float]:
    """The colour of things that is nearest, with any share of its second tone up to a half, and its distance."""
    distances = {}
    for name in COLORS:
        first, second = tones(name)
        way = 0.55 * (second - first)
        share = np.clip((color - first) @ way / (way @ way), 0, 1)
        distances[name] = float(np.linalg.norm(color - first - share * way))
    return min(distances.items(), key=lambda item: item[1])


def fitted_ground(seen: np.ndarray) -> np.ndarray:
    """The smooth ground [SIDE, SIDE, 3] of a picture, from its edges and all that is like them: a polynomial of degree
    two."""
    y, x = (np.mgrid[0:SIDE, 0:SIDE].reshape(2, -1) + 0.5) / SIDE - 0.5
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    pixels = seen.reshape(-1, 3)
    used = np.maximum(np.abs(x), np.abs(y)) > 0.5 - 8 / SIDE
    for _ in range(3):
        known = terms[used]
        ground = terms @ np.linalg.solve(known.T @ known, known.T @ pixels[used])
        like = np.abs(pixels - ground).max(axis=1) < 24
        if like.sum() < 500:
            break
        used = like
    return ground.reshape(SIDE, SIDE, 3).astype(np.float32)


def _thing_reasons(answer: Answer, finds: list[Find]) -> list[_Fault]:
    reasons, left = [], list(finds)
    for number, thing in enumerate(answer.scene.things):
        wanted = f"{thing.color} {thing.shape} at {_place(thing.center)}"
        nearest = min(left, key=lambda find: math.dist(find.center, thing.center), default=None)
        away = math.dist(nearest.center, thing.center) if nearest else 1
        if away > (PUT if number in answer.put else STAYED):
            reasons.append(("missing", f"no {wanted}" + (f": the nearest find is {away:.2f} away" if nearest else "")))
            continue
        left.remove(nearest)
        overlaps = nearest.overlaps()
        shape = max(overlaps, key=overlaps.get)
        across = math.sqrt(nearest.area / _area(thing.shape, thing.radius))
        if shape != thing.shape:
            reasons.append(("shape", f"{wanted} is a {shape}"))
        elif overlaps[shape] < SHAPE:
            reasons.append(("shape", f"{wanted} has no clear shape ({overlaps[shape]:.2f})"))
        elif not 1 / SIZE <= across <= SIZE:
            reasons.append(("size", f"{wanted} is {across:.2f} times as wide"))
        if nearest.color != thing.color or nearest.distance > COLOR:
            reasons.append(("colour", f"{wanted} is {nearest.color} ({nearest.distance:.0f} off)"))
    return reasons + [_surplus(find) for find in left]


def _flag_reasons(answer: Answer, finds: list[Find]) -> list[_Fault]:
    flag = answer.scene.flag
    if not finds:
        return [("missing", "no cloth")]
    cloth, *others = finds
    reasons = [_surplus(find) for find in others]
    right = _on_canvas(*area([flag.cloth()], SIDE))
    pole = flag.top[0], flag.top[1] + flag.height / 2
    turns = [math.degrees(math.atan2(y - pole[1], x - pole[0])) for x, y in (cloth.center, _middle(right))]
    turn = abs((turns[0] - turns[1] + 180) % 360 - 180)
    overlap = _overlap(cloth.mask, right)
    if cloth.color != flag.color or cloth.distance > COLOR:
        reasons.append(("colour", f"the {flag.color} cloth is {cloth.color} ({cloth.distance:.0f} off)"))
    if turn > TURN:
        reasons.append(("turn", f"the cloth is turned by {turn:.0f} degrees"))
    larger = cloth.area / float(right.sum())
    if not 1 / CLOTH_SIZE <= larger <= CLOTH_SIZE:
        reasons.append(("size", f"the cloth is {larger:.2f} times as large"))
    if overlap < CLOTH:
        reasons.append(("form", f"the cloth is elsewhere or of another form ({overlap:.2f})"))
    return reasons


def _ground_reasons(answer: Answer, seen: np.ndarray, ground: np.ndarray, finds: list[Find]) -> list[_Fault]:
    taken = np.zeros((SIDE, SIDE), np.float32)
    for thing in answer.scene.things:
        taken += _on_canvas(*silhouette(thing, SIDE))
    if answer.scene.flag:
        taken += _on_canvas(*area([answer.scene.flag.cloth()], SIDE))
    for find in finds:
        taken += find.mask > 0.2
    free = ~_grown(taken > 0.05, 4)
    difference = (seen - ground) * free[..., None]
    cells = free.reshape(SIDE // 8, 8, SIDE // 8, 8).sum(axis=(1, 3))
    patches = difference.reshape(SIDE // 8, 8, SIDE // 8, 8, 3).sum(axis=(1, 3)) / np.maximum(cells, 1)[..., None]
    worst = float(np.abs(patches).max(axis=-1)[cells >= 24].max(initial=0))
    mean = float(np.abs(difference).sum() / max(3 * free.sum(), 1))
    reasons = []
    if mean > GROUND:
        reasons.append(("ground", f"the ground is {mean:.0f} off"))
    if worst > PATCH:
        reasons.append(("ground", f"a part of the ground is {worst:.0f} off"))
    if answer.ground == "named":
        color = ground[free].mean(axis=0) if free.any() else np.zeros(3)
        distances = {name: float(np.linalg.norm(color - pale)) for name, pale in GROUNDS.items()}
        nearest = min(distances, key=distances.get)
        if GROUNDS[nearest] != answer.scene.ground.colors[0] or distances[nearest] > COLOR:
            reasons.append(("ground", f"the ground is {nearest} ({distances[nearest]:.0f} off)"))
    return reasons


def _surplus(find: Find) -> _Fault:
    return "surplus", f"something {find.color} at {_place(find.center)} that should not be there"


def _regions(mask: np.ndarray) -> list[np.ndarray]:
    """The connected parts (by edges) of a bool mask [h, w]."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        before = labels
        for _ in range(4):
            labels = np.rot90(_spread(labels))
        if np.array_equal(before, labels):
            return [labels == label for label in np.unique(labels) if label]


def _spread(labels: np.ndarray) -> np.ndarray:
    """Labels, each raised to the highest on its left within its run of labels."""
    runs = np.cumsum(labels == 0, axis=1) * (labels.size + 1)
    return np.where(labels > 0, np.maximum.accumulate(labels + runs, axis=1) - runs, 0)


def _grown(mask: np.ndarray, by: int) -> np.ndarray:
    """A bool mask with everything at most `by` pixels from it, across and along."""
    for axis in (0, 1):
        beside = [(0, 0), (0, 0)]
        beside[axis] = (by, by)
        mask = sliding_window_view(np.pad(mask, beside), 2 * by + 1, axis=axis).any(axis=-1)
    return mask


def _normal(mask: np.ndarray, center: tuple[float, float], size: float) -> np.ndarray:
    """A mask on the grid, its centre in the middle and its area always the same."""
    reach = _WINDOW * math.sqrt(size)
    step = 2 * reach / _GRID
    left, top = (along * SIDE - reach for along in center)
    picture = Image.fromarray(mask.astype(np.float32))
    return np.asarray(
        picture.transform(
            (_GRID,) * 2, Image.Transform.AFFINE, (step, 0, left, 0, step, top), Image.Resampling.BILINEAR
        )
    )


@functools.lru_cache(maxsize=1024)
def _template(shape: str, half_pixels: int) -> np.ndarray:
    """A shape of a radius of so many half pixels on the grid, a little blurred, as all that is judged is."""
    mask = _on_canvas(*silhouette(Thing(shape, "red", (0.5, 0.5), min(half_pixels, SIDE) / 2 / SIDE), SIDE))
    blurred = (
        np.asarray(Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1)), np.float32) / 255
    )
    return _normal(blurred, (0.5, 0.5), float(blurred.sum()))


@functools.cache
def _unit_area(shape: str) -> float:
    return float(silhouette(Thing(shape, "red", (0.5, 0.5), 0.4), 256)[1].sum()) / (0.4 * 256) ** 2


def _area(shape: str, radius: float) -> float:
    """Pixels that a shape covers; its radius in sides of the picture."""
    return _unit_area(shape) * (radius * SIDE) ** 2


def _radius(shape: str, pixels: float) -> float:
    """The radius in pixels of a shape that covers so many."""
    return math.sqrt(pixels / _unit_area(shape))


def _middle(mask: np.ndarray) -> tuple[float, float]:
    """Where a soft mask balances, in 0..1."""
    across, down = (mask.sum(axis=axis) @ (np.arange(SIDE) + 0.5) / mask.sum() / SIDE for axis in (0, 1))
    return float(across), float(down)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.minimum(one, other).sum() / max(np.maximum(one, other).sum(), 1e-6))


def _on_canvas(corner: tuple[int, int], mask: np.ndarray) -> np.ndarray:
    canvas = np.zeros((SIDE, SIDE), np.float32)
    canvas[corner[0] : corner[0] + mask.shape[0], corner[1] : corner[1] + mask.shape[1]] = mask
    return canvas


def _soft(picture: Image.Image, sigma: float) -> np.ndarray:
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(sigma)), np.float32)


def _scaled(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGB")
    return picture if picture.size == (SIDE, SIDE) else picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _place(center: tuple[float, float]) -> str:
    return f"({center[0]:.2f}, {center[1]:.2f})"
