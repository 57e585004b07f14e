"""The nine tasks' constructors: the trained words, places and colours, and what overrides them."""

import dataclasses
import inspect
import typing

import numpy as np
import pytest
from PIL import Image

from flowinone.prompts import TASKS, PromptError, render, tasks
from flowinone.prompts.spec import (
    MARK_TYPES,
    Box,
    Doodle,
    ForceArrow,
    GradientCanvas,
    PhotoCanvas,
    SolidCanvas,
    Stroke,
    Task,
    Text,
    TextStyle,
    Trajectory,
)

EACH = {
    "class_to_image": lambda **more: tasks.class_to_image("arch", **more),
    "text_to_image": lambda **more: tasks.text_to_image("tourists walking past an asian food stall", **more),
    "text_in_image": lambda **more: tasks.text_in_image("Change the environment to a snowy winter wonderland", **more),
    "text_box": lambda **more: tasks.text_box([((0.2, 0.3, 0.5, 0.6), "put a blue jay")], **more),
    "visual_marker": lambda **more: tasks.visual_marker((0.9, 0.6), (0.5, 0.5), **more),
    "doodle": lambda **more: tasks.doodle([[(0.1, 0.1), (0.2, 0.2)]], **more),
    "point_force": lambda **more: tasks.point_force([((0.5, 0.5), 30, 1)], **more),
    "wind": lambda **more: tasks.wind((0.3, 0.3), 10, 1, **more),
    "trajectory": lambda **more: tasks.trajectory([[(0.1, 0.1), (0.2, 0.2)]], **more),
}


def words_of(prompt) -> str:
    return " / ".join(
        mark.label if isinstance(mark, Box) else mark.text for mark in prompt.marks if isinstance(mark, (Box, Text))
    )


def test_every_task_has_a_constructor_of_its_name_and_is_described():
    assert list(TASKS) == list(typing.get_args(Task)) == list(EACH)
    for task, info in TASKS.items():
        assert inspect.isfunction(getattr(tasks, task))
        assert info.title and info.description.endswith(".")
        assert set(info.marks) <= set(MARK_TYPES)


@pytest.mark.parametrize("task", EACH)
def test_a_prompt_is_what_its_task_says(task):
    prompt, info = EACH[task](), TASKS[task]
    assert prompt.task == task
    assert prompt.canvas == info.canvas
    assert prompt.bypass == info.bypass == (not info.needs_photo) == (task in ("class_to_image", "text_to_image"))
    assert {type(mark) for mark in prompt.marks} <= {MARK_TYPES[name] for name in info.marks}
    if info.instruction:
        assert words_of(prompt) == info.instruction
        assert isinstance(prompt.marks[-1], Text)


@pytest.mark.parametrize("task", EACH)
def test_canvas_style_and_bypass_can_be_chosen_for_every_task(task):
    style = TextStyle(face="mono", size=33)
    prompt = EACH[task](canvas=SolidCanvas("#123456"), style=style, bypass=not TASKS[task].bypass)
    assert prompt.canvas == SolidCanvas("#123456")
    assert prompt.bypass != TASKS[task].bypass
    assert prompt.marks[-1].style == style


@pytest.mark.parametrize("task", [task for task in EACH if task != "text_box"])
def test_the_words_area_can_be_chosen(task):
    assert EACH[task](area=[0.1, 0.1, 0.9, 0.3]).marks[-1].area == (0.1, 0.1, 0.9, 0.3)


@pytest.mark.parametrize("task", EACH)
@pytest.mark.filterwarnings("error")
def test_the_trained_words_fit_their_places_without_shrinking(task):
    """The picture is the same where letters may not be made smaller."""
    style = TASKS[task].style
    photo = Image.new("RGB", (512, 512), "#777777") if TASKS[task].needs_photo else None
    as_trained = EACH[task](style=dataclasses.replace(style, min_size=style.size))
    assert render(as_trained, photo) == render(EACH[task](), photo)


def test_the_words_are_the_trained_ones():
    assert words_of(EACH["class_to_image"]()) == "arch"
    assert words_of(EACH["text_box"]()) == "put a blue jay"
    assert words_of(EACH["visual_marker"]()) == "Remove the object pointed to by the arrow."
    assert words_of(EACH["doodle"]()) == "Turn the doodle in the image into a realistic real-world object"
    assert (
        words_of(EACH["point_force"]())
        == "Apply forces to the object according to the arrows until stop, and generate the final image."
    )
    assert words_of(EACH["wind"]()) == "Interpret the wavy lines as wind and generate the resulting wind-blown image."
    assert (
        words_of(EACH["trajectory"]())
        == "Follow the solid line as the trajectory of objects and generate the final image"
    )


@pytest.mark.parametrize("thing", ["a red bicycle", " a red bicycle. "])
def test_an_object_is_swapped_with_a_thing(thing):
    assert words_of(EACH["visual_marker"](thing=thing)) == "Swap the object pointed to by the arrow with a red bicycle."


def test_instructions_can_be_written_anew():
    assert words_of(EACH["point_force"](instruction=tasks.IMPULSE)).endswith("at the end of its first swing.")
    for task in ("visual_marker", "doodle", "point_force", "wind", "trajectory"):
        assert words_of(EACH[task](instruction="Do it")) == "Do it"


def test_presets_word_the_sub_tasks_of_text_in_image():
    assert tasks.subtask_instruction("depth", "a {caption} of the sea") == "Depth to image: a {caption} of the sea"
    assert tasks.subtask_instruction("restore") == "Image restoration"
    for name in tasks.SUBTASK_INSTRUCTIONS:
        assert tasks.text_in_image(
            tasks.subtask_instruction(name, "x" if "{caption}" in tasks.SUBTASK_INSTRUCTIONS[name] else None)
        )
    for arguments, message in [
        (("depth",), "caption: is missing; the preset depth needs one"),
        (("restore", "x"), "caption: has no place in the preset restore; leave it out"),
        (("blur",), "preset: is 'blur'; choose one of inpaint, canny, depth, restore, sketch"),
    ]:
        with pytest.raises(PromptError) as caught:
            tasks.subtask_instruction(*arguments)
        assert str(caught.value) == message


def test_lists_arrays_and_iterators_do_for_tuples():
    expected = tasks.doodle([((0.25, 0.5), (0.75, 0.5))])
    assert tasks.doodle([[[0.25, 0.5], [0.75, 0.5]]]) == expected
    assert tasks.doodle(np.array([[[0.25, 0.5], [0.75, 0.5]]])) == expected
    assert tasks.doodle(iter([np.array([[0.25, 0.5], [0.75, 0.5]], np.float32)])) == expected
    assert tasks.text_box(zip([[0, 0, 0.5, 0.5]], ["put a cat"])).marks == (Box((0, 0, 0.5, 0.5), "put a cat"),)
    assert tasks.point_force([[[0.5, 0.5], np.float32(90)]]).marks[0] == ForceArrow((0.5, 0.5), 90)
    assert hash(tasks.wind([0.5, 0.5])) == hash(tasks.wind((0.5, 0.5)))


def test_there_may_be_several_marks_and_their_look_be_chosen():
    boxes = [((0.1, 0.1, 0.4, 0.4), "put a cat"), Box((0.5, 0.5, 0.9, 0.9), "put a dog", width=9)]
    first, second = tasks.text_box(boxes, color="blue", width=5).marks
    assert (first.color, first.width, second.color, second.width) == ("blue", 5, Box.color, 9)
    assert len(tasks.point_force([((0.2, 0.2), 0), ((0.8, 0.8), 180, 0.5)], scale=0.1).marks) == 3
    line = [(0.1, 0.1), (0.2, 0.2)]
    assert tasks.trajectory([line, line], smooth=False).marks[:2] == (Trajectory(tuple(line), smooth=False),) * 2
    assert tasks.doodle([line, Stroke(tuple(line))], brush="round").marks[0] == Doodle(
        (Stroke(tuple(line), "round"), Stroke(tuple(line)))
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tasks.class_to_image(" "), "label: is empty; write something"),
        (lambda: tasks.text_to_image(None), "caption: is None; expected text"),
        (lambda: tasks.text_in_image("x" * 2001), "instruction: has 2,001 characters"),
        (lambda: tasks.text_in_image("x", area=(0, 0, 1)), "area: is (0, 0, 1); expected four numbers"),
        (lambda: tasks.text_box([]), "boxes: is empty; give at least one"),
        (lambda: tasks.text_box([((0, 0, 0, 1), "x")]), "boxes[0].area: has no area on the canvas"),
        (lambda: tasks.text_box(((0, 0, 1, 1), "x")), "boxes[0]: is (0, 0, 1, 1); expected area, label"),
        (lambda: tasks.visual_marker((0, 0), (0, 0)), "tip: is the same point as start"),
        (lambda: tasks.visual_marker((0, 0), (1, 1), thing=""), "thing: is empty"),
        (
            lambda: tasks.visual_marker((0, 0), (1, 1), thing="a", instruction="b"),
            "thing: is given together with an instruction",
        ),
        (
            lambda: tasks.doodle([[(0, 0), (1, float("nan"))]]),
            "strokes[0].points[1][1]: is nan; expected a finite number",
        ),
        (
            lambda: tasks.point_force([((0, 0), 0), ((0, 0), 0, 99)]),
            "arrows[1].magnitude: makes an arrow 21.1 canvases long",
        ),
        (lambda: tasks.wind((0, 0), 0, 10**400), "strength: is 1000000"),
        (lambda: tasks.trajectory([[(0, 0)]]), "paths[0].points: needs at least 2 points"),
        (lambda: tasks.trajectory([3]), "paths[0].points: needs at least 2 points"),
    ],
)
def test_what_cannot_be_is_named_by_its_argument(make, message):
    with pytest.raises(PromptError) as caught:
        make()
    assert str(caught.value).startswith(message)


def test_canvases_of_other_kinds_do_for_every_task():
    prompt = tasks.text_to_image("a cat", canvas=GradientCanvas("red", "blue", "horizontal"))
    assert prompt.canvas.direction == "horizontal"
    assert tasks.class_to_image("cat", canvas=PhotoCanvas("letterbox")).canvas.fit == "letterbox"
