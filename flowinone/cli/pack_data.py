"""`flowinone pack-data`: training pairs as shards."""

import argparse
import sys

from .argument_types import file_path, positive_int

DESCRIPTION = (
    "Write training pairs as WebDataset shards: tar files of KEY.in.png and KEY.out.png and, for prompts that ask for "
    "a new picture, KEY.type, which says t2i. Run the same command again to resume a run that was stopped."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "inputs",
        type=file_path,
        nargs="+",
        metavar="INPUT",
        help="a folder with pictures of the same names in input/ and output/, or with such folders in it; shards, as "
        "a file, their folder or a pattern. A text file type next to the two folders, or NAME.type next to a prompt, "
        "says t2i",
    )
    command.add_argument("--out", type=file_path, required=True, metavar="DIR", help="the shards' folder")
    command.add_argument("--name", default="shards", help="prefix of the shards' names (default: shards)")
    command.add_argument(
        "--per-shard", type=positive_int, default=1000, metavar="N", help="pairs per shard (default: 1000)"
    )
    command.add_argument("--workers", type=positive_int, metavar="N", help="processes (default: one per core)")
    command.add_argument("--overwrite", action="store_true", help="replace shards that exist")


def run(options: argparse.Namespace) -> int:
    from ..training.packing import pack

    packed = pack(options.inputs, options.out, options.name, options.per_shard, options.workers, options.overwrite)
    for name, reason in packed.left_out:
        print(f"flowinone: {name} was left out: {reason}", file=sys.stderr)
    for shard in packed.shards:
        print(shard)
    return 1 if packed.left_out else 0
