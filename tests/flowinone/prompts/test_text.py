"""Lettering: cleaning, breaking, fitting, contrast, scripts and fonts."""

import unicodedata
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont, features

from flowinone.prompts.characters import MissingGlyphsWarning, characters_of
from flowinone.prompts.checks import PromptError
from flowinone.prompts.render import render
from flowinone.prompts.spec import Box, GradientCanvas, SolidCanvas, Text, TextStyle, VisualPrompt
from flowinone.prompts.text_layout import EDGE, UNITS, break_line, clean, label_layout, lay_out
from flowinone.prompts.text_painting import colors, luminance
from flowinone.prompts.typeface import FOLDER, needs_shaping, typeface, visual_order

PLAIN = TextStyle(bold=False)
SERIF = typeface(PLAIN)
WHOLE = (20, 20, 492, 492)
FACES = ("serif", "sans", "comic", "mono", "condensed")


def lines(block) -> list[str]:
    return [line.text for line in block.lines]


def drawn(*marks, canvas="#808080", size=512, **more) -> np.ndarray:
    return np.asarray(render(VisualPrompt("text_in_image", SolidCanvas(canvas), marks), size=size, **more)).astype(int)


def touched(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is not the top left corner's colour."""
    y, x = np.nonzero(np.abs(pixels - pixels[0, 0]).max(axis=2) > 8)
    return x.min(), y.min(), x.max() + 1, y.max() + 1


def test_cleaning_keeps_newlines_and_drops_what_cannot_be_drawn():
    assert clean("  a \t b\u00a0 c \n\n d\x00\x07e\u200b \r\n f ") == "a b c\n\nde\nf"
    assert clean("e\u0301") == "é"
    assert clean("\x00\u200b") == ""
    # Joiners shape Persian; elsewhere they would be boxes.
    assert "\u200c" in clean("می\u200cخواهم") and "\u200d" not in clean("👩\u200d👧")


def test_words_are_broken_between_and_kept_whole_while_they_fit():
    width = SERIF.width("the quick brown") + 0.01
    assert break_line("the quick brown fox jumps", SERIF, width, 0, False) == ["the quick brown", "fox jumps"]
    assert break_line("incomprehensibilities", SERIF, 3, 0, False) is None
    parts = break_line("incomprehensibilities", SERIF, 3, 0, True)
    assert "".join(parts) == "incomprehensibilities" and all(SERIF.width(part) <= 3 for part in parts)
    assert break_line("ab", SERIF, 0.1, 0, True) is None


def test_letter_spacing_counts_between_letters_only():
    assert SERIF.width("abc", 0.5) == pytest.approx(SERIF.width("abc") + 1)
    assert SERIF.width("a", 5) == pytest.approx(SERIF.width("a"))


def test_chinese_breaks_at_every_letter_and_accents_stay_on_theirs():
    assert break_line("日本語", SERIF, SERIF.width("日本") + 0.01, 0, False) == ["日本", "語"]
    parts = break_line("z\u0338\u0321" * 30, SERIF, 3, 0, True)
    assert all(unicodedata.category(part[0]) != "Mn" for part in parts)


def test_text_keeps_its_size_where_it_fits_and_shrinks_where_it_does_not():
    assert lay_out("put a blue jay", PLAIN, SERIF, WHOLE, "top").size == 28
    narrow = lay_out("put a blue jay", PLAIN, SERIF, (100, 100, 230, 130), "top")
    assert 20 <= narrow.size < 28 and lines(narrow) == ["put a blue jay"]


def test_text_too_long_for_its_area_grows_it_away_from_the_named_side():
    words = "Apply forces to the object according to the arrows until stop"
    low = lay_out(words, PLAIN, SERIF, (100, 400, 300, 440), "bottom")
    assert (
        low.size == 20
        and low.lines[-1].baseline == pytest.approx(440 - 0.217 * 20, abs=0.5)
        and low.lines[0].baseline < 400
    )
    high = lay_out(words, PLAIN, SERIF, (100, 100, 300, 140), "top")
    assert high.size == 20 and high.lines[0].baseline < 125 and high.lines[-1].baseline > 140


def test_long_text_stays_whole_below_the_smallest_size_and_too_long_is_an_error():
    words = "word " * 399
    block = lay_out(clean(words), PLAIN, SERIF, WHOLE, "bottom")
    assert 6 <= block.size < 20 and " ".join(lines(block)) == clean(words)
    with pytest.raises(PromptError, match="does not fit") as error:
        drawn(Text("a\n" * 900))
    assert error.value.field == "marks[0].text"
    with pytest.raises(PromptError, match="does not fit") as error:
        drawn(Box((0.1, 0.1, 0.5, 0.5), "a\n" * 900))
    assert error.value.field == "marks[0].label"


def test_newlines_are_kept():
    block = lay_out("one\n\nthree", PLAIN, SERIF, WHOLE, "top")
    assert lines(block) == ["one", "", "three"]
    assert block.lines[2].baseline - block.lines[0].baseline == pytest.approx(2 * PLAIN.pitch * 28)


@pytest.mark.parametrize(("align", "where"), [("left", 20), ("center", 256), ("right", 492)])
def test_lines_are_aligned(align, where):
    style = TextStyle(bold=False, align=align)
    for line in lay_out("a longer line\nshort", style, SERIF, WHOLE, "top").lines:
        width = SERIF.width(line.text) * 28
        assert {"left": line.left, "center": line.left + width / 2, "right": line.left + width}[align] == pytest.approx(
            where
        )


def test_left_aligned_lines_start_alike_even_where_the_area_is_too_narrow_for_them():
    style = TextStyle(bold=False, align="left")
    block = lay_out("incomprehensibilities of\nit", style, SERIF, (440, 100, 450, 200), "top")
    assert len({round(line.left, 6) for line in block.lines}) == 1 and block.ink[2] <= UNITS - EDGE + 1e-6


@pytest.mark.parametrize("valign", ["top", "middle", "bottom"])
def test_blocks_stand_at_the_top_middle_or_bottom(valign):
    block = lay_out("dp", PLAIN, SERIF, WHOLE, valign)
    top, bottom = block.ink[1] + 2, block.ink[3] - 2
    assert {"top": top, "middle": (top + bottom) / 2, "bottom": bottom}[valign] == pytest.approx(
        {"top": 20, "middle": 256, "bottom": 492}[valign]
    )


@settings(max_examples=60, deadline=None)
@given(
    st.text(min_size=1, max_size=120),
    st.sampled_from(FACES),
    st.tuples(*[st.floats(-1, 1.9)] * 2, *[st.floats(0.01, 1.5)] * 2),
    st.floats(6, 256),
    st.floats(0, 32),
    st.sampled_from(["top", "middle", "bottom"]),
    st.sampled_from(["left", "center", "right"]),
)
def test_text_never_leaves_the_canvas_and_never_loses_a_letter(words, face, place, size, outline, valign, align):
    words = clean(words)
    style = TextStyle(face, size=size, min_size=6, outline_width=outline, align=align)
    left, top, width, height = (value * UNITS for value in place)
    try:
        block = lay_out(words, style, typeface(style), (left, top, left + width, top + height), valign)
    except PromptError:
        # Only what cannot fit at all: many lines, or letters of a hundred stacked accents.
        assert words.count("\n") > 40 or needs_shaping(words) or not words
        return
    assert "".join("".join(lines(block)).split()) == "".join(words.split())
    assert block.ink[0] >= EDGE - 1e-6 and block.ink[1] >= EDGE - 1e-6
    assert block.ink[2] <= UNITS - EDGE + 1e-6 and block.ink[3] <= UNITS - EDGE + 1e-6


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("bold", [False, True])
def test_the_ink_is_where_the_layout_says(face, bold):
    style = TextStyle(face, bold, 60, outline_width=6, align="right")
    area = (0.1, 0.3, 0.97, 0.9)
    block = lay_out("jumping fox", style, typeface(style), tuple(512 * edge for edge in area), "middle")
    left, top, right, bottom = touched(drawn(Text("jumping fox", area, style=style, valign="middle")))
    assert left >= block.ink[0] - 1 and right <= block.ink[2] + 1 and right == pytest.approx(block.ink[2], abs=4)
    assert top == pytest.approx(block.ink[1], abs=3) and bottom == pytest.approx(block.ink[3], abs=4)


@pytest.mark.parametrize("size", [64, 200, 512, 1024, 2048])
def test_lines_break_alike_at_every_canvas_size(size):
    text = Text(
        "Apply forces to the object according to the arrows until stop, and generate the final image.", style=PLAIN
    )
    edges = np.array(touched(drawn(text, size=size))) / size
    assert edges == pytest.approx(np.array(touched(drawn(text))) / 512, abs=1.5 / min(size, 512))


def test_a_label_stands_just_above_its_box_and_centred_on_it():
    block = label_layout("put a blue jay", PLAIN, SERIF, (187, 180, 429, 453), 3)
    assert block.ink[3] == pytest.approx(180, abs=0.1) and (block.ink[0] + block.ink[2]) / 2 == pytest.approx(
        308, abs=0.1
    )


def test_a_label_without_room_above_stands_inside_and_one_at_the_side_stays_on_the_canvas():
    inside = label_layout("put a blue jay", PLAIN, SERIF, (100, 10, 400, 300), 3)
    assert 10 < inside.ink[1] < 20
    for left, right in ((0, 20), (490, 512), (-300, 15)):
        block = label_layout("put a blue jay", PLAIN, SERIF, (left, 200, right, 300), 3)
        assert block.ink[0] >= EDGE - 1e-6 and block.ink[2] <= UNITS - EDGE + 1e-6


def test_a_long_label_wraps_to_the_canvas():
    block = label_layout(
        "put a very long description of a blue jay that does not fit one line", PLAIN, SERIF, (200, 200, 300, 300), 3
    )
    assert len(block.lines) == 2 and block.size == 28 and block.ink[3] == pytest.approx(200, abs=0.1)


@pytest.mark.parametrize(
    ("ground", "fill"),
    [("#000000", 255), ("#303030", 255), ("#a0a0a0", 0), ("#ffffff", 0), ("#0000ff", 255), ("#ffff00", 0)],
)
def test_automatic_fill_contrasts_with_what_lies_beneath_and_the_outline_with_the_fill(ground, fill):
    picture = Image.new("RGB", (64, 64), ground)
    assert colors(PLAIN, picture, (0, 0, 512, 512)) == ((fill,) * 3, (255 - fill,) * 3)


def test_contrast_is_measured_under_the_text_only_and_with_the_marks_below_it():
    canvas = GradientCanvas("#000000", "#ffffff")
    for area, dark in (((0.1, 0.05, 0.9, 0.2), False), ((0.1, 0.8, 0.9, 0.95), True)):
        text = Text("MMM", area, style=TextStyle("sans", outline_width=0))
        picture = np.asarray(render(VisualPrompt("text_in_image", canvas, (text,))).convert("L")).astype(int)
        plain = np.asarray(render(VisualPrompt("text_in_image", canvas)).convert("L")).astype(int)
        assert ((picture - plain).min() < -100) == dark and ((picture - plain).max() > 100) != dark
    box = Box((0.0, 0.5, 1.0, 0.9), color="#000000", width=64)
    both = drawn(
        box,
        Text("MMM", (0.1, 0.45, 0.9, 0.55), style=TextStyle("sans", size=20, outline_width=0), valign="middle"),
        canvas="#ffffff",
    )
    assert (both[240:272, 230:280] > 200).any()


def test_given_colours_are_kept_and_the_automatic_one_contrasts_with_them():
    picture = Image.new("RGB", (64, 64), "white")
    whole = (0, 0, 512, 512)
    assert colors(TextStyle(fill="#ffff00"), picture, whole) == ((255, 255, 0), (0, 0, 0))
    assert colors(TextStyle(outline="#000000"), picture, whole) == ((255, 255, 255), (0, 0, 0))
    assert colors(TextStyle(fill="#111111", outline="#222222"), picture, whole) == ((17, 17, 17), (34, 34, 34))
    assert luminance((255, 255, 255)) == pytest.approx(1) and luminance((188, 188, 188)) == pytest.approx(0.5, abs=0.01)


SCRIPTS = {
    "hebrew": ("שלום עולם", False),
    "latin, cyrillic and greek": ("Ünïcödé Жδ", False),
    "arabic": ("مرحبا", True),
    "devanagari": ("नमस्ते", True),
    "japanese": ("日本語", True),
    "emoji": ("👩\u200d👧 ❤\ufe0f", True),
    "stacked accents": ("Z\u0338\u0321\u0322o", False),
    "direction marks": ("\u202eabc\u202c", False),
    "a very wide ligature": ("\ufdfd" * 40, True),
}


@pytest.mark.parametrize(("words", "missing"), SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize("face", ["serif", "comic"])
def test_any_script_is_drawn_and_missing_glyphs_are_named(words, missing, face):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pixels = drawn(Text(words, style=TextStyle(face)))
    assert touched(pixels)[0] > 0
    assert [warning.category for warning in caught] == [MissingGlyphsWarning] * missing
    if missing:
        assert caught[0].message.characters[0] == words[0] and f"U+{ord(words[0]):04X}" in str(caught[0].message)


def test_right_to_left_text_is_turned_around_with_and_without_shaping():
    assert visual_order("שלום abc") == "abc םולש"
    assert visual_order("abc שלום") == "abc םולש"
    assert visual_order("שנת 123") == "123 תנש"
    pieces, _ = SERIF.glyphs("שלום")
    assert [piece.text for piece in pieces] == (["שלום"] if features.check("raqm") else list("םולש"))


def test_character_maps_agree_with_what_the_fonts_draw():
    for path in sorted(FOLDER.glob("*.[ot]tf")):
        known = characters_of(str(path))
        font = ImageFont.truetype(str(path), 40, layout_engine=ImageFont.Layout.BASIC)
        box = bytes(font.getmask("\U000f1234"))
        assert 0xF1234 not in known
        assert all(ord(letter) in known for letter in "AZaz09.,!?é€—“”’")
        for code in range(0x20, 0x600, 7):
            if code in known and unicodedata.category(chr(code)) == "Ll":
                assert bytes(font.getmask(chr(code))) != box, (path.name, hex(code))
            elif code not in known and unicodedata.category(chr(code)) == "Ll":
                assert bytes(font.getmask(chr(code))) == box, (path.name, hex(code))


def test_a_collection_and_a_broken_font_are_read_as_far_as_they_go(tmp_path):
    (tmp_path / "none.ttf").write_bytes(b"\0\1\0\0\0\1" + bytes(6) + b"glyf" + bytes(12))
    assert characters_of(str(tmp_path / "none.ttf")) is None
    data = (FOLDER / "ComicNeue-Bold.otf").read_bytes()
    (tmp_path / "cut.otf").write_bytes(data[:300])
    assert characters_of(str(tmp_path / "cut.otf")) is None


def test_a_font_of_ones_own_takes_the_faces_place():
    text = Text("Remove the object", style=PLAIN)
    own = drawn(text, font=FOLDER / "Anton-Regular.ttf")
    assert (own == drawn(Text("Remove the object", style=TextStyle("condensed", False)))).all()
    assert (own != drawn(text)).any()


@pytest.mark.parametrize("content", [None, b"", b"not a font at all" * 99])
def test_a_file_that_is_no_font_is_named(tmp_path, content):
    path = tmp_path / "mine.ttf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PromptError, match="mine.ttf") as error:
        drawn(Text("a"), font=path)
    assert error.value.field == "font"


def test_the_fonts_are_small_and_come_with_their_licences():
    files = list(FOLDER.iterdir())
    assert sum(file.stat().st_size for file in files) < 4_000_000
    for file in FOLDER.glob("*.[ot]tf"):
        family = file.name.split("-")[0].removesuffix("Serif").removesuffix("Sans")
        assert "SIL OPEN FONT LICENSE" in (FOLDER / f"LICENSE-{family}.txt").read_text(encoding="utf-8").upper()
