"""How the text of an argument is read: argparse shows the ArgumentTypeError of what cannot be."""

import argparse
import os
from collections.abc import Callable


def file_path(text: str) -> str:
    """A path as typed, with `~` for the home folder; `-` stays what it is."""
    return os.path.expanduser(text)


def positive_int(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def natural_int(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is negative")
    return number


def numbers(least: int, most: int | None = None) -> Callable[[str], tuple[float, ...]]:
    """A reader of `least` to `most` numbers with commas between them; exactly `least` without `most`."""
    most = most or least

    def parse(text: str) -> tuple[float, ...]:
        try:
            parsed = tuple(float(part) for part in text.split(","))
        except ValueError:
            parsed = ()
        if not least <= len(parsed) <= most:
            count = f"{least} to {most}" if most > least else least
            raise argparse.ArgumentTypeError(f"{text!r} is not {count} numbers with commas between them")
        return parsed

    return parse


def points(text: str) -> tuple[tuple[float, ...], ...]:
    """Points `x,y` with spaces between them."""
    return tuple(numbers(2)(point) for point in text.split())
