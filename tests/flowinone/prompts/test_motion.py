"""A part of a prompt's motion lies on the whole, and ends where its share of the way does."""

import math
from itertools import pairwise

import numpy as np
import pytest

from flowinone.prompts import (
    Box,
    Doodle,
    ForceArrow,
    PromptError,
    SolidCanvas,
    Stroke,
    Trajectory,
    VisualPrompt,
    Wind,
    render,
    tasks,
)
from flowinone.prompts.checks import MAX_POINTS
from flowinone.prompts.motion import part

BENT = ((0.1, 0.7), (0.35, 0.2), (0.6, 0.8), (0.9, 0.3))


def prompt(*marks, task="trajectory"):
    return VisualPrompt(task, SolidCanvas("#808080"), marks)


def marks_of(whole, start, end):
    return part(whole, start, end).marks


def length(points):
    return sum(math.dist(*pair) for pair in pairwise(points))


def inked(visual_prompt, least=0):
    """Where the rendering is not the plain canvas."""
    picture = np.asarray(render(visual_prompt)).astype(int)
    return np.abs(picture - 128).max(axis=-1) > least


def test_the_whole_way_is_the_prompt_itself():
    whole = tasks.trajectory([BENT])
    assert part(whole, 0, 1) is whole


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.9])
def test_a_straight_path_ends_at_its_fraction_and_keeps_the_corners_before(fraction):
    (path,) = marks_of(prompt(Trajectory(((0.1, 0.5), (0.5, 0.5), (0.5, 0.9)), smooth=False)), 0, fraction)
    assert path.points[0] == (0.1, 0.5)
    assert length(path.points) == pytest.approx(0.8 * fraction)
    along = 0.8 * fraction
    assert path.points[-1] == pytest.approx((0.1 + along, 0.5) if along <= 0.4 else (0.5, 0.1 + along))
    assert ((0.5, 0.5) in path.points) == (fraction >= 0.5)


def test_a_part_of_a_curve_is_drawn_on_the_whole_curve():
    whole = prompt(Trajectory(BENT))
    everywhere, covered = inked(whole), []
    for fraction in (0.2, 0.4, 0.6, 0.8):
        drawn = inked(part(whole, 0, fraction), least=60)
        assert not (drawn & ~everywhere).any()
        covered.append(drawn.sum())
    assert np.diff([*covered, inked(whole, least=60).sum()]) == pytest.approx(covered[0], rel=0.1)


def test_the_pieces_of_a_curve_follow_each_other_and_make_up_the_whole():
    whole = prompt(Trajectory(BENT))
    pieces = [part(whole, number / 5, (number + 1) / 5) for number in range(5)]
    lines = [piece.marks[0].points for piece in pieces]
    assert (lines[0][0], lines[-1][-1]) == (BENT[0], BENT[-1])
    for line, following in pairwise(lines):
        assert line[-1] == pytest.approx(following[0])
        assert length(line) == pytest.approx(length(following), rel=1e-6)
    # The line's edges are not the same to the last shade.
    some, clear = (np.any([inked(piece, least) for piece in pieces], axis=0) for least in (0, 60))
    assert not (clear & ~inked(whole)).any() and not (inked(whole, 60) & ~some).any()


def test_a_push_grows_from_its_object_and_its_pieces_walk_to_the_tip():
    arrow = ForceArrow((0.3, 0.6), 30, 2)
    whole = prompt(arrow, task="point_force")
    (half,) = marks_of(whole, 0, 0.5)
    assert (half.start, half.magnitude) == (arrow.start, 1)
    pieces = [marks_of(whole, number / 4, (number + 1) / 4)[0] for number in range(4)]
    assert [piece.magnitude for piece in pieces] == pytest.approx([0.5] * 4)
    for piece, following in pairwise(pieces):
        assert piece.tip == pytest.approx(following.start)
    assert pieces[0].start == arrow.start and pieces[-1].tip == pytest.approx(arrow.tip)


def test_wind_has_its_share_of_the_strength_where_it_blows():
    (wind,) = marks_of(prompt(Wind((0.4, 0.4), 90, 3), task="wind"), 0.5, 1)
    assert (wind.center, wind.angle, wind.strength) == ((0.4, 0.4), 90, 1.5)


@pytest.mark.parametrize(
    "mark",
    [
        ForceArrow((0.5, 0.5), 0, 0.2),
        ForceArrow((0.5, 0.5), 0, 1, scale=0.01),
        ForceArrow((0.5, 0.5), 0, 5e-3, scale=2),
        ForceArrow((2.0, 2.0), -45, 1, scale=2),
        Wind((0.5, 0.5), 0, 0.2),
        Wind((0.5, 0.5), 0, 1, scale=0.02),
        Trajectory(((0.5, 0.5), (0.5, 0.5))),
        Trajectory(((0.5, 0.5), (0.5, 0.501)), smooth=False),
        Trajectory(((-1.0, 2.0), (2.0, 2.0), (2.0, -1.0))),
    ],
)
def test_the_smallest_stages_can_still_be_drawn(mark):
    whole = prompt(mark)
    for start, end in ((0, 1 / 64), (63 / 64, 1)):
        render(part(whole, start, end), None, 64)


def test_everything_moves_together_and_the_rest_stays():
    still = Box((0.1, 0.1, 0.3, 0.3), "a tree"), Doodle((Stroke(BENT),))
    moving = ForceArrow((0.5, 0.5), 0), Trajectory(BENT), Wind((0.2, 0.2))
    words = tasks.trajectory([BENT]).marks[-1]
    marks = marks_of(prompt(still[0], *moving, still[1], words), 0, 0.5)
    assert (marks[0], marks[4], marks[5]) == (*still, words)
    assert marks[1].magnitude == 0.5 and marks[3].strength == 0.5
    assert length(marks[2].points) < length(BENT)


def test_the_most_points_that_a_prompt_may_have_are_not_exceeded_by_its_curves():
    around = [(0.5 + 0.4 * math.cos(angle), 0.5 + 0.4 * math.sin(angle)) for angle in np.linspace(0, 6, 40)]
    many = prompt(*[Trajectory(tuple(around))] * 199, Doodle((Stroke(tuple(around) * 250),)))
    shorter = part(many, 0, 0.75)
    assert sum(len(mark.points) for mark in shorter.marks[:-1]) <= MAX_POINTS - 10_000
    assert length(shorter.marks[0].points) == pytest.approx(0.75 * 0.4 * 6, rel=0.01)


def test_a_cut_curve_stays_where_marks_may_be():
    whole = prompt(Trajectory(((1.9, 1.0), (2.0, 1.9), (1.0, 2.0))))
    (path,) = marks_of(whole, 0, 0.9)
    assert max(max(point) for point in path.points) == 2


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.6, 0.5), (-0.1, 0.5), (0, 1.1), (0, math.nan)])
def test_parts_that_cannot_be_are_refused(start, end):
    with pytest.raises(PromptError, match="is not a part of a motion; expected 0 <= start < end <= 1"):
        part(tasks.trajectory([BENT]), start, end)


def test_a_prompt_without_motion_is_refused_with_the_remedy():
    with pytest.raises(PromptError, match="marks: hold nothing that moves; draw a trajectory, a force arrow or wind"):
        part(tasks.text_box([((0.1, 0.1, 0.5, 0.5), "put a cat")]), 0, 0.5)
