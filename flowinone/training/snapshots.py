"""A run's state on disk, to go on from: whole or not there at all."""

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

_NAME = re.compile(r"step_(\d+)")
LITTLE = 2**28
"""Bytes free on a disk that is as good as full."""


class SnapshotError(OSError):
    """A state that could not be written or read; the message says which and what to do."""


def save(
    folder: Path, step: int, tensors: dict[str, dict[str, Tensor]], optimizer: dict, facts: dict, keep: int
) -> Path:
    """Write `folder`/step_N with a safetensors file for each entry of `tensors`, then remove all but the last `keep`.

    What cannot be written whole leaves nothing behind and removes nothing. Raises SnapshotError then.
    """
    target = folder / f"step_{step:08d}"
    unfinished = folder / f".unfinished_{step:08d}"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        for name, values in tensors.items():
            save_tensors(unfinished / f"{name}.safetensors", values)
        torch.save(optimizer, unfinished / "optimizer.pt")
        (unfinished / "state.json").write_text(json.dumps(facts | {"step": step}, indent=1), encoding="utf-8")
        for file in unfinished.iterdir():
            _flush(file)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(unfinished, target)
    except (
        OSError,
        RuntimeError,
        SafetensorError,
    ) as error:  # safetensors and torch have exceptions of their own for a full disk
        shutil.rmtree(unfinished, ignore_errors=True)
        raise SnapshotError(
            f"{target} could not be written ({error}); {remedy(folder)}, then start again: training goes on from {describe(latest(folder))}"
        ) from error
    for old in steps(folder)[:-keep]:
        shutil.rmtree(folder / f"step_{old:08d}", ignore_errors=True)
    return target


def save_tensors(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write safetensors that the same people can read as other new files. Raises OSError or SafetensorError for what cannot be written."""
    file.touch()
    mode = file.stat().st_mode
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, file, metadata)
    # safetensors lets nobody else read its files, and ComfyUI may run as another user.
    file.chmod(mode)


def steps(folder: Path) -> list[int]:
    """The steps whose states are there, in order."""
    found = (_NAME.fullmatch(entry.name) for entry in folder.iterdir()) if folder.is_dir() else ()
    return sorted(int(match[1]) for match in found if match)


def latest(folder: Path) -> Path | None:
    present = steps(folder)
    return folder / f"step_{present[-1]:08d}" if present else None


def set_aside(folder: Path) -> Path | None:
    """Rename a folder of states, so that a run that starts anew neither goes on from them nor clears them away; its new name."""
    if latest(folder) is None:
        return None
    number = next(n for n in itertools.count(1) if not folder.with_name(f"{folder.name}_before_{n}").exists())
    return folder.rename(folder.with_name(f"{folder.name}_before_{number}"))


def remedy(folder: Path) -> str:
    """What helps where a file could not be written there."""
    return "make room" if shutil.disk_usage(folder).free < LITTLE else "see to the folder, and to the room on its disk"


def describe(snapshot: Path | None) -> str:
    return f"step {int(_NAME.fullmatch(snapshot.name)[1])}" if snapshot else "its beginning"


def load(snapshot: Path) -> tuple[dict[str, dict[str, Tensor]], dict, dict]:
    """What `save` was given: tensors, the optimizer's state and facts. Raises SnapshotError for a damaged one."""
    try:
        tensors = {file.stem: load_file(file) for file in snapshot.glob("*.safetensors")}
        optimizer = torch.load(snapshot / "optimizer.pt", map_location="cpu", weights_only=True)
        return tensors, optimizer, json.loads((snapshot / "state.json").read_text(encoding="utf-8"))
    except Exception as error:  # a damaged file can fail in any way
        raise SnapshotError(
            f"{snapshot} cannot be read ({error}); delete it, and training goes on from the one before"
        ) from error


def _flush(file: Path) -> None:
    with open(file, "r+b") as stream:
        os.fsync(stream.fileno())
