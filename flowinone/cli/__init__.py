"""The `flowinone` command. Each subcommand has a module here, with its options and what it prints."""

import argparse
import sys
from importlib import import_module

from .. import __version__
from ..files import escape_unencodable

COMMANDS = {
    "generate": "generate images from visual prompts",
    "compose": "draw a visual prompt: words, boxes, arrows, strokes or paths on a photo or a canvas",
    "schema": "print the JSON Schema of visual prompts",
    "convert": "turn published weights into a smaller safetensors file",
    "download": "download the model files to where ComfyUI looks for them",
    "train": "train a network, fine-tune one, or make a LoRA",
    "pack-data": "pack training pairs into shards",
    "evaluate": "score a model on synthetic scenes with known answers",
}
"""The subcommands and their line in `flowinone --help`. The module has `DESCRIPTION`, `add_arguments` and `run`."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code.

    0: done. 1: done except for some inputs, which are named. 2: failed. 130: stopped by Ctrl-C.
    """
    escape_unencodable(sys.stdout, sys.stderr)
    given = sys.argv[1:] if arguments is None else arguments
    try:
        options = _parser(given).parse_args(given, argparse.Namespace(given=given))
        return options.run(options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError, ArithmeticError) as error:
        print(f"flowinone: {error}", file=sys.stderr)
        return 2


def _parser(given: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowinone", description="FlowInOne: visual prompts in, images out (arXiv 2604.06757)."
    )
    parser.add_argument("--version", action="version", version=f"flowinone {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        if name in given:  # the others' modules are not needed, and some take a while to import
            module = import_module(f".{name.replace('-', '_')}", __name__)
            command.description = module.DESCRIPTION
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser
