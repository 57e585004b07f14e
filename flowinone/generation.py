"""Answering many prompt pictures: which file becomes which, in what order, and what is written."""

import dataclasses
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from . import __version__
from .composing import CHUNK, STANDARD, embedded_prompt, picture_of, read_prompt, write_png
from .hardware import accelerator, cpu_computes_in_bfloat16
from .pipeline import FlowInOnePipeline
from .preprocess import as_rgb
from .sampling import Guidance, check_solver

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
_DOCUMENT = ".json"
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow and we raise for files that hold no prompt."""


@dataclasses.dataclass(frozen=True)
class GenerationSettings:
    """What the answers' metadata say about how they were made; see `FlowInOnePipeline.__call__`.

    Without `bypass` each prompt's document decides, and a picture that carries none goes through the dual path.
    """

    seed: int
    steps: int
    guidance_scale: float
    solver: str
    bypass: bool | None = None
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    guidance_every: int = 1

    def __post_init__(self):
        check_solver(self.solver, self.steps)
        Guidance(self.guidance_scale, self.guidance_interval, self.guidance_every)


@dataclasses.dataclass(frozen=True)
class Job:
    """One prompt and its answer. `number` counts the prompts, whether or not their answers exist, and offsets the seed.

    A `source` that ends in .json is a document, to be drawn on the picture in the file `photo` where its canvas is one.
    """

    number: int
    source: str
    target: str
    photo: str | None = None


def plan(inputs: Sequence[str], out: str | None, overwrite: bool, photo: str | None = None) -> list[Job]:
    """The answers to make, in the inputs' order; folders are searched recursively for pictures, each in alphabetical order.

    An answer that exists is left out unless `overwrite`. Raises ValueError for inputs that do not exist, folders without
    pictures, an `out` that cannot take as many answers, and a `photo` that no input asks for.
    """
    out = out or (STANDARD if list(inputs) == [STANDARD] else "answers")
    if list(inputs) == [STANDARD]:
        found = [(STANDARD, Path("answer"))]
    else:
        found = list(_pictures(inputs, Path(out)))
    single = out == STANDARD or out.lower().endswith(".png")
    if single and len(found) != 1:
        place = "standard output" if out == STANDARD else out
        raise ValueError(f"{place} takes one answer, and the inputs hold {len(found)} pictures; give --out a folder")
    targets = [out] if single else _targets(Path(out), [relative for _, relative in found])
    for (source, _), target in zip(found, targets):
        if STANDARD not in (source, target) and Path(source).resolve() == Path(target).resolve():
            raise ValueError(f"the answer to {source} would replace it; choose another --out")
    if photo is not None and not any(_is_document(source) for source, _ in found):
        raise ValueError(f"--image {photo} is the photo of {_DOCUMENT} prompts, and no input is one")
    if photo is not None and not os.path.exists(photo):
        raise ValueError(f"{photo} does not exist")
    jobs = [
        Job(number, source, target, photo if _is_document(source) else None)
        for number, ((source, _), target) in enumerate(zip(found, targets))
    ]
    return [job for job in jobs if overwrite or job.target == STANDARD or not os.path.exists(job.target)]


def _is_document(source: str) -> bool:
    return source.lower().endswith(_DOCUMENT)


def _pictures(inputs: Sequence[str], out: Path) -> Iterator[tuple[str, Path]]:
    """Every picture's path, and its path inside the input folder that it was found in."""
    for given in inputs:
        path = Path(given)
        if given == STANDARD:
            raise ValueError("- stands for standard input and cannot be one of several inputs")
        if path.is_dir():
            answers = out.resolve()
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES and file.is_file())
            if answers != path.resolve():
                # Answers that an earlier run wrote below the input folder are no prompts.
                inside = [file for file in inside if answers not in file.resolve().parents]
            if not inside:
                raise ValueError(f"{path} holds no pictures ({', '.join(_SUFFIXES)})")
            yield from ((str(file), file.relative_to(path)) for file in inside)
        elif path.exists():
            yield str(path), Path(path.name)
        else:
            raise ValueError(f"{path} does not exist")


def _targets(folder: Path, relatives: Sequence[Path]) -> list[str]:
    """An answer's path for each prompt; prompts that differ only in suffix or folder keep their answers apart."""
    wanted = [relative.with_suffix(".png") for relative in relatives]
    targets = []
    for relative, plain in zip(relatives, wanted):
        name = plain if wanted.count(plain) == 1 else relative.with_name(f"{relative.name}.png")
        targets.append(str(folder / name))
    twice = {target for target in targets if targets.count(target) > 1}
    if twice:
        raise ValueError(f"two inputs would both be answered by {min(twice)}; run them apart, each with its own --out")
    return targets


def pipeline_from(
    model: str | None,
    checkpoint: str | None,
    vision: str | None,
    vae: str | None,
    device: str = "auto",
    dtype: str | None = None,
    mini: bool = False,
) -> FlowInOnePipeline:
    """The pipeline of a saved folder, of three weights files or of `mini`, on `device` in `dtype` (a torch name; None suits the device).

    Raises ValueError for missing or contradicting sources, an unknown device, and files that are not what their place needs.
    """
    files = {"--checkpoint": checkpoint, "--vision": vision, "--vae": vae}
    missing = [option for option, value in files.items() if value is None]
    if mini and (model is not None or len(missing) < 3):
        raise ValueError("--mini takes the place of --checkpoint, --vision, --vae and --model; give one or the other")
    if model is not None and len(missing) < 3:
        raise ValueError("--model takes the place of --checkpoint, --vision and --vae; give one or the other")
    if not mini and model is None and missing:
        remedies = f"give {', '.join(missing)}, or --model with a saved pipeline's folder"
        if len(missing) == 3:
            remedies += ", or --mini for the small model that comes with flowinone"
        raise ValueError(f"weights are missing: {remedies}")
    place = _device(device)
    chosen = getattr(torch, dtype) if dtype else _suitable_dtype(place)
    if mini:
        # So small that float32, which is the same on every CPU, costs nothing.
        return FlowInOnePipeline.mini(chosen if dtype or place.type != "cpu" else torch.float32, place)
    if model is None:
        return FlowInOnePipeline.from_single_files(checkpoint, vision, vae, dtype=chosen, device=place)
    if not Path(model, "model_index.json").is_file():
        raise ValueError(f"{model} is not a saved pipeline: it has no model_index.json")
    return FlowInOnePipeline.from_pretrained(model, dtype=chosen, local_files_only=True).to(place)


def _device(name: str) -> torch.device:
    if name == "auto":
        return accelerator() or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} is not available here: {str(error).splitlines()[0]}") from None
    return device


def _suitable_dtype(device: torch.device) -> torch.dtype:
    if device.type == "cpu":
        return torch.bfloat16 if cpu_computes_in_bfloat16() else torch.float32
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


def answer_all(
    pipeline: FlowInOnePipeline, jobs: Sequence[Job], settings: GenerationSettings, batch_size: int
) -> list[tuple[Job, str]]:
    """Answer every job, `batch_size` at a time, with a progress bar; each answer is written whole or not at all.

    Returns the jobs whose pictures could not be read, with the reason. What was written before an exception stays.
    """
    unreadable = []
    pipeline.set_progress_bar_config(disable=True)
    per_batch = 100 if settings.solver == "dopri5" else settings.steps
    batches = [jobs[start : start + batch_size] for start in range(0, len(jobs), batch_size)]
    with tqdm(total=per_batch * len(batches), unit="step", file=sys.stderr) as bar:
        for number, batch in enumerate(batches):
            bar.set_description(Path(batch[0].source).name)
            readable = []
            for job in batch:
                try:
                    readable.append((job, *prompt_picture(job.source, job.photo, settings.bypass)))
                except UNREADABLE as error:
                    unreadable.append((job, str(error) or type(error).__name__))
            if readable:
                done_before = number * per_batch
                _answer(pipeline, readable, settings, lambda done, start=done_before: bar.update(start + done - bar.n))
            bar.update((number + 1) * per_batch - bar.n)
    return unreadable


def _answer(pipeline, batch: list[tuple[Job, Image.Image, bool]], settings: GenerationSettings, on_step) -> None:
    jobs, pictures, bypasses = zip(*batch)
    seeds = [(settings.seed + job.number) % 2**64 for job in jobs]
    output = pipeline(
        pictures,
        steps=settings.steps,
        guidance_scale=settings.guidance_scale,
        guidance_interval=settings.guidance_interval,
        guidance_every=settings.guidance_every,
        bypass=bypasses,
        solver=settings.solver,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        callback_on_step_end=lambda pipe, done, total, guess: on_step(done),
    )
    dtype = str(pipeline.model.dtype).removeprefix("torch.")
    for job, bypass, seed, image in zip(jobs, bypasses, seeds, output.images):
        own = {
            "seed": seed,
            "bypass": bypass,
            "prompt": Path(job.source).name,
            "dtype": dtype,
            "flowinone": __version__,
        }
        write_png(image, job.target, {"flowinone": json.dumps(dataclasses.asdict(settings) | own)})


def prompt_picture(source: str, photo: str | None = None, bypass: bool | None = None) -> tuple[Image.Image, bool]:
    """The prompt picture in a file, or drawn of a .json, and its bypass: the given one, or else its document's.

    What cannot be read raises one of `UNREADABLE`.
    """
    if _is_document(source):
        prompt = read_prompt(source)
        return picture_of(prompt, photo), prompt.bypass if bypass is None else bypass
    stream = io.BytesIO(sys.stdin.buffer.read()) if source == STANDARD else source
    with Image.open(stream) as picture:
        if bypass is None:
            try:
                prompt = embedded_prompt(picture)
            except ValueError as error:
                raise ValueError(
                    f"its {CHUNK} cannot be read ({error}); --bypass or --no-bypass does without"
                ) from None
            bypass = prompt is not None and prompt.bypass
        return as_rgb(picture), bypass
