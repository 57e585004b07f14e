"""Socket types of the pack's own; everything else is ComfyUI's."""

from comfy_api.latest import io

Encoder = io.Custom("FLOWINONE_ENCODER")
Marks = io.Custom("FLOWINONE_MARKS")
Prompt = io.Custom("FLOWINONE_PROMPT")

CATEGORY = "FlowInOne"
PROMPT_CATEGORY = "FlowInOne/prompt"
