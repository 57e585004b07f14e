"""The options for solver, steps and guidance, shared by subcommands that sample."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from .argument_types import positive_int

if TYPE_CHECKING:
    from ..sampling import SamplerSettings


def add_sampling_arguments(command: argparse.ArgumentParser) -> None:
    sampling = command.add_argument_group("sampling")
    sampling.add_argument(
        "--preset",
        help="reference (default: upstream's settings, 50 steps of euler), balanced or fast (fewer forward passes); "
        "the options below override its values",
    )
    sampling.add_argument(
        "--steps",
        type=positive_int,
        help="solver steps (default: the preset's; 20 for --mini without one). Below 5, use a solver other than euler: "
        "upstream's time grid, which euler uses, breaks there (--mini, two steps: 9 %% correct, and 87 %% on the "
        "uniform grid). The presets with few steps use the uniform grid",
    )
    sampling.add_argument(
        "--solver",
        help="euler (upstream's time grid), or on the uniform grid euler_uniform, midpoint, heun, rk4 or "
        "adams_bashforth2, or the adaptive dopri5",
    )
    sampling.add_argument(
        "--guidance",
        "--guidance-scale",
        type=float,
        metavar="SCALE",
        help="classifier-free guidance scale (default: 7; 2 for --mini)",
    )
    sampling.add_argument(
        "--guidance-interval",
        nargs=2,
        type=float,
        metavar=("START", "END"),
        help="guide only between these times t; sampling runs from 0 to 1",
    )
    sampling.add_argument(
        "--guidance-every",
        type=positive_int,
        metavar="N",
        help="recompute guidance every N evaluations in that interval and reuse it in between",
    )


def sampling_settings(options: argparse.Namespace) -> SamplerSettings:
    """The settings that the options ask for, with mini's defaults for mini. Prints their warning, if there is one."""
    from .. import mini
    from ..sampling import SamplerSettings

    steps, guidance_scale = options.steps, options.guidance
    if options.mini:
        guidance_scale = mini.GUIDANCE_SCALE if guidance_scale is None else guidance_scale
        steps = mini.STEPS if steps is None and options.preset is None else steps
    settings = SamplerSettings.resolve(
        options.preset,
        solver=options.solver,
        steps=steps,
        guidance_scale=guidance_scale,
        guidance_interval=options.guidance_interval,
        guidance_every=options.guidance_every,
    )
    if settings.warning:
        print(f"flowinone: {settings.warning}", file=sys.stderr)
    return settings
