"""The `flowinone` command. Each sub-command's work is elsewhere; here are its options, its words and its exit code."""

import argparse
import sys
from pathlib import Path

from . import __version__

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 done but for some pictures, 2 not done, 130 stopped by Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError) as error:
        print(f"flowinone: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowinone", description="FlowInOne: visual prompts in, pictures out (arXiv 2604.06757)."
    )
    parser.add_argument("--version", action="version", version=f"flowinone {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_generate(commands)
    _add_convert(commands)
    return parser


def _add_generate(commands) -> None:
    command = commands.add_parser(
        "generate",
        help="answer prompt pictures with pictures",
        description="Answer prompt pictures with pictures. Weights come as three files or as one folder saved by the pipeline.",
    )
    command.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="a picture, a folder (searched recursively, in order), or - for standard input"
    )
    command.add_argument(
        "--out",
        metavar="PATH",
        help="folder for the answers, a .png file for a single input, or - for standard output; default: answers, or - when INPUT is -",
    )
    weights = command.add_argument_group("weights")
    weights.add_argument("--checkpoint", metavar="FILE", help="flowinone_256px.pth, or what `flowinone convert` made of it")
    weights.add_argument("--vision", metavar="PATH", help="Janus-Pro-1B, a file or its folder")
    weights.add_argument("--vae", metavar="FILE", help="a Stable Diffusion 1.x VAE or checkpoint")
    weights.add_argument("--model", metavar="FOLDER", help="instead of the three: a folder that save_pretrained wrote")
    command.add_argument("--seed", type=int, default=0, help="of the first picture; picture n takes seed + n (default: 0)")
    command.add_argument("--steps", type=_positive, default=50, help="solver steps (default: 50)")
    command.add_argument("--guidance", type=float, default=7.0, metavar="SCALE", help="guidance scale (default: 7)")
    command.add_argument("--solver", default="euler", help="euler (default), euler_uniform, midpoint, heun, rk4, adams_bashforth2 or dopri5")
    command.add_argument("--bypass", action="store_true", help="turn the dual path off: for class- and text-to-image prompts")
    command.add_argument("--batch-size", type=_positive, default=1, metavar="N", help="pictures at a time (default: 1)")
    command.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps …")
    command.add_argument("--dtype", choices=["auto", *DTYPES], default="auto", help="auto: fp32 on the CPU, else 16 bit")
    command.add_argument("--overwrite", action="store_true", help="make answers anew that exist already")
    command.set_defaults(run=_generate)


def _generate(options: argparse.Namespace) -> int:
    from .generation import GenerationSettings, answer_all, pipeline_from, plan

    settings = GenerationSettings(
        seed=options.seed,
        steps=options.steps,
        guidance_scale=options.guidance,
        solver=options.solver,
        bypass=options.bypass,
    )
    jobs = plan(options.inputs, options.out, options.overwrite)
    if not jobs:
        print("nothing to do: every answer exists already (--overwrite makes them anew)", file=sys.stderr)
        return 0
    dtype = None if options.dtype == "auto" else DTYPES[options.dtype]
    pipeline = pipeline_from(options.model, options.checkpoint, options.vision, options.vae, options.device, dtype)
    unreadable = answer_all(pipeline, jobs, settings, options.batch_size)
    for job, reason in unreadable:
        print(f"flowinone: {job.source} was left out: {reason}", file=sys.stderr)
    return 1 if unreadable else 0


def _add_convert(commands) -> None:
    command = commands.add_parser(
        "convert",
        help="turn published weights into a smaller safetensors file",
        description="Write the tensors that inference needs, of a FlowInOne checkpoint, a Janus-Pro model or a Stable Diffusion VAE, as one safetensors file.",
    )
    command.add_argument("source", metavar="IN", help="a weights file, or a folder with one")
    command.add_argument("target", metavar="OUT.safetensors")
    command.add_argument("--dtype", choices=list(DTYPES), help="default: the source's")
    command.add_argument("--to-upstream", action="store_true", help="use the names of the public implementation")
    command.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    command.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> int:
    import torch
    from tqdm import tqdm

    from .conversion import convert

    dtype = getattr(torch, DTYPES[options.dtype]) if options.dtype else None
    with tqdm(unit="B", unit_scale=True, unit_divisor=1024, desc=Path(options.target).name) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        convert(options.source, options.target, dtype, options.to_upstream, progress, options.overwrite)
    return 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number
