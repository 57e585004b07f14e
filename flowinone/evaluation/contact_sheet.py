"""A picture of what went wrong in an examination, for a person to look at."""

import textwrap

from PIL import Image, ImageDraw, ImageFont

from ..toy import example
from .runner import Scores

_PICTURE, _GAP, _LINE = 144, 6, 13
"""Pixels: a picture's side, between pictures, a line's height."""
_LINES, _WIDTH = 3, 84
"""Of what is said below a wrong answer, in lines and letters."""
_COLUMNS = 2
"""Prompt, answer and right answer, side by side."""


def sheet(scores: Scores) -> Image.Image:
    """Each task's first wrong answers in the main setting: prompt, answer, right answer, and what is wrong."""
    font = ImageFont.load_default(_LINE - 2)
    wide = 3 * _PICTURE + 4 * _GAP
    bands = {task: -(-len(marks.wrong) // _COLUMNS) for task, marks in scores.main.marks.items()}
    high = _PICTURE + _GAP + _LINES * _LINE + _GAP
    title = 2 * _LINE + _GAP
    paper = Image.new("RGB", (_COLUMNS * wide, title + sum(title + rows * high for rows in bands.values())), "white")
    draw = ImageDraw.Draw(paper)
    draw.text((_GAP, _GAP), "wrong answers: prompt, answer, right answer", "black", font)
    top = title
    for task, marks in scores.main.marks.items():
        score = marks.score
        draw.text((_GAP, top + _GAP), f"{task}: {score.count - score.right} of {score.count} wrong", "black", font)
        top += title
        for index, (place, answer) in enumerate(marks.wrong.items()):
            left, above = index % _COLUMNS * wide + _GAP, top + index // _COLUMNS * high
            made = example(task, scores.number(place), answer.width, held_out=True, prompt_size=scores.prompt_side)
            for column, picture in enumerate((made.input, answer, made.output)):
                small = picture.resize((_PICTURE,) * 2, Image.Resampling.LANCZOS)
                paper.paste(small, (left + column * (_PICTURE + _GAP), above))
            reasons = "; ".join(marks.judgements[place].reasons)
            words = textwrap.wrap(f"{place}: {reasons}", _WIDTH, max_lines=_LINES, placeholder=" ...")
            for number, line in enumerate(words):
                draw.text((left, above + _PICTURE + _GAP + number * _LINE), line, "black", font)
        top += bands[task] * high
    return paper
