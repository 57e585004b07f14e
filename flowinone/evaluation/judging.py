"""Processes that draw the prompts of an examination and judge the answers; they import no torch."""

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

_MOST = 16
"""Processes that are started unasked; so many keep up with any model."""


class Examiners:
    """Draw held-out prompts and judge answers in `workers` processes (None: one per core, 16 at most; 0: in this one).

    For a `with` block, whose end ends them; a script keeps it behind `if __name__ == "__main__"`, since they import it.
    """

    def __init__(self, workers: int | None = None):
        self._pool = None
        if workers != 0:
            # Started, not forked: the same on every system, and nothing of this process is in the way.
            context = multiprocessing.get_context("spawn")
            ignore = (signal.SIGINT, signal.SIG_IGN)
            self._pool = ProcessPoolExecutor(workers or min(os.cpu_count() or 1, _MOST), context, signal.signal, ignore)

    def __enter__(self) -> "Examiners":
        return self

    def __exit__(self, *exception) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def draw(self, task: Task, numbers: Sequence[int], side: int, prompt_side: int) -> list[Future]:
        """For each example's number its prompt's picture, `prompt_side` wide, and whether the dual path is off."""
        return [self._submit(_drawn, task, number, side, prompt_side) for number in numbers]

    def judge(self, task: Task, numbers: Sequence[int], pictures: Sequence[Image.Image]) -> list[Future]:
        """The `Verdict` of each picture as the answer to the example of that number."""
        return [self._submit(_judged, task, number, picture) for number, picture in zip(numbers, pictures)]

    def _submit(self, function: Callable, *arguments) -> Future:
        if self._pool is None:
            future = Future()
            future.set_result(function(*arguments))
            return future
        with interrupts_held():
            return self._pool.submit(function, *arguments)


def results(futures: Sequence[Future]) -> list:
    """What the futures hold, in order. Raises OSError if a process has ended early."""
    try:
        return [future.result() for future in futures]
    except BrokenProcessPool:
        raise OSError("a judging process ended early, perhaps for want of memory; use fewer --workers") from None


def _drawn(task: Task, number: int, side: int, prompt_side: int) -> tuple[Image.Image, bool]:
    made = example(task, number, side, held_out=True, prompt_size=prompt_side)
    return made.input, made.prompt.bypass


def _judged(task: Task, number: int, picture: Image.Image) -> Verdict:
    return judge(example(task, number, held_out=True), picture)
