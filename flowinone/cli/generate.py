"""`flowinone generate`: images from visual prompts."""

import argparse
import re
import sys
import warnings

from .argument_types import file_path, positive_int
from .model_options import add_device_arguments, add_weights_arguments, pipeline_of
from .sampling_options import add_sampling_arguments, sampling_settings

DESCRIPTION = (
    "Generate an image for each visual prompt. Weights are three files, a folder that the pipeline saved, or --mini, "
    "the small model that ships with the package."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "inputs",
        type=file_path,
        nargs="+",
        metavar="INPUT",
        help="a prompt image, a visual prompt's .json, a folder of prompt images (searched recursively, in "
        "alphabetical order), or - for standard input",
    )
    command.add_argument(
        "--out",
        type=file_path,
        metavar="PATH",
        help="folder for the images, a .png file for a single input, or - for standard output; default: the folder "
        "answers, or - when INPUT is -",
    )
    command.add_argument("--image", type=file_path, metavar="PHOTO", help="the photo that .json prompts are drawn on")
    add_weights_arguments(command)
    command.add_argument(
        "--seed", type=int, default=0, help="seed of the first image; image n gets seed + n (default: 0)"
    )
    add_sampling_arguments(command)
    command.add_argument(
        "--bypass",
        action=argparse.BooleanOptionalAction,
        help="bypass the dual path, for class-to-image and text-to-image prompts; default: as the prompt's document "
        "says, no bypass without one",
    )
    command.add_argument(
        "--batch-size", type=positive_int, default=1, metavar="N", help="images per batch (default: 1)"
    )
    add_device_arguments(command)
    command.add_argument("--overwrite", action="store_true", help="replace images that exist")


def run(options: argparse.Namespace) -> int:
    from ..batch_generation import generate_all, plan_jobs

    settings = sampling_settings(options)
    jobs = plan_jobs(options.inputs, options.out, options.overwrite, options.image)
    if not jobs:
        print("nothing to do: every image exists already (--overwrite replaces them)", file=sys.stderr)
        return 0
    pipeline = pipeline_of(options)
    with warnings.catch_warnings():
        if settings.warning:  # said above
            warnings.filterwarnings("ignore", re.escape(settings.warning))
        unreadable = generate_all(pipeline, jobs, settings, options.seed, options.bypass, options.batch_size)
    for job, reason in unreadable:
        print(f"flowinone: {job.source} was left out: {reason}", file=sys.stderr)
    return 1 if unreadable else 0
