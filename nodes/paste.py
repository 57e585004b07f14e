"""FlowInOne Paste Back."""

from comfy_api.latest import io

from ..comfyui_flowinone.paste_back import around_changes, around_marks, around_mask, paste_back, rows_for, whole
from .sockets import CATEGORY, Prompt

REGIONS = ["marks", "changes", "whole"]


class FlowInOnePasteBack(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOnePasteBack",
            display_name="FlowInOne Paste Back",
            category=CATEGORY,
            description="Puts the changed part of an answer back into the photo, at the photo's size. The rest of the photo stays as it is, pixel for pixel.",
            search_aliases=[
                "flowinone",
                "composite",
                "stitch",
                "uncrop",
                "blend",
                "paste",
                "inpaint",
                "crop and stitch",
            ],
            inputs=[
                io.Image.Input(
                    "image", tooltip="The answer: the whole square, from VAE Decode, or from any upscaler behind it."
                ),
                Prompt.Input(
                    "prompt",
                    tooltip="The prompt that was answered. It knows the photo, how it was made square, and the marks.",
                ),
                io.Combo.Input(
                    "region",
                    options=REGIONS,
                    default=REGIONS[0],
                    tooltip="What is taken from the answer. marks: boxes, doodles, erased regions and a fifth of the canvas around paths; all that the canvas shows where arrows, forces, wind or words alone do not say how far they go. changes: where the answer has other colours than the photo. whole: all that the canvas shows.",
                ),
                io.Float.Input(
                    "grow",
                    default=0.03,
                    min=0.0,
                    max=1.0,
                    step=0.005,
                    tooltip="How far around the region the answer still counts in full, as a fraction of the canvas.",
                ),
                io.Float.Input(
                    "feather",
                    default=0.04,
                    min=0.0,
                    max=1.0,
                    step=0.005,
                    tooltip="How wide the soft blend around that is, as a fraction of the canvas. 0 is a hard edge. At the edges of a cropped canvas it lies inside, as there is no answer beyond them.",
                ),
                io.Float.Input(
                    "threshold",
                    default=0.1,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="For changes: how far a colour must be from the photo's to count. More where untouched parts are pasted, less where faint changes are missed.",
                ),
                io.Image.Input(
                    "photo",
                    optional=True,
                    tooltip="The picture to paste into, if it is not the one that Compose Visual Prompt got: the same in another size, not cropped.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="The region, drawn on the photo, in any size of its proportions. region then does not count; grow and feather do.",
                ),
            ],
            outputs=[
                io.Image.Output(tooltip="The photo with the answer's part in it, at the photo's size."),
                io.Mask.Output(tooltip="How much of each pixel is the answer's."),
            ],
        )

    @classmethod
    def execute(cls, image, prompt, region, grow, feather, threshold, photo=None, mask=None) -> io.NodeOutput:
        def choose(number, place, answer, photo):
            if mask is not None:
                return around_mask(place, masks[rows[number]], grow, feather)
            if region == "changes":
                return around_changes(place, photo, answer, threshold, grow, feather)
            if region == "marks":
                return around_marks(place, prompt.prompts[number % len(prompt.prompts)].marks, grow, feather)
            return whole(place, feather)

        if mask is not None:
            masks = mask.reshape(-1, *mask.shape[-2:])
            rows = rows_for("mask", len(masks), len(image))
        result, pasted = paste_back(image, prompt, choose, photo)
        if mask is not None and not pasted.any():
            raise ValueError(
                "mask selects nothing that the canvas shows; draw it on the photo, over the change, or disconnect it"
            )
        return io.NodeOutput(result, pasted)
