"""What the correct answer is wherever a prompt leaves it open, by rule.

- A class is one object in the centre, in its shape's default colour and texture (`DEFAULT_LOOK`), on any plain
  background.
- A caption's single object is in the centre, with the radius that its size word says (`SIZE_RADII`), like a class
  without one. Two objects are above or next to each other (`PAIR_POSITIONS`); "and" means next to each other, the
  first on the left. "on blue" means the pale blue of `BACKGROUND_COLORS`; without it any plain background will do. The
  prompt's canvas says nothing.
- A recoloured object keeps position, size and texture. An added object is at its slot (`SLOTS`). A removed object
  leaves the background.
- The object in a box is in the box's centre, with a radius of `BOX_RADIUS` of the box's shorter side. A swapped object
  has the old one's position and radius.
- A doodle becomes an object of its shape, in that shape's default look, where the lines are.
- A pushed ball stops with its centre at the tip of its arrow, and an object on a trajectory at the end of its line. All
  others stay.
- A flag streams along the sum of the wind (1 at strength 1) and of gravity (`GRAVITY`, downwards). Its length stays.
- New objects are plain, unless they have their shape's default look. Nothing rotates.
"""

DEFAULT_LOOK: dict[str, tuple[str, str]] = {
    "ball": ("orange", "striped"),
    "square": ("blue", "checked"),
    "triangle": ("green", "dotted"),
    "star": ("yellow", "plain"),
    "heart": ("red", "plain"),
    "ring": ("black", "plain"),
    "cross": ("pink", "plain"),
    "moon": ("purple", "striped"),
}
"""A shape's colour and texture where the prompt names none: for a class and for a doodle."""
SIZE_RADII = {"small": 0.14, "": 0.23, "big": 0.33}
"""Radius of a caption's single object by its size word; a class has the middle one."""
PAIR_POSITIONS = {"above": ((0.5, 0.27), (0.5, 0.73)), "left": ((0.27, 0.5), (0.73, 0.5))}
"""Centres of a caption's two objects, the upper or left one first."""
PAIR_RADIUS = 0.17
SLOTS = {"on the left": (0.2, 0.34), "in the middle": (0.5, 0.34), "on the right": (0.8, 0.34)}
"""Centres of the objects that an instruction adds."""
SLOT_RADIUS = 0.13
BOX_RADIUS = 0.4
"""Radius of the object in a box, as a fraction of the box's shorter side."""
GRAVITY = 0.45
"""The pull on a flag, downwards; a wind of strength 1 pulls with 1 along its own direction."""
