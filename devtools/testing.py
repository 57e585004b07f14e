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

    Tests of one group run in the same process. The files that use a browser are one group and the others that use the
    session's server another, so that at most two servers start. Each other file is a group of its own, for the sake of
    fixtures with module scope.
    """
    items = [item for item in items if item.path.is_relative_to(folder)]
    used: dict[Path, set[str]] = {}
    for item in items:
        used.setdefault(item.path, set()).update(getattr(item, "fixturenames", ()))
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        # A test that asks for fixtures by name, through `request`, counts as taking those of its file.
        if HOST_FIXTURES & (used[item.path] if "request" in fixtures else fixtures):
            item.add_marker("host")
        shared = (name for name in ("browser", "server") if name in used[item.path])
        group = next(shared, item.path.relative_to(folder).as_posix())
        item.add_marker(pytest.mark.xdist_group(group))
