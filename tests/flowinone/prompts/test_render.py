"""The renderer: kept pictures of every task, determinism, and marks on the right pixels.

After a wanted change of looks, write the kept pictures anew, and look at them:

    PYTHONPATH=. python tests/flowinone/prompts/test_render.py
"""

import hashlib
import json
import math
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowinone.prompts.checks import PromptError
from flowinone.prompts.render import render
from flowinone.prompts.spec import (
    Box,
    Doodle,
    Erase,
    ForceArrow,
    GradientCanvas,
    MarkerArrow,
    PhotoCanvas,
    SolidCanvas,
    Stroke,
    Text,
    TextStyle,
    Trajectory,
    VisualPrompt,
    Wind,
)

ROOT = Path(__file__).parents[3]
KEPT = ROOT / "tests" / "fixtures" / "rendered"
PHOTO = ROOT / "tests" / "fixtures" / "preprocess" / "wide.png"
PLAIN = TextStyle(bold=False, size=26, pitch=1.08)
GREY = SolidCanvas("#808080")

RING = tuple((0.4 + 0.2 * math.cos(turn / 10), 0.35 + 0.15 * math.sin(turn / 10)) for turn in range(64))
PROMPTS = [
    VisualPrompt(
        "class_to_image",
        GradientCanvas("#1d3557", "#a8dadc", "horizontal"),
        (
            Text(
                "arch",
                (0.05, 0.52, 0.95, 0.95),
                "label",
                "middle",
                TextStyle("condensed", size=64, fill="#ffffff", outline="#000000"),
            ),
        ),
    ),
    VisualPrompt(
        "text_to_image",
        SolidCanvas(),
        (
            Text(
                "tourists walking past an asian food stall",
                (0.05, 0.05, 0.92, 0.95),
                "caption",
                "middle",
                TextStyle(size=48, pitch=4 / 3, letter_spacing=2.8, align="right"),
            ),
        ),
    ),
    VisualPrompt(
        "text_in_image",
        PhotoCanvas(),
        (
            Erase(((0.1, 0.1), (0.5, 0.2), (0.3, 0.5))),
            Text(
                "Change the environment to a snowy winter wonderland",
                style=TextStyle("comic", size=30, pitch=1.4, letter_spacing=3),
            ),
        ),
    ),
    VisualPrompt(
        "text_box",
        PhotoCanvas("letterbox"),
        (Box((0.36, 0.35, 0.84, 0.89), "put a blue jay"), Box((0.02, 0.01, 0.3, 0.3), "place a bench")),
    ),
    VisualPrompt(
        "visual_marker",
        PhotoCanvas("stretch"),
        (
            MarkerArrow((0.95, 0.6), (0.5, 0.45)),
            Text("Remove the object pointed to by the arrow.", style=TextStyle("mono", bold=False, size=24)),
        ),
    ),
    VisualPrompt(
        "doodle",
        PhotoCanvas(),
        (
            Doodle((Stroke(RING), Stroke(((0.7, 0.1), (0.9, 0.3), (0.8, 0.5)), "round", 6, "#ffd000"))),
            Text("Turn the doodle in the image into a realistic real-world object", style=PLAIN),
        ),
    ),
    VisualPrompt(
        "point_force",
        PhotoCanvas(),
        (
            ForceArrow((0.2, 0.4), 20),
            ForceArrow((0.7, 0.3), 200, 1.5, color="#46e7e0"),
            Text(
                "Apply forces to the object according to the arrows until stop, and generate the final image.",
                style=PLAIN,
            ),
        ),
    ),
    VisualPrompt(
        "wind",
        PhotoCanvas(),
        (
            Wind((0.4, 0.35), 25, 2),
            Text("Interpret the wavy lines as wind and generate the resulting wind-blown image.", style=PLAIN),
        ),
    ),
    VisualPrompt(
        "trajectory",
        PhotoCanvas(),
        (
            Trajectory(((0.1, 0.2), (0.4, 0.5), (0.6, 0.15), (0.9, 0.4))),
            Trajectory(((0.1, 0.6), (0.4, 0.65), (0.6, 0.55)), False, "#4169e1", 7),
            Text(
                "Follow the solid line as the trajectory of objects and generate the final image",
                style=TextStyle("sans", size=23),
            ),
        ),
    ),
]


def ground() -> Image.Image:
    """A photo that a PNG keeps small: a sky over a floor, wider than high."""
    y, x = np.mgrid[:192, :256]
    sky, floor = np.array((150, 190, 225)), np.array((150, 125, 90))
    return Image.fromarray(np.where((y < 110 + x // 16)[..., None], sky, floor).astype(np.uint8))


def drawn(prompt: VisualPrompt, size: int = 256) -> Image.Image:
    photo = None
    if isinstance(prompt.canvas, PhotoCanvas):
        photo = Image.open(PHOTO) if prompt.task == "text_box" else ground()
    return render(prompt, photo, size)


def digests() -> dict[str, str]:
    return {prompt.task: hashlib.sha256(drawn(prompt).tobytes()).hexdigest() for prompt in PROMPTS}


def ink(picture: Image.Image, color: str = "#808080") -> np.ndarray:
    """How far each pixel is from the plain ground, [H, W]."""
    return np.abs(np.asarray(picture).astype(int) - np.asarray(Image.new("RGB", (1, 1), color)).astype(int)).max(axis=2)


def on_grey(*marks, size: int = 512) -> Image.Image:
    return render(VisualPrompt("text_in_image", GREY, marks), size=size)


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.task)
def test_every_task_looks_as_kept(prompt):
    kept = np.asarray(Image.open(KEPT / f"{prompt.task}.png").convert("RGB")).astype(int)
    difference = np.abs(np.asarray(drawn(prompt)).astype(int) - kept).max(axis=2)
    # Another FreeType shifts letters' edges by a fraction of a pixel, but moves no mark and breaks no line elsewhere.
    assert difference.mean() < 1.5 and np.percentile(difference, 99.5) < 96


def test_two_renderings_are_the_same_bytes_in_one_process_and_in_another():
    here = digests()
    assert digests() == here
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, map(str, (*sys.path, ROOT)))),
        "PYTHONHASHSEED": "1",
    }
    there = subprocess.run(
        [sys.executable, __file__, "--digests"], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(there.stdout) == here


@pytest.mark.parametrize("size", [64, 100, 333, 512, 1024])
@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.task)
def test_a_prompt_looks_the_same_at_every_size(prompt, size):
    picture = drawn(prompt, size)
    assert picture.size == (size, size) and picture.mode == "RGB"
    small, kept = (
        np.asarray(image.resize((32, 32), Image.Resampling.BOX)).astype(int) for image in (picture, drawn(prompt))
    )
    assert np.abs(small - kept).mean() < (4 if size >= 100 else 8)


def test_the_largest_canvas_takes_no_more_than_a_few_times_its_memory():
    prompt = VisualPrompt(
        "doodle", GREY, (Doodle((Stroke(((0, 0), (1, 1), (0, 1), (1, 0))),)), Erase(((0, 0), (1, 0.1), (0.9, 1))))
    )
    render(prompt, size=64)
    tracemalloc.start()
    start = time.perf_counter()
    picture = render(prompt, size=4096)
    taken = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert picture.size == (4096, 4096)
    # Pillow's own memory is not traced; what numpy and Python hold beside it is.
    assert peak < 3 * 4096 * 4096 * 3 and taken < 10


@pytest.mark.parametrize("angle", range(0, 360, 30))
@pytest.mark.parametrize("kind", ["marker", "force"])
def test_an_arrow_ends_on_its_tip(kind, angle):
    along = np.array((math.cos(math.radians(angle)), -math.sin(math.radians(angle))))
    if kind == "marker":
        mark = MarkerArrow((0.5, 0.5), tuple((0.5 + 0.25 * along).tolist()))
    else:
        mark = ForceArrow((0.5, 0.5), angle, 0.25, 1)
    y, x = np.nonzero(ink(on_grey(mark)) > 90)
    reached = ((x + 0.5 - 256) * along[0] + (y + 0.5 - 256) * along[1]).max()
    assert reached == pytest.approx(128, abs=1.6)
    tail = ((x + 0.5 - 256) * along[0] + (y + 0.5 - 256) * along[1]).min()
    assert tail == pytest.approx(0 if kind == "marker" else -4, abs=1.2)


@pytest.mark.parametrize("mark", [MarkerArrow((0.5, 0.5), (0.51, 0.5)), ForceArrow((0.5, 0.5), 0, 0.01, 1)])
def test_an_arrow_shorter_than_its_head_has_a_smaller_one(mark):
    y, x = np.nonzero(ink(on_grey(mark)) > 60)
    assert x.max() - x.min() < 12 and y.max() - y.min() < 10
    assert x.max() == pytest.approx(256 + 0.01 * 512, abs=1.5)


def test_a_force_arrow_has_a_rim_and_a_wider_head():
    picture = on_grey(ForceArrow((0.25, 0.5), 0, 0.25, 1, "#ff0000", "#ffffff"))
    reds = [picture.getpixel((160, y))[1] < 64 for y in range(512)]
    whites = [picture.getpixel((160, y))[1] > 192 for y in range(512)]
    assert sum(reds) == 6 and sum(whites) == 2 and reds.index(True) - whites.index(True) == 1
    head = np.nonzero(ink(picture)[:, 240] > 60)[0]
    assert 23 <= head.max() - head.min() <= 27


def test_a_boxs_lines_are_crisp_and_where_its_area_ends():
    picture = np.asarray(on_grey(Box((0.25, 0.25, 0.75, 0.5)), size=512))
    red = (picture == (255, 0, 0)).all(axis=2)
    y, x = np.nonzero(red)
    assert (x.min() + x.max() + 1) / 2 == pytest.approx(256, abs=1) and x.max() + 1 - x.min() == pytest.approx(
        256 + 3, abs=1
    )
    assert (y.min() + y.max() + 1) / 2 == pytest.approx(192, abs=1)
    assert red[200].sum() == 6 and red[:, 300].sum() == 6
    assert ink(Image.fromarray(picture))[~red].max() == 0


def test_a_box_beyond_the_canvas_is_cut_off():
    red = ink(on_grey(Box((-0.5, 0.5, 1.5, 2)))) > 0
    assert red[254:259].any() and not red[260:].any()


def test_a_trajectory_has_no_head_and_round_ends():
    covered = ink(on_grey(Trajectory(((0.25, 0.5), (0.75, 0.5)), width=20))) > 100
    heights = covered.sum(axis=0)
    assert heights[140:370].min() == heights[140:370].max() == pytest.approx(20, abs=1)
    assert covered[256].nonzero()[0].min() == pytest.approx(128 - 10, abs=1.2)
    assert heights[128 - 9] < 12


def test_a_smooth_path_goes_through_its_points_and_a_straight_one_too():
    points = ((0.1, 0.2), (0.4, 0.5), (0.6, 0.15), (0.9, 0.4))
    for smooth in (True, False):
        covered = ink(on_grey(Trajectory(points, smooth))) > 90
        assert all(covered[round(y * 512), round(x * 512)] for x, y in points)
    assert ink(on_grey(Trajectory(points))).sum() != ink(on_grey(Trajectory(points, False))).sum()


def test_a_doodle_is_three_white_lines_in_black():
    column = np.asarray(on_grey(Doodle((Stroke(((0.2, 0.5), (0.8, 0.5)), width=28),))).convert("L"))[230:282, 256]
    tones = [tone for tone in np.where(column > 200, 1, np.where(column < 60, 0, 9)).tolist() if tone != 9]
    assert [tone for number, tone in enumerate(tones) if not number or tones[number - 1] != tone] == [
        0,
        1,
        0,
        1,
        0,
        1,
        0,
    ]


def test_a_round_brush_has_its_colour_and_erased_regions_theirs():
    picture = on_grey(
        Doodle((Stroke(((0.2, 0.2), (0.8, 0.2)), "round", 10, "#00ff00"),)),
        Erase(((0.2, 0.4), (0.8, 0.4), (0.5, 0.9)), "#123456"),
    )
    assert picture.getpixel((256, 102)) == (0, 255, 0) and picture.getpixel((256, 300)) == (0x12, 0x34, 0x56)
    assert picture.getpixel((110, 300)) == (128, 128, 128)


@pytest.mark.parametrize(("angle", "wide"), [(0, True), (90, False), (180, True)])
def test_wind_blows_along_its_angle(angle, wide):
    y, x = np.nonzero(ink(on_grey(Wind((0.5, 0.5), angle, 2))) > 60)
    across, along = x.max() - x.min(), y.max() - y.min()
    assert max(across, along) == pytest.approx(0.36 * 512, rel=0.1)
    assert (across > along) == wide
    # The curls are at the end that the wind blows to.
    assert (np.median(x) > 256) == (angle == 0) or angle == 90


@pytest.mark.parametrize(
    "mark",
    [
        Trajectory(((-1, -1), (-0.5, -0.5))),
        Doodle((Stroke(((2, 2), (1.5, 1.2))),)),
        Erase(((1.1, 0), (2, 0), (2, 1))),
        ForceArrow((1.5, 0.5), 0),
        MarkerArrow((-1, 0.5), (-0.5, 0.5)),
        Wind((-1, -1)),
    ],
    ids=lambda mark: type(mark).__name__,
)
def test_marks_off_the_canvas_leave_it_untouched(mark):
    assert ink(on_grey(mark)).max() == 0


@pytest.mark.parametrize("kind", ["scribble", "doodle", "erase"])
def test_twenty_thousand_points_are_drawn_quickly(kind):
    walk = np.cumsum(np.random.default_rng(0).normal(0, 0.004, (20_000, 2)), axis=0) % 1
    points = tuple(map(tuple, walk.tolist()))
    mark = {"scribble": Trajectory(points), "doodle": Doodle((Stroke(points),)), "erase": Erase(points)}[kind]
    start = time.perf_counter()
    on_grey(mark)
    # A tenth of that on two idle cores.
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "F", "YCbCr"])
def test_photos_of_any_mode_are_drawn_on(mode):
    if mode in ("I;16", "F"):
        grey = np.asarray(ground().convert("L"))
        photo = Image.fromarray(grey.astype(np.uint16) * 257 if mode == "I;16" else (grey / 255).astype(np.float32))
    else:
        photo = ground().convert(mode)
    assert photo.mode == mode
    picture = render(VisualPrompt("text_box", PhotoCanvas(), (Box((0.2, 0.2, 0.8, 0.8)),)), photo, 128)
    assert picture.mode == "RGB" and picture.getpixel((64, 20))[2] > 100


def test_a_photo_is_turned_as_its_exif_data_says_and_left_as_it_was(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    ground().save(tmp_path / "turned.png", exif=exif)
    photo = Image.open(tmp_path / "turned.png")
    turned = render(VisualPrompt("text_box", PhotoCanvas("stretch")), photo, 64)
    assert turned.getpixel((60, 32))[2] > turned.getpixel((4, 32))[2]
    plain = ground()
    before = plain.tobytes()
    render(VisualPrompt("text_box", PhotoCanvas("stretch"), (Erase(((0, 0), (1, 0), (1, 1))),)), plain, 256)
    assert plain.tobytes() == before


def test_gradients_run_from_one_colour_to_the_other():
    picture = render(VisualPrompt("class_to_image", GradientCanvas("#000000", "#ff8000", "horizontal")), size=256)
    assert (
        picture.getpixel((0, 9)) == (0, 0, 0)
        and picture.getpixel((255, 200)) == (255, 128, 0)
        and picture.getpixel((128, 0))[0] == 128
    )
    assert render(VisualPrompt("class_to_image", GradientCanvas("#000000", "#ff8000")), size=64).getpixel((9, 63)) == (
        255,
        128,
        0,
    )


@pytest.mark.parametrize("size", [63, 4097, 0, -5, 512.0, True, None])
def test_sizes_that_cannot_be_are_refused(size):
    with pytest.raises(PromptError, match="64 to 4096") as error:
        render(VisualPrompt("class_to_image", GREY), size=size)
    assert error.value.field == "size"


def test_a_photo_goes_with_a_photo_canvas_only():
    with pytest.raises(PromptError, match="photo: is missing"):
        render(VisualPrompt("text_box", PhotoCanvas()))
    with pytest.raises(PromptError, match="photo: is given"):
        render(VisualPrompt("class_to_image", GREY), ground())


@pytest.mark.parametrize("size", [(30_000, 2), (2, 30_000), (0, 5)])
def test_photos_too_large_or_empty_are_refused_before_they_are_decoded(size):
    prompt = VisualPrompt("text_in_image", PhotoCanvas(), (Text("make it snow"),))
    with pytest.raises(
        PromptError, match=rf"photo: is {size[0]} x {size[1]} pixels; expected 1 to 16,384 on each side"
    ):
        render(prompt, Image.new("L", size))


def test_an_animated_photo_shows_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (64, 64), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "moving.gif") as photo:
        picture = render(VisualPrompt("text_in_image", PhotoCanvas()), photo, 64)
    assert picture.getpixel((32, 32)) == (255, 0, 0)


if __name__ == "__main__":
    if sys.argv[1:] == ["--digests"]:
        print(json.dumps(digests()))
        assert "torch" not in sys.modules, "the renderer works where only Pillow and numpy are installed"
    else:
        KEPT.mkdir(exist_ok=True)
        for kept_prompt in PROMPTS:
            drawn(kept_prompt).save(KEPT / f"{kept_prompt.task}.png", optimize=True)
