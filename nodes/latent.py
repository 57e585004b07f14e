"""FlowInOne VAE Decode."""

from comfy_api.latest import io

from ..comfyui_flowinone.encoder import require_kl_f8
from .types import CATEGORY


class FlowInOneVAEDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneVAEDecode",
            display_name="FlowInOne VAE Decode",
            category=CATEGORY,
            description="Turns a FlowInOne latent into a picture. Checks that VAE and latent fit; otherwise the stock VAE Decode does the same.",
            search_aliases=["flowinone", "decode", "vae decode", "latent to image"],
            inputs=[
                io.Latent.Input("samples", tooltip="From FlowInOne Sampler."),
                io.Vae.Input("vae", tooltip="From Load FlowInOne, or a Stable Diffusion 1.x VAE."),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, samples, vae) -> io.NodeOutput:
        require_kl_f8(vae)
        latents = samples["samples"]
        if latents.ndim != 4 or latents.shape[1] != 4:
            raise ValueError(
                f"samples have shape {tuple(latents.shape)}; FlowInOne latents are [batch, 4, height, width]"
            )
        return io.NodeOutput(vae.decode(latents))
