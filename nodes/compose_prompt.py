"""FlowInOne Text Prompt and FlowInOne Compose Visual Prompt: nodes that make a whole visual prompt."""

import dataclasses

from comfy_api.latest import io, ui

from ..comfyui_flowinone import folders
from ..comfyui_flowinone.composed_prompt import composed, squaring_of, unmarked_prompt, with_instruction, with_marks
from ..comfyui_flowinone.images import to_pictures
from ..comfyui_flowinone.mark_inputs import gathered, opaque
from ..flowinone.prompts import GradientCanvas, SolidCanvas, loads_many
from ..flowinone.prompts.checks import PromptError
from ..flowinone.prompts.tasks import TASKS, class_to_image, text_to_image
from .prompt_inputs import FACES, align_input, font_input, prompt_output, prompt_outputs, size_input
from .sockets import PROMPT_CATEGORY, Marks

TRAINED = "trained"
BYPASS = {"by task": None, "new picture": True, "edit": False}
SMALLEST_TEXT = 4.0


class FlowInOneTextPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneTextPrompt",
            is_output_node=True,
            display_name="FlowInOne Text Prompt",
            category=PROMPT_CATEGORY,
            description="Writes a caption or a class name on a plain background: the prompt image for a new image.",
            search_aliases=["flowinone", "caption", "class", "text to image", "txt2img", "write", "positive prompt"],
            inputs=[
                io.Combo.Input(
                    "kind",
                    options=["caption", "class"],
                    default="caption",
                    tooltip=(
                        "What the text is: a caption that describes the image, or a class, the name of one object. "
                        "Each gets the look it had in training."
                    ),
                ),
                io.String.Input(
                    "text",
                    default="a red bicycle leaning against a garden wall",
                    multiline=True,
                    tooltip=(
                        "What the image shows, in English: a short plain sentence for a caption, a name for a class."
                    ),
                ),
                io.Combo.Input(
                    "background",
                    options=[TRAINED, "solid", "vertical gradient", "horizontal gradient"],
                    default=TRAINED,
                    tooltip=(
                        "What is behind the text. The model knows trained best: "
                        "one colour for captions, a gradient for classes."
                    ),
                ),
                io.Color.Input(
                    "color",
                    default=SolidCanvas.color,
                    tooltip="Colour of a solid background, or the first colour of a gradient.",
                ),
                io.Color.Input(
                    "second_color",
                    display_name="second color",
                    default=GradientCanvas.end,
                    tooltip="The second colour of a gradient.",
                ),
                io.Combo.Input(
                    "face",
                    display_name="lettering",
                    options=[TRAINED, *FACES],
                    default=TRAINED,
                    tooltip="Typeface of the text. Keep trained, the one that captions or classes have in training.",
                ),
                io.Float.Input(
                    "text_size",
                    display_name="text size",
                    default=0.0,
                    min=0.0,
                    max=256.0,
                    step=1.0,
                    tooltip=(
                        "Letter height in pixels on a 512 px canvas; 0 is the size used in training. "
                        "Long text shrinks to fit."
                    ),
                ),
                align_input(),
                size_input(),
                font_input(),
            ],
            outputs=prompt_outputs(),
        )

    @classmethod
    def execute(cls, kind, text, background, color, second_color, face, text_size, align, size, font) -> io.NodeOutput:
        task, make = ("class_to_image", class_to_image) if kind == "class" else ("text_to_image", text_to_image)
        canvas = None
        if background == "solid":
            canvas = SolidCanvas(opaque(color))
        elif background != TRAINED:
            canvas = GradientCanvas(opaque(color), opaque(second_color), background.removesuffix(" gradient"))
        style = dataclasses.replace(TASKS[task].style, align=align)
        if face != TRAINED:
            style = dataclasses.replace(style, face=face)
        if text_size:
            text_size = max(text_size, SMALLEST_TEXT)
            style = dataclasses.replace(style, size=text_size, min_size=min(style.min_size, text_size))
        prompt = make(text, canvas=canvas, style=style)
        composed_prompt = composed([prompt], [None], size, folders.font_file(font))
        return prompt_output(composed_prompt, ui.PreviewImage(composed_prompt.images, cls=cls))


class FlowInOneCompose(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneCompose",
            is_output_node=True,
            display_name="FlowInOne Compose Visual Prompt",
            category=PROMPT_CATEGORY,
            description="Draws marks and an instruction on a photo: the prompt image for FlowInOne Sampler.",
            search_aliases=[
                "flowinone",
                "visual prompt",
                "compose",
                "annotate",
                "overlay",
                "draw on image",
                "combine marks",
            ],
            inputs=[
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The photo to edit. Each image of a batch becomes a prompt of its own.",
                ),
                io.Autogrow.Input(
                    "marks",
                    io.Autogrow.TemplatePrefix(
                        Marks.Input(
                            "mark", optional=True, tooltip="Marks from Draw nodes. Later ones are drawn on top."
                        ),
                        prefix="marks",
                        min=1,
                        max=16,
                    ),
                    optional=True,
                    tooltip=(
                        "Marks from Draw nodes. Later ones are drawn on top; "
                        "connecting one adds another socket, up to 16."
                    ),
                ),
                io.Combo.Input(
                    "task",
                    options=list(TASKS),
                    default="text_box",
                    tooltip="What the marks ask for. It sets the default instruction, its lettering and the bypass.",
                ),
                io.String.Input(
                    "instruction",
                    default="",
                    multiline=True,
                    tooltip=(
                        "Text to write on the photo, in English. Empty writes the wording that the model was trained "
                        "on for this task, unless a mark is text already."
                    ),
                ),
                io.Combo.Input(
                    "fit",
                    options=["crop", "letterbox", "stretch"],
                    default="crop",
                    tooltip=(
                        "How a photo that is not square becomes square: crop keeps the centre, "
                        "letterbox adds bars, stretch distorts it."
                    ),
                ),
                io.Combo.Input(
                    "bypass",
                    display_name="bypass picture",
                    options=list(BYPASS),
                    default="by task",
                    advanced=True,
                    tooltip=(
                        "Whether the output image keeps to the photo's pixels. edit: it does. new picture: the dual "
                        "path is off and a new image is painted. Keep by task, as in training."
                    ),
                ),
                size_input(),
                font_input(),
                io.String.Input(
                    "spec",
                    optional=True,
                    force_input=True,
                    tooltip=(
                        "A visual prompt as JSON text, from a spec output. It replaces task, instruction, fit and "
                        "bypass picture; connected marks are added."
                    ),
                ),
            ],
            outputs=prompt_outputs(),
        )

    @classmethod
    def execute(cls, task, instruction, fit, bypass, size, font, image=None, marks=None, spec=None) -> io.NodeOutput:
        photos = [None] if image is None else to_pictures(image)
        sources = [source for chain in (marks or {}).values() if chain is not None for source in chain]
        if spec is None:
            _require_image_that_suits(task, image)
            prompts = [unmarked_prompt(task, fit if image is not None else None, BYPASS[bypass])] * len(photos)
        else:
            prompts = loads_many(spec, len(photos))
        prompts = [
            with_marks(prompt, gathered(sources, index, squaring_of(prompt, photo)))
            for index, (prompt, photo) in enumerate(zip(prompts, photos))
        ]
        if spec is None:
            prompts = [with_instruction(prompt, instruction) for prompt in prompts]
        composed_prompt = composed(prompts, photos, size, folders.font_file(font), image)
        return prompt_output(composed_prompt, ui.PreviewImage(composed_prompt.images, cls=cls))


def _require_image_that_suits(task: str, image) -> None:
    """Raise PromptError if the task edits a photo and there is none, or the other way round."""
    if image is None and TASKS[task].needs_photo:
        raise PromptError("image", f"is not connected; the task {task} edits a photo, so connect one")
    if image is not None and not TASKS[task].needs_photo:
        raise PromptError(
            "image",
            f"is connected, but the task {task} makes a new image from text alone; "
            "disconnect it, or choose the task text_in_image",
        )
