"""FlowInOne Canvas."""

from comfy_api.latest import io

from ..comfyui_flowinone import folders
from ..comfyui_flowinone.composed_prompt import as_image, composed
from ..comfyui_flowinone.images import to_pictures
from ..comfyui_flowinone.routes import open_picture, picture_version, report
from ..flowinone.prompts import PhotoCanvas, loads_many
from ..flowinone.prompts.checks import PromptError
from ..flowinone.prompts.language import language
from .compose_prompt import font_input, prompt_outputs, size_input
from .sockets import PROMPT_CATEGORY


class FlowInOneCanvas(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneCanvas",
            is_output_node=True,
            display_name="FlowInOne Canvas",
            category=PROMPT_CATEGORY,
            description="Draw the prompt in the node: boxes, arrows, doodles, paths and words on a picture, or words on a plain ground.",
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
                    tooltip="The picture to draw on; it takes the place of one dropped on the canvas. Each picture of a batch gets the same drawing.",
                ),
                io.String.Input(
                    "drawing",
                    default="",
                    multiline=True,
                    socketless=True,
                    extra_dict={"widgetType": "FLOWINONE_CANVAS", "language": language()},
                    tooltip="The drawing as a visual prompt in JSON. It travels with the workflow.",
                ),
                io.String.Input(
                    "picture",
                    default="",
                    socketless=True,
                    extra_dict={"hidden": True},
                    tooltip="The picture that was dropped on the canvas, a file in ComfyUI's input folder. It counts where no image is connected.",
                ),
                size_input(),
                font_input(),
            ],
            outputs=prompt_outputs(),
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, drawing, picture, size, font, image=None):
        return picture_version(picture)

    @classmethod
    def execute(cls, drawing, picture, size, font, image=None) -> io.NodeOutput:
        if not drawing.strip():
            raise PromptError("drawing", "is empty; draw on the canvas, or give a visual prompt as text (JSON)")
        shown = {}
        if image is not None:
            photos = to_pictures(image)
            shown = report(photos[0], cls.hidden.prompt, cls.hidden.unique_id)
        elif picture:
            photos = [open_picture(picture)]
            image = as_image(photos[0])[None]
        else:
            photos = [None]
        prompts = loads_many(drawing, len(photos))
        if photos == [None] and isinstance(prompts[0].canvas, PhotoCanvas):
            raise PromptError(
                "image", "is not connected; connect a picture, drop one on the canvas, or choose a colour as ground"
            )
        prompt = composed(prompts, photos, size, folders.font_file(font), image)
        return io.NodeOutput(prompt, prompt.images, prompt.as_text(), prompt.bypass[0], ui=shown)
