"""FlowInOne Encode: the road to ComfyUI's own samplers."""

from comfy_api.latest import io

from ..comfyui_flowinone.conditioning import SourceNoise, conditioning
from ..comfyui_flowinone.prompting import encoded, prompt_pictures
from .types import CATEGORY, Encoder, Prompt

GRIDS = ["the authors'", "uniform"]


class FlowInOneEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneEncode",
            display_name="FlowInOne Encode",
            category=CATEGORY,
            description="Prepares a prompt for ComfyUI's own samplers: connect CFGGuider (cfg 7), SamplerCustomAdvanced and BasicScheduler (simple). Samplers that add noise on the way leave what the model knows.",
            search_aliases=["flowinone", "conditioning", "samplercustomadvanced", "cfgguider"],
            inputs=[
                Encoder.Input("encoder", tooltip="From Load FlowInOne."),
                io.Vae.Input("vae", tooltip="From Load FlowInOne, or a Stable Diffusion 1.x VAE."),
                io.Image.Input("image", display_name="prompt picture", optional=True, tooltip="The prompt picture, or several."),
                Prompt.Input("prompt", optional=True, tooltip="From Compose Visual Prompt or Text Prompt, in place of the prompt picture."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Picture i of a batch uses seed + i. The noise output carries it.",
                ),
                io.Boolean.Input(
                    "bypass",
                    display_name="bypass picture",
                    default=False,
                    label_on="new picture",
                    label_off="edit",
                    tooltip="On for words on a plain background, which ask for a new picture. Off to change the picture itself. Does not count when a prompt is connected.",
                ),
                io.Boolean.Input(
                    "sample_posterior",
                    display_name="random start",
                    default=True,
                    advanced=True,
                    tooltip="Draw the start and the picture's latent at random, by the seed, as the authors do. Off takes the most likely ones.",
                ),
                io.Combo.Input(
                    "time_grid",
                    options=GRIDS,
                    default=GRIDS[0],
                    advanced=True,
                    tooltip="the authors': with the sampler euler and the scheduler simple the very steps of FlowInOne Sampler. uniform: for samplers of higher order.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
                io.Noise.Output(tooltip="Where the flow starts, for SamplerCustomAdvanced."),
                io.Latent.Output(tooltip="An empty latent of the right size, for SamplerCustomAdvanced."),
            ],
        )

    @classmethod
    def execute(
        cls, encoder, vae, seed, bypass, sample_posterior, time_grid, image=None, prompt=None
    ) -> io.NodeOutput:
        pictures, bypasses = prompt_pictures(image, prompt, bypass)
        source, image_latent = encoded(encoder, vae, pictures, seed, sample_posterior)
        branches = [
            conditioning(source, image_latent, bypasses, null, time_grid == GRIDS[0]) for null in (False, True)
        ]
        return io.NodeOutput(*branches, SourceNoise(source, seed), {"samples": source.cpu() * 0})
