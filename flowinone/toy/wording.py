"""The sentences of the toy world's prompts, and random choices among them.

Every kind of sentence has phrasings for training and others that are held out; those use words that training has
elsewhere. Where the marks alone say what to do, the released model's wording is one of several in training, and
held-out examples use held-out phrasings only.
"""

import dataclasses
from collections.abc import Callable

from ..prompts.tasks import REMOVE, SWAP, TASKS
from .split import SplitRandom, is_held_out_by_hash, is_held_out_sentence


@dataclasses.dataclass(frozen=True)
class Phrasings:
    """Sentence templates: those that training uses, and those that are held out."""

    training: tuple[str, ...]
    held_out: tuple[str, ...]


CAPTION = Phrasings(("{0}",), ())
CAPTION_ON = Phrasings(("{0} on {1}", "{0} on a {1} ground"), ("{0} on the {1} ground",))
RELATION = {
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
TRAJECTORY = Phrasings(
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
HELD_OUT_PHRASING_PROBABILITY = 0.25
"""Of a held-out phrasing in a held-out example, where the words say what to do."""


def draw_sentence(random: SplitRandom, phrasings: Phrasings, fill: Callable[[], tuple]) -> tuple[str, tuple]:
    """A sentence on this side of the split, and the values in its template.

    `fill` draws the values, and is called until the sentence is on this side. It may return more values than the
    template takes.
    """
    held_out = bool(phrasings.held_out) and random.held_out and random.chance(HELD_OUT_PHRASING_PROBABILITY)
    while True:
        values = fill()
        sentence = random.choice(phrasings.held_out if held_out else phrasings.training).format(*values)
        # Held-out examples choose by hash alone: otherwise every second sentence would name a held-out pair.
        if held_out or (is_held_out_by_hash(sentence) if random.held_out else not is_held_out_sentence(sentence)):
            return sentence, values


def draw_instruction(random: SplitRandom, phrasings: Phrasings) -> str:
    """A sentence without values, for marks that say what to do; a third of training uses the released model's own.

    With few phrasings the model memorizes the words and fails on others, however clear the marks are.
    """
    if random.held_out:
        return random.choice(phrasings.held_out)
    first, *others = phrasings.training
    return first if random.chance(1 / 3) else random.choice(others)


def with_article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def draw_casing(random: SplitRandom, sentence: str) -> str:
    """The sentence as it is, or with a capital letter and a full stop."""
    return sentence if random.chance(0.5) else f"{sentence[0].upper()}{sentence[1:]}."
