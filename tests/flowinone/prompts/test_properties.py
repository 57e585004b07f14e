"""What holds for every visual prompt and every text read as one: over 10,000 random ones, the same in each run."""

import copy
import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from flowinone.prompts import (
    Box,
    Doodle,
    Erase,
    ForceArrow,
    GradientCanvas,
    MarkerArrow,
    PhotoCanvas,
    PromptError,
    SolidCanvas,
    Stroke,
    Text,
    TextStyle,
    Trajectory,
    VisualPrompt,
    Wind,
    dumps,
    from_document,
    json_schema,
    loads,
    render,
    to_document,
)
from flowinone.prompts.spec import Align, Face, Fit, Task

pytestmark = pytest.mark.long


def examples(count):
    return settings(
        max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )


def choices(literal):
    return st.sampled_from(literal.__args__)


def numbers(least, most):
    return st.one_of(st.floats(least, most), st.integers(-(-least // 1), most // 1))


@st.composite
def areas(draw):
    left, top = draw(st.floats(-1, 0.9)), draw(st.floats(-1, 0.9))
    return left, top, draw(st.floats(max(left, 0) + 0.01, 2)), draw(st.floats(max(top, 0) + 0.01, 2))


@st.composite
def styles(draw):
    size = draw(numbers(4, 256))
    return TextStyle(
        face=draw(choices(Face)),
        bold=draw(st.booleans()),
        size=size,
        min_size=draw(st.floats(4, size)),
        pitch=draw(st.floats(0.8, 4)),
        letter_spacing=draw(st.floats(-4, 64)),
        align=draw(choices(Align)),
        fill=draw(st.just("auto") | colors),
        outline=draw(st.just("auto") | colors),
        outline_width=draw(numbers(0, 32)),
    )


@st.composite
def pushes(draw, kind, argument, least):
    length, scale = draw(st.floats(least, 2)), draw(st.floats(0.01, 2))
    amount = length / scale
    if not least <= amount * scale <= 2:
        amount = 1 / scale
    return kind(draw(points), draw(st.floats(-360_000, 360_000)), **{argument: amount}, scale=scale, color=draw(colors))


position = numbers(-1, 2)
points = st.tuples(position, position)
colors = st.sampled_from(["red", "Navy", "#abc"]) | st.integers(0, 0xFFFFFF).map(lambda value: f"#{value:06x}")
widths = numbers(1, 64)
words = st.text(max_size=40)
lines = st.lists(points, min_size=2, max_size=5).map(tuple)
strokes = st.builds(Stroke, lines, st.sampled_from(["multiline", "round"]), widths, colors)
marks = st.one_of(
    st.builds(
        Text,
        words.filter(str.strip),
        areas(),
        st.sampled_from(["caption", "label", "instruction"]),
        st.sampled_from(["top", "middle", "bottom"]),
        styles(),
    ),
    st.builds(Box, areas(), words, colors, widths, styles()),
    st.tuples(points, points)
    .filter(lambda ends: abs(ends[0][0] - ends[1][0]) + abs(ends[0][1] - ends[1][1]) > 0.01)
    .flatmap(lambda ends: st.builds(MarkerArrow, st.just(ends[0]), st.just(ends[1]), colors, widths, numbers(1, 128))),
    pushes(ForceArrow, "magnitude", 0.01),
    pushes(Wind, "strength", 0.02),
    st.builds(Trajectory, lines, st.booleans(), colors, widths),
    st.builds(Doodle, st.lists(strokes, min_size=1, max_size=2).map(tuple)),
    st.builds(Erase, st.lists(points, min_size=3, max_size=5).map(tuple), colors),
)
canvases = st.one_of(
    st.builds(SolidCanvas, colors),
    st.builds(GradientCanvas, colors, colors, st.sampled_from(["vertical", "horizontal"])),
    st.builds(PhotoCanvas, choices(Fit), colors),
)
prompts = st.builds(VisualPrompt, choices(Task), canvases, st.lists(marks, max_size=2).map(tuple), st.booleans())
drawings = st.builds(VisualPrompt, choices(Task), canvases, st.lists(marks, min_size=1, max_size=4).map(tuple))

garbage = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["box", "photo", "red"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "version", "marks", "task", "points", "area"]) | st.text(max_size=4),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


def fits(value, schema, root) -> bool:
    """Whether a value is as a JSON Schema has it: the keywords that `json_schema` uses."""
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "oneOf" in schema:
        return sum(fits(value, option, root) for option in schema["oneOf"]) == 1
    if "const" in schema or "enum" in schema:
        return value in schema.get("enum", [schema.get("const")])
    kind = {"object": dict, "array": list, "string": str, "boolean": bool, "number": (int, float)}[schema["type"]]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        return False
    if kind is dict:
        known = schema["properties"]
        whole = set(schema["required"]) <= set(value) <= set(known) and schema["additionalProperties"] is False
        return whole and all(fits(part, known[name], root) for name, part in value.items())
    if kind is list:
        right_length = schema["minItems"] <= len(value) <= schema["maxItems"]
        return right_length and all(fits(part, schema["items"], root) for part in value)
    if kind is str:
        return schema.get("minLength", 0) <= len(value) <= schema["maxLength"]
    return (
        schema.get("minimum", float("-inf")) <= value <= schema.get("maximum", float("inf"))
        if kind is not bool
        else True
    )


SCHEMA = json_schema()


@given(prompts)
@examples(5_000)
def test_a_prompt_comes_back_from_its_document_as_it_was(prompt):
    document = to_document(prompt)
    text = dumps(prompt)
    assert json.loads(text) == document
    assert loads(text) == from_document(document) == prompt
    assert fits(document, SCHEMA, SCHEMA)


def places(value):
    """Every list and object inside, with a key of it."""
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


@given(prompts, garbage, st.data())
@examples(2_500)
def test_a_document_with_something_changed_is_a_prompt_or_a_named_fault(prompt, other, data):
    document = copy.deepcopy(to_document(prompt))
    place, key = data.draw(st.sampled_from(list(places(document))).filter(lambda found: found))
    change = data.draw(st.sampled_from(["replace", "remove", "add"]))
    if change == "remove":
        del place[key]
    elif change == "add" and isinstance(place, dict):
        place[data.draw(st.text(max_size=5))] = other
    else:
        place[key] = other
    is_prompt_or_fault(json.dumps(document))


@given(garbage)
@examples(1_000)
def test_json_of_any_shape_is_a_prompt_or_a_named_fault(value):
    is_prompt_or_fault(json.dumps(value))
    if isinstance(value, dict):
        is_prompt_or_fault(json.dumps({"version": 1, "task": "wind", "canvas": value, "marks": [value]} | value))


@given(prompts, st.integers(0, 10_000), st.integers(0, 5), st.text(max_size=3))
@examples(1_000)
def test_text_with_something_changed_is_a_prompt_or_a_named_fault(prompt, start, length, other):
    text = dumps(prompt)
    start %= len(text)
    is_prompt_or_fault(text[:start] + other + text[start + length :])


@given(st.binary(max_size=30) | st.text(max_size=30))
@examples(100)
def test_bytes_and_text_of_any_kind_are_faults(text):
    with pytest.raises(PromptError):
        loads(text)


def is_prompt_or_fault(text):
    try:
        prompt = loads(text)
    except PromptError as error:
        assert error.field and error.problem
        return
    assert loads(dumps(prompt)) == prompt
    assert fits(json.loads(text), SCHEMA, SCHEMA)


@given(drawings, st.integers(64, 96), st.integers(1, 40), st.integers(1, 40))
@examples(2_000)
@pytest.mark.filterwarnings("ignore::flowinone.prompts.characters.MissingGlyphsWarning")
def test_every_prompt_can_be_drawn_small(prompt, size, width, height):
    drawn(prompt, size, width, height)


@given(drawings)
@examples(200)
@pytest.mark.filterwarnings("ignore::flowinone.prompts.characters.MissingGlyphsWarning")
def test_every_prompt_can_be_drawn_at_the_trained_size(prompt):
    drawn(prompt, 512, 640, 480)


def drawn(prompt, size, width, height):
    photo = Image.new("RGB", (width, height), "#406080") if isinstance(prompt.canvas, PhotoCanvas) else None
    start = time.perf_counter()
    picture = render(prompt, photo, size)
    assert time.perf_counter() - start < 1
    assert (picture.mode, picture.size) == ("RGB", (size, size))
