"""What every folder of tests needs of pytest."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from devtools.comfyui.launch import accept_torchvision

HOST_FIXTURES = {"host", "server", "browser"}
"""Fixtures that take a ComfyUI or a browser."""


def prepare_process() -> None:
    """Set up this process for tests; for every conftest.py that has no other above it."""
    # transformers imports torchvision where it finds one, and the one that ComfyUI needs may not fit this torch.
    accept_torchvision()
    # A shell starts background jobs with Ctrl-C ignored, and so would be all programs that tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def mark(items: list[pytest.Item], folder: Path) -> None:
    """Mark the tests below `folder`: `host` if they take a ComfyUI or a browser, and the xdist group they run in.

    Tests of one group run in the same process. All that share the session's server are one group, and the tests of each
    other file are a group of their own, for the sake of fixtures with module scope.
    """
    items = [item for item in items if item.path.is_relative_to(folder)]
    for item in items:
        if HOST_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("host")
    served = {item.path for item in items if "server" in getattr(item, "fixturenames", ())}
    for item in items:
        group = "server" if item.path in served else item.path.relative_to(folder).as_posix()
        item.add_marker(pytest.mark.xdist_group(group))
