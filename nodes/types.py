"""Socket types of the pack's own; everything else is ComfyUI's."""

from comfy_api.latest import io

Encoder = io.Custom("FLOWINONE_ENCODER")
CATEGORY = "FlowInOne"
