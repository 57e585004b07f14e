"""FlowInOne Canvas: a visual prompt drawn by hand, in the node."""

from comfy_api.latest import io

from ..comfyui_flowinone import folders
from ..comfyui_flowinone.composed_prompt import composed
from ..comfyui_flowinone.images import as_image, to_pictures
from ..comfyui_flowinone.routes import background_report, open_input_image, version_of_input_image
from ..flowinone.prompts import PhotoCanvas, loads_many
from ..flowinone.prompts.checks import PromptError
from ..flowinone.prompts.language import language
from .prompt_inputs import font_input, prompt_output, prompt_outputs, size_input
from .sockets import PROMPT_CATEGORY


class FlowInOneCanvas(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneCanvas",
            is_output_node=True,
            display_name="FlowInOne Canvas",
            category=PROMPT_CATEGORY,
            description=(
                "Draw the prompt image in the node: boxes, arrows, doodles, paths and text on a photo, "
                "or text on a plain background."
            ),
            search_aliases=[
                "flowinone",
                "draw",
                "paint",
                "annotate",
                "sketch",
                "visual prompt",
                "painter",
                "bbox editor",
            ],
            inputs=[
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip=(
                        "The photo to draw on. It replaces a photo dropped on the canvas. "
                        "Each image of a batch gets the same drawing."
                    ),
                ),
                io.String.Input(
                    "drawing",
                    default="",
                    multiline=True,
                    socketless=True,
                    extra_dict={"widgetType": "FLOWINONE_CANVAS", "language": language()},
                    tooltip="The drawing, a visual prompt as JSON text. It is saved with the workflow.",
                ),
                io.String.Input(
                    "picture",
                    default="",
                    socketless=True,
                    extra_dict={"hidden": True},
                    tooltip=(
                        "The photo dropped on the canvas, a file in ComfyUI's input folder. "
                        "It is used if no image is connected."
                    ),
                ),
                size_input(),
                font_input(),
            ],
            outputs=prompt_outputs(),
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, drawing, picture, size, font, image=None):
        return version_of_input_image(picture)

    @classmethod
    def execute(cls, drawing, picture, size, font, image=None) -> io.NodeOutput:
        if not drawing.strip():
            raise PromptError("drawing", "is empty; draw on the canvas, or give a visual prompt as text (JSON)")
        report = {}
        if image is not None:
            photos = to_pictures(image)
            report = background_report(photos[0], cls.hidden.prompt, cls.hidden.unique_id)
        elif picture:
            photos = [open_input_image(picture)]
            image = as_image(photos[0])[None]
        else:
            photos = [None]
        prompts = loads_many(drawing, len(photos))
        if photos == [None] and isinstance(prompts[0].canvas, PhotoCanvas):
            raise PromptError(
                "image", "is not connected; connect a photo, drop one on the canvas, or choose a colour as background"
            )
        return prompt_output(composed(prompts, photos, size, folders.font_file(font), image), report)
