"""Made-up scenes: what is right follows from the prompt, and training never sees what the examination asks."""

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
    COLORS,
    GROUNDS,
    IN_BOX,
    OWN,
    SCENE_TASKS,
    SHAPES,
    SIDES,
    SIZES,
    SLOTS,
    WEIGHT,
    Ground,
    Scene,
    SceneSource,
    Thing,
    example,
    plan,
    wording,
)
from flowinone.toy.painting import TEXTURES, outline, silhouette, tones
from flowinone.toy.split import KEPT_PAIRS, kept_place, kept_sentence

DRAWS = 20_000
REACH = 1.3
"""Radii: how far a shape's corners lie from its centre at most."""
EDITS = [task for task in SCENE_TASKS if TASKS[task].needs_photo]
SAID = ("text_to_image", "text_in_image", "text_box")
"""Tasks in which words alone say what is to be seen."""


@pytest.fixture(scope="module")
def training():
    """Plans of training, the same number of each task."""
    return [plan(task, seed) for task in SCENE_TASKS for seed in range(DRAWS // len(SCENE_TASKS) + 1)]


@pytest.fixture(scope="module")
def examination():
    return [plan(task, seed, held_out=True) for task in SCENE_TASKS for seed in range(200)]


def things_of(planned):
    return [*(planned.photo.things if planned.photo else ()), *planned.answer.scene.things]


def places_of(planned):
    """Where things, labels and captions freely stand, start and end."""
    free = [thing.center for thing in things_of(planned)]
    if planned.task in ("class_to_image", "text_to_image"):
        free = []
    if planned.task == "text_in_image":
        free = [center for center in free if center not in SLOTS.values()]
    for mark in planned.prompt.marks:
        if isinstance(mark, Box):
            free.append(((mark.area[0] + mark.area[2]) / 2, (mark.area[1] + mark.area[3]) / 2))
        elif isinstance(mark, ForceArrow):
            free += [mark.start, mark.tip]
        elif isinstance(mark, Trajectory):
            free += [mark.points[0], mark.points[-1]]
        elif isinstance(mark, Text) and planned.photo is None:
            left, top, right, bottom = mark.area
            free.append(((left + right) / 2, (top + bottom) / 2))
    if planned.photo and planned.photo.flag:
        free.append(planned.photo.flag.top)
    return free


def lettering_of(planned):
    mark = planned.prompt.marks[-1]
    return mark.text, mark.style.face


def kept_phrases():
    """Every sentence in a kept phrasing that says what to do."""
    named = [
        wording.a(f"{size}{color} {shape}") for size in ("", "small ", "big ") for color in COLORS for shape in SHAPES
    ]
    there = [f"the {color}{shape}" for color in ("", *(f"{color} " for color in COLORS)) for shape in SHAPES]
    for phrasing in (*wording.CAPTION_ON.kept,):
        yield from (phrasing.format(*gaps) for gaps in itertools.product(named, GROUNDS))
    for phrasing in (*wording.PLACED["left"].kept, *wording.PLACED["right"].kept):
        yield from (phrasing.format(*gaps) for gaps in itertools.product(named[:64], repeat=2))
    for phrasing in wording.RECOLOR.kept:
        yield from (phrasing.format(*gaps) for gaps in itertools.product(there, COLORS))
    for phrasing in wording.REMOVAL.kept:
        yield from (phrasing.format(thing) for thing in there)
    for phrasing in wording.ADDITION.kept:
        yield from (phrasing.format(*gaps) for gaps in itertools.product(named, SLOTS))
    for phrasing in (*wording.BOXED.kept, *wording.SWAPPED.kept):
        yield from (phrasing.format(thing) for thing in named)
    for phrasings in (wording.MARKED, wording.DOODLE, wording.FORCE, wording.WIND, wording.PATH):
        yield from phrasings.kept


# The split


def test_training_never_names_or_shows_what_is_kept(training):
    assert len(training) >= DRAWS
    pairs = {(thing.shape, thing.color) for planned in training for thing in things_of(planned)}
    assert pairs == {(shape, color) for shape in SHAPES for color in COLORS} - KEPT_PAIRS
    places = [place for planned in training for place in places_of(planned)]
    assert len(places) > DRAWS and not any(map(kept_place, places))


def test_training_never_says_what_is_kept(training, examination):
    said = {planned.words for planned in training if planned.task != "class_to_image"}
    assert not said & set(kept_phrases())
    swaps = {planned.words for planned in training if planned.task == "visual_marker" and planned.answer.put}
    free = swaps | {planned.words for planned in training if planned.task in SAID}
    assert len(free) > 2000 and not any(map(kept_sentence, free))
    asked = {planned.words for planned in examination if planned.task != "class_to_image"}
    assert len(asked) > 300 and not asked & said


def test_training_never_shows_a_class_in_the_lettering_that_is_kept(training, examination):
    seen = {lettering_of(planned) for planned in training if planned.task == "class_to_image"}
    asked = {lettering_of(planned) for planned in examination if planned.task == "class_to_image"}
    assert len(seen) == 8 * len(SHAPES) and len(asked) == len(SHAPES) and not seen & asked
    # Every case in every face was seen, with other classes.
    assert len({(label.islower(), label.isupper(), face) for label, face in seen}) == 9


def test_the_examination_is_in_places_that_are_kept(examination):
    assert all(kept_place(place) for planned in examination for place in places_of(planned))


def test_the_examination_has_kept_pairs_as_often_as_others(examination):
    shown = [thing for planned in examination if planned.task in SAID for thing in planned.answer.scene.things]
    share = sum((thing.shape, thing.color) in KEPT_PAIRS for thing in shown) / len(shown)
    assert 0.09 < share < 0.19
    assert len(KEPT_PAIRS) == len({shape for shape, _ in KEPT_PAIRS}) == len({color for _, color in KEPT_PAIRS}) == 8
    assert not KEPT_PAIRS & {(shape, color) for shape, (color, _) in OWN.items()}


def test_every_fifth_place_is_kept_and_none_beside_another():
    cells = {(i, j): kept_place(((i + 0.5) / 24, (j + 0.5) / 24)) for i in range(24) for j in range(24)}
    assert 0.19 < sum(cells.values()) / len(cells) < 0.21
    kept = [cell for cell, is_kept in cells.items() if is_kept]
    assert not any(cells.get((i + di, j + dj)) for i, j in kept for di, dj in ((1, 0), (0, 1), (1, 1), (1, -1)))


# What is right


def words_of(phrase):
    """Size, colour and shape of a named thing."""
    *size, color, shape = phrase.split()[1:]
    return (size or [""])[0], color, shape


def test_captions_say_what_is_right(training):
    seen = Counter()
    for planned in training:
        if planned.task != "text_to_image":
            continue
        things, ground = planned.answer.scene.things, planned.answer.scene.ground
        seen[len(things), planned.answer.ground] += 1
        if len(things) == 1:
            named, _, rest = planned.words.partition(" on ")
            size, color, shape = words_of(named)
            assert things[0] == Thing(shape, color, (0.5, 0.5), SIZES[size])
            if planned.answer.ground == "named":
                name = rest.removeprefix("a ").removesuffix(" ground")
                assert ground == Ground("plain", (GROUNDS[name],) * 2) and name != color
            continue
        relation = next(r for r in ("above", "below", "left", "right", "and") if r in planned.words.split())
        first, second = (
            words_of(part)
            for part in (planned.words.split()[:3], planned.words.split()[-3:])
            for part in [" ".join(part)]
        )
        assert [(thing.color, thing.shape) for thing in things] == [first[1:], second[1:]]
        (x, y), (other_x, other_y) = (thing.center for thing in things)
        assert {"above": y < other_y, "below": y > other_y, "right": x > other_x}.get(relation, x < other_x)
        assert {things[0].center, things[1].center} in [set(places) for places in SIDES.values()]
    assert set(seen) == {(1, "named"), (1, "free"), (2, "free")}


def test_classes_have_their_own_look(training):
    for planned in training:
        if planned.task == "class_to_image":
            (thing,) = planned.answer.scene.things
            shape = planned.words.lower()
            assert thing == Thing(shape, OWN[shape][0], (0.5, 0.5), SIZES[""], OWN[shape][1])


def test_instructions_change_one_thing(training):
    kinds = Counter()
    for planned in training:
        if planned.task != "text_in_image":
            continue
        before, after = set(planned.photo.things), set(planned.answer.scene.things)
        assert len({thing.shape for thing in before}) == len(before)
        gone, new = before - after, after - before
        words = planned.words.split()
        kinds[len(gone), len(new)] += 1
        for thing in gone:
            assert thing.shape in words and (thing.color in words or words[words.index(thing.shape) - 1] == "the")
        for thing in new:
            assert thing.shape in words and thing.color in words
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


def test_marks_say_what_is_right(training):
    for planned in training:
        photo, answer = planned.photo, planned.answer.scene
        marks = planned.prompt.marks
        put = [answer.things[number] for number in sorted(planned.answer.put)]
        if planned.task == "text_box":
            left, top, right, bottom = marks[0].area
            (thing,) = put
            assert marks[0].label.split()[-2:] == [thing.color, thing.shape]
            assert thing.center == pytest.approx(((left + right) / 2, (top + bottom) / 2))
            assert thing.radius == pytest.approx(IN_BOX * min(right - left, bottom - top))
            assert answer.things[1:] == photo.things
        elif planned.task == "visual_marker":
            tips = [thing for thing in photo.things if math.dist(marks[0].tip, thing.center) < thing.radius]
            (old,) = tips
            assert set(photo.things) - set(answer.things) == {old}
            assert isinstance(marks[0], MarkerArrow) and (
                planned.words in wording.MARKED.trained + wording.MARKED.kept
            ) != bool(put)
            for new in put:
                assert (new.center, new.radius) == (old.center, old.radius) and new.shape != old.shape
                assert f"{new.color} {new.shape}" in planned.words
        elif planned.task == "doodle":
            assert isinstance(marks[0], Doodle) and answer.things[len(put) :] == photo.things
            points = np.array([point for stroke in marks[0].strokes for point in stroke.points])
            away = np.array([np.linalg.norm(points - thing.center, axis=1) / thing.radius for thing in put])
            assert (away.min(axis=0) < REACH + 0.1).all() and (away.min(axis=1) < 1).all()
            assert all((thing.color, thing.texture) == OWN[thing.shape] for thing in put)
        elif planned.task == "point_force":
            arrows = [mark for mark in marks if isinstance(mark, ForceArrow)]
            assert [arrow.start for arrow in arrows] == [thing.center for thing in photo.things[: len(put)]]
            assert np.array([arrow.tip for arrow in arrows]) == pytest.approx(np.array([thing.center for thing in put]))
            assert answer.things[len(put) :] == photo.things[len(put) :]
        elif planned.task == "trajectory":
            paths = [mark for mark in marks if isinstance(mark, Trajectory)]
            assert [path.points[0] for path in paths] == [thing.center for thing in photo.things[: len(put)]]
            assert [path.points[-1] for path in paths] == [thing.center for thing in put]
            assert answer.things[len(put) :] == photo.things[len(put) :]
        elif planned.task == "wind":
            wind = marks[0]
            assert isinstance(wind, Wind) and photo.flag.blow is None
            x = wind.strength * math.cos(math.radians(wind.angle))
            y = WEIGHT - wind.strength * math.sin(math.radians(wind.angle))
            assert answer.flag.blow == pytest.approx((x / math.hypot(x, y), y / math.hypot(x, y)))


def test_several_balls_are_pushed_and_several_things_led(training):
    for task in ("point_force", "trajectory", "doodle"):
        counts = Counter(len(planned.answer.put) for planned in training if planned.task == task)
        assert set(counts) == {1, 2} and min(counts.values()) > 400


def test_things_never_touch_each_other(training):
    for planned in training[::5]:
        for scene in filter(None, (planned.photo, planned.answer.scene)):
            masks = np.zeros((128, 128))
            for thing in scene.things:
                (top, left), mask = silhouette(thing, 128)
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
        stays = [thing for number, thing in enumerate(made.answer.scene.things) if number not in made.answer.put]
        for thing in stays if task != "text_in_image" else ():
            (top, left), mask = silhouette(thing, 128)
            assert not changed[top : top + len(mask), left : left + mask.shape[1]][mask > 0.5].any()
        assert changed.any() and changed.mean() < 0.35


def test_words_that_say_what_to_do_are_large():
    for task, least in (("class_to_image", 56), ("text_to_image", 44), ("text_in_image", 40), ("visual_marker", 34)):
        for planned in (plan(task, seed, held_out) for seed in range(150) for held_out in (False, True)):
            mark = planned.prompt.marks[-1]
            area = tuple(edge * 512 for edge in mark.area)
            block = lay_out(mark.text, mark.style, typeface(mark.style), area, mark.valign)
            assert block.size >= least
            if task != "class_to_image":
                assert block.ink[1] >= area[1] - 4, f"{mark.text} reaches above its area"


def test_every_colour_stands_out_from_every_ground_and_from_the_others():
    grounds = [np.array(color) for color in GROUNDS.values()]
    grounds += [np.array(color) for seed in range(300) for color in plan("text_box", seed).photo.ground.colors]
    for color in COLORS:
        for ground in grounds:
            same_name = color in GROUNDS and np.array_equal(GROUNDS[color], ground)
            assert same_name or np.abs(np.array(COLORS[color]) - ground).max() > 50
    assert min(math.dist(one, other) for one, other in itertools.combinations(COLORS.values(), 2)) > 75
    assert min(math.dist(one, other) for one, other in itertools.combinations(GROUNDS.values(), 2)) > 50


def test_shapes_balance_around_their_centre_within_their_reach():
    for shape in SHAPES:
        picture = np.zeros((400, 400))
        (top, left), mask = silhouette(Thing(shape, "red", (0.5, 0.5), 0.35), 400)
        picture[top : top + len(mask), left : left + mask.shape[1]] = mask
        y, x = (picture.sum(axis=axis) @ (np.arange(400) + 0.5) / picture.sum() for axis in (1, 0))
        assert (x, y) == pytest.approx((200, 200), abs=1)
        assert np.linalg.norm(outline(shape)[0], axis=1).max() < REACH
    with pytest.raises(ValueError, match="'egg' is none that is drawn; choose one of ball"):
        outline("egg")


def test_textures_have_two_tones_and_plain_things_one():
    ground = Ground("plain", ((250, 250, 250),) * 2)
    for texture in TEXTURES:
        picture = Scene(ground, (Thing("square", "blue", (0.5, 0.5), 0.3, texture),)).draw(256)
        inside = np.asarray(picture.crop((80, 80, 176, 176))).reshape(-1, 3)
        first, second = (np.abs(inside - tone.round()).max(axis=1) <= 1 for tone in tones("blue"))
        assert first.mean() > 0.3 and (second.mean() > 0.1) == (texture != "plain")


def test_grounds_are_what_they_are_called():
    white, grey = (250, 250, 250), (180, 180, 180)
    down, right = (np.asarray(Scene(Ground(kind, (white, grey))).draw(64), int)[..., 0] for kind in ("down", "right"))
    assert (np.diff(down, axis=0) <= 0).all() and down[0, 0] == 250 and down[-1, 0] == 180
    assert np.array_equal(right, down.T)
    room = np.asarray(Scene(Ground("room", (white, grey), level=0.5)).draw(64))[..., 0]
    assert (room[:31] == 250).all() and (room[33:] == 180).all()
    clouds = np.asarray(Scene(Ground("clouds", (white, grey), seed=4)).draw(64), int)[..., 0]
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


def test_a_photo_is_smaller_than_what_its_prompt_may_show():
    made = example("text_box", 1, 64, prompt_size=320)
    assert made.photo.size == (64, 64) and made.input.size == (320, 320)
    assert isinstance(made.photo, Image.Image) and made.photo.mode == "RGB"
