"""FlowInOne Paste Back."""

from comfy_api.latest import io

from ..comfyui_flowinone.paste_back import paste_back, rows_for
from ..comfyui_flowinone.paste_regions import around_changes, around_marks, around_mask, whole
from .sockets import CATEGORY, Prompt

REGIONS = ["marks", "changes", "whole"]


class FlowInOnePasteBack(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOnePasteBack",
            display_name="FlowInOne Paste Back",
            category=CATEGORY,
            description=(
                "Puts the edited part of the output image back into the photo, at the photo's size. "
                "The rest of the photo stays as it is, pixel for pixel."
            ),
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
                    "image",
                    tooltip="The whole square output image, from VAE Decode or from an upscaler after it.",
                ),
                Prompt.Input(
                    "prompt",
                    tooltip="The prompt that the sampler used. It holds the photo, its fit and the marks.",
                ),
                io.Combo.Input(
                    "region",
                    options=REGIONS,
                    default=REGIONS[0],
                    tooltip=(
                        "Which part of the output image to paste. marks: boxes, doodles, erased regions, and paths "
                        "with a fifth of the canvas around them; everything on the canvas if an arrow, a force, wind "
                        "or text alone does not say how far the edit goes. changes: where colours differ from the "
                        "photo. whole: everything on the canvas."
                    ),
                ),
                io.Float.Input(
                    "grow",
                    default=0.03,
                    min=0.0,
                    max=1.0,
                    step=0.005,
                    tooltip=(
                        "How far around the region the output image is still pasted in full, as a fraction of the "
                        "canvas. Try 0 to 0.15; raise it if the new object is cut off."
                    ),
                ),
                io.Float.Input(
                    "feather",
                    default=0.04,
                    min=0.0,
                    max=1.0,
                    step=0.005,
                    tooltip=(
                        "Width of the soft edge around that, as a fraction of the canvas. 0 is a hard edge; try 0.02 "
                        "to 0.1. At the edges of a cropped canvas it is inside, as the output image ends there."
                    ),
                ),
                io.Float.Input(
                    "threshold",
                    default=0.1,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip=(
                        "For changes: how much a colour must differ from the photo. Try 0.05 to 0.2; raise it if "
                        "unchanged parts are pasted, lower it if faint changes are missed."
                    ),
                ),
                io.Image.Input(
                    "photo",
                    optional=True,
                    tooltip=(
                        "The photo to paste into, if not the one of the prompt: the same photo in another resolution, "
                        "not cropped."
                    ),
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip=(
                        "Your own region, painted on the photo, in any size of the same proportions. "
                        "It replaces region; grow and feather still apply."
                    ),
                ),
            ],
            outputs=[
                io.Image.Output(tooltip="The photo with the edited part, at the photo's size."),
                io.Mask.Output(tooltip="How much of each pixel comes from the output image."),
            ],
        )

    @classmethod
    def execute(cls, image, prompt, region, grow, feather, threshold, photo=None, mask=None) -> io.NodeOutput:
        def choose(index, place, output, photo):
            if mask is not None:
                return around_mask(place, masks[rows[index]], grow, feather)
            if region == "changes":
                return around_changes(place, photo, output, threshold, grow, feather)
            if region == "marks":
                return around_marks(place, prompt.prompts[index % len(prompt.prompts)].marks, grow, feather)
            return whole(place, feather)

        if mask is not None:
            masks = mask.reshape(-1, *mask.shape[-2:])
            rows = rows_for("mask", len(masks), len(image))
        result, pasted = paste_back(image, prompt, choose, photo)
        if mask is not None and not pasted.any():
            raise ValueError(
                "mask selects nothing that the canvas shows; paint it on the photo, over the edit, or disconnect it"
            )
        return io.NodeOutput(result, pasted)
