"""What prompts of scenes say: few words, in few forms.

Every kind has its phrasings for training and some that are kept, made of words that training has elsewhere. Where the
words are always the same because the marks say it all, the released model's wording stands beside others, and the
examination has only those kept.
"""

import dataclasses
from collections.abc import Callable

from ..prompts.tasks import REMOVE, SWAP, TASKS
from .split import Draw, kept_by_lot, kept_sentence


@dataclasses.dataclass(frozen=True)
class Phrasings:
    """Sentences with gaps: those of training and those kept."""

    trained: tuple[str, ...]
    kept: tuple[str, ...]


CAPTION = Phrasings(("{0}",), ())
CAPTION_ON = Phrasings(("{0} on {1}", "{0} on a {1} ground"), ("{0} on the {1} ground",))
PLACED = {
    "above": Phrasings(("{0} above {1}",), ()),
    "below": Phrasings(("{0} below {1}",), ()),
    "left": Phrasings(("{0} left of {1}", "{0} to the left of {1}"), ("{0} on the left of {1}",)),
    "right": Phrasings(("{0} right of {1}", "{0} to the right of {1}"), ("{0} on the right of {1}",)),
    "and": Phrasings(("{0} and {1}",), ()),
}
RECOLOR = Phrasings(("make {0} {1}", "paint {0} {1}", "turn {0} {1}", "change {0} to {1}"), ("turn {0} to {1}",))
REMOVAL = Phrasings(("remove {0}", "delete {0}", "erase {0}", "take {0} away"), ("take away {0}",))
ADDITION = Phrasings(("add {0} {1}", "put {0} {1}", "draw {0} {1}"), ("place {0} {1}",))
BOXED = Phrasings(("put {0}", "place {0}", "insert {0}", "add {0}"), ("draw {0}",))
MARKED = Phrasings(
    (
        REMOVE,
        "Remove the object.",
        "Remove this.",
        "Erase the object pointed to by the arrow.",
        "Delete this.",
        "Delete the object.",
        "Take this away.",
        "Take the object away.",
        "Remove what the arrow points to.",
        "Remove the thing at the arrow.",
        "Erase what is pointed to.",
        "Clear this away.",
        "Erase it.",
        "Erase the thing.",
        "Erase that object.",
        "Erase what the arrow shows.",
        "Remove it.",
        "Delete it.",
        "Delete what is pointed to.",
        "Take it away.",
        "Make the object go away.",
        "Get rid of this.",
        "Get rid of the object.",
        "Clear the object away.",
    ),
    ("Erase the object.", "Erase this."),
)
SWAPPED = Phrasings(
    (
        SWAP.replace("{thing}", "{0}"),
        "Swap with {0}.",
        "Swap the object with {0}.",
        "Swap it for {0}.",
        "Replace the object with {0}.",
        "Replace this with {0}.",
        "Change this to {0}.",
        "Turn the object into {0}.",
        "Put {0} here.",
        "Swap it with {0}.",
        "Swap the thing with {0}.",
        "Replace it with {0}.",
        "Make this {0}.",
        "Turn this into {0}.",
    ),
    ("Swap this with {0}.",),
)
DOODLE = Phrasings(
    (
        TASKS["doodle"].instruction,
        "Turn the doodle into a real object",
        "Make the doodle real",
        "Make the sketch real",
        "Make this doodle an object",
        "Turn the sketch into an object",
        "Turn this into a real object",
        "Draw the object of the doodle",
        "Generate the object of the doodle",
        "Replace the doodle with an object",
        "Finish the drawing",
        "Fill in the doodle",
    ),
    ("Turn the doodle into a realistic object", "Make the doodle a real-world object"),
)
FORCE = Phrasings(
    (
        TASKS["point_force"].instruction,
        "Apply the forces and generate the final image.",
        "Push the object along the arrow.",
        "Apply the force.",
        "Push the object.",
        "Move the object along the arrow.",
        "Move the object by its force.",
        "Let the forces act and generate the image.",
        "Push the balls along their arrows.",
        "Move what is pushed.",
        "Generate the image after the push.",
        "The arrow is a force.",
        "Apply the force to the ball.",
        "Push the ball.",
        "Push the ball along the arrow until it stops.",
        "Push the objects by their arrows.",
        "Apply this force.",
        "Show the ball after the push.",
    ),
    ("Apply forces to the object.", "Push the object according to the arrow until stop."),
)
WIND = Phrasings(
    (
        TASKS["wind"].instruction,
        "Let the wind blow.",
        "Generate the wind-blown image.",
        "Apply the wind.",
        "Follow the wind and generate the image.",
        "Move the flag with the wind.",
        "The wavy lines are wind.",
        "Take the wavy lines as wind.",
        "Show the flag in the wind.",
        "Let the flag stream.",
        "Generate the flag in this wind.",
        "Show what the wind does.",
    ),
    ("Interpret the wavy lines as wind.", "Let the wind blow and generate the image."),
)
PATH = Phrasings(
    (
        TASKS["trajectory"].instruction,
        "Follow the line.",
        "Move the object along the line.",
        "Follow the path.",
        "Follow the line and generate the image",
        "Move the object to the end of the line.",
        "Move along the line.",
        "Let the object follow its path.",
        "Take the object along the line.",
        "Put the object where the line ends.",
        "Move everything along its line.",
        "Show the object at the end of its path.",
        "Follow the solid line.",
        "Move along the solid line.",
        "Move it along the line.",
        "Take it to the end of the line.",
        "Follow the lines and show where they end.",
        "Generate the image at the end of the path.",
    ),
    ("Follow the solid line and generate the final image", "Move the object along the solid line."),
)
KEPT_SHARE = 0.25
"""Of the examination's sentences, those in a kept phrasing, where the words say what to do."""


def say(draw: Draw, phrasings: Phrasings, gaps: Callable[[], tuple]) -> tuple[str, tuple]:
    """A sentence on this side of the split, and what fills it, drawn by `gaps` until the sentence is one.

    `gaps` may give more than the sentence has gaps for.
    """
    kept = bool(phrasings.kept) and draw.held_out and draw.chance(KEPT_SHARE)
    while True:
        filled = gaps()
        sentence = draw.one_of(phrasings.kept if kept else phrasings.trained).format(*filled)
        # By lot alone in the examination: else every second of its sentences would name a kept pair.
        if kept or (kept_by_lot(sentence) if draw.held_out else not kept_sentence(sentence)):
            return sentence, filled


def fixed(draw: Draw, phrasings: Phrasings) -> str:
    """A sentence where the marks say what to do; the released model's own is a third of training.

    Of few wordings the words are learnt by heart, and others not understood, however clear the marks are.
    """
    if draw.held_out:
        return draw.one_of(phrasings.kept)
    first, *others = phrasings.trained
    return first if draw.chance(1 / 3) else draw.one_of(others)


def a(words: str) -> str:
    """The words after their article."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def spelled(draw: Draw, sentence: str) -> str:
    """The sentence as it is, or as one with a capital and a full stop."""
    return sentence if draw.chance(0.5) else f"{sentence[0].upper()}{sentence[1:]}."
