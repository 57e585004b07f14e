"""`flowinone train`: training, fine-tuning and LoRA."""

import argparse
import sys

from .argument_types import file_path

DESCRIPTION = (
    "Train as a YAML file configures it; its fields are those of flowinone.training.run_config.TrainingConfig. A run "
    "that was stopped resumes from its last saved state. On several GPUs: accelerate launch -m flowinone train …"
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "config",
        type=file_path,
        nargs="?",
        metavar="CONFIG.yaml",
        help="the run's fields; without it, --set gives all of them",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="set a field, or a nested one as in lora.rank=8; repeatable",
    )
    command.add_argument(
        "--restart", action="store_true", help="start over, even if the run's folder has a saved state"
    )


def run(options: argparse.Namespace) -> int:
    import logging

    from ..toy import SOURCE_NAME, open_scenes

    try:
        from ..training.loop import train
        from ..training.run_config import read_config
    except ImportError as error:
        raise ImportError(
            f'{error}; training needs the packages of the train extra: pip install ".[library,train]"'
        ) from error
    config = read_config(options.config, options.set)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    result = train(config, resume=not options.restart, sources={SOURCE_NAME: open_scenes})
    for file in result.files:
        print(f"written: {file}")
    return 130 if result.stopped else 0
