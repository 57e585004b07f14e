"""FlowInOne Sampler."""

from comfy_api.latest import io

from ..comfyui_flowinone.prompting import encoded, prompt_pictures
from ..comfyui_flowinone.sampling import require_flowinone, sample, to_latent
from ..flowinone.sampling import FIXED_STEP_SOLVERS
from .shared_inputs import (
    AS_SET,
    bypass_input,
    encoder_input,
    picture_input,
    prompt_input,
    random_start_input,
    seed_input,
    solving,
    solving_inputs,
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
            description="Answers a prompt picture with a latent. Decode it with FlowInOne VAE Decode or the stock VAE Decode.",
            search_aliases=["flowinone", "visual prompt", "flow matching", "ksampler", "generate"],
            inputs=[
                io.Model.Input("model", tooltip="From Load FlowInOne."),
                encoder_input(),
                vae_input(),
                picture_input(),
                seed_input(),
                io.Int.Input(
                    "steps",
                    default=50,
                    min=1,
                    max=1000,
                    tooltip="Solver steps. More follow instructions better; the authors use 50.",
                ),
                io.Float.Input(
                    "guidance_scale",
                    default=7.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    display_name="guidance",
                    tooltip="How strongly the prompt pulls. The authors use 7; 1 is twice as fast and follows the prompt least.",
                ),
                io.Combo.Input(
                    "solver",
                    options=list(FIXED_STEP_SOLVERS),
                    default="euler",
                    tooltip="How a step is computed. euler is the authors', with their time grid. midpoint and heun look twice a step, rk4 four times.",
                ),
                bypass_input(),
                random_start_input(),
                prompt_input(),
                *solving_inputs(),
            ],
            outputs=[io.Latent.Output(tooltip="The answer, for FlowInOne VAE Decode or the stock VAE Decode.")],
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
        pictures, bypasses = prompt_pictures(image, prompt, bypass)
        source, image_latent = encoded(encoder, vae, pictures, seed, sample_posterior)
        chosen = solving(steps, guidance_scale, solver, preset, guidance_start, guidance_end)
        latents = sample(model, source, image_latent, bypasses, *chosen)
        return io.NodeOutput(to_latent(latents))
