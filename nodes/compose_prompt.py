"""Nodes that make whole visual prompts."""

import dataclasses

from comfy_api.latest import io, ui

from ..comfyui_flowinone import folders
from ..comfyui_flowinone.composed_prompt import ComposedPrompt, composed, squaring_of
from ..comfyui_flowinone.images import to_pictures
from ..comfyui_flowinone.mark_inputs import gathered
from ..flowinone.prompts import GradientCanvas, PhotoCanvas, SolidCanvas, Text, VisualPrompt, loads_many
from ..flowinone.prompts.checks import PromptError
from ..flowinone.prompts.tasks import TASKS, class_to_image, text_to_image
from .draw_marks import FACES, opaque
from .sockets import PROMPT_CATEGORY, Marks, Prompt

TRAINED = "trained"
BYPASS = {"by task": None, "new picture": True, "edit": False}


def prompt_outputs():
    return [
        Prompt.Output(
            display_name="prompt", tooltip="Everything FlowInOne Sampler needs: picture and bypass in one wire."
        ),
        io.Image.Output(tooltip="The prompt picture."),
        io.String.Output(
            display_name="spec",
            tooltip="The visual prompt as text (JSON), to keep or to feed into Compose Visual Prompt.",
        ),
        io.Boolean.Output(display_name="bypass", tooltip="What FlowInOne Sampler's bypass picture should be."),
    ]


def prompt_output(cls, prompt: ComposedPrompt) -> io.NodeOutput:
    return io.NodeOutput(
        prompt, prompt.images, prompt.as_text(), prompt.bypass[0], ui=ui.PreviewImage(prompt.images, cls=cls)
    )


def size_input():
    return io.Int.Input(
        "size",
        default=512,
        min=64,
        max=4096,
        step=64,
        advanced=True,
        tooltip="Side of the prompt picture in pixels. The model was trained on 512.",
    )


def font_input():
    return io.Combo.Input(
        "font",
        options=[folders.BUNDLED_FONTS, *folders.files(folders.FONTS)],
        default=folders.BUNDLED_FONTS,
        advanced=True,
        tooltip="Letters for all text. The bundled ones know Latin, Greek, Cyrillic and Hebrew; put other TTF or OTF files into models/fonts.",
    )


class FlowInOneTextPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneTextPrompt",
            is_output_node=True,
            display_name="FlowInOne Text Prompt",
            category=PROMPT_CATEGORY,
            description="Writes a caption or a class name on a plain canvas: the prompt for a new picture.",
            search_aliases=["flowinone", "caption", "class", "text to image", "write", "positive prompt"],
            inputs=[
                io.Combo.Input(
                    "kind",
                    options=["caption", "class"],
                    default="caption",
                    tooltip="A caption to paint, or the name of a thing.",
                ),
                io.String.Input(
                    "text",
                    default="a red bicycle leaning against a garden wall",
                    multiline=True,
                    tooltip="What the picture is to show: a sentence for a caption, one name for a class. In English.",
                ),
                io.Combo.Input(
                    "background",
                    options=[TRAINED, "solid", "vertical gradient", "horizontal gradient"],
                    default=TRAINED,
                    tooltip="What the words stand on. trained: one colour for captions, a gradient for classes, as in the training data.",
                ),
                io.Color.Input(
                    "color", default=SolidCanvas.color, tooltip="Of a solid background, or where the gradient starts."
                ),
                io.Color.Input(
                    "second_color",
                    display_name="second color",
                    default=GradientCanvas.end,
                    tooltip="Where the gradient ends.",
                ),
                io.Combo.Input(
                    "face",
                    display_name="lettering",
                    options=[TRAINED, *FACES],
                    default=TRAINED,
                    tooltip="The style of the letters. trained: the one that captions or classes have in the training data.",
                ),
                io.Float.Input(
                    "text_size",
                    display_name="text size",
                    default=0.0,
                    min=0.0,
                    max=256.0,
                    step=1.0,
                    tooltip="In pixels of a 512 px canvas; 0 takes the trained size. Long texts shrink to fit.",
                ),
                io.Combo.Input(
                    "align",
                    options=["center", "left", "right"],
                    default="center",
                    tooltip="The side that the lines of the text keep to.",
                ),
                size_input(),
                font_input(),
            ],
            outputs=prompt_outputs(),
        )

    @classmethod
    def execute(cls, kind, text, background, color, second_color, face, text_size, align, size, font) -> io.NodeOutput:
        task, make = ("class_to_image", class_to_image) if kind == "class" else ("text_to_image", text_to_image)
        color, second_color = opaque(color), opaque(second_color)
        canvas = {
            TRAINED: lambda: None,
            "solid": lambda: SolidCanvas(color),
            "vertical gradient": lambda: GradientCanvas(color, second_color, "vertical"),
            "horizontal gradient": lambda: GradientCanvas(color, second_color, "horizontal"),
        }[background]()
        style = dataclasses.replace(TASKS[task].style, align=align)
        if face != TRAINED:
            style = dataclasses.replace(style, face=face)
        if text_size:
            style = dataclasses.replace(
                style, size=max(text_size, 4.0), min_size=min(style.min_size, max(text_size, 4.0))
            )
        return prompt_output(
            cls, composed([make(text, canvas=canvas, style=style)], [None], size, folders.font_file(font))
        )


class FlowInOneCompose(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneCompose",
            is_output_node=True,
            display_name="FlowInOne Compose Visual Prompt",
            category=PROMPT_CATEGORY,
            description="Draws marks and the task's instruction on a picture: the prompt for FlowInOne Sampler.",
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
                    tooltip="The picture to edit. Each picture of a batch becomes a prompt of its own.",
                ),
                io.Autogrow.Input(
                    "marks",
                    io.Autogrow.TemplatePrefix(
                        Marks.Input("mark", optional=True, tooltip="From Draw nodes; later ones are drawn on top."),
                        prefix="marks",
                        min=1,
                        max=16,
                    ),
                    optional=True,
                    tooltip="From Draw nodes; later ones are drawn on top. A further socket appears for each that is connected.",
                ),
                io.Combo.Input(
                    "task",
                    options=list(TASKS),
                    default="text_box",
                    tooltip="What the marks ask for. It decides wording, lettering and bypass.",
                ),
                io.String.Input(
                    "instruction",
                    default="",
                    multiline=True,
                    tooltip="Written on the picture. Empty takes the wording the model was trained on for this task, unless a mark is text already.",
                ),
                io.Combo.Input(
                    "fit",
                    options=["crop", "letterbox", "stretch"],
                    default="crop",
                    tooltip="How a picture that is not square becomes square: its centre, all of it between bars, or all of it out of proportion.",
                ),
                io.Combo.Input(
                    "bypass",
                    display_name="bypass picture",
                    options=list(BYPASS),
                    default="by task",
                    advanced=True,
                    tooltip="New picture: the model does not look at the picture's pixels. Edit: it does. By task is what it was trained on.",
                ),
                size_input(),
                font_input(),
                io.String.Input(
                    "spec",
                    optional=True,
                    force_input=True,
                    tooltip="A visual prompt as text, from a spec output. It takes the place of task, instruction, fit and bypass; connected marks are added.",
                ),
            ],
            outputs=prompt_outputs(),
        )

    @classmethod
    def execute(cls, task, instruction, fit, bypass, size, font, image=None, marks=None, spec=None) -> io.NodeOutput:
        photos = [None] if image is None else to_pictures(image)
        sources = [source for chain in (marks or {}).values() if chain is not None for source in chain]
        if spec is None:
            if image is None and TASKS[task].needs_photo:
                raise PromptError("image", f"is not connected; the task {task} changes a picture, so connect one")
            if image is not None and not TASKS[task].needs_photo:
                raise PromptError(
                    "image",
                    f"has no place in the task {task}, which paints a new picture; disconnect it or choose text_in_image",
                )
            plans = [_plan(task, fit if image is not None else None, BYPASS[bypass])] * len(photos)
        else:
            plans = loads_many(spec, len(photos))
        prompts = []
        for number, (plan, photo) in enumerate(zip(plans, photos)):
            prompt = _with_marks(plan, gathered(sources, number, squaring_of(plan, photo)))
            prompts.append(_with_words(prompt, instruction) if spec is None else prompt)
        return prompt_output(cls, composed(prompts, photos, size, folders.font_file(font), image))


def _plan(task: str, fit: str | None, bypass: bool | None) -> VisualPrompt:
    info = TASKS[task]
    return VisualPrompt(
        task, info.canvas if fit is None else PhotoCanvas(fit), (), info.bypass if bypass is None else bypass
    )


def _with_marks(plan: VisualPrompt, drawn: tuple) -> VisualPrompt:
    """The plan with the drawn marks on it, beneath the words that it ends with."""
    count = len(plan.marks)
    while count and isinstance(plan.marks[count - 1], Text):
        count -= 1
    return dataclasses.replace(plan, marks=(*plan.marks[:count], *drawn, *plan.marks[count:]))


def _with_words(plan: VisualPrompt, instruction: str) -> VisualPrompt:
    """The plan with the user's words on it or, where no mark is text, the task's. Raises PromptError where there are none to be had."""
    info = TASKS[plan.task]
    written = any(isinstance(mark, Text) for mark in plan.marks)
    words = instruction.strip() or ("" if written else info.instruction)
    if words:
        return dataclasses.replace(
            plan, marks=(*plan.marks, Text(words, info.area, info.role, info.valign, info.style))
        )
    if not written and info.marks[0] == "text":
        raise PromptError("instruction", f"is empty; the task {plan.task} needs words, here or from Draw Instruction")
    return plan
