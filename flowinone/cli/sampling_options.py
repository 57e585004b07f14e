"""The options for solver, steps and guidance, shared by subcommands that sample."""

import argparse

from .argument_types import positive_int


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
        help="solver steps (default: the preset's; 20 for --mini without one)",
    )
    sampling.add_argument("--solver", help="euler, euler_uniform, midpoint, heun, rk4, adams_bashforth2 or dopri5")
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


def sampling_values(options: argparse.Namespace) -> dict:
    """Solver, steps and guidance as given, or else as the preset or mini has them."""
    from .. import mini
    from ..sampling import preset

    chosen = preset(options.preset or "reference")
    guidance = mini.GUIDANCE_SCALE if options.mini else 7.0
    return dict(
        steps=options.steps or (mini.STEPS if options.mini and options.preset is None else chosen.steps),
        guidance_scale=guidance if options.guidance is None else options.guidance,
        solver=options.solver or chosen.solver,
        guidance_interval=tuple(options.guidance_interval or chosen.interval),
        guidance_every=options.guidance_every or chosen.every,
    )
