"""What training never sees: places, pairs of a shape and a colour, sentences and phrasings, kept for the examination.

- Places: the picture has a lattice of 24 x 24 cells, of which every fifth, none beside another, is kept. In training no
  thing, label or caption stands, starts, ends or is put there; in the examination all are. Places that a rule fixes
  (a class's middle, a slot) are the same on both sides.
- Pairs: of the 64 pairs of a shape and a colour 8 are kept, one of each shape and of each colour. Training neither
  shows nor names them; in the examination they are as frequent as all others.
- Sentences: one in six is kept, with all that name a kept pair and all in a kept phrasing (`wording`); the examination
  has no others.
"""

import math
import zlib

import numpy as np

from .painting import COLORS, SHAPES, Point

LATTICE = 24
EVERY = 6
"""One sentence of so many is kept."""

_COLORS = tuple(COLORS)
KEPT_PAIRS = frozenset((shape, _COLORS[(3 * number + 2) % 8]) for number, shape in enumerate(SHAPES))


def kept_place(point: Point) -> bool:
    """Whether a place is one that training never sees."""
    column, row = (math.floor(along * LATTICE) for along in point)
    return (column + 2 * row) % 5 == 0


def kept_sentence(sentence: str) -> bool:
    """Whether training never sees a sentence, for the pair that it names or by lot; capitals and full stop count for
    nothing."""
    words = _words(sentence)
    return kept_by_lot(sentence) or any((shape, color) in KEPT_PAIRS for color, shape in zip(words, words[1:]))


def kept_by_lot(sentence: str) -> bool:
    return zlib.crc32(" ".join(_words(sentence)).encode()) % EVERY == 0


def _words(sentence: str) -> list[str]:
    return sentence.lower().rstrip(".").split()


class Draw:
    """Random numbers on one side of the split."""

    def __init__(self, seed: tuple[int, ...], held_out: bool):
        self.rng = np.random.default_rng((*seed, int(held_out)))
        self.held_out = held_out

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def number(self, least: float, most: float) -> float:
        return least + (most - least) * self.rng.random()

    def one_of(self, choices, weights=None):
        """One of a sequence."""
        if weights is None:
            return choices[int(self.rng.integers(len(choices)))]
        return choices[int(np.searchsorted(np.cumsum(weights), self.rng.random() * sum(weights), side="right"))]

    def some_of(self, choices, count: int) -> list:
        """Different ones of a sequence."""
        return [choices[number] for number in self.rng.permutation(len(choices))[:count].tolist()]

    def place(self, left: float, top: float, right: float, bottom: float) -> Point:
        """A place in an area, on this side of the split."""
        while True:
            point = self.number(left, right), self.number(top, bottom)
            if kept_place(point) == self.held_out:
                return point

    def allows(self, shape: str, color: str) -> bool:
        """Whether the pair may be shown."""
        return self.held_out or (shape, color) not in KEPT_PAIRS

    def color(self, shape: str, but: str | None = None) -> str:
        """A colour that the shape may have, other than `but`."""
        return self.one_of([color for color in _COLORS if color != but and self.allows(shape, color)])
