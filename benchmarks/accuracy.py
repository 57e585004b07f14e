"""How accurate are cheaper sampling methods? Mini answers held-out prompts of the toy world with each of them.

    python benchmarks/accuracy.py [--count 20] [--guidance-scale G] [--methods NAME …] [--json FILE]

For each method (solver, steps and guidance) this prints the forward passes of the network a picture, the accuracy with
its 95 % interval, the seconds a picture, and the root mean square distance of its latents (about 1 wide) from a finely
solved, fully guided flow. One evaluation with guidance takes two forward passes, so 50 guided steps of Euler's method
take 100. Ctrl-C keeps what was measured.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import Tensor

from flowinone import mini
from flowinone.evaluation.metrics import EvaluationSettings
from flowinone.evaluation.runner import example_seed, run_evaluation
from flowinone.evaluation.variants import forward_passes_of
from flowinone.hardware import accelerator
from flowinone.model import Condition
from flowinone.pipeline import FlowInOnePipeline
from flowinone.sampling import PRESETS, SamplerSettings, draw_noise, guided_velocity, integrate
from flowinone.toy import SCENE_TASKS, example

STEPS = {
    "euler": (6, 12, 24, 50),
    "euler_uniform": (6, 12, 24),
    "midpoint": (3, 6, 12),
    "heun": (3, 6, 12),
    "rk4": (2, 3, 6),
    "adams_bashforth2": (5, 8, 11, 24),
}
EARLY, LATE = (0.0, 0.5), (0.3, 1.0)
PARTLY_GUIDED = {
    "no guidance": dict(steps=20, guidance_scale=1.0),
    "euler 20, guided early": dict(steps=20, guidance_interval=EARLY),
    "euler 20, guided late": dict(steps=20, guidance_interval=LATE),
    "euler 20, every 2nd": dict(steps=20, guidance_every=2),
    "adams_bashforth2 10, guided early": dict(solver="adams_bashforth2", steps=10, guidance_interval=EARLY),
    "adams_bashforth2 10, guided late": dict(solver="adams_bashforth2", steps=10, guidance_interval=LATE),
    "adams_bashforth2 10, every 2nd": dict(solver="adams_bashforth2", steps=10, guidance_every=2),
    "adams_bashforth2 10, every 3rd": dict(solver="adams_bashforth2", steps=10, guidance_every=3),
}
FINE = dict(solver="rk4", steps=48)
"""The method that the latents are compared with."""
COMPARED = 3
"""Prompts of each task whose latents are compared."""


def methods(scale: float) -> dict[str, EvaluationSettings]:
    """The methods by name, with this guidance scale unless they have their own."""
    full = {f"{solver} {steps}": dict(solver=solver, steps=steps) for solver in STEPS for steps in STEPS[solver]}
    found = {
        name: SamplerSettings.resolve(**{"guidance_scale": scale} | given)
        for name, given in (full | PARTLY_GUIDED).items()
    }
    found |= {f"preset {name}": SamplerSettings.resolve(name, guidance_scale=scale) for name in PRESETS}
    return {name: EvaluationSettings(**vars(settings)) for name, settings in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20, help="prompts of each task. Default: %(default)s")
    parser.add_argument(
        "--guidance-scale", type=float, default=mini.GUIDANCE_SCALE, help="Default: mini's, %(default)s"
    )
    # The second spelling is that of the commands in earlier reports.
    parser.add_argument("--methods", "--ways", nargs="+", metavar="NAME", help="only these, as named in the table")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    options = parser.parse_args()
    chosen = methods(options.guidance_scale)
    if unknown := [name for name in options.methods or () if name not in chosen]:
        parser.error(f"method {unknown[0]!r} is unknown; choose of {', '.join(chosen)}")
    if options.count < 1:
        parser.error(f"--count is {options.count}; at least 1 is needed")
    chosen = {name: chosen[name] for name in options.methods or chosen}
    chosen = dict(sorted(chosen.items(), key=lambda entry: forward_passes_of(entry[1])))
    device = accelerator() or torch.device("cpu")
    pipeline = FlowInOnePipeline.mini(device=device)
    start = encode_prompts(pipeline)
    fine = final_latents(pipeline, start, SamplerSettings(guidance_scale=options.guidance_scale, **FINE))

    rows = []
    prompts = f"{options.count} prompts of each of {len(SCENE_TASKS)} tasks"
    print(f"mini on {device.type}, torch {torch.__version__}, guidance {options.guidance_scale:g}, {prompts}")
    print(f"{'method':<36} {'passes':>6} {'correct':>7} {'95 %':>13} {'s':>6} {'rms':>7}")
    try:
        for name, settings in chosen.items():
            result = run_evaluation(pipeline, count=options.count, settings=settings, progress=sys.stderr.isatty()).main
            accuracy, passes, seconds = result.accuracy, result.forward_passes, result.sample_seconds
            distance = float((final_latents(pipeline, start, settings) - fine).square().mean().sqrt())
            low, high = accuracy.interval
            share = f"{accuracy.value:>7.1%} {low:>6.1%}–{high:<6.1%}"
            print(f"{name:<36} {passes:>6.4g} {share} {seconds:>6.3f} {distance:>7.4f}", flush=True)
            counts = dict(right=accuracy.correct, count=accuracy.count)
            rows.append(dict(way=name, runs=passes, **counts, seconds=seconds, rms=distance))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    if options.json:
        report = dict(
            device=device.type,
            torch=torch.__version__,
            guidance_scale=options.guidance_scale,
            count=options.count,
            rows=rows,
        )
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


@torch.no_grad()
def encode_prompts(pipeline: FlowInOnePipeline) -> tuple[Tensor, Condition]:
    """The source latents [B, C, H, W] and the condition of the first prompts of every task."""
    seeds = [(task, example_seed(0, index)) for task in SCENE_TASKS for index in range(COMPARED)]
    size = pipeline.vision.image_size
    examples = [example(task, seed, held_out=True, prompt_size=size) for task, seed in seeds]
    noise = draw_noise([seed for _, seed in seeds], pipeline.model.velocity_network.config.latent_shape)
    source, image = pipeline.encode([one.input for one in examples], *noise)
    bypass = torch.tensor([one.bypass for one in examples], device=source.device)
    return source, Condition.prompt(image, bypass)


@torch.no_grad()
def final_latents(pipeline: FlowInOnePipeline, start: tuple[Tensor, Condition], settings: SamplerSettings) -> Tensor:
    """The latents [B, C, H, W] at the end of the flow."""
    source, condition = start
    velocity = guided_velocity(pipeline.model.velocity, condition, settings.guidance)
    return integrate(velocity, source, settings.solver, settings.steps)


if __name__ == "__main__":
    main()
