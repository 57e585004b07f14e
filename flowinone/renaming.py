"""Two-way renaming of tensors by a table of patterns."""

import re


class Renaming:
    """A table with two names a row; `#` stands for a number and `*` for the rest, and both sides name them in one order.

    The first row that fits a name decides.
    """

    def __init__(self, table: str):
        rows = [line.split() for line in table.strip().splitlines()]
        self._forward = [_rule(left, right) for left, right in rows]
        self._backward = [_rule(right, left) for left, right in rows]

    def forward(self, name: str) -> str | None:
        """The right column's name for one of the left column's; None where no row fits."""
        return _apply(self._forward, name)

    def backward(self, name: str) -> str | None:
        """The left column's name for one of the right column's; None where no row fits."""
        return _apply(self._backward, name)


def _rule(source: str, target: str) -> tuple[re.Pattern, str]:
    pattern = re.escape(source).replace(r"\#", r"(\d+)").replace(r"\*", "(.+)")
    for group in range(1, target.count("#") + target.count("*") + 1):
        target = re.sub(r"[#*]", rf"\\g<{group}>", target, count=1)
    return re.compile(pattern), target


def _apply(rules: list[tuple[re.Pattern, str]], name: str) -> str | None:
    for pattern, target in rules:
        if match := pattern.fullmatch(name):
            return match.expand(target)
    return None
