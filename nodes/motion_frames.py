"""FlowInOne Motion."""

import dataclasses

import torch
from comfy_api.latest import io

from ..comfyui_flowinone.composed_prompt import as_image, rendered
from ..comfyui_flowinone.conditioning import encode_prompts
from ..comfyui_flowinone.images import to_pictures
from ..comfyui_flowinone.messages import warn
from ..comfyui_flowinone.samplers import require_flowinone, sample
from ..flowinone.prompts.motion import part
from .shared_inputs import (
    AS_SET,
    encoder_input,
    guidance_scale_input,
    model_input,
    random_start_input,
    sampler_settings,
    sampling_inputs,
    solver_input,
    steps_input,
    vae_input,
)
from .sockets import CATEGORY, Prompt

PHOTO, LAST_STAGE = "photo", "last stage"


class FlowInOneMotion(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneMotion",
            display_name="FlowInOne Motion",
            category=CATEGORY,
            description=(
                "Splits a force, wind or trajectory prompt into stages and generates an output image for each: "
                "frames for Create Video, or images to choose from."
            ),
            search_aliases=["flowinone", "animate", "animation", "video", "frames", "trajectory", "force"],
            inputs=[
                model_input(),
                encoder_input(),
                vae_input(),
                Prompt.Input(
                    "prompt",
                    tooltip=(
                        "From Compose Visual Prompt: one photo with trajectories, pushes or wind. Several marks move "
                        "at the same time."
                    ),
                ),
                io.Int.Input(
                    "stages",
                    default=8,
                    min=2,
                    max=64,
                    tooltip=(
                        "Number of output images: the path is split into so many stages. Try 4 to 16; each takes as "
                        "long as a run of FlowInOne Sampler."
                    ),
                ),
                io.Combo.Input(
                    "start_from",
                    display_name="start from",
                    options=[PHOTO, LAST_STAGE],
                    default=PHOTO,
                    tooltip=(
                        "What each stage starts from. photo: the photo, with the path up to that stage, so that "
                        "errors do not add up. last stage: the previous output image, with the next piece of the "
                        "path; smoother, but it drifts away from the photo."
                    ),
                ),
                io.Boolean.Input(
                    "include_photo",
                    display_name="include photo",
                    default=True,
                    tooltip="Makes the photo, without marks, the first frame.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip=(
                        "Each seed gives other frames. All stages use the same seed, which keeps the frames alike."
                    ),
                ),
                steps_input(),
                guidance_scale_input(),
                solver_input(),
                random_start_input(),
                *sampling_inputs(),
            ],
            outputs=[
                io.Image.Output(
                    display_name="frames", tooltip="One output image per stage, after the photo if it is included."
                ),
                io.Image.Output(display_name="stage prompts", tooltip="The prompt image of each stage."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        encoder,
        vae,
        prompt,
        stages,
        start_from,
        include_photo,
        seed,
        steps,
        guidance_scale,
        solver,
        sample_posterior,
        preset=AS_SET,
        guidance_start=0.0,
        guidance_end=1.0,
    ) -> io.NodeOutput:
        def generated(pictures, stage=(0, 1)):
            # One at a time, as every stage has the same seed and not the next one.
            starts = [encode_prompts(encoder, vae, [picture], seed, sample_posterior) for picture in pictures]
            source, image_latent = map(torch.cat, zip(*starts))
            latent = sample(model, source, image_latent, prompt.bypass * len(pictures), settings, seed, stage)
            return vae.decode(latent["samples"])

        require_flowinone(model)
        settings = sampler_settings(solver, steps, guidance_scale, preset, guidance_start, guidance_end)
        warn(settings.warning)
        if len(prompt.prompts) != 1:
            raise ValueError(
                f"prompt has {len(prompt.prompts)} pictures; Motion moves one: pick one with ImageFromBatch before "
                "Compose Visual Prompt"
            )
        if prompt.photos is None:
            raise ValueError(
                "prompt shows no photo, so there is nothing to move; connect a picture to its Compose Visual Prompt"
            )
        (plan,), (photo,) = prompt.prompts, to_pictures(prompt.photos)
        bounds = [stage / stages for stage in range(stages + 1)]

        if start_from == PHOTO:
            pictures = [rendered(part(plan, 0, end), photo, prompt.size, prompt.font) for end in bounds[1:]]
            frames = generated(pictures)
        else:
            pictures, outputs, start = [], [], photo
            for stage, (begin, end) in enumerate(zip(bounds, bounds[1:])):
                pictures.append(rendered(part(plan, begin, end), start, prompt.size, prompt.font))
                outputs.append(generated(pictures[-1:], (stage, stages)))
                (start,) = to_pictures(outputs[-1])
            frames = torch.cat(outputs)
        if include_photo:
            first = as_image(rendered(dataclasses.replace(plan, marks=()), photo, frames.shape[1], prompt.font))
            frames = torch.cat([first[None].to(frames), frames])
        return io.NodeOutput(frames, torch.stack([as_image(picture) for picture in pictures]))
