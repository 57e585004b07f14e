"""Fonts, bundled or the user's, measured in em so that a layout is the same at every canvas size."""

import dataclasses
import functools
import os
import unicodedata
from pathlib import Path

from PIL import ImageFont, features

from .characters import characters_of, is_visible
from .checks import PromptError
from .spec import Face, TextStyle

FOLDER = Path(__file__).with_name("fonts")
BOX = "\u25a1"
"""Drawn for a character that neither font has; the bundled sans has it."""

_FILES: dict[Face, tuple[str, str]] = {
    "serif": ("LiberationSerif-Regular.ttf", "LiberationSerif-Bold.ttf"),
    "sans": ("LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf"),
    "mono": ("CourierPrime-Regular.otf", "CourierPrime-Bold.otf"),
    "comic": ("ComicNeue-Regular.otf", "ComicNeue-Bold.otf"),
    "condensed": ("Anton-Regular.ttf", "Anton-Regular.ttf"),
}
# Pixels per em for measuring. Hinting rounds widths to whole pixels, here a thousandth of an em.
_MEASURED_AT = 1000


def typeface(style: TextStyle, font: str | os.PathLike | None = None) -> "Typeface":
    """The face of a style, or of a TrueType or OpenType file instead. Raises PromptError for an unusable file."""
    bundled, spare = (str(FOLDER / _FILES[face][style.bold]) for face in (style.face, "sans"))
    if font is None:
        return Typeface(bundled, spare)
    path = os.fspath(font)
    try:
        # Read first: for a missing file, Pillow would look for the name among the system's fonts.
        characters_of(path)
        _font(path, _MEASURED_AT, ImageFont.Layout.BASIC)
    except OSError as error:
        raise PromptError(
            "font", f"{path} cannot be read as a scalable font ({error}); give a .ttf or .otf file"
        ) from error
    return Typeface(path, spare)


@dataclasses.dataclass(frozen=True)
class Glyphs:
    """A character or a shaped line, drawn in one call `left` em from the line's start, with the font `path`."""

    text: str
    left: float
    path: str
    engine: ImageFont.Layout

    def font(self, pixels: float) -> ImageFont.FreeTypeFont:
        """The font at `pixels` per em."""
        return _font(self.path, pixels, self.engine)


@dataclasses.dataclass(frozen=True)
class Typeface:
    """A font file, and a fallback for the characters that it lacks."""

    path: str
    spare: str

    def glyphs(self, line: str, spacing: float = 0) -> tuple[list[Glyphs], float]:
        """What to draw for a line, and its width. Lengths are in em, also the `spacing` between letters.

        Lines that need shaping (right-to-left or combining characters) are one piece without letter spacing if Pillow
        has Raqm. Without it, letters are in visual order in their isolated forms.
        """
        if needs_shaping(line):
            if features.check("raqm"):
                whole = Glyphs(line, 0, self._file(line), ImageFont.Layout.RAQM)
                return [whole], _advance(whole.path, whole.engine, line)
            line = visual_order(line)
        found, left = [], 0.0
        for character in line:
            glyph = Glyphs(character, left, self._file(character), ImageFont.Layout.BASIC)
            found.append(glyph)
            left += _advance(glyph.path, glyph.engine, character) + spacing
        return found, max(left - spacing, 0)

    def width(self, line: str, spacing: float = 0) -> float:
        """The width of `glyphs`."""
        return _width(self, line, spacing)

    def bounds(self, line: str, spacing: float = 0) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of a line's ink in em, relative to its start on the baseline.

        They include an ascender and a descender, so that lines are placed alike whatever their letters.
        """
        found, width = self.glyphs(line, spacing)
        boxes = [(glyph.left, *_ink(glyph.path, glyph.engine, glyph.text)) for glyph in found]
        usual = _ink(self.path, ImageFont.Layout.BASIC, "dp")
        return (
            min([0, *(start + box[0] for start, *box in boxes)]),
            min([usual[1], *(box[1] for _, *box in boxes)]),
            max([width, *(start + box[2] for start, *box in boxes)]),
            max([usual[3], *(box[3] for _, *box in boxes)]),
        )

    def missing(self, text: str) -> list[str]:
        """The characters of the text that neither font has."""
        needed = dict.fromkeys(filter(is_visible, text))
        return [character for character in needed if not (_has(self.path, character) or _has(self.spare, character))]

    def _file(self, text: str) -> str:
        visible = list(filter(is_visible, text))
        files = (path for path in (self.path, self.spare) if all(_has(path, character) for character in visible))
        return next(files, self.path)


def needs_shaping(text: str) -> bool:
    """Whether letters must be joined, stacked or reordered before they are drawn."""
    return any(
        unicodedata.bidirectional(character) in ("R", "AL", "AN") or unicodedata.category(character) in ("Mn", "Mc")
        for character in text
    )


def clusters(text: str) -> list[str]:
    """A text's letters, each with its combining marks."""
    found = []
    for character in text:
        if found and (unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf") or found[-1].endswith("\u200d")):
            found[-1] += character
        else:
            found.append(character)
    return found


def visual_order(line: str) -> str:
    """Letters from left to right as they are seen; a simplification of the Unicode bidirectional algorithm."""
    strong = [unicodedata.bidirectional(character) for character in line]
    rtl = next((kind != "L" for kind in strong if kind in ("L", "R", "AL")), False)
    runs: list[tuple[bool, list[str]]] = []
    for letter in clusters(line):
        kind = unicodedata.bidirectional(letter[0])
        turned = kind in ("R", "AL") or (kind not in ("L", "EN", "AN") and (runs[-1][0] if runs else rtl))
        if not runs or runs[-1][0] != turned:
            runs.append((turned, []))
        runs[-1][1].append(letter)
    ordered = reversed(runs) if rtl else runs
    return "".join("".join(reversed(run) if turned else run) for turned, run in ordered)


def _has(path: str, character: str) -> bool:
    known = characters_of(path)
    return known is None or ord(character) in known


@functools.lru_cache(maxsize=64)
def _font(path: str, pixels: float, engine: ImageFont.Layout) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, pixels, layout_engine=engine)


# Fitting a text measures its words at many sizes.
@functools.lru_cache(maxsize=1 << 13)
def _width(face: Typeface, line: str, spacing: float) -> float:
    return face.glyphs(line, spacing)[1]


@functools.lru_cache(maxsize=1 << 14)
def _advance(path: str, engine: ImageFont.Layout, text: str) -> float:
    return _font(path, _MEASURED_AT, engine).getlength(text) / _MEASURED_AT


@functools.lru_cache(maxsize=1 << 14)
def _ink(path: str, engine: ImageFont.Layout, text: str) -> tuple[float, float, float, float]:
    box = _font(path, _MEASURED_AT, engine).getbbox(text, anchor="ls")
    return tuple(edge / _MEASURED_AT for edge in box)
