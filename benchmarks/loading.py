"""How long weights take from their files to the device, against reading the files."""

import os
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import nn

from benchmarks.measuring import AnonymousMemory, allocated_peak, counts_memory, median_seconds, seconds

PAGE = 4096


def load_costs(
    files: list[Path], load: Callable[[], list[nn.Module]], device: torch.device, rounds: int, enough: float
) -> dict:
    """Medians of loading and of reading once, their ratio, and the peak memory of loading on top of the weights.

    Once with the files in the system's cache and, where that can be emptied, once with them on the disk alone. On the
    CPU weights are mapped, not copied; there every page is touched as well. `enough` seconds end the rounds early.
    """

    def loaded() -> None:
        modules = load()
        if device.type == "cpu":
            touch(modules)

    size = sum(file.stat().st_size for file in files)
    with AnonymousMemory() as host:
        peak = allocated_peak(loaded, device) if counts_memory(device) else loaded()
    _, read = median_seconds(lambda: read_once(files), device, rounds, enough)
    _, taken = median_seconds(loaded, device, rounds, enough)
    cold = None
    if hasattr(os, "posix_fadvise"):
        reads, loads = zip(
            *([cold_seconds(work, files, device) for work in (lambda: read_once(files), loaded)] for _ in range(3))
        )
        cold = {"read_s": median(reads), "load_s": median(loads), "ratio": median(loads) / median(reads)}
    return {
        "file_bytes": size,
        "read_s": read,
        "load_s": taken,
        "ratio": taken / read,
        "from_disk": cold,
        "extra_host_bytes": host.extra,
        "extra_device_bytes": None if peak is None else max(0, peak - size),
    }


def touch(modules: list[nn.Module]) -> None:
    """Look at one byte of every page of the weights, so that all are in memory."""
    for module in modules:
        for parameter in module.parameters():
            parameter.detach().reshape(-1).view(torch.uint8)[::PAGE].sum()


def cold_seconds(work: Callable[[], None], files: list[Path], device: torch.device) -> float:
    """How long work takes that finds nothing of the files in the system's cache."""
    for file in files:
        with open(file, "rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return seconds(work, device)


def read_once(files: list[Path]) -> None:
    """Read the files from start to end, into memory that is used again."""
    buffer = bytearray(2**24)
    for file in files:
        with open(file, "rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass
