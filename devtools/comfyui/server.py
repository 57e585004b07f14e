"""A ComfyUI server process with this pack, in a base folder of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError

from devtools.comfyui.client import ComfyClient

LAUNCH = Path(__file__).resolve().parent / "launch.py"
PACK = Path(__file__).resolve().parents[2]
PACK_NAME = "flowinone"
BASE_FOLDERS = ("models", "input", "output", "temp", "user", "custom_nodes")
# Read by the server's own Python: 0 if there is an accelerator for ComfyUI to use, 3 if not.
PROBE = """
import sys, torch
found = torch.cuda.is_available() or torch.backends.mps.is_available()
sys.exit(0 if found or (hasattr(torch, "xpu") and torch.xpu.is_available()) else 3)
"""


class ServerError(Exception):
    """The server could not be started; the message carries the end of its log."""


class ComfyServer:
    """A ComfyUI server on this machine, from `start()` to `stop()` or within a `with` block.

    `base` gets models, input, output, temp, user and custom_nodes, so the ComfyUI folder stays as it is. Only `pack` is
    loaded, through a link in `base`; with None, the packs that are in `base` already. API nodes are off.
    """

    def __init__(
        self,
        comfyui: Path,
        python: Path,
        base: Path,
        pack: Path | None = PACK,
        port: int | None = None,
        arguments: tuple = (),
    ):
        self.comfyui, self.python, self.pack = Path(comfyui), Path(python), pack
        self.base = Path(base).resolve()
        self.log = self.base / "comfyui.log"
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments = arguments
        self._process: subprocess.Popen | None = None
        self._link = self.base / "custom_nodes" / PACK_NAME

    def __enter__(self) -> ComfyServer:
        self.start()
        return self

    def __exit__(self, *exception) -> None:
        self.stop()

    def start(self, timeout: float = 300.0) -> None:
        """Start the server and return once it answers; raises ServerError if it ends, or is silent for `timeout` s."""
        for name in BASE_FOLDERS:
            (self.base / name).mkdir(parents=True, exist_ok=True)
        command = [str(self.python), str(LAUNCH), str(self.comfyui), *self._options()]
        if not self._has_accelerator():
            command.append("--cpu")
        if self.pack is not None:
            link_folder(self.pack, self._link)
        try:
            with self.log.open("wb") as log:
                # launch.py ends the server when this pipe closes, so no server outlives a killed test run.
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=server_environment()
                )
            self._wait_until_ready(timeout)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server and remove the link to the pack. Does nothing if it is not running."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdin.close()
            self._process = None
        if self.pack is not None:
            unlink_folder(self._link)

    def wait(self) -> int:
        """Wait until the server ends by itself and return its exit code."""
        return self._process.wait()

    def client(self) -> ComfyClient:
        """A new client of this server."""
        return ComfyClient(self.url)

    def log_tail(self, lines: int = 40) -> str:
        """The last lines that the server has printed."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def _options(self) -> list[str]:
        packs = [PACK_NAME] if self.pack is not None else sorted(os.listdir(self.base / "custom_nodes"))
        return [
            *("--listen", "127.0.0.1", "--port", str(self.port), "--base-directory", str(self.base)),
            *("--database-url", f"sqlite:///{(self.base / 'user' / 'comfyui.db').as_posix()}"),
            *("--disable-all-custom-nodes", "--whitelist-custom-nodes", *packs),
            *("--disable-api-nodes", "--disable-auto-launch"),
            *self._arguments,
        ]

    def _has_accelerator(self) -> bool:
        try:
            probe = subprocess.run([str(self.python), "-c", PROBE], capture_output=True, text=True)
        except OSError as error:
            raise ServerError(f"{self.python} cannot be run: {error}") from error
        if probe.returncode not in (0, 3):
            raise ServerError(f"{self.python} cannot import torch, so it cannot run ComfyUI:\n{probe.stderr.strip()}")
        return probe.returncode == 0

    def _wait_until_ready(self, timeout: float) -> None:
        client, deadline = self.client(), time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerError(
                    f"ComfyUI ended while starting (exit code {self._process.returncode}). "
                    f"The end of {self.log}:\n{self.log_tail()}"
                )
            try:
                client.object_info("LoadImage")
                return
            except (URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
        raise ServerError(f"ComfyUI did not answer within {timeout:.0f} s. The end of {self.log}:\n{self.log_tail()}")


def prepared_host() -> tuple[Path, Path] | None:
    """The folder of the ComfyUI that devtools/environment.py has prepared, and its Python; None without one."""
    folder = os.environ.get("FLOWINONE_COMFYUI")
    return (Path(folder), Path(os.environ.get("FLOWINONE_COMFYUI_PYTHON", sys.executable))) if folder else None


def free_port() -> int:
    """A port on which nothing listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def port_is_free(port: int) -> bool:
    """Whether nothing listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def server_environment() -> dict[str, str]:
    """The environment of the server: this one without PYTHONPATH and with the network out of reach of model hubs."""
    # With the repository on the path an import that must be relative would be found, and work in the tests alone.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return environment | {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


def link_folder(source: Path, link: Path) -> None:
    """Make `link` show the folder `source`: as a symbolic link, or where Windows forbids those, a junction."""
    unlink_folder(link)
    try:
        link.symlink_to(source.resolve(), target_is_directory=True)
    except OSError:
        if os.name != "nt":
            raise
        import _winapi

        _winapi.CreateJunction(str(source.resolve()), str(link))


def unlink_folder(link: Path) -> None:
    """Remove a link made by `link_folder`, and never what it shows."""
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        # A junction goes with rmdir, which refuses a real folder that has content.
        link.rmdir()
