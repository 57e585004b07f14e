"""Snapshots of a run's state, to resume from, written atomically."""

import itertools
import json
import os
import re
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..files import atomic_path, atomic_write

_NAME = re.compile(r"step_(\d+)")
_NEARLY_FULL = 2**28
"""Free bytes below which a disk counts as full."""


class SnapshotError(OSError):
    """A snapshot or result could not be written or read; the message says which one, and what to do."""


def save_snapshot(
    folder: Path, step: int, tensors: dict[str, dict[str, Tensor]], optimizer: dict, facts: dict, keep: int
) -> Path:
    """Write `folder`/step_N with a safetensors file per entry of `tensors`, then delete all but the last `keep`.

    Raises SnapshotError if it cannot be written; then nothing is left behind, and nothing is deleted.
    """
    target = folder / f"step_{step:08d}"
    unfinished = folder / f".unfinished_{step:08d}"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        for name, values in tensors.items():
            save_tensors(unfinished / f"{name}.safetensors", values, sync=True)
        with atomic_path(unfinished / "optimizer.pt", sync=True) as partial:
            torch.save(optimizer, partial)
        with atomic_write(unfinished / "state.json", "w", sync=True) as file:
            json.dump(facts | {"step": step}, file, indent=1)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(unfinished, target)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors: on a full disk
        shutil.rmtree(unfinished, ignore_errors=True)
        raise SnapshotError(
            f"{target} could not be written ({error}); {remedy(folder)}, then start again: "
            f"training resumes from {describe(latest(folder))}"
        ) from error
    for old in steps(folder)[:-keep]:
        shutil.rmtree(folder / f"step_{old:08d}", ignore_errors=True)
    return target


def save_tensors(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None, sync: bool = False
) -> None:
    """Write safetensors atomically; `sync` as for `files.atomic_path`. Raises OSError or SafetensorError."""
    with atomic_path(path, sync) as partial:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial, metadata)


def steps(folder: Path) -> list[int]:
    """The steps that have a snapshot, in order."""
    found = (_NAME.fullmatch(entry.name) for entry in folder.iterdir()) if folder.is_dir() else ()
    return sorted(int(match[1]) for match in found if match)


def latest(folder: Path) -> Path | None:
    """The snapshot of the most steps, None if there is none."""
    present = steps(folder)
    return folder / f"step_{present[-1]:08d}" if present else None


def set_aside(folder: Path) -> Path | None:
    """Rename a folder of snapshots, so that a new run neither resumes from them nor deletes them; its new name."""
    if latest(folder) is None:
        return None
    number = next(n for n in itertools.count(1) if not folder.with_name(f"{folder.name}_before_{n}").exists())
    return folder.rename(folder.with_name(f"{folder.name}_before_{number}"))


def remedy(folder: Path) -> str:
    """What to do when a file could not be written in a folder."""
    if shutil.disk_usage(folder).free < _NEARLY_FULL:
        return "free some disk space"
    return "check the folder's permissions and its disk's free space"


def describe(snapshot: Path | None) -> str:
    """Which step a run resumes at from a snapshot, in words."""
    return f"step {int(_NAME.fullmatch(snapshot.name)[1])}" if snapshot else "the beginning"


def load_snapshot(snapshot: Path) -> tuple[dict[str, dict[str, Tensor]], dict, dict]:
    """The tensors, optimizer state and facts of `save_snapshot`. Raises SnapshotError for a damaged snapshot."""
    try:
        tensors = {file.stem: load_file(file) for file in snapshot.glob("*.safetensors")}
        optimizer = torch.load(snapshot / "optimizer.pt", map_location="cpu", weights_only=True)
        return tensors, optimizer, json.loads((snapshot / "state.json").read_text(encoding="utf-8"))
    except Exception as error:  # a damaged file can raise anything
        raise SnapshotError(
            f"{snapshot} cannot be read ({error}); delete it, and training resumes from the one before"
        ) from error
