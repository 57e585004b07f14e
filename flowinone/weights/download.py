"""`flowinone download`: FlowInOne's three model files from the Hub, where they go, and what is made of them.

Only that command imports this module, which needs huggingface_hub; see `hub` for the transfer.
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

from .checkpoint import open_autoencoder, open_network, open_vision
from .conversion import ModelFile, byte_size, sha256_of, write_converted
from .hub import ByteRange, DownloadError, HubFile, Log, download_ranges, find_hub_file, subset, tensor_entries
from .mapping import vision_map
from .weightfile import CheckpointError

ProgressBar = Callable[[str, int, int], AbstractContextManager[Any]]
"""Makes a progress bar, which has `update(count)`, from a title, the bytes done and the total."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One of the three files: where the Hub has it, and its name and folder in ComfyUI's models folder."""

    kind: str
    repo: str
    file: str
    licence: str
    folder: str
    name: str
    open: Callable[[Path], ModelFile]


PARTS = (
    Part(
        "network",
        "CSU-JPG/FlowInOne",
        "flowinone_256px.pth",
        "Apache-2.0",
        "flowinone",
        "flowinone_256px{dtype}.safetensors",
        open_network,
    ),
    Part(
        "vision",
        "deepseek-community/Janus-Pro-1B",
        "model.safetensors",
        "the DeepSeek Model License, which restricts some uses: "
        "https://github.com/deepseek-ai/DeepSeek-LLM/blob/HEAD/LICENSE-MODEL",
        "clip_vision",
        "janus_pro_1b_vision.safetensors",
        open_vision,
    ),
    Part(
        "vae",
        "stabilityai/sd-vae-ft-mse-original",
        "vae-ft-mse-840000-ema-pruned.safetensors",
        "MIT",
        "vae",
        "vae-ft-mse-840000-ema-pruned.safetensors",
        open_autoencoder,
    ),
)


@dataclasses.dataclass(frozen=True)
class Download:
    """A file to download: `head` and the `ranges` of the Hub's `source` go to `path`, which becomes `target`.

    `converted_size` is the most bytes that the target takes besides the download, 0 if the download itself becomes
    the target. `original` is where the download stays after a conversion, None to delete it. `ours` is False for a
    file that the user already had, which is never deleted.
    """

    part: Part
    source: HubFile
    ranges: Sequence[ByteRange]
    head: bytes
    path: Path
    target: Path
    dtype: torch.dtype | None
    converted_size: int
    original: Path | None
    ours: bool = True

    @property
    def size(self) -> int:
        """Bytes of the whole download."""
        return len(self.head) + sum(end - start for start, end in self.ranges)

    @property
    def present(self) -> int:
        """Bytes of it that are already here."""
        return self.path.stat().st_size if self.path.exists() else 0

    def __str__(self):
        size = byte_size(self.size)
        if self.head:
            size += f" of {byte_size(self.source.size)}, the vision tower and aligner alone"
        if self.present:
            size += f", {byte_size(self.present)} of it already here"
        result = str(self.target) + (", converted" if self.converted_size else "")
        result += f" to {str(self.dtype).removeprefix('torch.')}" if self.dtype else ""
        return (
            f"{self.part.file} from {constants.ENDPOINT}/{self.part.repo}\n  size: {size}\n"
            f"  licence: {self.part.licence}\n  to: {result}"
        )


def comfyui_folders(root: Path) -> dict[str, Path]:
    """The folder for each kind of part in a ComfyUI. Raises ValueError if `root` is not a ComfyUI folder."""
    models = root / "models"
    # A clone or the portable version, or the base folder of the desktop application, whose code is elsewhere.
    clone = (root / "main.py").is_file() and (models.is_dir() or (root / "comfy").is_dir())
    if not clone and not (models.is_dir() and (root / "custom_nodes").is_dir()):
        inner = root / "ComfyUI"
        meant = f"; did you mean {inner}?" if (inner / "main.py").is_file() else ""
        raise ValueError(
            f"{root} is not a ComfyUI folder (it has no main.py next to a folder models or comfy){meant}; "
            "give the folder with ComfyUI's main.py, or --to FOLDER to download without a ComfyUI"
        )
    return {part.kind: models / part.folder for part in PARTS}


def plan_downloads(
    targets: Mapping[str, Path],
    kinds: Collection[str],
    dtype: str | None,
    keep_original: bool,
    overwrite: bool,
    log: Log,
) -> list[Download]:
    """What to download, in order. Asks the Hub for sizes and writes nothing; files that are already here are logged.

    `targets` are the folders by kind of part. `dtype` is the network's: bf16, fp16, fp32, or None for the published
    one; the vision encoder gets fp16, as in the public implementation. Raises CheckpointError if a target exists and
    is not that part, DownloadError if the Hub does not answer as it should.
    """
    downloads = []
    for part in PARTS:
        if part.kind not in kinds:
            continue
        target = targets[part.kind] / part.name.format(dtype=f"_{dtype}" if dtype else "")
        if target.exists() and not overwrite:
            try:
                with part.open(target):
                    pass
            except CheckpointError as error:
                raise CheckpointError(f"{error}; --overwrite replaces it") from None
            log(f"{target} already exists and is kept (--overwrite downloads it again)")
            continue
        source = find_hub_file(part.repo, part.file, log)
        if part.kind == "network":
            downloads.append(_network(part, source, target, dtype, keep_original))
        elif part.kind == "vision":
            downloads.append(_vision(part, source, target, log))
        else:
            whole = [(0, source.size)]
            downloads.append(Download(part, source, whole, b"", _partial(target, source), target, None, 0, None))
    return downloads


def _partial(name: Path, source: HubFile, head: bytes = b"") -> Path:
    """Where a download stays until it is complete: no loader lists it, and only the same source resumes it."""
    key = hashlib.sha256(source.sha256.encode() + head).hexdigest()[:16]
    return name.with_name(f"{name.name}.{key}.part")


_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, None: None}


def _network(part: Part, source: HubFile, target: Path, dtype: str | None, keep_original: bool) -> Download:
    # The published file is in fp32. Without its training-only tensors the target takes less than this.
    size = source.size // 2 if dtype in ("bf16", "fp16") else source.size
    original = target.with_name(part.file)
    ours = not (original.is_file() and original.stat().st_size == source.size)
    download = _partial(original, source) if ours else original
    kept = original if ours and keep_original else None
    whole = [(0, source.size)]
    return Download(part, source, whole, b"", download, target, _DTYPES[dtype], size, kept, ours)


def _vision(part: Part, source: HubFile, target: Path, log: Log) -> Download:
    entries = tensor_entries(source, log)
    names = {name for built in vision_map(entries).values() for name in built.names}
    if not names:
        found = ", ".join(sorted(entries)[:3])
        raise DownloadError(f"{source} has no Janus-Pro vision tower (found {found}); its repository has changed")
    # A conversion keeps this checksum as the source's: that of the file that the tensors are from.
    head, ranges = subset(entries, names, {"format": "pt", "flowinone.source_sha256": source.sha256})
    size = sum(2 * math.prod(entries[name]["shape"]) for name in names)
    partial = _partial(target, source, head)
    return Download(part, source, ranges, head, partial, target, torch.float16, size, None)


def check_disk_space(
    downloads: Sequence[Download], free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free
) -> None:
    """Raise DownloadError if a disk is too small for the downloads; `free` gives the free bytes of a folder's disk."""
    added: dict[int, int] = {}
    peaks: dict[int, int] = {}
    spaces: dict[int, tuple[Path, int]] = {}
    for download in downloads:
        folder = next(parent for parent in download.target.absolute().parents if parent.exists())
        disk = folder.stat().st_dev
        spaces[disk] = folder, free(folder)
        added[disk] = added.get(disk, 0) + download.size - download.present + download.converted_size
        peaks[disk] = max(peaks.get(disk, 0), added[disk])
        if download.converted_size and download.ours and download.original is None:
            added[disk] -= download.size
    for disk, (folder, space) in spaces.items():
        if peaks[disk] > space:
            raise DownloadError(
                f"{folder} needs up to {byte_size(peaks[disk])} and its disk has {byte_size(space)} free; "
                "free some space, or download one part at a time with --only"
            )


def run_download(download: Download, progress_bar: ProgressBar, log: Log) -> None:
    """Download, verify, convert and place one file. The target appears atomically; an interrupted download is kept.

    A whole file is verified by the Hub's SHA-256. There is none for a part of a file: its bytes are of one commit,
    their number is right, and every tensor has to be finite. Raises DownloadError; then nothing was placed.
    """
    folder = download.target.parent
    folder.mkdir(parents=True, exist_ok=True)
    if download.ours:
        stem = download.path.name.rsplit(".", 2)[0]
        for other in folder.glob(f"{glob.escape(stem)}.{'[0-9a-f]' * 16}.part"):
            if other != download.path:
                other.unlink()
                log(f"{download.source} has changed on the Hub since it was partly downloaded; starting over")
        with progress_bar(download.part.file, download.present, download.size) as bar:
            download_ranges(download.source, download.ranges, download.head, download.path, bar.update, log)
    if problem := _wrong_checksum(download, progress_bar) or _check_and_convert(download, progress_bar):
        if download.ours:
            download.path.unlink()
        raise DownloadError(problem)
    if not download.converted_size:
        os.replace(download.path, download.target)
    elif download.original is not None:
        os.replace(download.path, download.original)
    elif download.ours:
        download.path.unlink()


def _damaged(download: Download, why: str) -> str:
    what = download.source if download.ours else download.path
    remedy = "it was deleted, run the same command again" if download.ours else "delete it or move it away"
    return f"{what} is damaged: {why}; {remedy}"


def _wrong_checksum(download: Download, progress_bar: ProgressBar) -> str | None:
    if download.head:
        return None
    with progress_bar(f"{download.part.file}, verifying", 0, download.size) as bar:
        sha256 = sha256_of(download.path, bar.update)
    if sha256 == download.source.sha256:
        return None
    return _damaged(download, f"its SHA-256 is {sha256}, and the Hub's {download.source.sha256}")


def _check_and_convert(download: Download, progress_bar: ProgressBar) -> str | None:
    """Write the target if it takes a conversion. What is wrong with the download, None if nothing.

    Returned and not raised: on Windows the file stays locked as long as a traceback refers to its tensors.
    """
    try:
        opened = download.part.open(download.path)
    except CheckpointError as error:
        return f"{download.source} cannot be used any more: {error}; see {constants.ENDPOINT}/{download.part.repo}"
    with opened:
        if download.head and (name := _beyond(opened, download.dtype)):
            dtype = str(download.dtype).removeprefix("torch.")
            return _damaged(download, f"{name} contains NaN, infinity or numbers beyond {dtype}")
        if download.converted_size:
            with progress_bar(f"{download.target.name}, converting", 0, 1) as bar:

                def progress(done: int, total: int) -> None:
                    bar.total = total
                    bar.update(done - bar.n)

                sha256 = None if download.head else download.source.sha256
                write_converted(opened, download.target, download.dtype, progress=progress, source_sha256=sha256)
    return None


def _beyond(opened: ModelFile, dtype: torch.dtype | None) -> str | None:
    """The first tensor that is not finite in `dtype`."""
    for name, tensor in opened.tensors().items():
        if not tensor.to(dtype).isfinite().all():
            return name
    return None
