"""Renaming of tensors in both directions, by a table of patterns."""

import functools
import re
from collections.abc import Callable


class Renaming:
    """A table of two columns of names. `#` matches a number, `*` the rest; both columns have them in the same order.

    The first row that matches a name decides.
    """

    def __init__(self, table: str):
        rows = [line.split() for line in table.strip().splitlines()]
        self._forward = _renamer([_rule(left, right) for left, right in rows])
        self._backward = _renamer([_rule(right, left) for left, right in rows])

    def forward(self, name: str) -> str | None:
        """The right column's name for one of the left column; None where no row matches."""
        return self._forward(name)

    def backward(self, name: str) -> str | None:
        """The left column's name for one of the right column; None where no row matches."""
        return self._backward(name)


def _rule(source: str, target: str) -> tuple[re.Pattern, str]:
    pattern = re.escape(source).replace(r"\#", r"(\d+)").replace(r"\*", "(.+)")
    return re.compile(pattern), re.sub(r"[#*]", "{}", target)


def _renamer(rules: list[tuple[re.Pattern, str]]) -> Callable[[str], str | None]:
    # Loading asks for the same thousands of names several times.
    @functools.lru_cache(maxsize=2**14)
    def renamed(name: str) -> str | None:
        for pattern, target in rules:
            if match := pattern.fullmatch(name):
                return target.format(*match.groups())
        return None

    return renamed
