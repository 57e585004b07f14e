"""Sheets of visual prompts: one of each task, or published samples next to our renderings of them.

    python -m scripts.gallery                                    # docs/gallery.jpg
    python -m scripts.gallery --prompts tests/fixtures/prompts   # the same prompts, one picture each, for the tests
    python -m scripts.gallery --samples DIR --out sheet.png      # samples left, renderings right

The photos under the samples are not public. In their place a rendering has the model's answer, if DIR has it as
NAME_output, or else the blurred sample.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from PIL import Image

from devtools import ROOT, photos
from devtools.contact_sheet import contact_sheet, in_rows, resized
from flowinone.prompts import tasks
from flowinone.prompts.render import render
from flowinone.prompts.spec import (
    Box,
    Doodle,
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
)

OURS = ROOT / "docs" / "gallery.jpg"
DARK, LIGHT = {"fill": "#000000", "outline": "#ffffff"}, {"fill": "#ffffff", "outline": "#000000"}
DOODLE = "Turn the doodle in the image into a realistic real-world object"
FORCES = "Apply forces to the object according to the arrows until stop, and generate the final image."
PATH = "Follow the solid line as the trajectory of objects and generate the final image"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, metavar="DIR", help="real samples to compare with")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"the sheet. Default: {OURS.relative_to(ROOT)}")
    parser.add_argument("--side", type=int, default=384, help="pixels of one picture's side. Default: %(default)s")
    parser.add_argument(
        "--prompts", type=Path, metavar="DIR", help="write one prompt of each task there, at 512 pixels"
    )
    options = parser.parse_args()
    if options.samples and not options.out:
        parser.error("--samples needs --out: samples are not part of the project")
    if options.prompts:
        for name, (prompt, ground) in ours().items():
            render(prompt, ground).save(options.prompts / f"{name}.png", optimize=True)
        return
    if options.samples:
        pictures = compared(options.samples)
    else:
        pictures = [render(prompt, ground, options.side) for prompt, ground in ours().values()]
    out = options.out or OURS
    out.parent.mkdir(parents=True, exist_ok=True)
    cells = [resized(picture, options.side, options.side) for picture in pictures]
    contact_sheet(list(in_rows(cells, 6 if options.samples else 3))).save(out, quality=85)


def compared(folder: Path) -> list[Image.Image]:
    """Every sample in the folder, each followed by our rendering of it."""
    pictures = []
    for name, prompt in samples().items():
        found = [
            folder / f"{name}_input{suffix}"
            for suffix in (".png", ".jpg")
            if (folder / f"{name}_input{suffix}").exists()
        ]
        if not found:
            continue
        sample = Image.open(found[0]).convert("RGB").resize((512, 512))
        ground = None
        if isinstance(prompt.canvas, PhotoCanvas):
            answer = found[0].with_name(found[0].name.replace("_input", "_output"))
            # Without an answer: the sample itself, blurred until its marks are gone.
            ground = (
                Image.open(answer)
                if answer.exists()
                else sample.resize((8, 8), Image.Resampling.BOX).resize((512, 512))
            )
        pictures += [sample, render(prompt, ground)]
    return pictures


def ours() -> dict[str, tuple[VisualPrompt, Image.Image | None]]:
    """A prompt of each task, and the made-up photo that it is drawn on."""
    middle = (270, 108)
    flower = [
        (middle[0] + (40 + 12 * math.cos(6 * t)) * math.cos(t), middle[1] + (40 + 12 * math.cos(6 * t)) * math.sin(t))
        for t in _turns(61)
    ]
    strokes = [
        [(268, 250), (263, 232), (262, 214), (265, 190), (272, 172), (270, 150)],
        [(266, 208), (276, 189), (292, 177), (308, 176), (322, 182), (314, 198), (300, 207), (284, 213), (268, 216)],
        flower,
        [(middle[0] + 13 * math.cos(t), middle[1] + 13 * math.sin(t)) for t in _turns(31)],
    ]
    path = [(136, 290), (138, 220), (168, 140), (250, 96), (352, 92), (424, 84)]
    sea, lake = photos.photo(photos.sea()), photos.photo(photos.lake())
    return {
        "class_to_image": (tasks.class_to_image("arch", canvas=GradientCanvas("#263478", "#ec9684")), None),
        "text_to_image": (tasks.text_to_image("a red bicycle leaning against a garden wall"), None),
        "text_in_image": (tasks.text_in_image("Change the environment to a snowy winter wonderland"), lake),
        "text_box": (tasks.text_box([(area(232, 296, 426, 412), "place a bench")]), photos.photo(photos.meadow())),
        "visual_marker": (tasks.visual_marker(point(96, 120), point(284, 246), color="#ff40be"), sea),
        "doodle": (
            tasks.doodle([[point(x, y) for x, y in stroke] for stroke in strokes]),
            photos.photo(photos.room()),
        ),
        "force": (
            tasks.point_force([(point(128, 226), 17.7, 1.0)], color="#3cdeec"),
            photos.photo(photos.ground(), grain=0.3),
        ),
        "wind": (tasks.wind(point(130, 150), 0, 1.2), sea),
        "trajectory": (
            tasks.trajectory([[point(x, y) for x, y in path]], color="#3060e2"),
            photos.photo(photos.floor()),
        ),
    }


def samples() -> dict[str, VisualPrompt]:
    """What the published samples show, as measured on them: sizes in units, positions in pixels of 512."""
    comic = TextStyle("comic", True, 26, letter_spacing=3.4, pitch=1.5, fill="#d8ebff", outline="#000000")
    return {
        "bbox_2": photo(
            "text_box", Box(area(187.5, 180.5, 429.5, 453.5), "put a blue jay", style=plain(28, 30, **LIGHT))
        ),
        "vm_4": photo(
            "visual_marker",
            MarkerArrow(point(508, 321), point(258.5, 255), "#ff6c48"),
            words(
                "Remove the object pointed to by\nthe arrow in the foreground.", plain(29.5, 30, **DARK), 40, 466, 500
            ),
        ),
        "vm_1": photo(
            "visual_marker",
            MarkerArrow(point(485, 474), point(320, 431.5), "#d2d2d2"),
            words(
                "Swap the object pointed to by the arrow with with a paved, asphalt road "
                "with a light gray/dark gray appearance.",
                plain(29.2, 30, **LIGHT),
                60,
                365,
                474,
            ),
        ),
        "vm_3": photo(
            "visual_marker",
            MarkerArrow(point(364, 292), point(276, 316.5), "#101010"),
            words(
                "Swap the object pointed to by the arrow with with a dark-colored wolf facing away from the viewer.",
                plain(29.2, 30, **LIGHT),
                55,
                421,
                465,
            ),
        ),
        "doodle_1": photo(
            "doodle", Doodle((cloud_stroke(), crescent_stroke())), words(DOODLE, plain(23, 25.5, **DARK), 45, 500, 467)
        ),
        "doodle_2": photo("doodle", Doodle(spiral_strokes()), words(DOODLE, plain(25, 27, **LIGHT), 30, 498, 482)),
        "force_2": photo(
            "point_force", push((340, 94), (419.5, 43), "#f2f2f2"), words(FORCES, plain(20.2, 23, **DARK), 25, 498, 487)
        ),
        "force_4": photo(
            "point_force",
            push((93.5, 209.5), (200.5, 195), "#46e7e0"),
            words(FORCES, plain(26.2, 28, **DARK), 25, 500, 487),
        ),
        "traj_2": photo(
            "trajectory",
            Trajectory(
                (point(443, 187), point(432, 132), point(410, 98), point(350, 76), point(245, 70), point(163, 70)),
                True,
                "#4766e3",
                7,
            ),
            words(PATH, plain(22.2, 25, **DARK), 35, 498, 475),
        ),
        "traj_3": photo(
            "trajectory",
            Trajectory((point(48, 251), point(-4, 420)), color="#22ad50", width=4.5),
            Trajectory((point(128, 16), point(180, -1)), color="#22ad50", width=4.5),
            words(PATH, plain(23.2, 25, **DARK), 30, 498, 482),
        ),
        "tii_1": photo(
            "text_in_image",
            words(
                "Change the environment to a snowy winter wonderland",
                TextStyle("condensed", True, 33.5, pitch=1.56, letter_spacing=3.6, fill="#d8e4ff", outline="#000000"),
                25,
                488,
                497,
            ),
        ),
        "tii_2": photo(
            "text_in_image",
            words(
                tasks.SUBTASK_INSTRUCTIONS["inpaint"],
                TextStyle("mono", False, 32, pitch=1.39, letter_spacing=0.5, fill="#f5eadd", outline="#000000"),
                25,
                496,
                487,
            ),
        ),
        "tii_3": photo(
            "text_in_image",
            words(
                "Depth to image: In this image I can see the water, the sand and few clouds in the sky. "
                "In the background I can see the sky.",
                TextStyle("comic", False, 22.5, pitch=1.65, letter_spacing=4.2, fill="#110915", outline="#ffffff"),
                32,
                508,
                508,
            ),
        ),
        "tii_5": photo(
            "text_in_image",
            words(
                "Image restoration",
                TextStyle("sans", False, 58, pitch=1.34, letter_spacing=4, fill="#e6cdd7", outline="#000000"),
                90,
                509,
                420,
            ),
        ),
        "tii_6": photo(
            "text_in_image",
            words(
                "Add a great white shark in the foreground, facing the camera, behind some metal bars.",
                comic,
                20,
                495,
                506,
            ),
        ),
        "t2i_1": t2i(SolidCanvas("#fd6fa7")),
        "t2i_4": t2i(SolidCanvas("#fd6fa7")),
        "t2i_2": VisualPrompt(
            "text_to_image",
            SolidCanvas("#7f8080"),
            (
                words(
                    "the old skool vans\nin adventure time",
                    TextStyle("serif", False, 58, pitch=1.28, fill="#f9fbe4", outline="#000000"),
                    40,
                    317,
                    490,
                ),
            ),
        ),
    }


def t2i(canvas: SolidCanvas) -> VisualPrompt:
    style = TextStyle(size=48, pitch=4 / 3, letter_spacing=2.8, align="right", fill="#1c0812", outline="#ffffff")
    return VisualPrompt(
        "text_to_image", canvas, (words("tourists walking past an asian food stall", style, 40, 308, 464),)
    )


def photo(task: str, *marks) -> VisualPrompt:
    return VisualPrompt(task, PhotoCanvas("stretch"), marks)


def point(x: float, y: float) -> tuple[float, float]:
    return x / 512, y / 512


def area(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
    return left / 512, top / 512, right / 512, bottom / 512


def plain(size: float, pitch: float, **colors: str) -> TextStyle:
    """The usual lettering, with a line pitch in units."""
    return TextStyle(bold=False, size=size, pitch=pitch / size, **colors)


def words(text: str, style: TextStyle, left: float, bottom: float, right: float) -> Text:
    return Text(text, area(left, 10, right, bottom), style=style)


def push(start: tuple[float, float], tip: tuple[float, float], color: str) -> ForceArrow:
    along, up = tip[0] - start[0], start[1] - tip[1]
    return ForceArrow(point(*start), math.degrees(math.atan2(up, along)), math.hypot(along, up) / 109, color=color)


def cloud_stroke() -> Stroke:
    # Each bump: its middle, radius, and from where to where it turns, in half turns clockwise from the right.
    bumps = (
        (20, 29, 22, 1, 2),
        (55, 33, 12, 1.1, 2.2),
        (80, 45, 14, 1.2, 2.2),
        (86, 73, 16, 1.6, 2.6),
        (56, 82, 16, 0.1, 1),
        (20, 86, 14, 0.1, 1),
    )
    points = [
        (x + r * math.cos(t * math.pi), y + r * math.sin(t * math.pi))
        for x, y, r, a, b in bumps
        for t in np.linspace(a, b, 24)
    ]
    return Stroke(tuple(point(x, y) for x, y in points))


def crescent_stroke() -> Stroke:
    outer = [(205 + 182 * math.cos(t), 265 + 100 * math.sin(t)) for t in np.linspace(-0.45, math.pi + 0.45, 60)]
    inner = [(205 - 130 * math.cos(t), 215 + 72 * math.sin(t)) for t in np.linspace(0.1, math.pi - 0.1, 60)]
    return Stroke(tuple(point(x, y) for x, y in [*outer, *inner, outer[0]]))


def spiral_strokes() -> tuple[Stroke, ...]:
    strokes = []
    for arm in range(6):
        turns = np.linspace(0.1, 1, 60)
        angles = arm * math.pi / 3 + turns * 2.4 * math.pi
        strokes.append(
            Stroke(
                tuple(point(165 + 45 * r * math.cos(a), 304 + 34 * r * math.sin(a)) for r, a in zip(turns, angles)),
                "round",
                1.2,
            )
        )
    return tuple(strokes)


def _turns(count: int) -> np.ndarray:
    return np.linspace(0, 2 * math.pi, count)


if __name__ == "__main__":
    main()
