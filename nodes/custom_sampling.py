"""FlowInOne Solver and FlowInOne Guider: the parts of FlowInOne Sampler, for SamplerCustomAdvanced."""

from comfy_api.latest import io

from ..comfyui_flowinone.messages import warn
from ..comfyui_flowinone.samplers import FlowInOneGuider, require_flowinone, solver_sampler, time_grid
from ..flowinone.sampling import SamplerSettings
from .shared_inputs import (
    AS_SET,
    guidance_interval_inputs,
    guidance_scale_input,
    model_input,
    preset_input,
    sampler_settings,
    solver_input,
    steps_input,
)
from .sockets import CATEGORY

DEFAULTS = SamplerSettings()


class FlowInOneSolverNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneSolver",
            display_name="FlowInOne Solver",
            category=CATEGORY,
            description=(
                "The solvers of FlowInOne Sampler with their time grid, for SamplerCustomAdvanced and SamplerCustom."
            ),
            search_aliases=["flowinone", "ksamplerselect", "scheduler", "sigmas", "adams bashforth", "midpoint", "rk4"],
            inputs=[
                model_input(),
                solver_input(),
                steps_input(),
                preset_input("solver and steps"),
            ],
            outputs=[
                io.Sampler.Output(tooltip="The solver, for the sampler input of SamplerCustomAdvanced."),
                io.Sigmas.Output(
                    tooltip=(
                        "The time grid, for the sigmas input; shifted if a node such as ModelSamplingSD3 shifts the "
                        "model. The solver also takes other sigmas, such as those of SplitSigmas."
                    )
                ),
            ],
        )

    @classmethod
    def execute(cls, model, solver, steps, preset=AS_SET) -> io.NodeOutput:
        require_flowinone(model)
        settings = sampler_settings(solver, steps, DEFAULTS.guidance_scale, preset, *DEFAULTS.guidance_interval)
        warn(settings.warning)
        return io.NodeOutput(solver_sampler(settings.solver), time_grid(model, settings.steps))


class FlowInOneGuiderNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneGuider",
            display_name="FlowInOne Guider",
            category=CATEGORY,
            description=(
                "CFGGuider whose guidance can be limited to a part of the sampling, or computed every few "
                "evaluations only, which saves time. For SamplerCustomAdvanced."
            ),
            search_aliases=["flowinone", "cfgguider", "cfg", "guidance interval", "limited interval guidance"],
            inputs=[
                model_input(),
                io.Conditioning.Input("positive", tooltip="Conditioning with the prompt, from FlowInOne Encode."),
                io.Conditioning.Input("negative", tooltip="Conditioning without a prompt, from FlowInOne Encode."),
                guidance_scale_input(),
                preset_input("guided from and to, and guide every"),
                *guidance_interval_inputs(),
                io.Int.Input(
                    "guidance_every",
                    display_name="guide every",
                    default=1,
                    min=1,
                    max=100,
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "Computes guidance every N evaluations and reuses it in between, at half their time. Try 2 "
                        "or 3; more loses detail. 1 computes it always."
                    ),
                ),
            ],
            outputs=[io.Guider.Output(tooltip="The guider, for the guider input of SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        guidance_scale,
        preset=AS_SET,
        guidance_start=0.0,
        guidance_end=1.0,
        guidance_every=1,
    ) -> io.NodeOutput:
        require_flowinone(model)
        settings = sampler_settings(
            DEFAULTS.solver, DEFAULTS.steps, guidance_scale, preset, guidance_start, guidance_end, guidance_every
        )
        guider = FlowInOneGuider(model)
        guider.set_conds(positive, negative)
        guider.set_guidance(settings.guidance)
        return io.NodeOutput(guider)
