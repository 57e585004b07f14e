"""Fetching FlowInOne's three model files from the Hub: which they are, where they go, and what is made of them.

Nothing but the `flowinone download` command imports this; see `hub` for the transfer.
"""

import dataclasses
import glob
import hashlib
import math
import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants

from .checkpoint import load_autoencoder, load_network, load_vision
from .conversion import convert, sha256_of
from .hub import DownloadError, HubFile, Range, fetch, look_up, selection, tensor_entries
from .layouts import vision_recipe
from .weightfile import CheckpointError

Say = Callable[[str], None]
Meter = Callable[[str, int, int], AbstractContextManager[Any]]
"""Makes a progress bar, which has `update(count)`, of a title, the bytes done and those in total."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One of the three files: where the Hub has it, and its places here; `folder` is in ComfyUI's models folder."""

    kind: str
    repo: str
    file: str
    licence: str
    folder: str
    name: str
    load: Callable[[Path], object]


PARTS = (
    Part(
        "network",
        "CSU-JPG/FlowInOne",
        "flowinone_256px.pth",
        "Apache-2.0",
        "flowinone",
        "flowinone_256px{dtype}.safetensors",
        load_network,
    ),
    Part(
        "vision",
        "deepseek-community/Janus-Pro-1B",
        "model.safetensors",
        "the DeepSeek Model License, which restricts some uses: "
        "https://github.com/deepseek-ai/DeepSeek-LLM/blob/HEAD/LICENSE-MODEL",
        "clip_vision",
        "janus_pro_1b_vision.safetensors",
        load_vision,
    ),
    Part(
        "vae",
        "stabilityai/sd-vae-ft-mse-original",
        "vae-ft-mse-840000-ema-pruned.safetensors",
        "MIT",
        "vae",
        "vae-ft-mse-840000-ema-pruned.safetensors",
        load_autoencoder,
    ),
)


@dataclasses.dataclass(frozen=True)
class Job:
    """A file to place: the Hub's `source`, of which `head` and `ranges` make `download`, which becomes `target`.

    `result` is how many bytes the target takes beside the download, 0 where the download itself becomes the target.
    `ours` says that the download is this command's to delete, and no file that the user had.
    """

    part: Part
    source: HubFile
    ranges: Sequence[Range]
    head: bytes
    download: Path
    target: Path
    dtype: torch.dtype | None
    result: int
    original: Path | None
    ours: bool = True

    @property
    def size(self) -> int:
        return len(self.head) + sum(end - start for start, end in self.ranges)

    @property
    def held(self) -> int:
        return self.download.stat().st_size if self.download.exists() else 0

    def __str__(self):
        some = f"{gigabytes(self.size)} of {gigabytes(self.source.size)}, the vision tower and aligner alone"
        size = some if self.head else gigabytes(self.size)
        here = f", {gigabytes(self.held)} of it here already" if self.held else ""
        made = ", converted" if self.result else ""
        made += f" to {str(self.dtype).removeprefix('torch.')}" if self.dtype else ""
        return (
            f"{self.part.file} from {constants.ENDPOINT}/{self.part.repo}\n  size: {size}{here}\n"
            f"  licence: {self.part.licence}\n  to: {self.target}{made}"
        )


def folders(comfyui: str | None, to: str | None) -> dict[str, Path]:
    """The folder for each kind of part: ComfyUI's own, or all `to`. Raises ValueError if `comfyui` is no ComfyUI."""
    if comfyui is None:
        return {part.kind: Path(to).expanduser() for part in PARTS}
    root = Path(comfyui).expanduser()
    models = root / "models"
    # A clone or the portable version; or the base folder of the desktop application, which keeps its code elsewhere.
    clone = (root / "main.py").is_file() and (models.is_dir() or (root / "comfy").is_dir())
    if not clone and not (models.is_dir() and (root / "custom_nodes").is_dir()):
        inner = root / "ComfyUI"
        meant = f"; did you mean {inner}?" if (inner / "main.py").is_file() else ""
        raise ValueError(
            f"{comfyui} is not a ComfyUI (it has no main.py with a folder models or comfy beside){meant}; "
            "give the folder with ComfyUI's main.py, or --to FOLDER for files without a ComfyUI"
        )
    return {part.kind: models / part.folder for part in PARTS}


def plan(
    places: Mapping[str, Path],
    kinds: Collection[str],
    dtype: str | None,
    keep_original: bool,
    overwrite: bool,
    say: Say,
) -> list[Job]:
    """What is to be fetched, in order. Asks the Hub for sizes; writes nothing. `say` hears of files that are here already.

    `dtype` is the network's: bf16, fp16, fp32, or None for the one it was published in; the vision encoder gets fp16,
    as in the public implementation. Raises CheckpointError for a file in the way that is not the part, DownloadError.
    """
    jobs = []
    for part in PARTS:
        if part.kind not in kinds:
            continue
        target = places[part.kind] / part.name.format(dtype=f"_{dtype}" if dtype else "")
        if target.exists() and not overwrite:
            try:
                part.load(target)
            except CheckpointError as error:
                raise CheckpointError(f"{error}; --overwrite replaces it") from None
            say(f"{target} is here already and is kept (--overwrite makes it anew)")
            continue
        source = look_up(part.repo, part.file, say)
        if part.kind == "network":
            jobs.append(_network(part, source, target, dtype, keep_original))
        elif part.kind == "vision":
            jobs.append(_vision(part, source, target, say))
        else:
            whole = [(0, source.size)]
            jobs.append(Job(part, source, whole, b"", _partial(target, source), target, None, 0, None))
    return jobs


def _partial(name: Path, source: HubFile, head: bytes = b"") -> Path:
    """Where a download stays until it is whole: no loader lists it, and it is found again for the same source only."""
    key = hashlib.sha256(source.sha256.encode() + head).hexdigest()[:16]
    return name.with_name(f"{name.name}.{key}.part")


_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, None: None}


def _network(part: Part, source: HubFile, target: Path, dtype: str | None, keep_original: bool) -> Job:
    # The published file is in fp32. With its training-only tensors left out, the target takes less than this.
    result = source.size // 2 if dtype in ("bf16", "fp16") else source.size
    original = target.with_name(part.file)
    ours = not (original.is_file() and original.stat().st_size == source.size)
    download = _partial(original, source) if ours else original
    kept = original if ours and keep_original else None
    return Job(part, source, [(0, source.size)], b"", download, target, _DTYPES[dtype], result, kept, ours)


def _vision(part: Part, source: HubFile, target: Path, say: Say) -> Job:
    entries = tensor_entries(source, say)
    names = {name for made in vision_recipe(entries).values() for name in made.names}
    if not names:
        found = ", ".join(sorted(entries)[:3])
        raise DownloadError(f"{source} holds no vision tower of Janus-Pro (found {found}); its repository has changed")
    # The sum of the file that the tensors are from is what a conversion notes as the source's.
    head, ranges = selection(entries, names, {"format": "pt", "flowinone.source_sha256": source.sha256})
    result = sum(2 * math.prod(entries[name]["shape"]) for name in names)
    return Job(part, source, ranges, head, _partial(target, source, head), target, torch.float16, result, None)


def check_room(
    jobs: Sequence[Job], free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free
) -> None:
    """Raise DownloadError if a disk has too little room for what is to come; `free` tells a folder's in bytes."""
    added, peaks, rooms = {}, {}, {}
    for job in jobs:
        folder = next(parent for parent in job.target.absolute().parents if parent.exists())
        disk = folder.stat().st_dev
        rooms[disk] = folder, free(folder)
        added[disk] = added.get(disk, 0) + job.size - job.held + job.result
        peaks[disk] = max(peaks.get(disk, 0), added[disk])
        if job.result and job.ours and job.original is None:
            added[disk] -= job.size
    for disk, (folder, room) in rooms.items():
        if peaks[disk] > room:
            raise DownloadError(
                f"{folder} needs up to {gigabytes(peaks[disk])} and its disk has {gigabytes(room)} free; "
                "make room, or fetch one part at a time with --only"
            )


def carry_out(job: Job, meter: Meter, say: Say) -> None:
    """Fetch, check, convert and place one file. The target appears whole or not at all; a download that is cut stays.

    A whole file is checked by the SHA-256 that the Hub tells. There is none for a part of a file: its bytes are of one
    commit, their number is right, and every tensor has to be finite. Raises DownloadError; then nothing was placed.
    """
    folder = job.target.parent
    folder.mkdir(parents=True, exist_ok=True)
    if job.ours:
        stem = job.download.name.rsplit(".", 2)[0]
        for other in folder.glob(f"{glob.escape(stem)}.{'[0-9a-f]' * 16}.part"):
            if other != job.download:
                other.unlink()
                say(f"{job.source} has changed on the Hub since a part of it was fetched; starting over")
        with meter(job.part.file, job.held, job.size) as bar:
            fetch(job.source, job.ranges, job.head, job.download, bar.update, say)
    if trouble := _trouble(job, meter):
        if job.ours:
            job.download.unlink()
        raise DownloadError(trouble)
    if job.result:
        with meter(f"{job.target.name}, converting", 0, 1) as bar:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            convert(job.download, job.target, job.dtype, progress=progress, overwrite=True)
        if job.original is not None:
            os.replace(job.download, job.original)
        elif job.ours:
            job.download.unlink()
    else:
        os.replace(job.download, job.target)
    job.part.load(job.target)


def _trouble(job: Job, meter: Meter) -> str | None:
    """What is wrong with a download, None for nothing. Returned, not raised: a traceback would hold the mapped file."""
    what = f"{job.source if job.ours else job.download} is damaged"
    remedy = "it was deleted, run the same command again" if job.ours else "delete it or move it away"
    if not job.head:
        with meter(f"{job.part.file}, checking", 0, job.size) as bar:
            sha256 = sha256_of(job.download, bar.update)
        if sha256 != job.source.sha256:
            return f"{what}: its SHA-256 is {sha256}, and the Hub's {job.source.sha256}; {remedy}"
    try:
        tensors, _ = job.part.load(job.download)
    except CheckpointError as error:
        return f"{job.source} is of no use any more: {error}; see {constants.ENDPOINT}/{job.part.repo}"
    if job.head:
        for name, tensor in tensors.items():
            if not tensor.to(job.dtype).isfinite().all():
                kind = str(job.dtype).removeprefix("torch.")
                return f"{what}: {name} holds NaN, infinity or numbers beyond {kind}; {remedy}"
    return None


def gigabytes(count: int) -> str:
    """Bytes as GB, MB or kB, whichever needs few digits."""
    unit, name = next((pair for pair in ((1e9, "GB"), (1e6, "MB")) if count >= pair[0]), (1e3, "kB"))
    return f"{count / unit:.1f} {name}" if count < 100 * unit else f"{count / unit:,.0f} {name}"
