"""Start a Chromium without a window, and the ComfyUI whose page it is to show."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from devtools import environment
from devtools.comfyui.server import ComfyServer, prepared_host


@contextmanager
def launched(program: str, *arguments: str) -> Iterator[Browser]:
    """A browser that runs `program` with further command-line arguments.

    Playwright keeps an event loop in this thread: meanwhile nothing else here can use asyncio.
    """
    options = environment.BROWSER_OPTIONS | {"args": [*environment.BROWSER_OPTIONS["args"], *arguments]}
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=program, **options) as browser:
        yield browser


@contextmanager
def browser_and_server(
    furnish: Callable[[Path], None] = lambda base: None, *arguments: str
) -> Iterator[tuple[Browser, ComfyServer]]:
    """A browser and a running server in a temporary folder, which `furnish` fills before the server starts.

    Ends the program with a message that says how to run it if there is no ComfyUI or no browser.
    """
    comfyui, program = prepared_host(), environment.find_browser(Path(sys.executable))
    if comfyui is None or program is None:
        script = Path(sys.argv[0]).resolve()
        place = script.relative_to(environment.ROOT) if script.is_relative_to(environment.ROOT) else script
        sys.exit(f"This needs a ComfyUI and a browser; run it as python devtools/environment.py {place.as_posix()}")
    with tempfile.TemporaryDirectory() as base:
        furnish(Path(base))
        with ComfyServer(*comfyui, Path(base)) as server, launched(program, *arguments) as browser:
            yield browser, server
