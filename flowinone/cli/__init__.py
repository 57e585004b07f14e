"""The `flowinone` command. Each sub-command's work is elsewhere; here are its options, its words and its exit code."""

import argparse
import dataclasses
import json
import shlex
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from .. import __version__

TASK_OPTIONS = "text preset caption thing box label arrow force wind path stroke fit color canvas".split()
"""Of `compose`, those that make a prompt; which go with which task says `composing`."""
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
EIGHT_BITS = {"fp8": "float8_e4m3fn", "int8": "int8"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 done but for some pictures, 2 not done, 130 stopped by Ctrl-C."""
    given = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(given, argparse.Namespace(given=given))
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError, ArithmeticError) as error:
        print(f"flowinone: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowinone", description="FlowInOne: visual prompts in, pictures out (arXiv 2604.06757)."
    )
    parser.add_argument("--version", action="version", version=f"flowinone {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_generate(commands)
    _add_compose(commands)
    _add_schema(commands)
    _add_convert(commands)
    _add_download(commands)
    _add_train(commands)
    _add_pack_data(commands)
    _add_evaluate(commands)
    return parser


def _add_generate(commands) -> None:
    command = commands.add_parser(
        "generate",
        help="answer prompt pictures with pictures",
        description="Answer prompt pictures with pictures. Weights come as three files, as one folder saved by the pipeline, or with the package: --mini.",
    )
    command.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="a picture, a visual prompt's .json, a folder (searched for pictures, recursively, in order), or - for standard input",
    )
    command.add_argument(
        "--out",
        metavar="PATH",
        help="folder for the answers, a .png file for a single input, or - for standard output; default: answers, or - when INPUT is -",
    )
    command.add_argument("--image", metavar="PHOTO", help="what .json prompts are drawn on")
    _add_weights(command)
    command.add_argument(
        "--seed", type=int, default=0, help="of the first picture; picture n takes seed + n (default: 0)"
    )
    _add_solving(command)
    command.add_argument(
        "--bypass",
        action=argparse.BooleanOptionalAction,
        help="turn the dual path off: for class- and text-to-image prompts. Default: as the .json, or the one in the picture, says; else on",
    )
    command.add_argument("--batch-size", type=_positive, default=1, metavar="N", help="pictures at a time (default: 1)")
    _add_device(command)
    command.add_argument("--overwrite", action="store_true", help="make answers anew that exist already")
    command.set_defaults(run=_generate)


def _add_solving(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--guidance", "--guidance-scale", type=float, metavar="SCALE", help="guidance scale (default: 7, of --mini 2)"
    )
    command.add_argument(
        "--preset",
        help="reference (default: the authors' way, 50 steps of euler), balanced or fast (fewer runs of the network); for what is not given below",
    )
    command.add_argument(
        "--steps", type=_positive, help="solver steps (default: the preset's, of --mini without one 20)"
    )
    command.add_argument("--solver", help="euler, euler_uniform, midpoint, heun, rk4, adams_bashforth2 or dopri5")
    command.add_argument(
        "--guidance-interval",
        nargs=2,
        type=float,
        metavar=("START", "END"),
        help="the times, in 0 to 1, at which guidance is computed",
    )
    command.add_argument(
        "--guidance-every",
        type=_positive,
        metavar="N",
        help="at every how many of these evaluations it is computed anew",
    )


def _solving(options: argparse.Namespace) -> dict:
    """Solver, steps and guidance, as given, or as the preset and mini have them."""
    from .. import mini
    from ..sampling import SamplerSettings

    steps, guidance_scale = options.steps, options.guidance
    if options.mini:
        guidance_scale = mini.GUIDANCE_SCALE if guidance_scale is None else guidance_scale
        steps = mini.STEPS if steps is None and options.preset is None else steps
    return dataclasses.asdict(
        SamplerSettings.resolve(
            options.preset,
            solver=options.solver,
            steps=steps,
            guidance_scale=guidance_scale,
            guidance_interval=options.guidance_interval,
            guidance_every=options.guidance_every,
        )
    )


def _generate(options: argparse.Namespace) -> int:
    from ..generation import GenerationSettings, answer_all, plan

    settings = GenerationSettings(
        seed=options.seed,
        bypass=options.bypass,
        **_solving(options),
    )
    jobs = plan(options.inputs, options.out, options.overwrite, options.image)
    if not jobs:
        print("nothing to do: every answer exists already (--overwrite makes them anew)", file=sys.stderr)
        return 0
    pipeline = _pipeline(options)
    unreadable = answer_all(pipeline, jobs, settings, options.batch_size)
    for job, reason in unreadable:
        print(f"flowinone: {job.source} was left out: {reason}", file=sys.stderr)
    return 1 if unreadable else 0


def _add_weights(command: argparse.ArgumentParser) -> None:
    weights = command.add_argument_group("weights")
    weights.add_argument(
        "--checkpoint", metavar="FILE", help="flowinone_256px.pth, or what `flowinone convert` made of it"
    )
    weights.add_argument("--vision", metavar="PATH", help="Janus-Pro-1B, a file or its folder")
    weights.add_argument("--vae", metavar="FILE", help="a Stable Diffusion 1.x VAE or checkpoint")
    weights.add_argument("--model", metavar="FOLDER", help="instead of the three: a folder that save_pretrained wrote")
    weights.add_argument(
        "--mini",
        action="store_true",
        help="instead of them: the small model that comes with the package; it draws toy scenes of coloured shapes, in seconds",
    )


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps …")
    command.add_argument(
        "--dtype",
        choices=["auto", *DTYPES],
        default="auto",
        help="auto: 16 bit, or fp32 on a CPU that does not compute in bf16",
    )


def _pipeline(options: argparse.Namespace):
    """What the options of `_add_weights` and `_add_device` ask for."""
    from ..generation import pipeline_from

    dtype = None if options.dtype == "auto" else DTYPES[options.dtype]
    sources = options.model, options.checkpoint, options.vision, options.vae
    return pipeline_from(*sources, options.device, dtype, options.mini)


def _add_compose(commands) -> None:
    command = commands.add_parser(
        "compose",
        help="draw a visual prompt: words, boxes, arrows, strokes or paths on a photo or a canvas",
        description="Draw a visual prompt from a document, or from options that make one. "
        "Positions are fractions of the square canvas, x to the right and y downwards; angles are degrees counter-clockwise from the right.",
    )
    command.add_argument(
        "spec", nargs="?", metavar="SPEC", help="a document (.json, - for standard input), or a PNG that carries one"
    )
    command.add_argument("--image", metavar="PHOTO", help="the photo that the prompt stands on")
    command.add_argument(
        "--out", metavar="PROMPT.png", help="the prompt picture, or - for standard output; it carries its document"
    )
    command.add_argument("--spec-out", metavar="SPEC.json", help="the document")
    command.add_argument("--size", type=_positive, default=512, help="pixels, of width and height (default: 512)")
    command.add_argument(
        "--font", metavar="FILE", help="TrueType or OpenType file to letter with, for the bundled faces"
    )
    command.add_argument(
        "--bypass",
        action=argparse.BooleanOptionalAction,
        help="whether the model's dual path is off; default: as suits the task",
    )
    command.add_argument("--overwrite", action="store_true", help="replace files that exist")
    task = command.add_argument_group("instead of SPEC")
    task.add_argument(
        "--task",
        help="class_to_image, text_to_image, text_in_image, text_box, visual_marker, doodle, point_force, wind or trajectory",
    )
    task.add_argument("--text", help="the label, the caption, or an instruction other than the task's own")
    task.add_argument("--preset", help="text_in_image's instruction: inpaint, canny, depth, restore or sketch")
    task.add_argument("--caption", help="what the presets canny and depth are to show")
    task.add_argument("--thing", help="what visual_marker's object is swapped with; without it, the object is removed")
    task.add_argument(
        "--box",
        type=_numbers(4),
        action="append",
        metavar="LEFT,TOP,RIGHT,BOTTOM",
        help="repeatable, with a --label each",
    )
    task.add_argument("--label", action="append", help='of a box: "put a blue jay"')
    task.add_argument(
        "--arrow", type=_numbers(4), action="append", metavar="X0,Y0,X1,Y1", help="visual_marker's, from start to tip"
    )
    task.add_argument(
        "--force",
        type=_numbers(3, 4),
        action="append",
        metavar="X,Y,ANGLE,MAGNITUDE",
        help="on the object at x,y; repeatable",
    )
    task.add_argument("--wind", type=_numbers(2, 4), metavar="X,Y,ANGLE,STRENGTH", help="around x,y")
    task.add_argument(
        "--path",
        type=_points,
        action="append",
        metavar="POINTS",
        help='trajectory\'s: "x,y x,y …", from the object on; repeatable',
    )
    task.add_argument(
        "--stroke", type=_points, action="append", metavar="POINTS", help='doodle\'s: "x,y x,y …"; repeatable'
    )
    task.add_argument(
        "--fit", choices=["crop", "letterbox", "stretch"], help="how the photo becomes square (default: crop)"
    )
    task.add_argument("--color", help="of the marks: #rrggbb or a CSS name")
    task.add_argument(
        "--canvas",
        metavar="COLORS",
        help="of class_to_image and text_to_image: '#fd6fa7', or '#8ec5fc,#e0c3fc' from the top down, or with ,horizontal",
    )
    command.set_defaults(run=_compose)


def _compose(options: argparse.Namespace) -> int:
    from ..composing import canvas_from, compose, prompt_from_options, read_prompt

    if not (options.out or options.spec_out):
        raise ValueError("nowhere to write to: give --out, --spec-out or both")
    given = {name: getattr(options, name) for name in TASK_OPTIONS}
    if (options.spec is None) == (options.task is None):
        raise ValueError("give a SPEC or a --task, one of them")
    if options.spec == options.image == "-":
        raise ValueError("standard input can be the SPEC or the photo, not both")
    if options.spec is not None:
        surplus = [name for name, value in given.items() if value is not None]
        if surplus:
            raise ValueError(f"--{surplus[0]} goes with --task; {options.spec} says it all")
        prompt = read_prompt(options.spec)
    else:
        if options.canvas is not None:
            given["canvas"] = canvas_from(options.canvas)
        prompt = prompt_from_options(options.task, given)
    if options.bypass is not None:
        prompt = dataclasses.replace(prompt, bypass=options.bypass)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *place: print(f"flowinone: {message}", file=sys.stderr)
        kept = compose(
            prompt, options.image, options.size, options.out, options.spec_out, options.overwrite, options.font
        )
    for path in kept:
        print(f"{path} exists already and is kept (--overwrite makes it anew)", file=sys.stderr)
    return 0


def _add_schema(commands) -> None:
    command = commands.add_parser(
        "schema", help="print the JSON Schema of visual prompts", description="Print the JSON Schema of visual prompts."
    )
    command.set_defaults(run=_schema)


def _schema(options: argparse.Namespace) -> int:
    from ..prompts.document import json_schema

    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return 0


def _add_convert(commands) -> None:
    command = commands.add_parser(
        "convert",
        help="turn published weights into a smaller safetensors file",
        description="Write the tensors that inference needs, of a FlowInOne checkpoint, a Janus-Pro model or a Stable Diffusion VAE, as one safetensors file.",
    )
    command.add_argument("source", metavar="IN", help="a weights file, or a folder with one")
    command.add_argument("target", metavar="OUT.safetensors")
    command.add_argument(
        "--dtype",
        choices=[*DTYPES, *EIGHT_BITS],
        help="default: the source's. int8 and fp8 are for the network: half of bf16's size, in ComfyUI's 8-bit format; int8 is the more exact",
    )
    command.add_argument("--to-upstream", action="store_true", help="use the names of the public implementation")
    command.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    command.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> int:
    import torch
    from tqdm import tqdm

    from ..weights.conversion import convert

    dtype = getattr(torch, (DTYPES | EIGHT_BITS)[options.dtype]) if options.dtype else None
    with tqdm(unit="B", unit_scale=True, unit_divisor=1024, desc=Path(options.target).name) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        convert(options.source, options.target, dtype, options.to_upstream, progress, options.overwrite)
    return 0


def _add_download(commands) -> None:
    command = commands.add_parser(
        "download",
        help="fetch the model files, and place them where ComfyUI looks",
        description="Fetch FlowInOne's checkpoint, the vision tower of Janus-Pro-1B and a VAE from the Hugging Face Hub, "
        "convert them and place them where ComfyUI looks. A download that was cut off goes on in the next run. "
        "HF_TOKEN, HF_ENDPOINT and the proxy variables are heeded.",
    )
    place = command.add_mutually_exclusive_group(required=True)
    place.add_argument("--comfyui", metavar="PATH", help="ComfyUI's folder: the files go into its models folder")
    place.add_argument("--to", metavar="FOLDER", help="a folder for all files, to use them without ComfyUI")
    command.add_argument(
        "--only", choices=["network", "vision", "vae"], action="append", help="this one of the three; repeatable"
    )
    command.add_argument(
        "--dtype",
        choices=["bf16", "fp16", "fp32", "none"],
        default="bf16",
        help="of the network (default: bf16); none: as published",
    )
    command.add_argument(
        "--keep-original", action="store_true", help="keep the published checkpoint beside the converted"
    )
    command.add_argument("--dry-run", action="store_true", help="say what would be fetched, and fetch nothing")
    command.add_argument("--overwrite", action="store_true", help="fetch files anew that are here already")
    command.set_defaults(run=_download)


def _download(options: argparse.Namespace) -> int:
    try:
        from tqdm import tqdm

        from ..weights.download import PARTS, carry_out, check_room, folders, gigabytes, plan
    except ImportError as error:
        needed = 'huggingface_hub 1.32 and what the library extra lists: pip install ".[library]"'
        raise ImportError(f"{error}; to download takes {needed}") from error

    def say(line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    def meter(title: str, done: int, total: int) -> tqdm:
        return tqdm(desc=title, initial=done, total=total, unit="B", unit_scale=True)

    places = folders(options.comfyui, options.to)
    kinds = options.only or [part.kind for part in PARTS]
    dtype = None if options.dtype == "none" else options.dtype
    jobs = plan(places, kinds, dtype, options.keep_original, options.overwrite, say)
    for job in jobs:
        print(job, flush=True)
    if options.dry_run:
        print(f"to fetch: {gigabytes(sum(job.size - job.held for job in jobs))}")
        return 0
    check_room(jobs)
    try:
        for job in jobs:
            carry_out(job, meter, say)
    except KeyboardInterrupt:
        say("what has arrived is kept: the same command goes on from there")
        raise
    for job in jobs:
        print(f"placed: {job.target}")
    return 0


def _add_train(commands) -> None:
    command = commands.add_parser(
        "train",
        help="train a network, fine-tune one, or make a LoRA",
        description="Train as a YAML file says; its fields are those of flowinone.training.config.TrainingConfig. "
        "A run that was stopped goes on from its last state. For several GPUs: accelerate launch -m flowinone train …",
    )
    command.add_argument(
        "config", nargs="?", metavar="CONFIG.yaml", help="the run's fields; without it, --set names all"
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field, lora.rank=8 for an inner one; repeatable",
    )
    command.add_argument("--restart", action="store_true", help="start anew, even if the run's folder holds a state")
    command.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    import logging

    from ..training.config import read_config

    config = read_config(options.config, options.set)
    try:
        from ..training.loop import train
    except ImportError as error:
        raise ImportError(
            f'{error}; to train takes what the train extra lists: pip install ".[library,train]"'
        ) from error
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    result = train(config, resume=not options.restart)
    for file in result.files:
        print(f"written: {file}")
    return 130 if result.stopped else 0


def _add_pack_data(commands) -> None:
    command = commands.add_parser(
        "pack-data",
        help="pack training pairs into shards",
        description="Write training pairs into WebDataset shards, tar files of KEY.in.png and KEY.out.png and, for prompts that ask "
        "for a new picture, KEY.type, which says t2i. A run that was stopped goes on where it was.",
    )
    command.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="a folder with pictures of the same names in input/ and output/, or with such folders in it; shards, as a file, their "
        "folder or a pattern. A text file type beside the two, or NAME.type beside a prompt, says t2i",
    )
    command.add_argument("--out", required=True, metavar="DIR", help="the shards' folder")
    command.add_argument("--name", default="shards", help="how the shards' names begin (default: shards)")
    command.add_argument(
        "--per-shard", type=_positive, default=1000, metavar="N", help="pairs of a shard (default: 1000)"
    )
    command.add_argument("--workers", type=_positive, metavar="N", help="processes (default: one per core)")
    command.add_argument("--overwrite", action="store_true", help="write shards anew that exist")
    command.set_defaults(run=_pack_data)


def _pack_data(options: argparse.Namespace) -> int:
    from ..training.packing import pack

    packed = pack(options.inputs, options.out, options.name, options.per_shard, options.workers, options.overwrite)
    for name, reason in packed.left_out:
        print(f"flowinone: {name} was left out: {reason}", file=sys.stderr)
    for shard in packed.shards:
        print(shard)
    return 1 if packed.left_out else 0


def _add_evaluate(commands) -> None:
    command = commands.add_parser(
        "evaluate",
        help="score a model on made-up scenes with known answers",
        description="Let a model answer held-out prompts of made-up scenes, of every task, and count its right answers: as it is used, "
        "and in variants of that (dual path off, no guidance, fewer steps, other solvers). A run that was stopped goes on where it was.",
    )
    command.add_argument(
        "--out",
        required=True,
        metavar="FOLDER",
        help="where table.md, scores.json and failures.png go, and what is done meanwhile",
    )
    _add_weights(command)
    command.add_argument("--tasks", nargs="+", metavar="TASK", help="default: all nine")
    command.add_argument(
        "--count", type=_positive, default=1000, metavar="N", help="prompts of each task (default: 1000)"
    )
    command.add_argument(
        "--variant-count",
        type=_natural,
        default=200,
        metavar="N",
        help="of these, those that are answered in variants as well; 0: no variants (default: 200)",
    )
    _add_solving(command)
    command.add_argument("--seed", type=_natural, default=0, help="another one takes other prompts (default: 0)")
    command.add_argument(
        "--batch-size", type=_positive, default=16, metavar="N", help="pictures at a time (default: 16)"
    )
    command.add_argument(
        "--workers",
        type=_positive,
        metavar="N",
        help="processes that draw and judge (default: one per core, 16 at most)",
    )
    _add_device(command)
    command.add_argument(
        "--overwrite", action="store_true", help="start anew, even if FOLDER holds scores or parts of them"
    )
    command.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from ..evaluation.evaluate import evaluate
    from ..evaluation.metrics import EvaluationSettings
    from ..evaluation.runner import checked_tasks
    from ..toy import SCENE_TASKS

    tasks = checked_tasks(options.tasks or SCENE_TASKS)
    settings = EvaluationSettings(**_solving(options))
    pipeline = _pipeline(options)
    try:
        written = evaluate(
            pipeline,
            _model_files(options),
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
        print("what is done is kept: the same command goes on from there", file=sys.stderr)
        raise
    for file in written:
        print(file)
    return 0


def _model_files(options: argparse.Namespace) -> dict[str, str | Path]:
    if options.mini:
        from .. import mini

        return {"checkpoint": mini.NETWORK, "vision": mini.VISION, "vae": mini.VAE}
    if options.model is not None:
        return {"model": options.model}
    return {"checkpoint": options.checkpoint, "vision": options.vision, "vae": options.vae}


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is negative")
    return number


def _numbers(least: int, most: int | None = None) -> Callable[[str], tuple[float, ...]]:
    most = most or least

    def parse(text: str) -> tuple[float, ...]:
        try:
            numbers = tuple(float(part) for part in text.split(","))
        except ValueError:
            numbers = ()
        if not least <= len(numbers) <= most:
            count = f"{least} to {most}" if most > least else least
            raise argparse.ArgumentTypeError(f"{text!r} is not {count} numbers with commas between them")
        return numbers

    return parse


def _points(text: str) -> tuple[tuple[float, ...], ...]:
    return tuple(_numbers(2)(point) for point in text.split())
