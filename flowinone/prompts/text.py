"""Words in a block: cleaning, breaking into lines, fitting an area. All lengths are units, 1/512 of the canvas's side."""

import dataclasses
import unicodedata

from .checks import PromptError
from .spec import TextStyle
from .typeface import Typeface, clusters, needs_shaping

UNITS = 512
FLOOR = 6
"""Units; smaller letters are refused."""
_STEP = 0.97

Area = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of text that starts at `left` on `baseline`."""

    text: str
    left: float
    baseline: float


@dataclasses.dataclass(frozen=True)
class Block:
    """Lines as they stand on the canvas; `ink` is the area that they cover, outlines included."""

    lines: tuple[Line, ...]
    size: float
    spacing: float
    outline: float
    ink: Area


@dataclasses.dataclass(frozen=True)
class _Setting:
    """Text broken into lines at one size. `spacing` is in em; the bounds are each line's ink in em."""

    lines: list[str]
    size: float
    spacing: float
    outline: float
    bounds: list[Area]

    @classmethod
    def of(cls, text: str, style: TextStyle, face: Typeface, size: float, width: float, split: bool) -> "_Setting | None":
        """None if a word, or with `split` a letter, is wider than the line."""
        spacing = style.letter_spacing / style.size
        lines = [line for row in text.split("\n") for line in break_line(row, face, width / size, spacing, split) or [None]]
        if None in lines:
            return None
        outline = style.outline_width * min(1, size / style.min_size)
        return cls(lines, size, spacing, outline, [face.bounds(line, spacing) for line in lines])

    def height(self, pitch: float) -> float:
        """From the top of the first line's ink to the bottom of the last one's."""
        return (self.bounds[-1][3] - self.bounds[0][1] + (len(self.lines) - 1) * pitch) * self.size

    @property
    def width(self) -> float:
        return max(right - left for left, _, right, _ in self.bounds) * self.size

    def placed(self, area: Area, style: TextStyle, valign: str) -> Block:
        """The lines inside an area that they fit, or around it as far as they do not, and always on the canvas."""
        left, top, right, bottom = area
        spare = {"top": 0, "middle": 0.5, "bottom": 1}[valign] * (bottom - top - self.height(style.pitch))
        baseline = top + spare - self.bounds[0][1] * self.size
        lines, inks = [], []
        for text, (first, high, last, low) in zip(self.lines, self.bounds):
            first, high, last, low = (edge * self.size for edge in (first, high, last, low))
            # The advance, not the ink, is aligned: a round letter then hangs over an edge as little as in print.
            width = last
            start = {"left": left, "center": (left + right - width) / 2, "right": right - width}[style.align]
            start = _clamp(start, self.outline + 1 - first, UNITS - self.outline - 1 - last)
            lines.append(Line(text, start, baseline))
            inks.append((start + first, baseline + high, start + last, baseline + low))
            baseline += style.pitch * self.size
        lefts, tops, rights, bottoms = zip(*inks)
        edge = self.outline
        ink = (min(lefts) - edge, min(tops) - edge, max(rights) + edge, max(bottoms) + edge)
        return Block(tuple(lines), self.size, self.spacing, edge, ink)


def clean(text: str) -> str:
    """Text as it is drawn: composed letters, no control characters, one space between words, newlines as they are."""
    lines = unicodedata.normalize("NFC", text).strip().splitlines()
    return "\n".join(" ".join(_printable(line).split()) for line in lines).strip("\n")


def lay_out(text: str, style: TextStyle, face: Typeface, area: Area, valign: str) -> Block:
    """Cleaned text in `area`, broken between words.

    Letters shrink from the style's size to its `min_size` until the words fit. If that is not enough, words are broken; then the
    area grows inside the canvas, away from the side that `valign` names, then on all sides; then letters shrink below `min_size`,
    with their outline. Nothing is ever left out: PromptError if the text does not fit the canvas at 6 units.
    """
    edge = style.outline_width + 1
    area = tuple(_clamp(side, edge, UNITS - edge) for side in area)
    left, top, right, bottom = area
    tall = (left, edge if valign != "top" else top, right, UNITS - edge if valign != "bottom" else bottom)
    canvas = (edge, edge, UNITS - edge, UNITS - edge)
    usual = _sizes(style.size, style.min_size)
    attempts = [
        (area, usual, False),
        (tall, usual[-1:], False),
        (area, usual, True),
        (tall, usual[-1:], True),
        (canvas, usual[-1:], False),
        (canvas, _sizes(style.min_size, min(FLOOR, style.min_size)), True),
    ]
    for (left, top, right, bottom), sizes, split in attempts:
        for size in sizes:
            setting = _Setting.of(text, style, face, size, right - left, split)
            if setting and setting.height(style.pitch) <= bottom - top and setting.width <= UNITS - 2 * edge:
                # Around the wished-for area rather than the grown one: the text stays as near to it as the canvas allows.
                return setting.placed(_moved_inside(area, setting.height(style.pitch), valign, edge), style, valign)
    raise PromptError("text", f"does not fit the canvas even at {FLOOR} units; shorten it, or lower the pitch or letter spacing")


def label_layout(text: str, style: TextStyle, face: Typeface, box: Area, line: float) -> Block:
    """A cleaned label just above a box's top edge, which is `line` thick, and centred on it, or inside if there is no room above."""
    edge = style.outline_width + 1
    above = (edge, 0, UNITS - edge, box[1] - style.outline_width)
    inside = (edge, box[1] + line / 2 + style.outline_width, UNITS - edge, UNITS)
    setting = _Setting.of(text, style, face, style.size, UNITS - 2 * edge, False)
    has_room = setting and setting.height(style.pitch) <= above[3] - edge
    area, valign = (above, "bottom") if has_room else (inside, "top")
    block = lay_out(text, style, face, area, valign)
    # Laid out across the whole canvas, the block then moves as one to the box's middle.
    left, _, right, _ = block.ink
    wished = (max(box[0], 0) + min(box[2], UNITS)) / 2 - (left + right) / 2
    return _moved(block, _clamp(wished, 1 - left, UNITS - 1 - right))


def break_line(text: str, face: Typeface, width: float, spacing: float, split: bool) -> list[str] | None:
    """A paragraph's lines of at most `width` em; with `split` words that are too long are broken, without it the answer is None."""
    lines, line, filled = [], "", 0.0
    space = face.glyphs(" ")[1] + 2 * spacing
    for word, gap in _words(text):
        for part, advance in _parts(word, face, width, spacing) if split else [(word, face.glyphs(word, spacing)[1])]:
            if advance > width:
                return None
            joint = space if gap else spacing
            if line and filled + joint + advance <= width:
                line, filled = f"{line}{' ' if gap else ''}{part}", filled + joint + advance
            else:
                lines += [line] if line else []
                line, filled = part, advance
            gap = False
    return [*lines, line]


def _words(text: str) -> list[tuple[str, bool]]:
    """Words, and whether a space stands before each; Chinese, Japanese and Korean text breaks at every letter."""
    found = []
    for word in text.split(" "):
        gap = True
        part = ""
        for letter in clusters(word):
            if part and (_is_wide(part[0]) or _is_wide(letter[0])):
                found.append((part, gap))
                part, gap = "", False
            part += letter
        found.append((part, gap))
    return found


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in ("W", "F")


def _parts(word: str, face: Typeface, width: float, spacing: float) -> list[tuple[str, float]]:
    advance = face.glyphs(word, spacing)[1]
    if advance <= width:
        return [(word, advance)]
    parts = [("", 0.0)]
    for letter in clusters(word):
        longer = parts[-1][0] + letter
        # A joined script's letters change width beside each other, so that only the whole part can be measured.
        advance = face.glyphs(longer, spacing)[1]
        if advance > width and parts[-1][0]:
            parts.append((letter, face.glyphs(letter, spacing)[1]))
        else:
            parts[-1] = (longer, advance)
    return parts


def _printable(line: str) -> str:
    # Joiners and direction marks say how to shape a line; where nothing is shaped, they would be drawn as boxes.
    dropped = {"Cc", "Cs"} if needs_shaping(line) else {"Cc", "Cs", "Cf"}
    return "".join(character for character in line.expandtabs(1) if unicodedata.category(character) not in dropped)


def _sizes(largest: float, smallest: float) -> list[float]:
    sizes = [largest]
    while sizes[-1] * _STEP > smallest:
        sizes.append(sizes[-1] * _STEP)
    return sizes if sizes[-1] == smallest else [*sizes, smallest]


def _moved_inside(area: Area, height: float, valign: str, edge: float) -> Area:
    left, top, right, bottom = area
    wished = {"top": top, "middle": (top + bottom - height) / 2, "bottom": bottom - height}[valign]
    start = _clamp(wished, edge, UNITS - edge - height)
    return left, start, right, start + height


def _moved(block: Block, right: float) -> Block:
    lines = tuple(dataclasses.replace(line, left=line.left + right) for line in block.lines)
    ink = (block.ink[0] + right, block.ink[1], block.ink[2] + right, block.ink[3])
    return dataclasses.replace(block, lines=lines, ink=ink)


def _clamp(value: float, least: float, most: float) -> float:
    return max(least, min(value, most))
