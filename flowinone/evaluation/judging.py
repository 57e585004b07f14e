"""Processes that render an evaluation's prompts and judge the answers. They import no torch."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from PIL import Image

from ..interrupts import interrupts_held
from ..prompts.spec import Task
from ..toy import Verdict, example, judge

_MOST_WORKERS = 16
"""By default; this many keep up with any model."""


class JudgePool:
    """Renders held-out prompts and judges answers in other processes.

    `workers` None means one process per core, at most 16, and 0 this process. Use it in a `with` block, which ends the
    processes. They import the main module, so a script needs `if __name__ == "__main__"`.
    """

    def __init__(self, workers: int | None = None):
        self._pool = None
        if workers != 0:
            # Spawned, which works the same on every system, and copies nothing of this process.
            context = multiprocessing.get_context("spawn")
            ignore = (signal.SIGINT, signal.SIG_IGN)
            workers = workers or min(os.cpu_count() or 1, _MOST_WORKERS)
            self._pool = ProcessPoolExecutor(workers, context, signal.signal, ignore)

    def __enter__(self) -> "JudgePool":
        return self

    def __exit__(self, *exception) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def render(self, task: Task, seeds: Sequence[int], size: int, prompt_size: int) -> list[Future]:
        """For each example's seed the prompt picture, `prompt_size` pixels wide, and its bypass."""
        return [self._submit(_render, task, seed, size, prompt_size) for seed in seeds]

    def judge(self, task: Task, seeds: Sequence[int], pictures: Sequence[Image.Image]) -> list[Future]:
        """The `Verdict` on each picture as the answer to the example of that seed."""
        return [self._submit(_judge, task, seed, picture) for seed, picture in zip(seeds, pictures)]

    def _submit(self, function: Callable, *arguments) -> Future:
        if self._pool is None:
            future = Future()
            future.set_result(function(*arguments))
            return future
        with interrupts_held():
            return self._pool.submit(function, *arguments)


def results(futures: Sequence[Future]) -> list:
    """The results of futures, in order. Raises OSError if a process has ended early."""
    try:
        return [future.result() for future in futures]
    except BrokenProcessPool:
        raise OSError("a judging process ended early, possibly out of memory; use fewer --workers") from None


def _render(task: Task, seed: int, size: int, prompt_size: int) -> tuple[Image.Image, bool]:
    made = example(task, seed, size, held_out=True, prompt_size=prompt_size)
    return made.input, made.bypass


def _judge(task: Task, seed: int, picture: Image.Image) -> Verdict:
    return judge(example(task, seed, held_out=True), picture)
