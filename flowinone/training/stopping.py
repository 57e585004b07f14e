"""Stopping a training run between two steps."""

import logging
import signal

import torch
from accelerate import Accelerator

log = logging.getLogger("flowinone.training")


class StopRequest:
    """In a `with` block, the first Ctrl-C or SIGTERM only sets `received`; a second one raises KeyboardInterrupt."""

    def __init__(self):
        self.received = False

    def __enter__(self) -> "StopRequest":
        self._handlers = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def received_by_any(self, accelerator: Accelerator) -> bool:
        """Whether any process received it: all must stop after the same step, or some would wait forever."""
        if accelerator.num_processes == 1:
            return self.received
        return bool(accelerator.reduce(torch.tensor(float(self.received), device=accelerator.device), "sum") > 0)

    def _receive(self, number, frame) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = True
        log.warning("stopping after this step; press Ctrl-C again to stop at once")
