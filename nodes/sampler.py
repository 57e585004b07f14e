"""FlowInOne Sampler."""

from comfy_api.latest import io

from ..comfyui_flowinone.conditioning import encode_prompts, prompt_pictures
from ..comfyui_flowinone.messages import warn
from ..comfyui_flowinone.samplers import require_flowinone, sample
from .shared_inputs import (
    AS_SET,
    bypass_input,
    encoder_input,
    guidance_scale_input,
    model_input,
    picture_input,
    prompt_input,
    random_start_input,
    sampler_settings,
    sampling_inputs,
    seed_input,
    solver_input,
    steps_input,
    vae_input,
)
from .sockets import CATEGORY


class FlowInOneSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneSampler",
            display_name="FlowInOne Sampler",
            category=CATEGORY,
            description=(
                "Generates the output image of a prompt image, as a latent. Decode it with FlowInOne VAE Decode or "
                "the stock VAE Decode."
            ),
            search_aliases=["flowinone", "visual prompt", "flow matching", "ksampler", "generate"],
            inputs=[
                model_input(),
                encoder_input(),
                vae_input(),
                picture_input(),
                seed_input(),
                steps_input(),
                guidance_scale_input(),
                solver_input(),
                bypass_input(),
                random_start_input(),
                prompt_input(),
                *sampling_inputs(),
            ],
            outputs=[
                io.Latent.Output(
                    tooltip="The output image as a latent, for FlowInOne VAE Decode or the stock VAE Decode."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        encoder,
        vae,
        seed,
        steps,
        guidance_scale,
        solver,
        bypass,
        sample_posterior,
        image=None,
        prompt=None,
        preset=AS_SET,
        guidance_start=0.0,
        guidance_end=1.0,
    ) -> io.NodeOutput:
        require_flowinone(model)
        settings = sampler_settings(solver, steps, guidance_scale, preset, guidance_start, guidance_end)
        warn(settings.warning)
        pictures, bypasses = prompt_pictures(image, prompt, bypass)
        source, image_latent = encode_prompts(encoder, vae, pictures, seed, sample_posterior)
        return io.NodeOutput(sample(model, source, image_latent, bypasses, settings, seed))
