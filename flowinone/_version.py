"""The package's version, which pyproject.toml alone states."""

import functools
import re
from importlib import metadata
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


@functools.cache
def version() -> str:
    """The version in the pyproject.toml of a clone or of the ComfyUI pack, or without one the installed package's."""
    if PYPROJECT.is_file():
        # Python 3.10 has no tomllib.
        ours = re.compile(r'^name = "flowinone"$.*?^version = "(.+?)"$', re.MULTILINE | re.DOTALL)
        if found := ours.search(PYPROJECT.read_text(encoding="utf-8")):
            return found[1]
    return metadata.version("flowinone")
