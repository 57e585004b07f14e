"""FlowInOne Encode: prompts for ComfyUI's own samplers."""

from comfy_api.latest import io

from ..comfyui_flowinone.conditioning import SourceNoise, conditioning, encode_prompts, prompt_pictures
from .shared_inputs import (
    bypass_input,
    encoder_input,
    picture_input,
    prompt_input,
    random_start_input,
    seed_input,
    vae_input,
)
from .sockets import CATEGORY

GRIDS = ["the authors'", "uniform"]


class FlowInOneEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneEncode",
            display_name="FlowInOne Encode",
            category=CATEGORY,
            description=(
                "Encodes a prompt for ComfyUI's own samplers: CFGGuider (cfg 7), SamplerCustomAdvanced and "
                "BasicScheduler (simple), or KSampler. Sampling starts at the prompt, so the seed of this node "
                "counts. Samplers that add noise on the way (ancestral, SDE) are refused."
            ),
            search_aliases=[
                "flowinone",
                "conditioning",
                "samplercustomadvanced",
                "cfgguider",
                "ksampler",
                "native sampler",
            ],
            inputs=[
                encoder_input(),
                vae_input(),
                picture_input(),
                prompt_input(),
                seed_input(),
                bypass_input(),
                random_start_input(),
                io.Combo.Input(
                    "time_grid",
                    display_name="time grid",
                    options=GRIDS,
                    default=GRIDS[0],
                    advanced=True,
                    tooltip=(
                        "Times at which ComfyUI's samplers evaluate the network. the authors': for the sampler euler "
                        "with the scheduler simple, from 5 steps on; the same as FlowInOne Sampler. uniform: for "
                        "other samplers and fewer steps. FlowInOne Solver has its own."
                    ),
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="positive",
                    tooltip="Conditioning with the prompt, for the positive input of CFGGuider or KSampler.",
                ),
                io.Conditioning.Output(
                    display_name="negative", tooltip="Conditioning without a prompt, for the negative input."
                ),
                io.Noise.Output(tooltip="The source latent, where sampling starts, for SamplerCustomAdvanced."),
                io.Latent.Output(tooltip="An empty latent of the right size, for SamplerCustomAdvanced."),
            ],
        )

    @classmethod
    def execute(cls, encoder, vae, seed, bypass, sample_posterior, time_grid, image=None, prompt=None) -> io.NodeOutput:
        pictures, bypasses = prompt_pictures(image, prompt, bypass)
        source, image_latent = encode_prompts(encoder, vae, pictures, seed, sample_posterior)
        branches = [conditioning(source, image_latent, bypasses, null, time_grid == GRIDS[0]) for null in (False, True)]
        return io.NodeOutput(*branches, SourceNoise(source, seed), {"samples": source.cpu() * 0})
