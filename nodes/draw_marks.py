"""The Draw nodes. Each adds its marks to those of the node before it."""

import dataclasses

from comfy_api.latest import io

from ..comfyui_flowinone.mark_inputs import (
    curve_through,
    detected_boxes,
    lines_of_points,
    masked_regions,
    on_canvas,
    opaque,
    tracked_paths,
    with_holes,
)
from ..flowinone.prompts.checks import PromptError
from ..flowinone.prompts.spec import (
    Box,
    Doodle,
    Erase,
    ForceArrow,
    MarkerArrow,
    Stroke,
    Text,
    TextStyle,
    Trajectory,
    Wind,
)
from .prompt_inputs import FACES, align_input, marks_input, marks_output
from .sockets import PROMPT_CATEGORY

SMALLEST_READABLE_TEXT = 20.0


def _position(name: str, default: float, tooltip: str):
    label = name.replace("_", " ")
    return io.Float.Input(name, display_name=label, default=default, min=-1.0, max=2.0, step=0.01, tooltip=tooltip)


def _width(default: float):
    return io.Float.Input(
        "width",
        display_name="line width",
        default=default,
        min=0.5,
        max=64.0,
        step=0.5,
        advanced=True,
        tooltip="Line width in pixels on a 512 px canvas. The default is the width in the training data.",
    )


def _lettering(style: TextStyle, **kind):
    return [
        io.Combo.Input(
            "face",
            display_name="lettering",
            options=FACES,
            default=style.face,
            tooltip="Typeface of the text. Mini reads sans best.",
            **kind,
        ),
        io.Boolean.Input(
            "bold", default=style.bold, tooltip="Bold letters, which are easier to read on a busy photo.", **kind
        ),
        io.Float.Input(
            "text_size",
            display_name="text size",
            default=style.size,
            min=4.0,
            max=256.0,
            step=1.0,
            tooltip=(
                "Letter height in pixels on a 512 px canvas. The model misreads text below 20; mini needs 44 or more."
            ),
            **kind,
        ),
    ]


def _appended(marks, *sources) -> io.NodeOutput:
    return io.NodeOutput((*(marks or ()), *sources))


class FlowInOneDrawBox(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneDrawBox",
            display_name="FlowInOne Draw Box",
            category=PROMPT_CATEGORY,
            description="Draws a box with a short instruction above it: what to put there.",
            search_aliases=["flowinone", "bounding box", "bbox", "rectangle", "region", "insert object"],
            inputs=[
                marks_input(),
                io.MultiType.Input(
                    "boxes",
                    [io.BoundingBox, io.BoundingBoxes],
                    optional=True,
                    tooltip=(
                        "Boxes from a detector or a box node, in pixels of the photo that Compose Visual Prompt gets. "
                        "They replace the four numbers below."
                    ),
                ),
                _position("x", 0.3, "Left edge of the box: 0 is the left side of the square canvas, 1 the right side."),
                _position("y", 0.3, "Top edge of the box: 0 is the top of the square canvas, 1 the bottom."),
                io.Float.Input(
                    "box_width",
                    display_name="box width",
                    default=0.4,
                    min=0.01,
                    max=2.0,
                    step=0.01,
                    tooltip="Width as a fraction of the canvas. Make it as wide as the object should be.",
                ),
                io.Float.Input(
                    "box_height",
                    display_name="box height",
                    default=0.4,
                    min=0.01,
                    max=2.0,
                    step=0.01,
                    tooltip="Height as a fraction of the canvas. Make it as high as the object should be.",
                ),
                io.String.Input(
                    "label",
                    default="put a blue jay",
                    tooltip=(
                        "What to put there, in English: a verb and an object. Empty uses the labels of a detector."
                    ),
                ),
                io.Color.Input(
                    "color",
                    default="#ff0000",
                    tooltip="Colour of the box. Keep pure red, which the model was trained on.",
                ),
                _width(3.0),
                *_lettering(Box.style, optional=True, advanced=True),
            ],
            outputs=[marks_output()],
        )

    @classmethod
    def execute(
        cls,
        x,
        y,
        box_width,
        box_height,
        label,
        color,
        width,
        marks=None,
        boxes=None,
        face=Box.style.face,
        bold=Box.style.bold,
        text_size=Box.style.size,
    ) -> io.NodeOutput:
        area = (x, y, x + box_width, y + box_height) if boxes is None else (0.0, 0.0, 1.0, 1.0)
        min_size = min(Box.style.min_size, text_size)
        style = dataclasses.replace(Box.style, face=face, bold=bold, size=text_size, min_size=min_size)
        box = Box(area, label.strip(), opaque(color), width, style)
        return _appended(marks, on_canvas(box) if boxes is None else detected_boxes(boxes, box))


class FlowInOneDrawMarker(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneDrawMarker",
            display_name="FlowInOne Draw Marker",
            category=PROMPT_CATEGORY,
            description="Draws an arrow that points at the object which the instruction removes or swaps.",
            search_aliases=["flowinone", "arrow", "pointer", "visual marker", "remove object", "replace object"],
            inputs=[
                marks_input(),
                _position("tip_x", 0.5, "Horizontal position of the tip, 0 left to 1 right. It must be on the object."),
                _position("tip_y", 0.5, "Vertical position of the tip, 0 top to 1 bottom. It must be on the object."),
                _position("start_x", 0.7, "Horizontal position of the other end, 0 left to 1 right: an empty place."),
                _position("start_y", 0.3, "Vertical position of the other end, 0 top to 1 bottom: an empty place."),
                io.Color.Input(
                    "color",
                    default=MarkerArrow.color,
                    tooltip="Colour of the arrow. Choose a vivid one that stands out from the photo.",
                ),
                _width(MarkerArrow.width),
            ],
            outputs=[marks_output()],
        )

    @classmethod
    def execute(cls, tip_x, tip_y, start_x, start_y, color, width, marks=None) -> io.NodeOutput:
        return _appended(marks, on_canvas(MarkerArrow((start_x, start_y), (tip_x, tip_y), opaque(color), width)))


class FlowInOneDrawForce(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneDrawForce",
            display_name="FlowInOne Draw Force",
            category=PROMPT_CATEGORY,
            description="Draws a push on one object, an arrow from its centre, or wind over the whole scene.",
            search_aliases=["flowinone", "force arrow", "push", "wind", "physics", "impulse"],
            inputs=[
                marks_input(),
                io.Combo.Input(
                    "kind",
                    options=["point", "wind"],
                    default="point",
                    tooltip="The kind of force: point pushes one object, wind blows over the whole scene.",
                ),
                _position(
                    "x", 0.5, "Horizontal position, 0 left to 1 right, of the object's or the wind sign's centre."
                ),
                _position("y", 0.5, "Vertical position, 0 top to 1 bottom, of the object's or the wind sign's centre."),
                io.Float.Input(
                    "angle",
                    default=0.0,
                    min=-360.0,
                    max=360.0,
                    step=1.0,
                    tooltip="Direction in degrees: 0 is right, 90 up, 180 left, 270 down.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.05,
                    max=9.0,
                    step=0.05,
                    tooltip="How hard the push or wind is: its sign is strength times scale long. Try 0.5 to 2.",
                ),
                io.Float.Input(
                    "scale",
                    default=0.0,
                    min=0.0,
                    max=2.0,
                    step=0.01,
                    advanced=True,
                    tooltip=(
                        "Length of the sign at strength 1, as a fraction of the canvas. "
                        "0 is the length in the training data: 0.21 for a push, 0.18 for wind."
                    ),
                ),
                io.Color.Input(
                    "color",
                    default=ForceArrow.color,
                    tooltip=(
                        "Colour of the sign. Pushes have many colours in the training data; "
                        "for wind the default red becomes the trained blue."
                    ),
                ),
                io.Float.Input(
                    "width",
                    display_name="line width",
                    default=0.0,
                    min=0.0,
                    max=64.0,
                    step=0.5,
                    advanced=True,
                    tooltip=(
                        "Line width in pixels on a 512 px canvas. "
                        "0 is the width in the training data: 6 for a push, 3 for wind."
                    ),
                ),
            ],
            outputs=[marks_output()],
        )

    @classmethod
    def execute(cls, kind, x, y, angle, strength, scale, color, width, marks=None) -> io.NodeOutput:
        mark = ForceArrow if kind == "point" else Wind
        if mark is Wind and color == ForceArrow.color:
            color = Wind.color
        drawn = mark((x, y), angle, strength, scale or mark.scale, color=opaque(color), width=width or mark.width)
        return _appended(marks, on_canvas(drawn))


class FlowInOneDrawTrajectory(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneDrawTrajectory",
            display_name="FlowInOne Draw Trajectory",
            category=PROMPT_CATEGORY,
            description="Draws the path that an object follows. The output image shows the object at its end.",
            search_aliases=["flowinone", "path", "track", "motion", "trajectory", "move object"],
            inputs=[
                marks_input(),
                io.Tracks.Input(
                    "tracks",
                    optional=True,
                    tooltip=(
                        "Paths from a node that makes tracks, in pixels of the photo that Compose Visual Prompt gets. "
                        "They replace points."
                    ),
                ),
                io.String.Input(
                    "points",
                    default="0.2,0.7 0.4,0.5 0.6,0.55 0.8,0.3",
                    multiline=True,
                    tooltip="One path per line: x,y pairs in fractions of the canvas. The first is on the object.",
                ),
                io.Boolean.Input(
                    "smooth", default=True, tooltip="On draws a curve through the points, off straight segments."
                ),
                io.Color.Input(
                    "color",
                    default=Trajectory.color,
                    tooltip="Colour of the line. Choose one that stands out from the photo.",
                ),
                _width(Trajectory.width),
            ],
            outputs=[marks_output()],
        )

    @classmethod
    def execute(cls, points, smooth, color, width, marks=None, tracks=None) -> io.NodeOutput:
        def trajectory(path):
            return Trajectory(path, smooth, opaque(color), width)

        if tracks is not None:
            return _appended(marks, tracked_paths(tracks, trajectory))
        paths = lines_of_points(points, "points")
        if not paths:
            raise PromptError("points", "is empty and no tracks are connected; write points or connect tracks")
        return _appended(marks, on_canvas(*map(trajectory, paths)))


class FlowInOneDrawDoodle(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneDrawDoodle",
            display_name="FlowInOne Draw Doodle",
            category=PROMPT_CATEGORY,
            description=(
                "Draws a doodle that becomes a real object, from a mask's outline or from points; "
                "or erases a masked region for the model to fill."
            ),
            search_aliases=["flowinone", "sketch", "scribble", "mask", "erase", "inpaint", "brush", "draw"],
            inputs=[
                marks_input(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="A shape painted on the photo that Compose Visual Prompt gets, in the same proportions.",
                ),
                io.Combo.Input(
                    "mask_as",
                    display_name="mask as",
                    options=["doodle", "erased region"],
                    default="doodle",
                    tooltip="What the mask becomes: doodle draws its outline, erased region paints over its inside.",
                ),
                io.String.Input(
                    "strokes",
                    default="",
                    multiline=True,
                    tooltip=(
                        "One stroke per line: x,y pairs in fractions of the canvas. Drawn in addition to the mask."
                    ),
                ),
                io.Combo.Input(
                    "brush",
                    options=["multiline", "round"],
                    default="multiline",
                    tooltip=(
                        "Look of the strokes. Keep multiline, the parallel black and white lines that the model was "
                        "trained on; round is one coloured line."
                    ),
                ),
                io.Color.Input("color", default=Stroke.color, tooltip="Colour of the round brush."),
                _width(Stroke.width),
                io.Boolean.Input(
                    "smooth",
                    default=False,
                    tooltip="On draws curves through the points of strokes, off straight segments.",
                ),
            ],
            outputs=[marks_output()],
        )

    @classmethod
    def execute(cls, mask_as, strokes, brush, color, width, smooth, marks=None, mask=None) -> io.NodeOutput:
        def doodle(lines):
            return Doodle(tuple(Stroke(line, brush, width, opaque(color)) for line in lines))

        def outlines(regions):
            return [doodle([line for outer, holes in regions for line in (outer, *holes)])]

        def erased(regions):
            return [Erase(with_holes(region)) for region in regions]

        sources = []
        if mask is not None:
            sources.append(masked_regions(mask, outlines if mask_as == "doodle" else erased))
        if strokes.strip():
            lines = lines_of_points(strokes, "strokes")
            sources.append(on_canvas(doodle([curve_through(line) for line in lines] if smooth else lines)))
        if not sources:
            raise PromptError("strokes", "is empty and no mask is connected; write points or connect a mask")
        return _appended(marks, *sources)


class FlowInOneDrawInstruction(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneDrawInstruction",
            display_name="FlowInOne Draw Instruction",
            category=PROMPT_CATEGORY,
            description="Writes an instruction on the photo, in a position and lettering of your choice.",
            search_aliases=["flowinone", "text", "caption", "instruction", "prompt", "write"],
            inputs=[
                marks_input(),
                io.String.Input(
                    "text",
                    default="Change the environment to a snowy winter wonderland",
                    multiline=True,
                    tooltip="What to do, in English: one plain sentence that starts with a verb.",
                ),
                io.Combo.Input(
                    "position",
                    options=["bottom", "middle", "top"],
                    default="bottom",
                    tooltip="Where the text is on the photo. Keep bottom, where it was in training, if there is room.",
                ),
                *_lettering(TextStyle()),
                align_input(),
            ],
            outputs=[marks_output()],
        )

    @classmethod
    def execute(cls, text, position, face, bold, text_size, align, marks=None) -> io.NodeOutput:
        top, valign = {"bottom": (0.70, "bottom"), "middle": (0.35, "middle"), "top": (0.04, "top")}[position]
        min_size = min(SMALLEST_READABLE_TEXT, text_size)
        style = TextStyle(face=face, bold=bold, size=text_size, min_size=min_size, align=align)
        return _appended(marks, on_canvas(Text(text, (0.04, top, 0.96, top + 0.26), valign=valign, style=style)))
