"""`flowinone compose` and `flowinone schema`, and how `flowinone generate` reads what they write."""

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from devtools import tiny
from flowinone import FlowInOnePipeline
from flowinone.cli import main
from flowinone.cli.compose import _ALIASES, _BUILDERS
from flowinone.prompts import TASKS, dumps, json_schema, loads, render, tasks, typeface
from flowinone.prompts.prompt_files import PROMPT_CHUNK
from flowinone.prompts.spec import GradientCanvas, PhotoCanvas, SolidCanvas

BOX = ["--task", "text_box", "--box", "0.2,0.3,0.5,0.6", "--label", "put a blue jay"]
PROMPT = tasks.text_box([((0.2, 0.3, 0.5, 0.6), "put a blue jay")])


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.open(tiny.FIXTURES / "preprocess" / "wide.png").convert("RGB").save(path)
    return path


@pytest.fixture
def weights(model_files):
    return [part for name, path in model_files.items() for part in (f"--{name}", str(path))]


def compose(*arguments):
    return main(["compose", *map(str, arguments)])


def specified(tmp_path, *arguments):
    """The prompt that these options make."""
    assert compose(*arguments, "--spec-out", tmp_path / "made.json", "--overwrite") == 0
    return loads((tmp_path / "made.json").read_bytes())


def same_pictures(one, other):
    return one.size == other.size and one.convert("RGB").tobytes() == other.convert("RGB").tobytes()


def test_options_become_a_picture_that_carries_its_document(photo, tmp_path):
    out = tmp_path / "deep" / "prompt.png"
    assert compose(*BOX, "--image", photo, "--out", out) == 0
    with Image.open(out) as picture:
        assert picture.size == (512, 512)
        assert loads(picture.info[PROMPT_CHUNK]) == PROMPT
        assert same_pictures(picture, render(PROMPT, Image.open(photo)))
    assert [path.name for path in out.parent.iterdir()] == ["prompt.png"]


def test_a_document_becomes_a_picture_and_a_picture_a_document(photo, tmp_path):
    spec, picture, again = tmp_path / "spec.json", tmp_path / "prompt.png", tmp_path / "again.json"
    spec.write_text(dumps(PROMPT), encoding="utf-8")
    assert compose(spec, "--image", photo, "--out", picture, "--size", 96) == 0
    assert Image.open(picture).size == (96, 96)
    assert compose(picture, "--spec-out", again) == 0
    assert loads(again.read_bytes()) == PROMPT


def test_words_of_all_scripts_travel_in_the_picture(tmp_path):
    out = tmp_path / "prompt.png"
    assert compose("--task", "class_to_image", "--text", "café ☕", "--out", out) == 0
    assert loads(Image.open(out).info[PROMPT_CHUNK]).marks[0].text == "café ☕"


def test_standard_input_and_output_do_for_files():
    run = subprocess.run(
        [sys.executable, "-m", "flowinone", "compose", "-", "--out", "-"],
        input=dumps(tasks.class_to_image("arch")).encode(),
        capture_output=True,
        check=True,
    )
    assert same_pictures(Image.open(io.BytesIO(run.stdout)), render(tasks.class_to_image("arch")))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--task", "class_to_image", "--text", "arch"], tasks.class_to_image("arch")),
        (
            ["--task", "class_to_image", "--text", "arch", "--canvas", "#8ec5fc, red,horizontal", "--no-bypass"],
            tasks.class_to_image("arch", canvas=GradientCanvas("#8ec5fc", "red", "horizontal"), bypass=False),
        ),
        (
            ["--task", "text_to_image", "--text", "a cat", "--canvas", "#fd6fa7"],
            tasks.text_to_image("a cat", canvas=SolidCanvas("#fd6fa7")),
        ),
        (["--task", "text_in_image", "--text", "Make it winter"], tasks.text_in_image("Make it winter")),
        (
            ["--task", "text_in_image", "--preset", "depth", "--caption", "a sea", "--fit", "letterbox"],
            tasks.text_in_image("Depth to image: a sea", canvas=PhotoCanvas("letterbox")),
        ),
        (BOX, PROMPT),
        (
            [*BOX, "--box", "0,0,1,1", "--label", "put a cat", "--color", "blue"],
            tasks.text_box([((0.2, 0.3, 0.5, 0.6), "put a blue jay"), ((0, 0, 1, 1), "put a cat")], color="blue"),
        ),
        (["--task", "visual_marker", "--arrow", "0.9,0.6,0.5,0.5"], tasks.visual_marker((0.9, 0.6), (0.5, 0.5))),
        (
            ["--task", "visual_marker", "--arrow", "0.9,0.6,0.5,0.5", "--thing", "a wolf", "--color", "#ff0"],
            tasks.visual_marker((0.9, 0.6), (0.5, 0.5), thing="a wolf", color="#ff0"),
        ),
        (
            ["--task", "doodle", "--stroke", "0,0 0.5,0.5 1,0", "--stroke", "0.1,0.1 0.2,0.2"],
            tasks.doodle([[(0, 0), (0.5, 0.5), (1, 0)], [(0.1, 0.1), (0.2, 0.2)]]),
        ),
        (
            ["--task", "doodle", "--stroke", "0,0 1,0", "--color", "red"],
            tasks.doodle([[(0, 0), (1, 0)]], brush="round", color="red"),
        ),
        (
            ["--task", "point_force", "--force", "0.5,0.5,-90", "--force", "0.1,0.1,30,0.5", "--text", tasks.IMPULSE],
            tasks.point_force([((0.5, 0.5), -90), ((0.1, 0.1), 30, 0.5)], instruction=tasks.IMPULSE),
        ),
        (["--task", "wind", "--wind", "0.3,0.4,20,1.5"], tasks.wind((0.3, 0.4), 20, 1.5)),
        (["--task", "wind", "--wind", "0.3,0.4"], tasks.wind((0.3, 0.4))),
        (["--task", "trajectory", "--path", "0.1,0.1 0.2,0.2"], tasks.trajectory([[(0.1, 0.1), (0.2, 0.2)]])),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else "",
)
def test_options_make_the_tasks_prompt(options, expected, tmp_path):
    assert specified(tmp_path, *options) == expected


def test_files_that_exist_are_kept_unless_overwritten(photo, tmp_path, capfd):
    out, spec = tmp_path / "prompt.png", tmp_path / "spec.json"
    out.write_bytes(b"mine")
    arguments = [*BOX, "--image", photo, "--out", out, "--spec-out", spec]
    assert compose(*arguments) == 0
    assert out.read_bytes() == b"mine" and loads(spec.read_bytes()) == PROMPT
    assert f"{out} exists already and is kept (--overwrite replaces it)" in capfd.readouterr().err
    assert compose(*arguments, "--overwrite") == 0
    assert Image.open(out).size == (512, 512)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*BOX], "nowhere to write to: give --out, --spec-out or both"),
        (["--out", "x.png"], "give a SPEC or a --task, one of them"),
        (["spec.json", *BOX, "--out", "x.png"], "give a SPEC or a --task, one of them"),
        (
            ["spec.json", "--color", "red", "--out", "x.png"],
            "--color goes with --task, and spec.json is a whole prompt; leave one out",
        ),
        (["missing.json", "--out", "x.png"], "missing.json"),
        (["broken.json", "--out", "x.png"], "broken.json: marks[0].colour: is not a field here; did you mean color?"),
        (["photo.jpg", "--out", "x.png"], "photo.jpg: document: is not UTF-8 text"),
        (["plain.png", "--out", "x.png"], "plain.png is a picture without a visual prompt in it"),
        (["spec.json", "--out", "x.png"], "the prompt is drawn on a photo, and none was given; give it with --image"),
        (["spec.json", "--image", "missing.jpg", "--out", "x.png"], "missing.jpg"),
        (["spec.json", "--image", "broken.json", "--out", "x.png"], "cannot identify image file"),
        (["spec.json", "--image", "plain.png", "--out", "plain.png"], "plain.png is the photo and would be replaced"),
        (["spec.json", "--image", "plain.png", "--out", "x.jpg"], "x.jpg is not a .png file"),
        (["spec.json", "--image", "plain.png", "--out", "x.png", "--spec-out", "x.png"], "cannot be both"),
        (["spec.json", "--image", "plain.png", "--out", "x.png", "--size", "5000"], "size: is 5000; expected"),
        (["--task", "wind", "--wind", "0,0", "--box", "0,0,1,1", "--out", "x.png"], "--box does not go with wind"),
        (["--task", "wind", "--out", "x.png"], "wind needs --wind; it takes --wind, --text, --color, --fit"),
        (["--task", "win", "--out", "x.png"], "task 'win' is unknown; choose one of class_to_image"),
        ([*BOX, "--box", "0,0,1,1", "--out", "x.png"], "2 --box and 1 --label do not pair"),
        (["--task", "text_box", "--box", "0,0,0,1", "--label", "x", "--out", "x.png"], "boxes[0].area: has no area"),
        (["--task", "text_in_image", "--out", "x.png"], "text_in_image needs --text or --preset"),
        (
            ["--task", "text_in_image", "--text", "a", "--caption", "b", "--out", "x.png"],
            "--caption goes with a --preset",
        ),
        (["--task", "text_in_image", "--preset", "depth", "--out", "x.png"], "caption: is missing; the preset depth"),
        (["--task", "class_to_image", "--text", "a", "--image", "photo.jpg", "--out", "x.png"], "has no place in this"),
        (
            ["--task", "class_to_image", "--text", "a", "--canvas", "rouge", "--out", "x.png"],
            "color: is 'rouge', not a colour",
        ),
        (
            ["--task", "class_to_image", "--text", "a", "--canvas", "a,b,c,d", "--out", "x.png"],
            "--canvas a,b,c,d has 4 parts",
        ),
        (["--task", "visual_marker", *["--arrow", "0,0,1,1"] * 2, "--out", "x.png"], "--arrow was given 2 times"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_cannot_be_composed_is_said_in_a_sentence(photo, tmp_path, capfd, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.json").write_text(dumps(PROMPT), encoding="utf-8")
    (tmp_path / "broken.json").write_text(dumps(PROMPT).replace('"color"', '"colour"'), encoding="utf-8")
    Image.new("RGB", (9, 9)).save(tmp_path / "plain.png")
    before = sorted(tmp_path.iterdir())
    assert compose(*arguments) == 2
    errors = capfd.readouterr().err
    assert errors.startswith("flowinone: ") and message in errors
    assert "Traceback" not in errors
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--box", "0,0,1", "'0,0,1' is not 4 numbers with commas between them"),
        ("--force", "0,0", "'0,0' is not 3 to 4 numbers"),
        ("--path", "0,0 1", "'1' is not 2 numbers"),
        ("--size", "0", "0 is less than 1"),
    ],
)
def test_malformed_numbers_are_shown(option, value, message, capfd):
    with pytest.raises(SystemExit) as caught:
        compose("--task", "text_box", option, value)
    assert caught.value.code == 2
    assert message in capfd.readouterr().err


def test_characters_without_a_glyph_are_mentioned(tmp_path, capfd):
    assert compose("--task", "class_to_image", "--text", "cat \U0001f9ff", "--out", tmp_path / "x.png") == 0
    errors = capfd.readouterr().err
    assert errors.startswith("flowinone: ") and "Warning" not in errors


def test_every_task_can_be_composed_from_options():
    assert list(_BUILDERS) == list(TASKS)
    assert set(_ALIASES.values()) <= set(TASKS)


def test_help_lists_every_task_and_preset(capfd):
    with pytest.raises(SystemExit):
        compose("--help")
    text = " ".join(capfd.readouterr().out.split())
    assert all(name in text for name in [*TASKS, *tasks.SUBTASK_INSTRUCTIONS])


def test_schema_prints_the_schema(capfd):
    assert main(["schema"]) == 0
    assert json.loads(capfd.readouterr().out) == json_schema()


def test_composing_needs_no_torch(tmp_path):
    code = "import sys; from flowinone.cli import main; main(); sys.exit('torch' in sys.modules)"
    command = [
        sys.executable,
        "-c",
        code,
        "compose",
        "--task",
        "class_to_image",
        "--text",
        "arch",
        "--out",
        tmp_path / "x.png",
    ]
    assert subprocess.run(command).returncode == 0


def about(path):
    with Image.open(path) as answer:
        return json.loads(answer.text["flowinone"])


@pytest.mark.long
def test_generate_answers_documents_as_their_pictures(photo, weights, model_files, tmp_path, capfd):
    """Documents and pictures of them, together in one batch, each with its own bypass."""
    drawn, canvas, plain = tmp_path / "drawn.json", tmp_path / "canvas.json", tmp_path / "plain.png"
    drawn.write_text(dumps(PROMPT), encoding="utf-8")
    canvas.write_text(dumps(tasks.class_to_image("arch")), encoding="utf-8")
    Image.new("RGB", (64, 64), "red").save(plain)
    assert compose(canvas, "--out", tmp_path / "canvas.png") == 0
    inputs = [drawn, canvas, tmp_path / "canvas.png", plain]
    out = tmp_path / "out"
    arguments = ["--image", photo, "--out", out, "--steps", 1, "--batch-size", 4, "--dtype", "fp32", *weights]
    assert main(["generate", *map(str, [*inputs, *arguments])]) == 0, capfd.readouterr().err
    answers = ["drawn.png", "canvas.json.png", "canvas.png.png", "plain.png"]
    assert sorted(os.listdir(out)) == sorted(answers)
    assert [about(out / name)["bypass"] for name in answers] == [False, True, True, False]
    assert about(out / "canvas.json.png")["prompt"] == "canvas.json"

    pipe = FlowInOnePipeline.from_single_files(**model_files)
    pipe.set_progress_bar_config(disable=True)
    canvas_picture = render(tasks.class_to_image("arch"))
    pictures = [render(PROMPT, Image.open(photo)), canvas_picture, canvas_picture, Image.open(plain)]
    expected = pipe(pictures, steps=1, bypass=[False, True, True, False], generator=0).images
    for name, picture in zip(answers, expected):
        assert same_pictures(Image.open(out / name), picture)


@pytest.mark.parametrize(("option", "bypass"), [("--bypass", True), ("--no-bypass", False)])
def test_the_bypass_option_outranks_documents(option, bypass, weights, tmp_path):
    spec, out = tmp_path / "spec.json", tmp_path / "out.png"
    spec.write_text(dumps(tasks.class_to_image("arch", bypass=not bypass)), encoding="utf-8")
    assert main(["generate", str(spec), "--out", str(out), "--steps", "1", option, *weights]) == 0
    assert about(out)["bypass"] is bypass


def test_generate_names_documents_that_cannot_be_drawn(photo, weights, tmp_path, capfd):
    chunk = PngImagePlugin.PngInfo()
    chunk.add_text(PROMPT_CHUNK, '{"version": 7}')
    Image.new("RGB", (64, 64)).save(tmp_path / "newer.png", pnginfo=chunk)
    (tmp_path / "photoless.json").write_text(dumps(PROMPT), encoding="utf-8")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    inputs = [str(tmp_path / name) for name in ("newer.png", "photoless.json", "broken.json")]
    arguments = ["--steps", "1", *weights]
    assert main(["generate", *inputs, "--out", str(tmp_path / "out"), *arguments]) == 1
    errors = capfd.readouterr().err
    assert "newer.png was left out: its flowinone_prompt cannot be read (version: is 7, written by a newer" in errors
    assert (
        "photoless.json was left out: the prompt is drawn on a photo, and none was given; give it with --image"
        in errors
    )
    assert "broken.json: document: is not JSON" in errors
    assert main(["generate", inputs[0], "--no-bypass", "--out", str(tmp_path / "newer answer.png"), *arguments]) == 0


def test_generate_refuses_a_photo_that_nothing_is_drawn_on(photo, weights, tmp_path, capfd):
    assert main(["generate", str(photo), "--image", str(photo), *weights]) == 2
    assert "is the photo for .json prompts, and no input is one" in capfd.readouterr().err
    (tmp_path / "spec.json").write_text(dumps(PROMPT), encoding="utf-8")
    assert main(["generate", str(tmp_path / "spec.json"), "--image", "missing.jpg", *weights]) == 2
    assert "missing.jpg does not exist" in capfd.readouterr().err


def test_any_font_file_letters_the_prompt(photo, tmp_path, capfd):
    comic = Path(typeface.__file__).with_name("fonts") / "ComicNeue-Bold.otf"
    options = ["--task", "text_in_image", "--text", "make it snow", "--image", photo]
    assert compose(*options, "--out", tmp_path / "usual.png") == 0
    assert compose(*options, "--out", tmp_path / "comic.png", "--font", comic) == 0
    assert (tmp_path / "usual.png").read_bytes() != (tmp_path / "comic.png").read_bytes()
    assert compose(*options, "--out", tmp_path / "none.png", "--font", photo) == 2
    assert "font" in capfd.readouterr().err


def test_photos_that_cannot_be_read_are_named(photo, tmp_path, capfd):
    content = photo.read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "huge.png").write_bytes(png_header(30_000, 30_000))
    for name in ("cut.png", "huge.png"):
        target = tmp_path / "out.png"
        options = ["--task", "text_in_image", "--text", "make it snow", "--image", tmp_path / name, "--out", target]
        assert compose(*options) == 2
        errors = capfd.readouterr().err
        assert name in errors and "Traceback" not in errors
        assert not target.exists()


def png_header(width, height):
    """A PNG that claims to be that large, and holds no pixels."""
    header = struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
