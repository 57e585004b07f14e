"""The toy world: the correct answer follows from the prompt, and training never sees what held-out examples contain."""

import itertools
import math
import pickle
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageChops

from flowinone.prompts.spec import Box, Doodle, ForceArrow, MarkerArrow, Text, Trajectory, Wind
from flowinone.prompts.tasks import TASKS
from flowinone.prompts.text_layout import lay_out
from flowinone.prompts.typeface import typeface
from flowinone.toy import (
    BACKGROUND_COLORS,
    COLORS,
    SCENE_TASKS,
    SHAPES,
    TEXTURES,
    Background,
    Scene,
    SceneObject,
    SceneSource,
    example,
    example_from_name,
    open_scenes,
    wording,
)
from flowinone.toy.rules import BOX_RADIUS, DEFAULT_LOOK, GRAVITY, PAIR_POSITIONS, SIZE_RADII, SLOTS
from flowinone.toy.scene import object_mask, outline, tones
from flowinone.toy.split import HELD_OUT_PAIRS, is_held_out_position, is_held_out_sentence

DRAWS = 20_000
REACH = 1.3
"""Radii: the largest distance of a shape's corners from its centre."""
EDITS = [task for task in SCENE_TASKS if TASKS[task].needs_photo]
SAID = ("text_to_image", "text_in_image", "text_box")
"""Tasks in which the words alone say what the answer shows."""


@pytest.fixture(scope="module")
def training():
    """Training examples, the same number of each task."""
    return [example(task, seed) for task in SCENE_TASKS for seed in range(DRAWS // len(SCENE_TASKS) + 1)]


@pytest.fixture(scope="module")
def held_out():
    return [example(task, seed, held_out=True) for task in SCENE_TASKS for seed in range(200)]


def objects_of(made):
    return [*(made.photo_scene.objects if made.photo_scene else ()), *made.answer.scene.objects]


def positions_of(made):
    """Positions that no rule fixes, where objects, labels and captions are, start and end."""
    free = [item.center for item in objects_of(made)]
    if made.task in ("class_to_image", "text_to_image"):
        free = []
    if made.task == "text_in_image":
        free = [center for center in free if center not in SLOTS.values()]
    for mark in made.prompt.marks:
        if isinstance(mark, Box):
            free.append(((mark.area[0] + mark.area[2]) / 2, (mark.area[1] + mark.area[3]) / 2))
        elif isinstance(mark, ForceArrow):
            free += [mark.start, mark.tip]
        elif isinstance(mark, Trajectory):
            free += [mark.points[0], mark.points[-1]]
        elif isinstance(mark, Text) and made.photo_scene is None:
            left, top, right, bottom = mark.area
            free.append(((left + right) / 2, (top + bottom) / 2))
    if made.photo_scene and made.photo_scene.flag:
        free.append(made.photo_scene.flag.top)
    return free


def lettering_of(made):
    mark = made.prompt.marks[-1]
    return mark.text, mark.style.face


def held_out_sentences():
    """Every sentence in a held-out phrasing that says what to do."""
    named = [
        wording.with_article(f"{size}{color} {shape}")
        for size in ("", "small ", "big ")
        for color in COLORS
        for shape in SHAPES
    ]
    there = [f"the {color}{shape}" for color in ("", *(f"{color} " for color in COLORS)) for shape in SHAPES]
    for phrasing in (*wording.CAPTION_ON.held_out,):
        yield from (phrasing.format(*gaps) for gaps in itertools.product(named, BACKGROUND_COLORS))
    for phrasing in (*wording.RELATION["left"].held_out, *wording.RELATION["right"].held_out):
        yield from (phrasing.format(*gaps) for gaps in itertools.product(named[:64], repeat=2))
    for phrasing in wording.RECOLOR.held_out:
        yield from (phrasing.format(*gaps) for gaps in itertools.product(there, COLORS))
    for phrasing in wording.REMOVAL.held_out:
        yield from (phrasing.format(item) for item in there)
    for phrasing in wording.ADDITION.held_out:
        yield from (phrasing.format(*gaps) for gaps in itertools.product(named, SLOTS))
    for phrasing in (*wording.BOXED.held_out, *wording.SWAPPED.held_out):
        yield from (phrasing.format(item) for item in named)
    for phrasings in (wording.MARKED, wording.DOODLE, wording.FORCE, wording.WIND, wording.TRAJECTORY):
        yield from phrasings.held_out


# The split


@pytest.mark.long
def test_training_never_names_or_shows_a_held_out_pair_or_uses_a_held_out_position(training):
    assert len(training) >= DRAWS
    pairs = {(item.shape, item.color) for made in training for item in objects_of(made)}
    assert pairs == {(shape, color) for shape in SHAPES for color in COLORS} - HELD_OUT_PAIRS
    positions = [position for made in training for position in positions_of(made)]
    assert len(positions) > DRAWS and not any(map(is_held_out_position, positions))


def test_training_never_says_a_held_out_sentence(training, held_out):
    said = {made.words for made in training if made.task != "class_to_image"}
    assert not said & set(held_out_sentences())
    swaps = {made.words for made in training if made.task == "visual_marker" and made.answer.placed}
    free = swaps | {made.words for made in training if made.task in SAID}
    assert len(free) > 2000 and not any(map(is_held_out_sentence, free))
    asked = {made.words for made in held_out if made.task != "class_to_image"}
    assert len(asked) > 300 and not asked & said


def test_training_never_shows_a_class_in_its_held_out_lettering(training, held_out):
    seen = {lettering_of(made) for made in training if made.task == "class_to_image"}
    asked = {lettering_of(made) for made in held_out if made.task == "class_to_image"}
    assert len(seen) == 8 * len(SHAPES) and len(asked) == len(SHAPES) and not seen & asked
    # Every case in every face was seen, with other classes.
    assert len({(label.islower(), label.isupper(), face) for label, face in seen}) == 9


def test_held_out_examples_use_held_out_positions(held_out):
    assert all(is_held_out_position(position) for made in held_out for position in positions_of(made))


def test_held_out_examples_have_held_out_pairs_as_often_as_others(held_out):
    shown = [item for made in held_out if made.task in SAID for item in made.answer.scene.objects]
    share = sum((item.shape, item.color) in HELD_OUT_PAIRS for item in shown) / len(shown)
    assert 0.09 < share < 0.19
    assert (
        len(HELD_OUT_PAIRS)
        == len({shape for shape, _ in HELD_OUT_PAIRS})
        == len({color for _, color in HELD_OUT_PAIRS})
        == 8
    )
    assert not HELD_OUT_PAIRS & {(shape, color) for shape, (color, _) in DEFAULT_LOOK.items()}


def test_every_fifth_cell_is_held_out_and_no_two_are_adjacent():
    cells = {(i, j): is_held_out_position(((i + 0.5) / 24, (j + 0.5) / 24)) for i in range(24) for j in range(24)}
    assert 0.19 < sum(cells.values()) / len(cells) < 0.21
    held_out = [cell for cell, is_held_out in cells.items() if is_held_out]
    assert not any(cells.get((i + di, j + dj)) for i, j in held_out for di, dj in ((1, 0), (0, 1), (1, 1), (1, -1)))


# Correct answers


def words_of(phrase):
    """Size, colour and shape of a named object."""
    *size, color, shape = phrase.split()[1:]
    return (size or [""])[0], color, shape


def test_captions_determine_the_answer(training):
    seen = Counter()
    for made in training:
        if made.task != "text_to_image":
            continue
        objects, background = made.answer.scene.objects, made.answer.scene.background
        seen[len(objects), made.answer.background] += 1
        if len(objects) == 1:
            named, _, rest = made.words.partition(" on ")
            size, color, shape = words_of(named)
            assert objects[0] == SceneObject(shape, color, (0.5, 0.5), SIZE_RADII[size])
            if made.answer.background == "named":
                name = rest.removeprefix("a ").removesuffix(" ground")
                assert background == Background("plain", (BACKGROUND_COLORS[name],) * 2) and name != color
            continue
        relation = next(r for r in ("above", "below", "left", "right", "and") if r in made.words.split())
        first, second = (
            words_of(part) for part in (made.words.split()[:3], made.words.split()[-3:]) for part in [" ".join(part)]
        )
        assert [(item.color, item.shape) for item in objects] == [first[1:], second[1:]]
        (x, y), (other_x, other_y) = (item.center for item in objects)
        assert {"above": y < other_y, "below": y > other_y, "right": x > other_x}.get(relation, x < other_x)
        assert {objects[0].center, objects[1].center} in [set(positions) for positions in PAIR_POSITIONS.values()]
    assert set(seen) == {(1, "named"), (1, "free"), (2, "free")}


def test_classes_have_their_default_look(training):
    for made in training:
        if made.task == "class_to_image":
            (item,) = made.answer.scene.objects
            shape = made.words.lower()
            assert item == SceneObject(
                shape, DEFAULT_LOOK[shape][0], (0.5, 0.5), SIZE_RADII[""], DEFAULT_LOOK[shape][1]
            )


def test_instructions_change_one_thing(training):
    kinds = Counter()
    for made in training:
        if made.task != "text_in_image":
            continue
        before, after = set(made.photo_scene.objects), set(made.answer.scene.objects)
        assert len({item.shape for item in before}) == len(before)
        gone, new = before - after, after - before
        words = made.words.split()
        kinds[len(gone), len(new)] += 1
        for item in gone:
            assert item.shape in words and (item.color in words or words[words.index(item.shape) - 1] == "the")
        for item in new:
            assert item.shape in words and item.color in words
        if not gone:
            assert SLOTS[" ".join(words[-3:])] == next(iter(new)).center
        if gone and new:
            (old,), (recolored,) = gone, new
            assert (old.shape, old.center, old.radius, old.texture) == (
                recolored.shape,
                recolored.center,
                recolored.radius,
                recolored.texture,
            )
            assert words[-1] == recolored.color
    assert set(kinds) == {(1, 0), (0, 1), (1, 1)} and min(kinds.values()) > 600


def test_marks_determine_the_answer(training):
    for made in training:
        photo, answer = made.photo_scene, made.answer.scene
        marks = made.prompt.marks
        placed = [answer.objects[number] for number in sorted(made.answer.placed)]
        if made.task == "text_box":
            left, top, right, bottom = marks[0].area
            (item,) = placed
            assert marks[0].label.split()[-2:] == [item.color, item.shape]
            assert item.center == pytest.approx(((left + right) / 2, (top + bottom) / 2))
            assert item.radius == pytest.approx(BOX_RADIUS * min(right - left, bottom - top))
            assert answer.objects[1:] == photo.objects
        elif made.task == "visual_marker":
            tips = [item for item in photo.objects if math.dist(marks[0].tip, item.center) < item.radius]
            (old,) = tips
            assert set(photo.objects) - set(answer.objects) == {old}
            assert isinstance(marks[0], MarkerArrow) and (
                made.words in wording.MARKED.training + wording.MARKED.held_out
            ) != bool(placed)
            for new in placed:
                assert (new.center, new.radius) == (old.center, old.radius) and new.shape != old.shape
                assert f"{new.color} {new.shape}" in made.words
        elif made.task == "doodle":
            assert isinstance(marks[0], Doodle) and answer.objects[len(placed) :] == photo.objects
            points = np.array([point for stroke in marks[0].strokes for point in stroke.points])
            away = np.array([np.linalg.norm(points - item.center, axis=1) / item.radius for item in placed])
            assert (away.min(axis=0) < REACH + 0.1).all() and (away.min(axis=1) < 1).all()
            assert all((item.color, item.texture) == DEFAULT_LOOK[item.shape] for item in placed)
        elif made.task == "point_force":
            arrows = [mark for mark in marks if isinstance(mark, ForceArrow)]
            assert [arrow.start for arrow in arrows] == [item.center for item in photo.objects[: len(placed)]]
            assert np.array([arrow.tip for arrow in arrows]) == pytest.approx(
                np.array([item.center for item in placed])
            )
            assert answer.objects[len(placed) :] == photo.objects[len(placed) :]
        elif made.task == "trajectory":
            paths = [mark for mark in marks if isinstance(mark, Trajectory)]
            assert [path.points[0] for path in paths] == [item.center for item in photo.objects[: len(placed)]]
            assert [path.points[-1] for path in paths] == [item.center for item in placed]
            assert answer.objects[len(placed) :] == photo.objects[len(placed) :]
        elif made.task == "wind":
            wind = marks[0]
            assert isinstance(wind, Wind) and photo.flag.direction is None
            x = wind.strength * math.cos(math.radians(wind.angle))
            y = GRAVITY - wind.strength * math.sin(math.radians(wind.angle))
            assert answer.flag.direction == pytest.approx((x / math.hypot(x, y), y / math.hypot(x, y)))


def test_several_balls_are_pushed_and_several_objects_led(training):
    for task in ("point_force", "trajectory", "doodle"):
        counts = Counter(len(made.answer.placed) for made in training if made.task == task)
        assert set(counts) == {1, 2} and min(counts.values()) > 400


def test_objects_never_touch_each_other(training):
    for made in training[::5]:
        for scene in filter(None, (made.photo_scene, made.answer.scene)):
            masks = np.zeros((128, 128))
            for item in scene.objects:
                (top, left), mask = object_mask(item, 128)
                assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()), "cut off"
                masks[top : top + len(mask), left : left + mask.shape[1]] += mask > 0
            assert masks.max() <= 1


# Pictures


@pytest.mark.parametrize("task", SCENE_TASKS)
def test_an_example_follows_from_its_arguments(task):
    made, again = example(task, 7), example(task, 7)
    assert made.input.tobytes() == again.input.tobytes() and made.output.tobytes() == again.output.tobytes()
    assert made.prompt.task == task and made.prompt.bypass == TASKS[task].bypass
    names = {made.name}
    for other in (example(task, 8), example(task, 7, held_out=True)):
        assert other.input.tobytes() != made.input.tobytes()
        names.add(other.name)
    assert len(names) == 3


@pytest.mark.parametrize("task", SCENE_TASKS)
def test_an_example_is_the_same_at_every_size(task):
    small, large = example(task, 3), example(task, 3, 256)
    mixed = example(task, 3, prompt_size=256)
    assert large.output.size == large.input.size == mixed.input.size == (256, 256)
    assert mixed.output.tobytes() == small.output.tobytes() and mixed.input.tobytes() == large.input.tobytes()
    halved = np.asarray(large.output.reduce(2), np.float64)
    assert np.abs(halved - np.asarray(small.output)).mean() < 1


@pytest.mark.parametrize("task", EDITS)
def test_a_prompt_is_its_photo_with_marks_and_an_answer_changes_only_what_it_is_about(task):
    for seed in range(10):
        made = example(task, seed)
        marked = ImageChops.difference(made.photo, made.input).convert("L").point(lambda value: 255 * (value > 8))
        assert 0.005 < np.asarray(marked).mean() / 255 < 0.35
        changed = np.asarray(ImageChops.difference(made.photo, made.output)).max(axis=-1) > 0
        stays = [item for number, item in enumerate(made.answer.scene.objects) if number not in made.answer.placed]
        for item in stays if task != "text_in_image" else ():
            (top, left), mask = object_mask(item, 128)
            assert not changed[top : top + len(mask), left : left + mask.shape[1]][mask > 0.5].any()
        assert changed.any() and changed.mean() < 0.35


def test_words_that_say_what_to_do_are_large():
    for task, least in (("class_to_image", 56), ("text_to_image", 44), ("text_in_image", 40), ("visual_marker", 34)):
        for made in (example(task, seed, held_out=held_out) for seed in range(150) for held_out in (False, True)):
            mark = made.prompt.marks[-1]
            area = tuple(edge * 512 for edge in mark.area)
            block = lay_out(mark.text, mark.style, typeface(mark.style), area, mark.valign)
            assert block.size >= least
            if task != "class_to_image":
                assert block.ink[1] >= area[1] - 4, f"{mark.text} reaches above its area"


def test_every_colour_contrasts_with_every_background_and_the_other_colours():
    backgrounds = [np.array(color) for color in BACKGROUND_COLORS.values()]
    backgrounds += [
        np.array(color) for seed in range(300) for color in example("text_box", seed).photo_scene.background.colors
    ]
    for color in COLORS:
        for background in backgrounds:
            same_name = color in BACKGROUND_COLORS and np.array_equal(BACKGROUND_COLORS[color], background)
            assert same_name or np.abs(np.array(COLORS[color]) - background).max() > 50
    assert min(math.dist(one, other) for one, other in itertools.combinations(COLORS.values(), 2)) > 75
    assert min(math.dist(one, other) for one, other in itertools.combinations(BACKGROUND_COLORS.values(), 2)) > 50


def test_shapes_balance_around_their_centre_within_their_reach():
    for shape in SHAPES:
        picture = np.zeros((400, 400))
        (top, left), mask = object_mask(SceneObject(shape, "red", (0.5, 0.5), 0.35), 400)
        picture[top : top + len(mask), left : left + mask.shape[1]] = mask
        y, x = (picture.sum(axis=axis) @ (np.arange(400) + 0.5) / picture.sum() for axis in (1, 0))
        assert (x, y) == pytest.approx((200, 200), abs=1)
        assert np.linalg.norm(outline(shape)[0], axis=1).max() < REACH
    with pytest.raises(ValueError, match="'egg' is unknown; choose one of ball"):
        outline("egg")


def test_textures_have_two_tones_and_plain_objects_one():
    background = Background("plain", ((250, 250, 250),) * 2)
    for texture in TEXTURES:
        picture = Scene(background, (SceneObject("square", "blue", (0.5, 0.5), 0.3, texture),)).render(256)
        inside = np.asarray(picture.crop((80, 80, 176, 176))).reshape(-1, 3)
        first, second = (np.abs(inside - tone.round()).max(axis=1) <= 1 for tone in tones("blue"))
        assert first.mean() > 0.3 and (second.mean() > 0.1) == (texture != "plain")


def test_backgrounds_are_what_they_are_called():
    white, grey = (250, 250, 250), (180, 180, 180)
    down, right = (
        np.asarray(Scene(Background(kind, (white, grey))).render(64), int)[..., 0] for kind in ("down", "right")
    )
    assert (np.diff(down, axis=0) <= 0).all() and down[0, 0] == 250 and down[-1, 0] == 180
    assert np.array_equal(right, down.T)
    room = np.asarray(Scene(Background("room", (white, grey), level=0.5)).render(64))[..., 0]
    assert (room[:31] == 250).all() and (room[33:] == 180).all()
    clouds = np.asarray(Scene(Background("clouds", (white, grey), seed=4)).render(64), int)[..., 0]
    assert clouds.std() > 5 and np.abs(np.diff(clouds, axis=0)).max() < 20


# Training pairs


def test_a_source_gives_the_tasks_in_turn():
    source = SceneSource(seed=3, prompt_size=192)
    assert len(source) == 2**31
    names = [source.pair(index).name for index in range(2 * len(SCENE_TASKS))]
    assert [name.split("-")[0] for name in names] == [*SCENE_TASKS] * 2 and len(set(names)) == len(names)
    pair = source.pair(0)
    assert pair.bypass and pair.input.size == (192, 192) and pair.output.size == (128, 128)
    assert not SceneSource(["wind"]).pair(2**31 - 1).bypass
    assert SceneSource(seed=4).pair(0).input.tobytes() != SceneSource(seed=3).pair(0).input.tobytes()


def test_a_source_can_be_sent_to_other_processes():
    source = SceneSource(["doodle", "wind"], seed=5)
    sent = pickle.loads(pickle.dumps(source))
    assert sent.name == source.name and sent.pair(11).input.tobytes() == source.pair(11).input.tobytes()


def test_a_source_says_what_it_lacks():
    with pytest.raises(ValueError, match="'painting' has no scenes; choose one of class_to_image"):
        SceneSource(["painting"])
    with pytest.raises(IndexError, match="pairs 0 to 2147483647, not 2147483648"):
        SceneSource().pair(2**31)


def test_a_path_opens_a_source_of_some_tasks_or_all():
    source = open_scenes("doodle,wind", seed=5, image_size=128, vision_size=192)
    assert (source.tasks, source.seed, source.size, source.prompt_size) == (("doodle", "wind"), 5, 128, 192)
    assert source.pair(3).name == SceneSource(["doodle", "wind"], 5).pair(3).name
    assert open_scenes("", seed=0, image_size=128, vision_size=128).tasks == SCENE_TASKS
    with pytest.raises(ValueError, match="scenes:doodle,painting: there are no scenes for painting; choose"):
        open_scenes("doodle,painting", seed=0, image_size=128, vision_size=128)


@pytest.mark.parametrize("held_out", [False, True])
def test_an_example_follows_from_its_name(held_out):
    made = example("wind", 11, 64, held_out)
    again = example_from_name(made.name, 64)
    assert again == made and again.output.tobytes() == made.output.tobytes()


def test_a_photo_is_smaller_than_what_its_prompt_may_show():
    made = example("text_box", 1, 64, prompt_size=320)
    assert made.photo.size == (64, 64) and made.input.size == (320, 320)
    assert isinstance(made.photo, Image.Image) and made.photo.mode == "RGB"
