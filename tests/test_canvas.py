"""The canvas's model, in JavaScript, in Node's own test runner, and what it shares with Python and the translations."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from flowinone.prompts import Box, Doodle, ForceArrow, MarkerArrow, Text, Trajectory, Wind
from flowinone.prompts.checks import PromptError
from flowinone.prompts.language import WIDTHS, language
from flowinone.prompts.spec import MARK_TYPES, Stroke, TextStyle
from flowinone.prompts.tasks import TASKS

TESTS = Path(__file__).parent / "canvas"
ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "comfyui_flowinone" / "web"


def node() -> str | None:
    """A node to run: the machine's, or the one that Playwright brings."""
    found = shutil.which("node")
    if found is None:
        playwright = pytest.importorskip("playwright", reason="needs node, or playwright, which brings one")
        found = shutil.which("node", path=str(Path(playwright.__file__).parent / "driver"))
    return found


@pytest.mark.parametrize("file", sorted(path.name for path in TESTS.glob("*.test.mjs")))
def test_the_canvas_keeps_its_promises(file, tmp_path):
    facts = tmp_path / "language.json"
    facts.write_text(json.dumps(language()), encoding="utf-8")
    command = [node(), "--test", "--test-reporter=tap", str(TESTS / file)]
    finished = subprocess.run(
        command, env=os.environ | {"FLOWINONE_LANGUAGE": str(facts)}, capture_output=True, encoding="utf-8"
    )
    failed = [line.strip() for line in finished.stdout.splitlines() if line.lstrip().startswith("not ok")]
    assert finished.returncode == 0, "\n".join([*failed, finished.stdout[-6000:], finished.stderr[-2000:]])


def with_width(kind, width):
    line = ((0.1, 0.1), (0.9, 0.9))
    style = TextStyle(size=width, min_size=4) if kind == "text" else None
    return {
        "box": lambda: Box((0, 0, 1, 1), width=width),
        "marker": lambda: MarkerArrow(*line, width=width),
        "force": lambda: ForceArrow(line[0], 0, width=width),
        "wind": lambda: Wind(line[0], width=width),
        "trajectory": lambda: Trajectory(line, width=width),
        "doodle": lambda: Doodle((Stroke(line, width=width),)),
        "text": lambda: Text("a", style=style),
    }[kind]()


@pytest.mark.parametrize("kind", WIDTHS)
def test_the_canvas_is_told_the_widths_that_python_draws(kind):
    least, most = WIDTHS[kind]
    with_width(kind, least), with_width(kind, most)
    for width in (least - 0.01, most + 0.01):
        with pytest.raises(PromptError, match="size|width"):
            with_width(kind, width)


def test_every_kind_of_mark_with_a_width_is_told_of():
    wide = {
        kind
        for kind, mark in MARK_TYPES.items()
        if {"width", "style", "strokes"} & {field.name for field in dataclasses.fields(mark)}
    }
    assert WIDTHS.keys() == wide


# Words

# What follows each beginning of a key in the scripts, t(`how_${tool}`) and the like.
ENDS = {
    "how": ["select", "box", "marker", "force", "wind", "trajectory", "doodle", "text", "erase"],
    "ground": ["photo", "solid", "gradient", "color", "start", "end", "background"],
    "fit": ["crop", "letterbox", "stretch"],
    "direction": ["vertical", "horizontal"],
    "brush": ["multiline", "round"],
}
# Those that stand for what is not a word in the scripts: a task's title is Python's, in English.
TASK_WORDS = {"en": set(), "zh": {f"task_{task}" for task in TASKS}}


def words(language):
    return json.loads((ROOT / "locales" / language / "main.json").read_text(encoding="utf-8"))["flowinoneCanvas"]


def scripts():
    return {path.name: path.read_text(encoding="utf-8") for path in [*WEB.glob("*.js"), *(WEB / "canvas").glob("*.js")]}


@pytest.mark.parametrize("language", sorted(TASK_WORDS))
def test_every_word_that_the_canvas_says_is_there_in_every_language_and_no_other(language):
    source = "\n".join(scripts().values())
    spoken = set(re.findall(r'\bt\("(\w+)"', source))
    beginnings = set(re.findall(r"\bt\(`([a-z]+)_\$", source)) | set(re.findall(r'optionsOf\("(\w+)"', source))
    assert beginnings == ENDS.keys(), "ENDS is behind"
    spoken |= {f"{beginning}_{end}" for beginning, ends in ENDS.items() for end in ends}
    # The names of buttons, lists and fields are their words' keys.
    spoken |= set(re.findall(r'this\.(?:button|list|color|checkbox)\("(\w+)"', source))
    spoken |= set(re.findall(r"^  (\w+): \{ min:", source, re.MULTILINE))
    spoken |= {"undo", "redo", "duplicate", "remove", "clear", *ENDS["how"]}
    found = set(words(language))
    assert found == spoken | TASK_WORDS[language]


def test_the_languages_have_the_same_places_for_values():
    english, chinese = words("en"), words("zh")
    for key, text in english.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", chinese[key])), key


def test_the_scripts_ask_nobody_but_comfyui():
    for name, source in scripts().items():
        for imported in re.findall(r'(?:from|import) "([^"]+)"', source):
            assert imported.startswith("./") or imported in ("/scripts/api.js", "/scripts/app.js"), (
                f"{name}: {imported}"
            )
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", source), name
        assert not re.search(r"\binnerHTML\b|\beval\(", source), name
