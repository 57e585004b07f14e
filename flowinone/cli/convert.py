"""`flowinone convert`: published weights as one smaller safetensors file."""

import argparse
from pathlib import Path

from .argument_types import file_path
from .model_options import DTYPES

DESCRIPTION = (
    "Write the tensors that inference needs, of a FlowInOne checkpoint, a Janus-Pro model or a Stable Diffusion VAE, "
    "as one safetensors file."
)
EIGHT_BIT_DTYPES = {"fp8": "float8_e4m3fn", "int8": "int8"}


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("source", type=file_path, metavar="IN", help="a weight file, or a folder with one")
    command.add_argument("target", type=file_path, metavar="OUT.safetensors")
    command.add_argument(
        "--dtype",
        choices=[*DTYPES, *EIGHT_BIT_DTYPES],
        help="default: the source's. int8 and fp8 are for the network: half the size of bf16, in ComfyUI's 8-bit "
        "format; int8 is the more accurate",
    )
    command.add_argument(
        "--to-upstream", action="store_true", help="use the public implementation's names for the tensors"
    )
    command.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")


def run(options: argparse.Namespace) -> int:
    import torch
    from tqdm import tqdm

    from ..weights.conversion import convert

    dtype = getattr(torch, (DTYPES | EIGHT_BIT_DTYPES)[options.dtype]) if options.dtype else None
    with tqdm(unit="B", unit_scale=True, unit_divisor=1024, desc=Path(options.target).name) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        convert(options.source, options.target, dtype, options.to_upstream, progress, options.overwrite)
    return 0
