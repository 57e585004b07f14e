"""Documents of visual prompts: what is written, what is read, and what every fault is called."""

import dataclasses
import json
import subprocess
import sys
import time

import pytest

from devtools.example_documents import EXAMPLES, FOLDER
from flowinone.prompts import (
    PromptError,
    SolidCanvas,
    dumps,
    dumps_many,
    from_document,
    json_schema,
    loads,
    loads_many,
    tasks,
    to_document,
)
from flowinone.prompts.document import encoded
from flowinone.prompts.spec import (
    CANVAS_TYPES,
    MARK_TYPES,
    VERSION,
    Box,
    Doodle,
    PhotoCanvas,
    Stroke,
    TextStyle,
    VisualPrompt,
)

DOODLE = {
    "version": 1,
    "task": "doodle",
    "canvas": {"type": "photo"},
    "marks": [{"type": "doodle", "strokes": [{"points": [[0, 0.5], [0.25, 1]]}]}],
}
BOX = {
    "version": 1,
    "task": "text_box",
    "canvas": {"type": "photo"},
    "marks": [{"type": "box", "area": [0.1, 0.2, 0.3, 0.4]}],
}


def error_of(document) -> str:
    with pytest.raises(PromptError) as caught:
        from_document(document) if isinstance(document, dict) else loads(document)
    assert str(caught.value).startswith(caught.value.field)
    return str(caught.value)


def changed(document, path, value):
    """A copy in which what stands at `path` is another value, or is left out where that is None."""
    copy = json.loads(json.dumps(document))
    *parents, last = path
    place = copy
    for step in parents:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return copy


@pytest.mark.parametrize("name", EXAMPLES)
def test_documents_of_version_1_are_read_and_hold_every_field(name):
    text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert to_document(loads(text)) == json.loads(text)
    assert dumps(loads(text), indent=2) + "\n" == text


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_constructors_still_make_the_kept_documents(name):
    kept = loads((FOLDER / f"{name}.json").read_bytes())
    assert EXAMPLES[name]() == kept, "see devtools/example_documents.py"


def test_a_document_says_version_and_task_first_and_type_with_every_mark():
    document = to_document(from_document(BOX))
    assert list(document)[:3] == ["version", "task", "bypass"]
    assert list(document["marks"][0])[:3] == ["type", "area", "label"]
    assert document["marks"][0]["style"]["fill"] == "#ffffff"


def test_what_is_left_out_has_its_default():
    assert from_document(DOODLE) == VisualPrompt("doodle", PhotoCanvas(), (Doodle((Stroke(((0, 0.5), (0.25, 1))),)),))


def test_a_style_given_in_part_keeps_the_rest_of_its_marks_style():
    prompt = from_document(changed(BOX, ["marks", 0, "style"], {"size": 40}))
    assert prompt.marks[0].style == dataclasses.replace(Box.style, size=40)
    assert prompt.marks[0].style != TextStyle(size=40)


def test_numbers_come_back_to_the_bit():
    area = [0.1, 1 / 3, 0.7000000000000001, 1]
    prompt = loads(dumps(from_document(changed(BOX, ["marks", 0, "area"], area))))
    assert list(prompt.marks[0].area) == area


def test_a_byte_order_mark_bytes_and_tuples_are_read():
    text = json.dumps(BOX)
    assert loads("\ufeff" + text) == loads(text.encode("utf-8-sig")) == loads(text)
    assert from_document(
        changed(BOX, ["marks"], None) | {"marks": ({"type": "box", "area": (0.1, 0.2, 0.3, 0.4)},)}
    ) == loads(text)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["version"], None, "version: is missing; this FlowInOne writes 1"),
        (["version"], 7, "version: is 7, written by a newer FlowInOne; update to read it"),
        (["version"], 0, "version: is 0; expected a whole number from 1 to 1"),
        (["version"], True, "version: is true; expected a whole number"),
        (["version"], "1", "version: is '1'; expected a whole number"),
        (["version"], 10**5000, "version: is a huge number, written by a newer FlowInOne"),
        (["task"], None, "task: is missing"),
        (["task"], "doodel", "task: is 'doodel'; choose one of class_to_image,"),
        (["task"], ["doodle"], "task: is a list; expected text"),
        (["canvas"], None, "canvas: is missing"),
        (["canvas"], [], "canvas: is a list; expected an object"),
        (["canvas", "type"], None, "canvas.type: is missing; choose one of solid, gradient, photo"),
        (["canvas", "type"], "box", "canvas.type: is 'box'; choose one of solid, gradient, photo"),
        (["canvas", "type"], {}, "canvas.type: is an object; choose one of"),
        (["canvas", "fit"], "fill", "canvas.fit: is 'fill'; choose one of crop, letterbox, stretch"),
        (["bypass"], 1, "bypass: is 1; expected true or false"),
        (["mark"], [], "mark: is not a field here; did you mean marks?"),
        (["zzz"], 1, "zzz: is not a field here; the fields are task, canvas, marks, bypass"),
        (["a b"], 1, "['a b']: is not a field here"),
        (["x" * 1_000_000], 1, "['xxxxxxxxxxxx...xxxxxxxxxxxxx']: is not a field here"),
        (["marks"], {}, "marks: is an object; expected a list"),
        (["marks", 0], 3, "marks[0]: is 3; expected an object"),
        (
            ["marks", 0, "type"],
            "line",
            "marks[0].type: is 'line'; choose one of text, box, marker, force, wind, trajectory, doodle, erase",
        ),
        (["marks", 0, "colour"], "red", "marks[0].colour: is not a field here; the fields are strokes"),
        (["marks", 0, "strokes"], [], "marks[0].strokes: is empty; a doodle needs at least one stroke"),
        (["marks", 0, "strokes", 0, "points"], None, "marks[0].strokes[0].points: is missing"),
        (
            ["marks", 0, "strokes", 0, "colour"],
            "red",
            "marks[0].strokes[0].colour: is not a field here; did you mean color?",
        ),
        (["marks", 0, "strokes", 0, "color"], "rouge", "marks[0].strokes[0].color: is 'rouge', not a colour"),
        (["marks", 0, "strokes", 0, "points"], [[0, 0]], "marks[0].strokes[0].points: needs at least 2 points"),
        (
            ["marks", 0, "strokes", 0, "points", 1],
            [0, 0, 0],
            "marks[0].strokes[0].points[1]: has 3 entries; expected 2",
        ),
        (
            ["marks", 0, "strokes", 0, "points", 1],
            {"x": 0},
            "marks[0].strokes[0].points[1]: is an object; expected a list",
        ),
        (
            ["marks", 0, "strokes", 0, "points", 1, 1],
            True,
            "marks[0].strokes[0].points[1][1]: is true; expected a number",
        ),
        (
            ["marks", 0, "strokes", 0, "points", 1, 1],
            "0.5",
            "marks[0].strokes[0].points[1][1]: is '0.5'; expected a number",
        ),
        (["marks", 0, "strokes", 0, "points", 1, 1], 3, "marks[0].strokes[0].points[1][1]: is 3; expected -1 to 2"),
        (
            ["marks", 0, "strokes", 0, "width"],
            10**400,
            "marks[0].strokes[0].width: is a huge number; expected a number within bounds",
        ),
        (
            ["marks", 0, "strokes", 0, "width"],
            10**30,
            "marks[0].strokes[0].width: is a huge number; expected a number within bounds",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_faulty_field_is_named_with_its_path(path, value, message):
    assert error_of(changed(DOODLE, path, value)).startswith(message)


@pytest.mark.parametrize(
    ("part", "by", "message"),
    [
        ("0.25", "NaN", "marks[0].strokes[0].points[1][0]: is nan; expected a finite number"),
        ("0.25", "-Infinity", "marks[0].strokes[0].points[1][0]: is -inf; expected a finite number"),
        ("0.25", "1e999", "marks[0].strokes[0].points[1][0]: is inf; expected a finite number"),
        ("0.25", "9" * 10_000, "marks[0].strokes[0].points[1][0]: is inf; expected a finite number"),
        ("0.25", "null", "marks[0].strokes[0].points[1][0]: is null; expected a number"),
        (
            '"type": "photo"',
            '"type": "photo", "fit": "crop", "fit": "crop"',
            "canvas.fit: appears twice in one object; keep one",
        ),
        ('"type": "photo"', '"type": "photo", "type": "photo"', "canvas.type: appears twice in one object"),
        ('"version": 1', '"version": 2, "version": 1', "version: appears twice in one object"),
        ('"task": "doodle"', '"task": null', "task: is null; expected text"),
    ],
)
def test_json_that_python_would_let_pass_is_refused(part, by, message):
    text = json.dumps(DOODLE)
    assert part in text
    assert error_of(text.replace(part, by)).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "document: is not JSON: Expecting value (line 1, column 1)"),
        ('{"version": 1,\n "task" "doodle"}', "document: is not JSON: Expecting ':' delimiter (line 2, column 9)"),
        ("[]", "document: is a list of 0, the prompts of a batch; give one of them"),
        ("null", "document: is null; expected an object"),
        ('"text"', "document: is 'text'; expected an object"),
        (b'{"version": 1, "task": "\xff"}', "document: is not UTF-8 text (byte 25); save it as UTF-8"),
        ("{}".encode("utf-16"), "document: is not UTF-8 text (byte 1)"),
        ("[" * 100_000, "document: is nested too deeply"),
        ('{"marks":' * 100_000, "document: is nested too deeply"),
        (" " * 4_000_001, "document: has 4,000,001 characters; at most 4,000,000 are read"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_what_is_no_document_is_said_to_be_none(text, message):
    assert error_of(text).startswith(message)


def test_half_a_character_is_refused_since_no_file_can_hold_it():
    text = json.dumps(changed(BOX, ["marks", 0, "label"], "put a \ud83d"))
    assert error_of(text).startswith("marks[0].label: holds half a character")
    assert loads(json.dumps(changed(BOX, ["marks", 0, "label"], "put a 🐦"))).marks[0].label == "put a 🐦"


def test_a_million_points_and_a_million_marks_are_refused_at_once():
    points = changed(DOODLE, ["marks", 0, "strokes", 0, "points"], [[0, 0]] * 1_000_000)
    marks = changed(DOODLE, ["marks"], [{}] * 1_000_000)
    text = json.dumps(changed(DOODLE, ["marks", 0, "strokes", 0, "points"], [[0, 0]] * 400_000))
    start = time.perf_counter()
    assert error_of(points) == "marks[0].strokes[0].points: has 1,000,000 entries; at most 20,000 are drawn"
    assert error_of(marks) == "marks: has 1,000,000 entries; at most 200 are drawn"
    assert time.perf_counter() - start < 0.1
    assert error_of(text) == "marks[0].strokes[0].points: has 400,000 entries; at most 20,000 are drawn"
    assert time.perf_counter() - start < 5


def test_many_strokes_are_refused_for_their_points_together():
    strokes = [{"points": [[0, 0]] * 15_000}] * 2
    assert error_of(changed(DOODLE, ["marks", 0, "strokes"], strokes)).startswith("marks: have 30,000 points together")


def test_the_largest_prompts_documents_can_be_read_again():
    thirds = [[i / 30_000, 1 - i / 30_000] for i in range(20_000)]
    texts = [{"type": "text", "text": "\x00" * 1_999 + "x"}] * 10
    prompt = from_document(changed(DOODLE, ["marks"], [{"type": "trajectory", "points": thirds}, *texts]))
    assert loads(dumps(prompt)) == prompt


def test_the_kept_documents_cover_every_version():
    versions = {json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["version"] for name in EXAMPLES}
    assert versions == set(range(1, VERSION + 1)), "keep documents of every version, and read the earlier ones"


def test_the_schema_has_every_field_with_its_default_and_a_description():
    schema = json_schema()
    assert schema["properties"]["version"] == {"const": VERSION}
    kinds = [*CANVAS_TYPES.values(), *MARK_TYPES.values(), Stroke, TextStyle]
    assert set(schema["$defs"]) == {kind.__name__ for kind in kinds}
    names = {kind: name for name, kind in (CANVAS_TYPES | MARK_TYPES).items()}
    for kind in kinds:
        defined = schema["$defs"][kind.__name__]
        assert defined["description"].endswith(".") and defined["additionalProperties"] is False
        fields = {field.name: field for field in dataclasses.fields(kind)}
        assert defined["properties"].keys() - {"type"} == fields.keys()
        assert ("type" in defined["required"]) == (kind in names)
        assert kind not in names or defined["properties"]["type"] == {"const": names[kind]}
        for name, field in fields.items():
            required = field.default is dataclasses.MISSING
            assert (name in defined["required"]) == required
            assert defined["properties"][name].get("default") == (None if required else encoded(field.default))


def test_documents_need_no_torch():
    code = "import sys, flowinone.prompts; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_several_prompts_travel_in_one_text():
    first, second = tasks.class_to_image("arch"), tasks.class_to_image("bridge")
    assert loads_many(dumps_many([first, second]), 2) == [first, second]
    assert dumps_many([first, first]) == dumps(first)
    assert loads_many(dumps(first), 3) == [first] * 3
    with pytest.raises(PromptError, match="is a list of 2 for 3 pictures"):
        loads_many(dumps_many([first, second]), 3)
    with pytest.raises(PromptError, match=r"\[1\]\.task: is missing"):
        loads_many(f'[{dumps(first)}, {{"version": 1, "canvas": {{"type": "solid"}}}}]', 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VisualPrompt("doodle", SolidCanvas(), [Box((0, 0, 1, 1))]), r"marks: is \[Box.*expected tuple"),
        (lambda: VisualPrompt("doodle", SolidCanvas(), ("box",)), r"marks\[0\]: is 'box'; expected Text"),
        (lambda: VisualPrompt("doodle", "pink"), "canvas: is 'pink'; expected SolidCanvas"),
        (lambda: VisualPrompt("doodle", SolidCanvas(), (), 1), "bypass: is 1; expected true or false"),
        (lambda: Doodle(()), "strokes: is empty"),
        (
            lambda: VisualPrompt("doodle", SolidCanvas(), (Doodle((Stroke(((0, 0), (1, 1))),) * 301),)),
            "marks: have 301 strokes together; at most 300 are drawn",
        ),
        (
            lambda: VisualPrompt("text_box", SolidCanvas(), (Box((0, 0, 1, 1), "x" * 2_000),) * 11),
            "marks: have 22,000 characters together",
        ),
        (lambda: Doodle((((0, 0), (1, 1)),)), r"strokes\[0\]: is .*; expected Stroke"),
    ],
)
def test_what_has_no_document_cannot_be_made(make, message):
    with pytest.raises(PromptError, match=message):
        make()
