"""Renew devtools/environment.lock: python devtools/lock.py

The lock holds the exact version of every package that devtools/environment.txt and ComfyUI's requirements.txt lead to,
for each supported Python and system. devtools/environment.py and devtools/lint.py pass it to pip as constraints, so
that what tests run on changes only when it is renewed. Renew it after a change of devtools/environment.txt, or for
newer packages.
"""

from __future__ import annotations

import sys
from pathlib import Path

# An embedded Python adds neither the script's folder nor PYTHONPATH by itself.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from devtools.environment import (
    LOCK,
    REQUIREMENTS,
    VENV,
    SetupError,
    comfyui_requirements,
    fetch_comfyui,
    make_venv,
    pip,
    run_logged,
    say,
    scratch_folder,
    venv_python,
)

OLDEST_PYTHON = "3.10"
HEADER = """\
# Renewed by: python devtools/lock.py
# Constraints for pip, not requirements: the versions for all supported Pythons and systems.
"""


def main() -> int:
    """Write the lock; return the exit code."""
    try:
        make_venv()
        comfyui = fetch_comfyui()
        pip(["install", "uv", "-c", str(LOCK)], "Installing uv")
        with scratch_folder() as scratch:
            needed, found = scratch / "requirements.txt", scratch / "lock.txt"
            needed.write_text(f"{REQUIREMENTS.read_text(encoding='utf-8')}\n{comfyui_requirements(comfyui)}")
            command = [str(venv_python(VENV)), "-m", "uv", "pip", "compile", str(needed), "--output-file", str(found)]
            command += ["--universal", "--python-version", OLDEST_PYTHON, "--no-header", "--no-annotate"]
            run_logged([*command, "--no-emit-index-url", "--no-emit-find-links"], "Resolving the requirements")
            LOCK.write_text(HEADER + found.read_text(encoding="utf-8"), encoding="utf-8", newline="\n")
    except SetupError as problem:
        say(str(problem))
        return 1
    say(f"Wrote {LOCK.name}. Run bash scripts/test.sh with it before you commit it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
