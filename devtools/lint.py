"""Check format, lint and types: python devtools/lint.py [--fix]

Installs ruff and mypy, in the versions of devtools/environment.lock, into .cache/lint: some seconds, once. Nothing else
is needed, as packages outside of this repository count as `Any`. `--fix` formats, and repairs what ruff can repair.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# An embedded Python adds neither the script's folder nor PYTHONPATH by itself.
sys.path.insert(0, str(ROOT))

from devtools.environment import CACHE, LOCK, say, venv_python  # noqa: E402

FOLDER = CACHE / "lint"
TOOLS = ("ruff", "mypy")


def main() -> int:
    """Run all checks, also after one has failed; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fix", action="store_true", help="format, and repair what ruff can repair")
    options = parser.parse_args()
    python = prepare()
    if python is None:
        return 1
    checks = [
        ["ruff", "check", *(["--fix"] if options.fix else []), "."],
        ["ruff", "format", *([] if options.fix else ["--check"]), "."],
        ["mypy"],
    ]
    codes = [subprocess.call([str(python), "-m", *check], cwd=ROOT) for check in checks]
    if any(codes):
        say("Lint failed. bash scripts/lint.sh --fix repairs format and imports.")
    return int(any(codes))


def prepare() -> Path | None:
    """The Python of an environment with the tools in the locked versions; None, and a message, if it can't be made."""
    pins = [line for line in LOCK.read_text(encoding="utf-8").splitlines() if line.partition("==")[0] in TOOLS]
    wanted = "\n".join([sys.version, *pins])
    python, stamp = venv_python(FOLDER), FOLDER / "stamp"
    if python.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    say(f"Installing {' and '.join(TOOLS)} into {FOLDER.relative_to(ROOT)} …")
    try:
        venv.create(FOLDER, clear=True, with_pip=True)
    except subprocess.CalledProcessError:
        say(
            f"{sys.executable} cannot make virtual environments; install what it lacks (Debian, Ubuntu: "
            "apt install python3-venv) or name another Python: PYTHON=/path/to/python3"
        )
        return None
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *TOOLS, "-c", str(LOCK)]
    if subprocess.call(command) != 0:
        say("Installing the linters failed. Check the network, then run the command again.")
        return None
    stamp.write_text(wanted, encoding="utf-8")
    return python


if __name__ == "__main__":
    sys.exit(main())
