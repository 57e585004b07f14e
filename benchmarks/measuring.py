"""Timing and memory on whatever device torch computes with."""

import platform
import re
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil
import torch

from flowinone.hardware import accelerator

Result = TypeVar("Result")
STATUS = Path("/proc/self/status")


def find_device(name: str | None) -> torch.device:
    """The device of that name; without one, the accelerator that torch finds, else the CPU. Raises ValueError if it is
    not there.
    """
    found = accelerator()
    if name is None:
        return found or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        there = f"cpu and {found}" if found else "cpu alone"
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"--device {name} cannot be used ({reason}); torch {torch.__version__} sees {there}") from None
    return device


def machine(device: torch.device) -> dict[str, str | int]:
    """What the figures were measured on."""
    return {
        "processor": processor(),
        "device": device_name(device),
        "device_type": device.type,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "float32_products": torch.get_float32_matmul_precision(),
    }


def processor() -> str:
    facts = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*:\s*(.+)", facts.read_text()) if facts.exists() else None
    return named[1] if named else platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    module = torch.get_device_module(device)
    return module.get_device_name(device) if hasattr(module, "get_device_name") else processor()


def synchronise(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long `work` takes until the device has done it all."""
    synchronise(device)
    start = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - start


def median_seconds(
    work: Callable[[], Result], device: torch.device, rounds: int, enough: float
) -> tuple[Result, float]:
    """What `work` returns, and the median of `rounds` timings after one that warms up; fewer where they take `enough`
    seconds in all.

    A first run that takes that long alone is the figure: what it warmed up is little of it.
    """
    results = []
    first = seconds(lambda: results.append(work()), device)
    taken = [first] if first > enough else []
    while len(taken) < rounds and sum(taken) < enough:
        taken.append(seconds(work, device))
    return results[0], statistics.median(taken)


def measure_floor(device: torch.device, dtypes: list[torch.dtype], tiny: bool) -> dict:
    """What the machine can do: operations a second in one large product, by dtype, and bytes copied a second; the best
    of five.
    """
    side, size = (512, 2**24) if tiny else (2048, 2**28) if device.type == "cpu" else (8192, 2**30)
    rates = {}
    for dtype in dtypes:
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        rates[dtype_name(dtype)] = 2 * side**3 / best_seconds(lambda: left @ right, device)  # noqa: B023
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    # A copy reads every byte and writes it.
    return {
        "matrix_flop_per_s": rates,
        "copy_byte_per_s": 2 * size / best_seconds(lambda: target.copy_(source), device),
    }


def best_seconds(work: Callable[[], object], device: torch.device) -> float:
    work()
    return min(seconds(work, device) for _ in range(5))


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def available_bytes(device: torch.device) -> int:
    """Memory that the device, or for the CPU the machine, has left for this program."""
    if device.type == "cpu":
        return psutil.virtual_memory().available
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return torch.accelerator.get_memory_info(device)[0]


def counts_memory(device: torch.device) -> bool:
    """Whether torch knows the most bytes that were allocated on it."""
    return device.type in ("cuda", "xpu")


def allocated_peak(work: Callable[[], object], device: torch.device) -> int:
    """Peak bytes on the device of `work`, on top of what was allocated before, by torch's allocator."""
    torch.accelerator.reset_peak_memory_stats(device)
    before = torch.accelerator.memory_allocated(device)
    work()
    synchronise(device)
    return torch.accelerator.max_memory_allocated(device) - before


class AnonymousMemory:
    """Within a `with` block: `extra`, the most bytes of memory that the process had more than before, mapped files
    apart.

    Looked at every few milliseconds. None where the system has no Linux accounting.
    """

    def __enter__(self):
        self.extra = None
        if STATUS.exists():
            self.before = self.most = anonymous_bytes()
            self.done = threading.Event()
            self.watcher = threading.Thread(target=self.watch, daemon=True)
            self.watcher.start()
        return self

    def watch(self) -> None:
        while not self.done.wait(0.002):
            self.most = max(self.most, anonymous_bytes())

    def __exit__(self, *exception):
        if STATUS.exists():
            self.done.set()
            self.watcher.join()
            self.extra = max(self.most, anonymous_bytes()) - self.before


def anonymous_bytes() -> int:
    return 1024 * int(re.search(r"RssAnon:\s+(\d+) kB", STATUS.read_text())[1])
