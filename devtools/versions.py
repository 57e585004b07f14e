"""Test the library with the oldest or the newest supported versions of its dependencies.

    python devtools/versions.py oldest
    python devtools/versions.py newest -k sampling

oldest installs the lower bounds of pyproject.toml, newest what pip would install today, each into an environment of its
own in .cache/ (some 7 GB with a CUDA build of torch). Further arguments go to pytest. The environment is for the Python
that runs this: python3.10 devtools/versions.py oldest tests the oldest Python, too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# An embedded Python adds neither the script's folder nor PYTHONPATH by itself.
sys.path.insert(0, str(ROOT))

from devtools.environment import CACHE, venv_python  # noqa: E402

TESTS = ["tests/flowinone", "tests/test_pack.py"]
# huggingface_hub 1 and transformers 4 exclude each other, so the oldest versions can't include `flowinone download`.
DOWNLOAD = "tests/flowinone/test_download.py"
EXTRAS = {"oldest": ["library", "eightbit", "train"], "newest": ["library", "eightbit", "train", "download"]}
RESOLUTION = {"oldest": "lowest-direct", "newest": "highest"}


def main() -> int:
    """Install, then run the tests; return pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=EXTRAS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="PYTEST ARGUMENTS")
    options = parser.parse_args()
    folder = CACHE / f"versions-{options.which}"
    python = venv_python(folder)
    if not python.is_file():
        venv.create(folder, with_pip=True)
    install(python, options.which)
    tests = [path for path in TESTS if not any(Path(given).exists() for given in options.arguments)]
    if options.which == "oldest":
        tests.append(f"--ignore={DOWNLOAD}")
    # A test that reaches for a model hub is a mistake, and should fail at once.
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    return subprocess.call([str(python), "-m", "pytest", *tests, *options.arguments], cwd=ROOT, env=environment)


def install(python: Path, which: str) -> None:
    """Install the extras in the lowest or highest versions that pyproject.toml allows, and pytest.

    Raises CalledProcessError.
    """
    subprocess.check_call([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"])
    uv = [str(python), "-m", "uv", "pip"]
    extras = [argument for extra in EXTRAS[which] for argument in ("--extra", extra)]
    project = ["--python", str(python), "--resolution", RESOLUTION[which], "-r", "pyproject.toml", *extras]
    upgrade = ["--upgrade"] if which == "newest" else []
    subprocess.check_call([*uv, "install", *project, *upgrade], cwd=ROOT)
    subprocess.check_call([*uv, "install", "--python", str(python), "pytest", "pytest-xdist", "hypothesis"], cwd=ROOT)
    subprocess.check_call([*uv, "freeze", "--python", str(python)], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
