"""Generating images for many prompts: which file becomes which, in what order, and what is written."""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from . import __version__
from .files import PICTURE_SUFFIXES, STANDARD_STREAM, is_picture
from .pipeline import FlowInOnePipeline
from .prompts.prompt_files import DOCUMENT_SUFFIX, READ_ERRORS, is_document, load_prompt_image, write_png
from .sampling import SamplerSettings


@dataclasses.dataclass(frozen=True)
class GenerationJob:
    """One prompt file and the file its image goes to.

    `number` counts all prompts, also those whose images exist already, and is added to the seed. A `source` that is a
    JSON document with a photo canvas is drawn on the file `photo`.
    """

    number: int
    source: str
    target: str
    photo: str | None = None


def plan_jobs(inputs: Sequence[str], out: str | None, overwrite: bool, photo: str | None = None) -> list[GenerationJob]:
    """The images to generate, in the order of `inputs`; folders are searched recursively, each in alphabetical order.

    An image that exists is left out unless `overwrite`. Raises ValueError for inputs that do not exist, folders without
    pictures, an `out` that cannot take that many images, and a `photo` that no input needs.
    """
    out = out or (STANDARD_STREAM if list(inputs) == [STANDARD_STREAM] else "answers")
    if list(inputs) == [STANDARD_STREAM]:
        found = [(STANDARD_STREAM, Path("answer"))]
    else:
        found = list(_find_prompts(inputs, Path(out)))
    single = out == STANDARD_STREAM or out.lower().endswith(".png")
    if single and len(found) != 1:
        place = "standard output" if out == STANDARD_STREAM else out
        raise ValueError(f"{place} takes one image, and the inputs are {len(found)} prompts; give --out a folder")
    targets = [out] if single else _targets(Path(out), [relative for _, relative in found])
    for (source, _), target in zip(found, targets):
        if STANDARD_STREAM not in (source, target) and Path(source).resolve() == Path(target).resolve():
            raise ValueError(f"the image for {source} would replace it; choose another --out")
    if photo is not None and not any(is_document(source) for source, _ in found):
        raise ValueError(
            f"--image {photo} is the photo for {DOCUMENT_SUFFIX} prompts, and no input is one; leave it out"
        )
    if photo is not None and not os.path.exists(photo):
        raise ValueError(f"{photo} does not exist")
    jobs = [
        GenerationJob(number, source, target, photo if is_document(source) else None)
        for number, ((source, _), target) in enumerate(zip(found, targets))
    ]
    return [job for job in jobs if overwrite or job.target == STANDARD_STREAM or not os.path.exists(job.target)]


def _find_prompts(inputs: Sequence[str], out: Path) -> Iterator[tuple[str, Path]]:
    """Each prompt's path, and its path relative to the input folder it was found in."""
    for given in inputs:
        path = Path(given)
        if given == STANDARD_STREAM:
            raise ValueError("- stands for standard input and cannot be one of several inputs")
        if path.is_dir():
            written = out.resolve()
            inside = sorted(file for file in path.rglob("*") if is_picture(file) and file.is_file())
            if written != path.resolve():
                # Images that an earlier run wrote below the input folder are no prompts.
                inside = [file for file in inside if written not in file.resolve().parents]
            if not inside:
                raise ValueError(f"{path} holds no pictures ({', '.join(PICTURE_SUFFIXES)})")
            yield from ((str(file), file.relative_to(path)) for file in inside)
        elif path.exists():
            yield str(path), Path(path.name)
        else:
            raise ValueError(f"{path} does not exist")


def _targets(folder: Path, relatives: Sequence[Path]) -> list[str]:
    """The image's path for each prompt; prompts that differ only in suffix or folder get different ones."""
    wanted = [relative.with_suffix(".png") for relative in relatives]
    targets = []
    for relative, plain in zip(relatives, wanted):
        name = plain if wanted.count(plain) == 1 else relative.with_name(f"{relative.name}.png")
        targets.append(str(folder / name))
    twice = {target for target in targets if targets.count(target) > 1}
    if twice:
        raise ValueError(
            f"two inputs would both be written to {min(twice)}; run them separately, each with its own --out"
        )
    return targets


def generate_all(
    pipeline: FlowInOnePipeline,
    jobs: Sequence[GenerationJob],
    settings: SamplerSettings,
    seed: int = 0,
    bypass: bool | None = None,
    batch_size: int = 1,
) -> list[tuple[GenerationJob, str]]:
    """Generate every job's image, `batch_size` at a time, with a progress bar; each file is written atomically.

    A job's number is added to `seed`. Without `bypass` each prompt's document decides, and an image without one is not
    bypassed. Returns the jobs whose prompts could not be read, with the reason. Files written before an exception stay.
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
                    readable.append((job, *load_prompt_image(job.source, job.photo, bypass)))
                except READ_ERRORS as error:
                    unreadable.append((job, str(error) or type(error).__name__))
            if readable:
                _generate(
                    pipeline, readable, settings, seed, lambda done, start=bar.n: bar.update(start + done - bar.n)
                )
            bar.update((number + 1) * per_batch - bar.n)
    return unreadable


def _generate(
    pipeline: FlowInOnePipeline,
    batch: list[tuple[GenerationJob, Image.Image, bool]],
    settings: SamplerSettings,
    seed: int,
    on_step: Callable[[int], object],
) -> None:
    jobs, pictures, bypasses = zip(*batch)
    seeds = [(seed + job.number) % 2**64 for job in jobs]
    output = pipeline(
        pictures,
        **dataclasses.asdict(settings),
        bypass=bypasses,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        callback_on_step_end=lambda pipe, done, total, denoised: on_step(done),
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
