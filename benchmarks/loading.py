"""How long weights take from their files to the device, against reading the files."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from benchmarks.measuring import AnonymousMemory, allocated_peak, counts_memory, median_seconds

PAGE = 4096


def load_costs(
    files: list[Path], load: Callable[[], list[nn.Module]], device: torch.device, rounds: int, enough: float
) -> dict:
    """Medians of loading and of reading once, their ratio, and the most memory that loading took beside the weights.

    Both find the files in the system's cache. On the CPU weights are mapped, not copied; there every page is touched as well.
    `enough` seconds end the rounds early.
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
    return {
        "file_bytes": size,
        "read_s": read,
        "load_s": taken,
        "ratio": taken / read,
        "extra_host_bytes": host.extra,
        "extra_device_bytes": None if peak is None else max(0, peak - size),
    }


def touch(modules: list[nn.Module]) -> None:
    """Look at one byte of every page of the weights, so that all are in memory."""
    for module in modules:
        for parameter in module.parameters():
            parameter.detach().reshape(-1).view(torch.uint8)[::PAGE].sum()


def read_once(files: list[Path]) -> None:
    """Read the files from start to end, into memory that is used again."""
    buffer = bytearray(2**24)
    for file in files:
        with open(file, "rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass
