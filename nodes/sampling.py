"""FlowInOne Sampler."""

from comfy_api.latest import io

from ..comfyui_flowinone.prompting import encoded, prompt_pictures
from ..comfyui_flowinone.sampling import require_flowinone, sample, to_latent
from ..flowinone.sampling import FIXED_STEP_SOLVERS
from .types import CATEGORY, Encoder, Prompt


class FlowInOneSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneSampler",
            display_name="FlowInOne Sampler",
            category=CATEGORY,
            description="Answers a prompt picture with a latent. Decode it with FlowInOne VAE Decode or the stock VAE Decode.",
            search_aliases=["flowinone", "visual prompt", "flow matching", "ksampler"],
            inputs=[
                io.Model.Input("model", tooltip="From Load FlowInOne."),
                Encoder.Input("encoder", tooltip="From Load FlowInOne."),
                io.Vae.Input("vae", tooltip="From Load FlowInOne, or a Stable Diffusion 1.x VAE."),
                io.Image.Input(
                    "image",
                    display_name="prompt picture",
                    optional=True,
                    tooltip="The prompt picture: what you want stands on it as words, boxes, arrows or doodles. Square ones work best. Each picture of a batch gets its own answer.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Picture i of a batch uses seed + i, on the CPU: the same seed gives the same picture on every device.",
                ),
                io.Int.Input(
                    "steps", default=50, min=1, max=1000, tooltip="Solver steps. More follow instructions better; the authors use 50."
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
                    tooltip="euler is the authors', with their time grid. midpoint and heun look twice a step, rk4 four times.",
                ),
                io.Boolean.Input(
                    "bypass",
                    display_name="bypass picture",
                    default=False,
                    label_on="new picture",
                    label_off="edit",
                    tooltip="On for words on a plain background, which ask for a new picture. Off to change the picture itself. Does not count when a prompt is connected. (The model's dual path is bypassed, or not.)",
                ),
                io.Boolean.Input(
                    "sample_posterior",
                    display_name="random start",
                    default=True,
                    advanced=True,
                    tooltip="Draw the start and the picture's latent at random, by the seed, as the authors do. Off takes the most likely ones, whatever the seed.",
                ),
                Prompt.Input(
                    "prompt",
                    optional=True,
                    tooltip="From Compose Visual Prompt or Text Prompt, in place of the prompt picture; it brings its own bypass picture.",
                ),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(
        cls, model, encoder, vae, seed, steps, guidance_scale, solver, bypass, sample_posterior, image=None, prompt=None
    ) -> io.NodeOutput:
        require_flowinone(model)
        pictures, bypasses = prompt_pictures(image, prompt, bypass)
        source, image_latent = encoded(encoder, vae, pictures, seed, sample_posterior)
        latents = sample(model, source, image_latent, bypasses, steps, guidance_scale, solver)
        return io.NodeOutput(to_latent(latents))
