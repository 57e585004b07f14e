"""Which characters a font file has glyphs for; Pillow silently draws a box or nothing for the others."""

import functools
import struct
import unicodedata
from collections.abc import Iterable


class MissingGlyphsWarning(UserWarning):
    """Text has `characters`, in this order, that neither its font nor the bundled one has."""

    def __init__(self, characters: Iterable[str]):
        self.characters = tuple(characters)
        shown = ", ".join(f"{character} (U+{ord(character):04X})" for character in self.characters[:12])
        more = f" and {len(self.characters) - 12} more" if len(self.characters) > 12 else ""
        super().__init__(f"no glyph for {shown}{more}: they are drawn as empty boxes; choose a font file that has them")


@functools.lru_cache(maxsize=32)
def characters_of(path: str) -> frozenset[int] | None:
    """The code points in the `cmap` table of a font file, or of a collection's first font; None if unreadable.

    Formats 4 and 12 are read: every Unicode font has one of them (OpenType specification, `cmap`).
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        start = struct.unpack_from(">I", data, 12)[0] if data[:4] == b"ttcf" else 0
        cmap = _table(data, start, b"cmap")
        return frozenset(_cmap(data, cmap))
    except (struct.error, KeyError):
        return None


def is_visible(character: str) -> bool:
    """Whether a character needs a glyph; spaces, joiners, variation selectors and control characters do not."""
    return (
        unicodedata.category(character) not in ("Cc", "Cf", "Zs", "Zl", "Zp") and not 0xFE00 <= ord(character) <= 0xFE0F
    )


def _table(data: bytes, start: int, wanted: bytes) -> int:
    for number in range(struct.unpack_from(">H", data, start + 4)[0]):
        tag, _, offset, _ = struct.unpack_from(">4sIII", data, start + 12 + 16 * number)
        if tag == wanted:
            return offset
    raise KeyError(wanted)


def _cmap(data: bytes, cmap: int) -> set[int]:
    subtables = {}
    for number in range(struct.unpack_from(">H", data, cmap + 2)[0]):
        platform, encoding, offset = struct.unpack_from(">HHI", data, cmap + 4 + 8 * number)
        if platform == 0 or (platform, encoding) in ((3, 0), (3, 1), (3, 10)):
            subtables[struct.unpack_from(">H", data, cmap + offset)[0]] = cmap + offset
    if 12 in subtables:
        return _format_12(data, subtables[12])
    return _format_4(data, subtables[4])


def _format_4(data: bytes, table: int) -> set[int]:
    count = struct.unpack_from(">H", data, table + 6)[0] // 2
    ends = struct.unpack_from(f">{count}H", data, table + 14)
    starts = struct.unpack_from(f">{count}H", data, table + 16 + 2 * count)
    deltas = struct.unpack_from(f">{count}H", data, table + 16 + 4 * count)
    offsets_at = table + 16 + 6 * count
    offsets = struct.unpack_from(f">{count}H", data, offsets_at)
    found = set()
    for number, (first, last, delta, offset) in enumerate(zip(starts, ends, deltas, offsets)):
        for code in range(first, min(last, 0xFFFE) + 1):
            glyph = code
            if offset:
                glyph = struct.unpack_from(">H", data, offsets_at + 2 * number + offset + 2 * (code - first))[0]
            # Glyph 0 is the font's box for missing characters; the delta is not added to a 0 that was looked up.
            if (glyph or not offset) and (glyph + delta) & 0xFFFF:
                found.add(code)
    return found


def _format_12(data: bytes, table: int) -> set[int]:
    found = set()
    for number in range(struct.unpack_from(">I", data, table + 12)[0]):
        first, last, glyph = struct.unpack_from(">III", data, table + 16 + 12 * number)
        found.update(range(first + (glyph == 0), min(last, 0x10FFFF) + 1))
    return found
