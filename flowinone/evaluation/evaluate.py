"""Evaluates a model into a folder: what `flowinone evaluate` does."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from .. import __version__
from ..pipeline import FlowInOnePipeline
from ..weights.conversion import sha256_of
from ..weights.weightfile import resolve_files
from .metrics import EvaluationSettings
from .records import Records
from .report import RESULTS, write_report
from .runner import checked_tasks, run_evaluation


def evaluate(
    pipeline: FlowInOnePipeline,
    files: Mapping[str, str | Path],
    out: str | Path,
    command: str,
    tasks: Sequence[str],
    count: int,
    settings: EvaluationSettings,
    variant_count: int,
    *,
    seed: int = 0,
    batch_size: int = 16,
    workers: int | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Evaluate a pipeline like `run_evaluation`, and write the report into the folder `out`; returns the written files.

    `files` are the model's files by part, and `command` is what the user typed; the report names both. An evaluation
    that was stopped is resumed. Raises ValueError for a folder that holds another one, unless `overwrite`.
    """
    tasks, device = checked_tasks(tasks), pipeline.model.device
    facts = {
        "model": digests(files),
        "tasks": tasks,
        "count": count,
        "variant count": variant_count,
        "steps": settings.steps,
        "guidance": settings.guidance_scale,
        "solver": settings.solver,
        "guidance interval": list(settings.guidance_interval),
        "guidance every": settings.guidance_every,
        "seed": seed,
        "batch size": batch_size,
        "device": device.type,
        "dtype": str(pipeline.model.dtype).removeprefix("torch."),
        "version": __version__,
    }
    records = Records(out, facts, overwrite, RESULTS)
    result = run_evaluation(
        pipeline,
        tasks,
        count,
        settings,
        variant_count,
        seed=seed,
        batch_size=batch_size,
        workers=workers,
        records=records,
    )
    return write_report(Path(out), result, facts, machine(device), command)


def digests(files: Mapping[str, str | Path]) -> dict[str, dict[str, str]]:
    """The SHA-256 of each file by name, by part. A part can be several files, or the folder of a saved pipeline."""
    return {
        part: {name: sha256_of(file, lambda done: None) for name, file in _files(Path(path)).items()}
        for part, path in files.items()
    }


def _files(path: Path) -> dict[str, Path]:
    if (path / "model_index.json").is_file():
        weights = sorted(file for file in path.rglob("*") if file.suffix in (".safetensors", ".bin"))
        return {file.relative_to(path).as_posix(): file for file in weights}
    return {file.name: file for file in resolve_files(path)}


def machine(device: torch.device) -> dict[str, str | int]:
    """What the evaluation runs on: hardware and versions."""
    facts = {"system": f"{platform.system()} {platform.machine()}", "CPU": _cpu(), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        facts["GPU"] = torch.cuda.get_device_name(device)
    elif device.type != "cpu":
        facts["GPU"] = device.type
    return facts | {"Python": platform.python_version(), "torch": torch.__version__, "flowinone": __version__}


def _cpu() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
