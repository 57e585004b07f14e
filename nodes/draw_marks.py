"""Nodes that draw marks. Each adds its own to those of the chain it stands in."""

import dataclasses
import re

from comfy_api.latest import io

from ..comfyui_flowinone.mark_inputs import (
    curve_through,
    detected_boxes,
    masked_regions,
    on_canvas,
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
from .sockets import PROMPT_CATEGORY, Marks

FACES = ["serif", "sans", "comic", "mono", "condensed"]


def _marks_input():
    return Marks.Input("marks", optional=True, tooltip="Marks drawn before these, to be drawn beneath them.")


def _marks_output():
    return Marks.Output(
        display_name="marks",
        tooltip="These marks on top of those before: for Compose Visual Prompt, or the next Draw node.",
    )


def _fraction(name: str, default: float, tooltip: str):
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
        tooltip="In pixels of a 512 px canvas.",
    )


def _lettering(style: TextStyle, **kind):
    return [
        io.Combo.Input(
            "face",
            display_name="lettering",
            options=FACES,
            default=style.face,
            tooltip="The style of the letters.",
            **kind,
        ),
        io.Boolean.Input("bold", default=style.bold, tooltip="Thick letters, or thin ones.", **kind),
        io.Float.Input(
            "text_size",
            display_name="text size",
            default=style.size,
            min=4.0,
            max=256.0,
            step=1.0,
            tooltip="In pixels of a 512 px canvas; below 20 the model reads badly. Mini needs 44 and more.",
            **kind,
        ),
    ]


def opaque(color: str) -> str:
    """A colour without the alpha that one of ComfyUI's colour pickers adds: `#rrggbbaa` becomes `#rrggbb`."""
    return color[:7] if re.fullmatch(r"#[0-9a-fA-F]{8}", color) else color


def _added(marks, *sources) -> io.NodeOutput:
    return io.NodeOutput((*(marks or ()), *sources))


def _lines(text: str, field: str) -> list[tuple[tuple[float, float], ...]]:
    """One line of points for each line of `text`: `0.1,0.8 0.5,0.4`. Raises PromptError that names the line."""
    lines = []
    for number, line in enumerate(filter(None, map(str.strip, text.splitlines())), start=1):
        points = []
        for pair in line.split():
            if not re.fullmatch(r"[^,]+,[^,]+", pair):
                raise PromptError(field, f"line {number} has {pair!r}; write points as x,y with spaces between them")
            try:
                x, y = map(float, pair.split(","))
            except ValueError:
                raise PromptError(field, f"line {number} has {pair!r}, which are no numbers") from None
            points.append((x, y))
        lines.append(tuple(points))
    return lines


class FlowInOneDrawBox(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneDrawBox",
            display_name="FlowInOne Draw Box",
            category=PROMPT_CATEGORY,
            description="Draws a box with an instruction above it: what to put, place or insert there.",
            search_aliases=["flowinone", "bounding box", "bbox", "rectangle", "region", "insert object"],
            inputs=[
                _marks_input(),
                io.MultiType.Input(
                    "boxes",
                    [io.BoundingBox, io.BoundingBoxes],
                    optional=True,
                    tooltip="Boxes of a detector or box node, in pixels of the picture that Compose gets. The numbers below then do not count.",
                ),
                _fraction("x", 0.3, "Left edge, as a fraction of the square canvas."),
                _fraction("y", 0.3, "Top edge, as a fraction of the square canvas."),
                io.Float.Input(
                    "box_width",
                    display_name="box width",
                    default=0.4,
                    min=0.01,
                    max=2.0,
                    step=0.01,
                    tooltip="As a fraction of the canvas.",
                ),
                io.Float.Input(
                    "box_height",
                    display_name="box height",
                    default=0.4,
                    min=0.01,
                    max=2.0,
                    step=0.01,
                    tooltip="As a fraction of the canvas.",
                ),
                io.String.Input(
                    "label", default="put a blue jay", tooltip="A verb and a thing. Empty takes a detector's own label."
                ),
                io.Color.Input("color", default="#ff0000", tooltip="The model was trained on pure red."),
                _width(3.0),
                *_lettering(Box.style, optional=True, advanced=True),
            ],
            outputs=[_marks_output()],
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
        style = dataclasses.replace(
            Box.style, face=face, bold=bold, size=text_size, min_size=min(Box.style.min_size, text_size)
        )
        box = Box(area, label.strip(), opaque(color), width, style)
        return _added(marks, on_canvas(box) if boxes is None else detected_boxes(boxes, box))


class FlowInOneDrawMarker(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneDrawMarker",
            display_name="FlowInOne Draw Marker",
            category=PROMPT_CATEGORY,
            description="Draws an arrow whose tip points out the object that the instruction speaks of.",
            search_aliases=["flowinone", "arrow", "pointer", "visual marker", "remove object", "replace object"],
            inputs=[
                _marks_input(),
                _fraction("tip_x", 0.5, "Where the tip is, as a fraction of the canvas' width: on the object."),
                _fraction("tip_y", 0.5, "Where the tip is, as a fraction of the canvas' height: on the object."),
                _fraction("start_x", 0.7, "Where the arrow starts."),
                _fraction("start_y", 0.3, "Where the arrow starts."),
                io.Color.Input("color", default=MarkerArrow.color, tooltip="A vivid colour that stands out."),
                _width(MarkerArrow.width),
            ],
            outputs=[_marks_output()],
        )

    @classmethod
    def execute(cls, tip_x, tip_y, start_x, start_y, color, width, marks=None) -> io.NodeOutput:
        return _added(marks, on_canvas(MarkerArrow((start_x, start_y), (tip_x, tip_y), opaque(color), width)))


class FlowInOneDrawForce(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneDrawForce",
            display_name="FlowInOne Draw Force",
            category=PROMPT_CATEGORY,
            description="Draws a push on one object, as an arrow from its centre, or wind over the whole scene, as wavy lines.",
            search_aliases=["flowinone", "force arrow", "push", "wind", "physics", "impulse"],
            inputs=[
                _marks_input(),
                io.Combo.Input(
                    "kind", options=["point", "wind"], default="point", tooltip="A push on one object, or wind."
                ),
                _fraction("x", 0.5, "Centre of the pushed object, or of the wind's lines."),
                _fraction("y", 0.5, "Centre of the pushed object, or of the wind's lines."),
                io.Float.Input(
                    "angle",
                    default=0.0,
                    min=-360.0,
                    max=360.0,
                    step=1.0,
                    tooltip="Degrees: 0 to the right, 90 upwards.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.05,
                    max=9.0,
                    step=0.05,
                    tooltip="How strong. The arrow's or glyph's length is strength times scale.",
                ),
                io.Float.Input(
                    "scale",
                    default=0.0,
                    min=0.0,
                    max=2.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Length at strength 1, as a fraction of the canvas. 0 takes the samples': 0.21 for a push, 0.18 for wind.",
                ),
                io.Color.Input(
                    "color",
                    default=ForceArrow.color,
                    tooltip="For pushes the training data has many. The default red becomes the trained blue for wind.",
                ),
                io.Float.Input(
                    "width",
                    display_name="line width",
                    default=0.0,
                    min=0.0,
                    max=64.0,
                    step=0.5,
                    advanced=True,
                    tooltip="In pixels of a 512 px canvas. 0 takes the samples': 6 for a push, 3 for wind.",
                ),
            ],
            outputs=[_marks_output()],
        )

    @classmethod
    def execute(cls, kind, x, y, angle, strength, scale, color, width, marks=None) -> io.NodeOutput:
        mark = ForceArrow if kind == "point" else Wind
        if mark is Wind and color == ForceArrow.color:
            color = Wind.color
        return _added(
            marks,
            on_canvas(
                mark((x, y), angle, strength, scale or mark.scale, color=opaque(color), width=width or mark.width)
            ),
        )


class FlowInOneDrawTrajectory(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneDrawTrajectory",
            display_name="FlowInOne Draw Trajectory",
            category=PROMPT_CATEGORY,
            description="Draws the path that an object is to follow, from the object to where it ends.",
            search_aliases=["flowinone", "path", "track", "motion", "trajectory", "move object"],
            inputs=[
                _marks_input(),
                io.Tracks.Input(
                    "tracks",
                    optional=True,
                    tooltip="Paths in pixels of the picture that Compose gets. The points below then do not count.",
                ),
                io.String.Input(
                    "points",
                    default="0.2,0.7 0.4,0.5 0.6,0.55 0.8,0.3",
                    multiline=True,
                    tooltip="One path a line: x,y pairs as fractions of the canvas, from the object along its way.",
                ),
                io.Boolean.Input("smooth", default=True, tooltip="A curve through the points, or straight pieces."),
                io.Color.Input(
                    "color", default=Trajectory.color, tooltip="Of the line. Take one that stands out from the picture."
                ),
                _width(Trajectory.width),
            ],
            outputs=[_marks_output()],
        )

    @classmethod
    def execute(cls, points, smooth, color, width, marks=None, tracks=None) -> io.NodeOutput:
        def line(path):
            return Trajectory(path, smooth, opaque(color), width)

        if tracks is not None:
            return _added(marks, tracked_paths(tracks, line))
        paths = _lines(points, "points")
        if not paths:
            raise PromptError("points", "is empty and no tracks are connected; write points or connect tracks")
        return _added(marks, on_canvas(*map(line, paths)))


class FlowInOneDrawDoodle(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneDrawDoodle",
            display_name="FlowInOne Draw Doodle",
            category=PROMPT_CATEGORY,
            description="Draws a doodle that is to become a real object, from a mask's outline or from points; or erases a mask's region for the model to fill.",
            search_aliases=["flowinone", "sketch", "scribble", "mask", "erase", "inpaint", "brush", "draw"],
            inputs=[
                _marks_input(),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Drawn in the proportions of the picture that Compose gets."
                ),
                io.Combo.Input(
                    "mask_as",
                    display_name="mask as",
                    options=["doodle", "erased region"],
                    default="doodle",
                    tooltip="The mask's outline as a doodle, or its inside painted over.",
                ),
                io.String.Input(
                    "strokes",
                    default="",
                    multiline=True,
                    tooltip="One stroke a line: x,y pairs as fractions of the canvas. Drawn beside the mask's.",
                ),
                io.Combo.Input(
                    "brush",
                    options=["multiline", "round"],
                    default="multiline",
                    tooltip="How strokes look. multiline is what the model was trained on: parallel black and white lines. round: one line of the color.",
                ),
                io.Color.Input("color", default=Stroke.color, tooltip="Of the round brush."),
                _width(Stroke.width),
                io.Boolean.Input(
                    "smooth", default=False, tooltip="Curves through the points of strokes, or straight pieces."
                ),
            ],
            outputs=[_marks_output()],
        )

    @classmethod
    def execute(cls, mask_as, strokes, brush, color, width, smooth, marks=None, mask=None) -> io.NodeOutput:
        def doodle(lines):
            return Doodle(tuple(Stroke(line, brush, width, opaque(color)) for line in lines))

        sources = []
        if mask is not None:
            outlines = {
                "doodle": lambda regions: [doodle([line for outer, holes in regions for line in (outer, *holes)])],
                "erased region": lambda regions: [Erase(with_holes(region)) for region in regions],
            }
            sources.append(masked_regions(mask, outlines[mask_as]))
        if strokes.strip():
            lines = _lines(strokes, "strokes")
            sources.append(on_canvas(doodle([curve_through(line) for line in lines] if smooth else lines)))
        if not sources:
            raise PromptError("strokes", "is empty and no mask is connected; write points or connect a mask")
        return _added(marks, *sources)


class FlowInOneDrawInstruction(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneDrawInstruction",
            display_name="FlowInOne Draw Instruction",
            category=PROMPT_CATEGORY,
            description="Writes an instruction on the picture.",
            search_aliases=["flowinone", "text", "caption", "instruction", "prompt", "write"],
            inputs=[
                _marks_input(),
                io.String.Input(
                    "text",
                    default="Change the environment to a snowy winter wonderland",
                    multiline=True,
                    tooltip="What to do, as a plain sentence. In English.",
                ),
                io.Combo.Input(
                    "position",
                    options=["bottom", "middle", "top"],
                    default="bottom",
                    tooltip="The model was trained on the lowest quarter.",
                ),
                *_lettering(TextStyle()),
                io.Combo.Input(
                    "align",
                    options=["center", "left", "right"],
                    default="center",
                    tooltip="The side that the lines of the text keep to.",
                ),
            ],
            outputs=[_marks_output()],
        )

    @classmethod
    def execute(cls, text, position, face, bold, text_size, align, marks=None) -> io.NodeOutput:
        top, valign = {"bottom": (0.70, "bottom"), "middle": (0.35, "middle"), "top": (0.04, "top")}[position]
        style = TextStyle(face=face, bold=bold, size=text_size, min_size=min(20.0, text_size), align=align)
        return _added(marks, on_canvas(Text(text, (0.04, top, 0.96, top + 0.26), valign=valign, style=style)))
