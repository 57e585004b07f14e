"""The split between training and held-out examples: positions, shape-colour pairs, sentences and phrasings.

- Positions: a lattice of 24 x 24 cells covers the picture, and every fifth cell is held out, no two of them adjacent.
  In training no object, label or caption is placed in a held-out cell, nor starts, ends or is moved there. In held-out
  examples all are. Positions that a rule fixes (the centre for a class, a slot) are the same on both sides.
- Pairs: 8 of the 64 pairs of a shape and a colour are held out, one for each shape and each colour. Training neither
  shows nor names them. In held-out examples they are as frequent as all others.
- Sentences: one in six is held out, and with it all that name a held-out pair and all in a held-out phrasing
  (`wording`). Held-out examples contain no others.
"""

import math
import zlib

import numpy as np

from .scene import COLORS, SHAPES, Point

LATTICE = 24
"""Cells along each side of the picture."""
HELD_OUT_SENTENCES = 6
"""One sentence in this many is held out."""

_COLORS = tuple(COLORS)
HELD_OUT_PAIRS = frozenset((shape, _COLORS[(3 * number + 2) % 8]) for number, shape in enumerate(SHAPES))


def is_held_out_position(point: Point) -> bool:
    """Whether a position is in a cell that training never uses."""
    column, row = (math.floor(along * LATTICE) for along in point)
    return (column + 2 * row) % 5 == 0


def is_held_out_sentence(sentence: str) -> bool:
    """Whether training never uses a sentence, because of its hash or of the pair that it names.

    Case and a final full stop don't matter.
    """
    words = _words(sentence)
    names_pair = any((shape, color) in HELD_OUT_PAIRS for color, shape in zip(words, words[1:]))
    return names_pair or is_held_out_by_hash(sentence)


def is_held_out_by_hash(sentence: str) -> bool:
    return zlib.crc32(" ".join(_words(sentence)).encode()) % HELD_OUT_SENTENCES == 0


def _words(sentence: str) -> list[str]:
    return sentence.lower().rstrip(".").split()


class SplitRandom:
    """A random generator whose positions and colours respect one side of the split."""

    def __init__(self, seed: tuple[int, ...], held_out: bool):
        self.rng = np.random.default_rng((*seed, int(held_out)))
        self.held_out = held_out

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.rng.random()

    def choice(self, choices, weights=None):
        """One item of a sequence."""
        if weights is None:
            return choices[int(self.rng.integers(len(choices)))]
        return choices[int(np.searchsorted(np.cumsum(weights), self.rng.random() * sum(weights), side="right"))]

    def sample(self, choices, count: int) -> list:
        """`count` different items of a sequence."""
        return [choices[number] for number in self.rng.permutation(len(choices))[:count].tolist()]

    def position(self, left: float, top: float, right: float, bottom: float) -> Point:
        """A position in a rectangle, on this side of the split."""
        while True:
            point = self.uniform(left, right), self.uniform(top, bottom)
            if is_held_out_position(point) == self.held_out:
                return point

    def color(self, shape: str, exclude: str | None = None) -> str:
        """A colour other than `exclude` that the shape may have on this side of the split."""
        allowed = [color for color in _COLORS if self.held_out or (shape, color) not in HELD_OUT_PAIRS]
        return self.choice([color for color in allowed if color != exclude])
