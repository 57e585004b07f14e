"""Pictures are placed on the square canvas by a rule that the window describes."""

import numpy as np
import pytest
from PIL import Image

from flowinone.prompts import PromptError
from flowinone.prompts.squaring import Squaring

WINDOWS = {
    "crop": (50, 0, 100, 100),
    "letterbox": (0, -50, 200, 200),
    "stretch": (0, 0, 200, 100),
}


@pytest.mark.parametrize("fit", WINDOWS)
def test_the_window_is_what_the_canvas_shows(fit):
    squaring = Squaring(fit, 200, 100)
    assert squaring.window == WINDOWS[fit]
    left, top, width, height = WINDOWS[fit]
    assert squaring.to_canvas(left, top) == (0, 0)
    assert squaring.to_canvas(left + width, top + height) == (1, 1)


@pytest.mark.parametrize("fit", WINDOWS)
@pytest.mark.parametrize("size", [(200, 100), (333, 777), (1, 16_384)])
def test_positions_on_the_canvas_are_fractions_of_the_window(fit, size):
    squaring = Squaring(fit, *size)
    left, top, width, height = squaring.window
    for place in ((0.0, 0.0), (12.5, 99.0), size):
        x, y = squaring.to_canvas(*place)
        assert (left + x * width, top + y * height) == pytest.approx(place)


@pytest.mark.parametrize("fit", WINDOWS)
def test_what_stands_in_the_picture_stands_there_on_the_canvas(fit):
    picture = Image.new("RGB", (200, 100), "white")
    picture.paste("red", (90, 40, 110, 60))
    squaring = Squaring(fit, *picture.size)
    canvas = np.asarray(squaring.apply(picture, 256, "#808080"))
    assert canvas.shape == (256, 256, 3)
    rows, columns = np.nonzero((canvas[..., 0] > 200) & (canvas[..., 1] < 90))
    left, top = squaring.to_canvas(90, 40)
    right, bottom = squaring.to_canvas(110, 60)
    found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert found == pytest.approx([256 * side for side in (left, top, right, bottom)], abs=1.5)
    assert tuple(canvas[2, 128]) == ((128, 128, 128) if fit == "letterbox" else (255, 255, 255))


@pytest.mark.parametrize(("fit", "size"), [("fill", (9, 9)), ("crop", (0, 9)), ("crop", (9, 16_385))])
def test_unknown_rules_and_impossible_sizes_are_refused(fit, size):
    with pytest.raises(PromptError, match=r"fit: is 'fill'|photo: is \d+ x \d+ pixels"):
        Squaring(fit, *size)
