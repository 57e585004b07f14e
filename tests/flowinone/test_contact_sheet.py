"""Contact sheets: where pictures, captions and section names are."""

import numpy as np
import pytest
from PIL import Image

from flowinone.contact_sheet import Entry, contact_sheet

RED, GREEN, BLUE = (Image.new("RGB", (20, 20), color) for color in ("#ff0000", "#00ff00", "#0000ff"))


def test_without_gaps_and_texts_pictures_fill_the_sheet():
    sheet = contact_sheet({"": [Entry((RED, GREEN)), Entry((BLUE, RED))]}, 20)
    assert sheet.size == (40, 40)
    corners = [sheet.getpixel(place) for place in ((0, 0), (39, 0), (0, 39), (39, 39))]
    assert corners == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 0)]


def test_pictures_are_scaled_to_one_size():
    sheet = contact_sheet({"": [Entry((RED.resize((7, 7)),)), Entry((GREEN.resize((64, 64)),))]}, 32)
    assert sheet.size == (32, 64)
    assert sheet.getpixel((31, 31)) == (255, 0, 0) and sheet.getpixel((31, 32)) == (0, 255, 0)


def test_titles_section_names_and_captions_have_room():
    entries = [Entry((RED,), "a red square"), Entry((GREEN,)), Entry((BLUE,))]
    plain = contact_sheet({"": entries}, 100, columns=2, gap=4)
    captioned = contact_sheet({"": entries}, 100, columns=2, gap=4, caption_lines=1)
    named = contact_sheet({"squares": entries}, 100, title="colours", columns=2, gap=4, caption_lines=1)
    assert plain.width == captioned.width == named.width == 2 * 108
    assert plain.height < captioned.height < named.height
    below = np.asarray(captioned.crop((0, 104, 104, captioned.height // 2)))
    assert below.min() == 0, "the caption is missing"
    assert np.asarray(named.crop((0, 0, 216, named.height - captioned.height))).min() == 0, "the title is missing"


@pytest.mark.parametrize("lines", [1, 3])
def test_long_captions_are_cut_off(lines):
    short, long = (
        contact_sheet({"": [Entry((RED,), caption)]}, 60, caption_lines=lines) for caption in ("a", "word " * 99)
    )
    assert short.size == long.size
    assert np.asarray(long.crop((0, 60, 60, 60 + 13 * lines))).mean() < np.asarray(short.crop((0, 60, 60, 73))).mean()


def test_a_sheet_without_entries_has_its_headings():
    assert contact_sheet({"nothing": []}, 50, title="title", gap=4).height == 2 * (26 + 4)
