"""FlowInOne VAE Decode."""

from comfy_api.latest import io

from ..comfyui_flowinone.paste_back import paste_back
from ..comfyui_flowinone.paste_regions import whole
from ..comfyui_flowinone.vae import require_kl_f8
from .sockets import CATEGORY, Prompt

SIZES = ["answer", "photo"]


class FlowInOneVAEDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneVAEDecode",
            display_name="FlowInOne VAE Decode",
            category=CATEGORY,
            description=(
                "Decodes a FlowInOne latent to an image, square or over the photo at its size. Checks that VAE and "
                "latent fit; for square images the stock VAE Decode does the same."
            ),
            search_aliases=["flowinone", "decode", "vae decode", "latent to image", "uncrop", "full size"],
            inputs=[
                io.Latent.Input("samples", tooltip="From FlowInOne Sampler."),
                io.Vae.Input("vae", tooltip="From Load FlowInOne, or a Stable Diffusion 1.x VAE."),
                Prompt.Input(
                    "prompt", optional=True, tooltip="The prompt that the sampler used. Only needed for size photo."
                ),
                io.Combo.Input(
                    "size",
                    options=SIZES,
                    default=SIZES[0],
                    optional=True,
                    tooltip=(
                        "What to output. answer: the square output image. photo: the size of the prompt's photo, "
                        "with bars removed and stretching undone; around a cropped centre it is the photo itself."
                    ),
                ),
            ],
            outputs=[io.Image.Output(tooltip="The output image.")],
        )

    @classmethod
    def execute(cls, samples, vae, prompt=None, size=SIZES[0]) -> io.NodeOutput:
        require_kl_f8(vae)
        latents = samples["samples"]
        if latents.ndim != 4 or latents.shape[1] != 4:
            raise ValueError(
                f"samples have shape {tuple(latents.shape)}; FlowInOne latents are [batch, 4, height, width]"
            )
        if size == "photo" and prompt is None:
            raise ValueError(
                "prompt is not connected, and size is photo; connect the prompt that the sampler used, or choose answer"
            )
        pictures = vae.decode(latents)
        if size == "photo":
            pictures, _ = paste_back(pictures, prompt, lambda index, place, output, photo: whole(place, feather=0))
        return io.NodeOutput(pictures)
