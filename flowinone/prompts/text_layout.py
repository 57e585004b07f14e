"""Laying out text: cleaning, line breaking, fitting into an area. Lengths are units, 1/512 of the canvas's side."""

import dataclasses
import unicodedata

from .checks import UNITS, Area, PromptError
from .spec import TextStyle
from .typeface import Typeface, clusters, needs_shaping

FLOOR = 6
"""Smallest size of letters in units."""
EDGE = 2
"""Least distance between text and the canvas's edges in units."""
_STEP = 0.97


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of text that starts at `left` on `baseline`."""

    text: str
    left: float
    baseline: float


@dataclasses.dataclass(frozen=True)
class Block:
    """Lines placed on the canvas; `ink` is the area that they cover, outlines included."""

    lines: tuple[Line, ...]
    size: float
    spacing: float
    outline: float
    ink: Area


@dataclasses.dataclass(frozen=True)
class _Setting:
    """Text broken into lines at one size. `spacing` and `bounds`, the ink of each line, are in em."""

    lines: list[str]
    size: float
    spacing: float
    outline: float
    bounds: list[Area]

    @classmethod
    def of(
        cls, text: str, style: TextStyle, face: Typeface, size: float, width: float, height: float, split: bool
    ) -> "_Setting | None":
        """None if the lines are taller than `height`, or a word (with `split`, a letter) is wider than `width`."""
        spacing = style.letter_spacing / style.size
        lines = []
        for row in text.split("\n"):
            broken = break_line(row, face, width / size, spacing, split)
            lines += broken or []
            if broken is None or (len(lines) - 1) * style.pitch * size > height:
                return None
        outline = style.outline_width * min(1, size / style.min_size)
        setting = cls(lines, size, spacing, outline, [face.bounds(line, spacing) for line in lines])
        return setting if setting.height(style.pitch) <= height else None

    def extent(self, pitch: float) -> tuple[float, float]:
        """Top and bottom of the ink, relative to the first line's baseline."""
        tops = (number * pitch + high for number, (_, high, _, _) in enumerate(self.bounds))
        bottoms = (number * pitch + low for number, (_, _, _, low) in enumerate(self.bounds))
        return min(tops) * self.size, max(bottoms) * self.size

    def height(self, pitch: float) -> float:
        top, bottom = self.extent(pitch)
        return bottom - top

    @property
    def width(self) -> float:
        return max(right - left for left, _, right, _ in self.bounds) * self.size

    def placed(self, area: Area, style: TextStyle, valign: str) -> Block:
        """The lines in an area, or around it where they do not fit, and always on the canvas."""
        left, top, right, bottom = area
        spare = {"top": 0, "middle": 0.5, "bottom": 1}[valign] * (bottom - top - self.height(style.pitch))
        baseline = top + spare - self.extent(style.pitch)[0]
        lines, inks = [], []
        for text, (first, high, last, low) in zip(self.lines, self.bounds):
            first, high, last, low = (edge * self.size for edge in (first, high, last, low))
            start = {"left": left, "center": (left + right - last) / 2, "right": right - last}[style.align]
            start = _clamp(start, self.outline + EDGE - first, UNITS - self.outline - EDGE - last)
            lines.append(Line(text, start, baseline))
            inks.append((start + first, baseline + high, start + last, baseline + low))
            baseline += style.pitch * self.size
        lefts, tops, rights, bottoms = zip(*inks)
        edge = self.outline
        ink = (min(lefts) - edge, min(tops) - edge, max(rights) + edge, max(bottoms) + edge)
        return Block(tuple(lines), self.size, self.spacing, edge, ink)


def clean(text: str) -> str:
    """Text as it is drawn: in normal form C, without control characters, single spaces, newlines kept."""
    lines = unicodedata.normalize("NFC", text).strip().splitlines()
    return "\n".join(" ".join(_printable(line).split()) for line in lines).strip("\n")


def lay_out(text: str, style: TextStyle, face: Typeface, area: Area, valign: str) -> Block:
    """Cleaned text in `area`, with line breaks between words.

    Letters shrink from the style's size to its `min_size` until the text fits. If that is not enough, the area grows
    within the canvas away from the side that `valign` names; then words are broken; then the area is the whole canvas,
    and letters and outline shrink further. Text is never cut: raises PromptError if it does not fit at 6 units.
    """
    edge = style.outline_width + EDGE
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
            setting = _Setting.of(text, style, face, size, right - left, bottom - top, split)
            if setting and setting.width <= UNITS - 2 * edge:
                # Not in the grown area: the text stays as close to `area` as the canvas allows.
                return setting.placed(_room(area, setting, style, valign, edge), style, valign)
    problem = f"does not fit the canvas even at {FLOOR} units; shorten it, or lower the pitch or letter spacing"
    raise PromptError("", problem)


def label_layout(text: str, style: TextStyle, face: Typeface, box: Area, line: float) -> Block:
    """A cleaned label centred just above a box's top edge, `line` wide, or below the edge if there is no room above."""
    edge = style.outline_width + EDGE
    above = (edge, 0, UNITS - edge, box[1] - style.outline_width)
    inside = (edge, box[1] + line / 2 + style.outline_width, UNITS - edge, UNITS)
    has_room = _Setting.of(text, style, face, style.size, UNITS - 2 * edge, above[3] - edge, False)
    area, valign = (above, "bottom") if has_room else (inside, "top")
    block = lay_out(text, style, face, area, valign)
    # Laid out across the whole canvas, then moved to the box's middle.
    left, _, right, _ = block.ink
    wished = (max(box[0], 0) + min(box[2], UNITS)) / 2 - (left + right) / 2
    return _moved(block, _clamp(wished, EDGE - left, UNITS - EDGE - right))


def break_line(text: str, face: Typeface, width: float, spacing: float, split: bool) -> list[str] | None:
    """A paragraph's lines of at most `width` em. Longer words are broken with `split`; without it, None."""
    lines, line, filled = [], "", 0.0
    space = face.width(" ") + 2 * spacing
    for word, gap in _words(text):
        for part, advance in _parts(word, face, width, spacing) if split else [(word, face.width(word, spacing))]:
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
    """Words, each with whether a space precedes it. Chinese, Japanese and Korean text breaks at every letter."""
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
    advance = face.width(word, spacing)
    if advance <= width:
        return [(word, advance)]
    joined = needs_shaping(word)
    parts = [("", -spacing)]
    for letter in clusters(word):
        part, filled = parts[-1]
        # In joined scripts a letter's width depends on its neighbours, so the whole part is measured.
        advance = face.width(part + letter, spacing) if joined else filled + spacing + face.width(letter, spacing)
        if advance > width and part:
            parts.append((letter, face.width(letter, spacing)))
        else:
            parts[-1] = (part + letter, advance)
    return parts


def _printable(line: str) -> str:
    # Joiners and direction marks control shaping; where nothing is shaped, they would be drawn as boxes.
    dropped = {"Cc", "Cs"} if needs_shaping(line) else {"Cc", "Cs", "Cf"}
    return "".join(character for character in line.expandtabs(1) if unicodedata.category(character) not in dropped)


def _sizes(largest: float, smallest: float) -> list[float]:
    sizes = [largest]
    while sizes[-1] * _STEP > smallest:
        sizes.append(sizes[-1] * _STEP)
    return sizes if sizes[-1] == smallest else [*sizes, smallest]


def _room(area: Area, setting: _Setting, style: TextStyle, valign: str, edge: float) -> Area:
    """The area on the canvas that a setting needs, at least as wide as `area`, anchored by `align` and `valign`."""
    left, top, right, bottom = area
    width, height = max(right - left, setting.width), setting.height(style.pitch)
    left = {"left": left, "center": (left + right - width) / 2, "right": right - width}[style.align]
    top = {"top": top, "middle": (top + bottom - height) / 2, "bottom": bottom - height}[valign]
    left, top = _clamp(left, edge, UNITS - edge - width), _clamp(top, edge, UNITS - edge - height)
    return left, top, left + width, top + height


def _moved(block: Block, right: float) -> Block:
    lines = tuple(dataclasses.replace(line, left=line.left + right) for line in block.lines)
    ink = (block.ink[0] + right, block.ink[1], block.ink[2] + right, block.ink[3])
    return dataclasses.replace(block, lines=lines, ink=ink)


def _clamp(value: float, least: float, most: float) -> float:
    return max(least, min(value, most))
