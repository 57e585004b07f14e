"""Inputs and outputs that the nodes which make or draw visual prompts share."""

from comfy_api.latest import io

from ..comfyui_flowinone import folders
from ..comfyui_flowinone.composed_prompt import ComposedPrompt
from .sockets import Marks, Prompt

FACES = ["serif", "sans", "comic", "mono", "condensed"]


def size_input():
    return io.Int.Input(
        "size",
        default=512,
        min=64,
        max=4096,
        step=64,
        advanced=True,
        tooltip="Side of the prompt image in pixels. Keep 512, the size the model was trained on.",
    )


def font_input():
    return io.Combo.Input(
        "font",
        options=[folders.BUNDLED_FONTS, *folders.files(folders.FONTS)],
        default=folders.BUNDLED_FONTS,
        advanced=True,
        tooltip=(
            "Font file for all text. bundled covers Latin, Greek, Cyrillic and Hebrew; "
            "put other TTF or OTF files into models/fonts."
        ),
    )


def align_input():
    return io.Combo.Input(
        "align",
        options=["center", "left", "right"],
        default="center",
        tooltip="Alignment of the lines of text.",
    )


def marks_input():
    return Marks.Input(
        "marks", optional=True, tooltip="Marks from another Draw node. They are drawn first, beneath these."
    )


def marks_output():
    return Marks.Output(
        display_name="marks",
        tooltip="The incoming marks and these, for Compose Visual Prompt or another Draw node.",
    )


def prompt_outputs():
    return [
        Prompt.Output(
            display_name="prompt",
            tooltip="Prompt image and bypass in one connection, for FlowInOne Sampler, Encode, Motion and Paste Back.",
        ),
        io.Image.Output(tooltip="The prompt image."),
        io.String.Output(
            display_name="spec",
            tooltip="The visual prompt as JSON text, to save or to connect to Compose Visual Prompt.",
        ),
        io.Boolean.Output(
            display_name="bypass",
            tooltip="The prompt's bypass. Connect it to bypass picture where you connect IMAGE instead of prompt.",
        ),
    ]


def prompt_output(prompt: ComposedPrompt, preview) -> io.NodeOutput:
    """The values of `prompt_outputs`; `preview` is what the node shows in the page."""
    return io.NodeOutput(prompt, prompt.images, prompt.as_text(), prompt.bypass[0], ui=preview)
