"""How few runs of the network give the answers of many? Mini answers held-out prompts of made-up scenes in many ways.

    python benchmarks/accuracy.py [--count 20] [--guidance-scale G] [--ways NAME …] [--json FILE]

A run is one guidance branch of one picture: 50 guided steps of Euler's method take 100. Prints for each way the runs a picture, the
share of right answers with its 95 % interval, the seconds a picture takes, and how far its latents (about 1 wide) are from those of
the fully guided flow solved finely, as a root mean square. Ctrl-C keeps what is done.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import Tensor

from flowinone import mini
from flowinone.evaluation.metrics import Setting
from flowinone.evaluation.runner import examine, example_number, runs_of
from flowinone.hardware import accelerator
from flowinone.model import Condition
from flowinone.pipeline import FlowInOnePipeline
from flowinone.sampling import PRESETS, draw_noise, guided_velocity, integrate
from flowinone.toy import SCENE_TASKS, example

FINE = dict(solver="rk4", steps=48)
"""What the latents are compared with."""
CLOSE = 3
"""Prompts of each task whose latents are compared."""
EARLY, LATE = (0.0, 0.5), (0.3, 1.0)


def ways(scale: float) -> dict[str, Setting]:
    """The ways that are compared, by name: solvers, steps, and guidance that is left out here or there."""
    plain = {
        f"{solver} {steps}": dict(solver=solver, steps=steps) for solver, counts in SOLVED.items() for steps in counts
    }
    others = {
        "no guidance": dict(solver="euler", steps=20, guidance_scale=1.0),
        "euler 20, guided early": dict(solver="euler", steps=20, guidance_interval=EARLY),
        "euler 20, guided late": dict(solver="euler", steps=20, guidance_interval=LATE),
        "euler 20, every 2nd": dict(solver="euler", steps=20, guidance_every=2),
        "adams_bashforth2 10, guided early": dict(solver="adams_bashforth2", steps=10, guidance_interval=EARLY),
        "adams_bashforth2 10, guided late": dict(solver="adams_bashforth2", steps=10, guidance_interval=LATE),
        "adams_bashforth2 10, every 2nd": dict(solver="adams_bashforth2", steps=10, guidance_every=2),
        "adams_bashforth2 10, every 3rd": dict(solver="adams_bashforth2", steps=10, guidance_every=3),
    }
    presets = {
        f"preset {name}": dict(
            solver=p.solver, steps=p.steps, guidance_interval=p.guidance_interval, guidance_every=p.guidance_every
        )
        for name, p in PRESETS.items()
    }
    return {
        name: Setting(**({"guidance_scale": scale} | fields)) for name, fields in (plain | others | presets).items()
    }


SOLVED = {
    "euler": (6, 12, 24, 50),
    "euler_uniform": (6, 12, 24),
    "midpoint": (3, 6, 12),
    "heun": (3, 6, 12),
    "rk4": (2, 3, 6),
    "adams_bashforth2": (5, 8, 11, 24),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20, help="prompts of each task. Default: %(default)s")
    parser.add_argument(
        "--guidance-scale", type=float, default=mini.GUIDANCE_SCALE, help="Default: mini's, %(default)s"
    )
    parser.add_argument("--ways", nargs="+", metavar="NAME", help="only these, as the table names them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    options = parser.parse_args()
    settings = ways(options.guidance_scale)
    if unknown := [name for name in options.ways or () if name not in settings]:
        parser.error(f"there is no way {unknown[0]!r}; choose of {', '.join(settings)}")
    if options.count < 1:
        parser.error(f"--count is {options.count}; at least 1 is needed")
    settings = {name: settings[name] for name in options.ways or settings}
    settings = dict(sorted(settings.items(), key=lambda entry: runs_of(entry[1])))
    device = accelerator() or torch.device("cpu")
    pipeline = FlowInOnePipeline.mini(device=device)
    start = start_of(pipeline)
    fine = latents(pipeline, start, Setting(guidance_scale=options.guidance_scale, **FINE))

    rows = []
    print(
        f"mini on {device.type}, torch {torch.__version__}, guidance {options.guidance_scale:g}, {options.count} prompts of each of {len(SCENE_TASKS)} tasks"
    )
    print(f"{'way':<36} {'runs':>6} {'right':>7} {'95 %':>13} {'s':>6} {'rms':>7}")
    try:
        for name, setting in settings.items():
            scores = examine(pipeline, count=options.count, setting=setting, progress=sys.stderr.isatty())
            score = scores.main.score
            distance = float((latents(pipeline, start, setting) - fine).square().mean().sqrt())
            low, high = score.interval
            print(
                f"{name:<36} {scores.main.runs:>6.4g} {score.share:>7.1%} {low:>6.1%}–{high:<6.1%} {scores.main.making:>6.3f} {distance:>7.4f}",
                flush=True,
            )
            rows.append(
                dict(
                    way=name,
                    runs=scores.main.runs,
                    right=score.right,
                    count=score.count,
                    seconds=scores.main.making,
                    rms=distance,
                )
            )
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


Start = tuple[Tensor, Tensor, Tensor]
"""Source and image latents [B, C, H, W] and bypass [B] of prompts."""


@torch.no_grad()
def start_of(pipeline: FlowInOnePipeline) -> Start:
    """Where the flow starts for the first prompts of every task."""
    numbers = [(task, example_number(0, place)) for task in SCENE_TASKS for place in range(CLOSE)]
    made = [example(task, number, held_out=True, prompt_size=pipeline.vision.image_size) for task, number in numbers]
    noise = draw_noise([number for _, number in numbers], pipeline.model.velocity_network.config.latent_shape)
    source, image = pipeline.encode([one.input for one in made], *noise)
    return source, image, torch.tensor([one.prompt.bypass for one in made], device=source.device)


@torch.no_grad()
def latents(pipeline: FlowInOnePipeline, start: Start, setting: Setting) -> Tensor:
    """Where it ends, [B, C, H, W]."""
    source, image, bypass = start

    velocity = guided_velocity(pipeline.model.velocity, Condition.prompt(image, bypass), setting.guidance)
    return integrate(velocity, source, setting.solver, setting.steps)


if __name__ == "__main__":
    main()
