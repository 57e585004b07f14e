"""Ctrl-C with worker processes."""

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Delay Ctrl-C until the block ends, and keep it from processes started in it.

    A terminal sends SIGINT to all processes; only the main one should handle it, and stop the others. On Windows
    nothing is delayed, and a process that is just starting may print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
