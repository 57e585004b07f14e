"""`flowinone evaluate`: a model's accuracy on synthetic scenes."""

import argparse
import dataclasses
import shlex
import sys

from .argument_types import file_path, natural_int, positive_int
from .model_options import add_device_arguments, add_weights_arguments, model_files, pipeline_of
from .sampling_options import add_sampling_arguments, sampling_settings

DESCRIPTION = (
    "Generate images for held-out prompts of synthetic scenes, of every task, and count the correct ones: with the "
    "settings given, and in variants of them (dual path off, no guidance, fewer steps, other solvers). Run the same "
    "command again to resume a run that was stopped."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--out",
        type=file_path,
        required=True,
        metavar="FOLDER",
        help="where table.md, scores.json and failures.png go, and the state of an unfinished run",
    )
    add_weights_arguments(command)
    command.add_argument("--tasks", nargs="+", metavar="TASK", help="default: all nine")
    command.add_argument(
        "--count", type=positive_int, default=1000, metavar="N", help="prompts per task (default: 1000)"
    )
    command.add_argument(
        "--variant-count",
        type=natural_int,
        default=200,
        metavar="N",
        help="how many of these each variant runs on; 0: no variants (default: 200)",
    )
    add_sampling_arguments(command)
    command.add_argument("--seed", type=natural_int, default=0, help="another seed means other prompts (default: 0)")
    command.add_argument(
        "--batch-size", type=positive_int, default=16, metavar="N", help="images per batch (default: 16)"
    )
    command.add_argument(
        "--workers",
        type=positive_int,
        metavar="N",
        help="processes that draw prompts and judge images (default: one per core, at most 16)",
    )
    add_device_arguments(command)
    command.add_argument(
        "--overwrite", action="store_true", help="start over, even if FOLDER has scores or an unfinished run"
    )


def run(options: argparse.Namespace) -> int:
    from ..evaluation.evaluate import evaluate
    from ..evaluation.metrics import EvaluationSettings
    from ..evaluation.runner import checked_tasks
    from ..toy import SCENE_TASKS

    tasks = checked_tasks(options.tasks or SCENE_TASKS)
    settings = EvaluationSettings(**dataclasses.asdict(sampling_settings(options)))
    pipeline = pipeline_of(options)
    try:
        written = evaluate(
            pipeline,
            model_files(options),
            options.out,
            shlex.join(["flowinone", *options.given]),
            tasks,
            options.count,
            settings,
            options.variant_count,
            seed=options.seed,
            batch_size=options.batch_size,
            workers=options.workers,
            overwrite=options.overwrite,
        )
    except KeyboardInterrupt:
        print("what is done is kept: run the same command again to resume", file=sys.stderr)
        raise
    for file in written:
        print(file)
    return 0
