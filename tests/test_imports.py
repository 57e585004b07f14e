"""Which modules may import which: imports only point down, and inside the pack they are relative."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools import ROOT

# Modules that exist only inside a running ComfyUI.
COMFYUI = {
    "comfy",
    "comfy_api",
    "comfy_execution",
    "comfy_extras",
    "execution",
    "folder_paths",
    "nodes",
    "server",
}
PACK = {"nodes", "comfyui_flowinone", "flowinone"}
SHARED = {"tests", "scripts", "benchmarks", "devtools", "recipes"}
# A folder: what nothing in it imports. Longer paths also keep the rules of the shorter ones.
FORBIDDEN = {
    "nodes": SHARED,
    "comfyui_flowinone": SHARED | {"nodes"},
    "flowinone": SHARED | {"nodes", "comfyui_flowinone"} | COMFYUI,
    "flowinone/training": {"flowinone.toy"},
    "flowinone/toy": {"flowinone.evaluation"},
    "devtools": {"tests", "scripts", "benchmarks", "recipes"},
    "recipes": {"tests", "scripts", "benchmarks", "devtools"},
    "tests": {"tests", "scripts", "benchmarks"},
    "scripts": {"tests", "scripts", "benchmarks"},
    "benchmarks": {"tests", "scripts"},
}
# The engine, which everything else in flowinone depends on, never the reverse.
APPLICATIONS = {f"flowinone.{name}" for name in ("cli", "evaluation", "oneflow", "serving", "toy", "training")}
ENGINE = ("config.py", "model", "vision.py", "autoencoder.py", "sampling", "weights", "prompts", "pipeline.py")
FORBIDDEN |= {f"flowinone/{name}": APPLICATIONS for name in ENGINE}
# Within the engine: pipeline → sampling, weights, prompts → model → config.
FORBIDDEN["flowinone/model"] = APPLICATIONS | {
    f"flowinone.{name}" for name in ("pipeline", "sampling", "weights", "prompts")
}
FORBIDDEN["flowinone/sampling"] = APPLICATIONS | {
    f"flowinone.{name}" for name in ("pipeline", "weights", "prompts", "model")
}


def tracked() -> list[Path]:
    """The Python files of the project, relative to its root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "*.py"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    if found.returncode == 0:
        return sorted(Path(line) for line in found.stdout.splitlines() if (ROOT / line).exists())
    # Not a clone, such as an unpacked archive.
    return sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py") if ".cache" not in path.parts)


def imports(file: Path, root: Path) -> Iterator[tuple[int, str, bool]]:
    """All that a file imports: line, absolute name of the module or of the name in it, and whether it is relative."""
    for node in ast.walk(ast.parse((root / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = file.parts[: len(file.parts) - node.level] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from . import x` may import the module x.
            yield from ((node.lineno, f"{module}.{alias.name}".lstrip("."), bool(node.level)) for alias in node.names)


def within(name: str, modules: set[str]) -> bool:
    """Whether a dotted name is one of the modules, or part of one."""
    parts = name.split(".")
    return any(".".join(parts[:count]) in modules for count in range(1, len(parts) + 1))


def forbidden_imports(files: list[Path], root: Path = ROOT) -> list[str]:
    """The imports in files of the project that FORBIDDEN forbids."""
    found = []
    for file in files:
        forbidden = set().union(*(names for folder, names in FORBIDDEN.items() if file.is_relative_to(folder)))
        for line, name, relative in imports(file, root):
            # ComfyUI's own `nodes` is imported absolutely, the pack's relatively.
            ours = relative or within(name, SHARED | {"flowinone", "comfyui_flowinone"})
            if within(name, forbidden) and (ours or within(name, forbidden & COMFYUI)):
                found.append(f"{file.as_posix()}:{line} imports {name}")
    return found


def test_imports_point_down():
    assert forbidden_imports(tracked()) == []


def test_imports_inside_the_pack_are_relative():
    # ComfyUI loads the pack under a made-up name, so an absolute import finds something else or nothing.
    absolute = [
        f"{file.as_posix()}:{line} imports {name}"
        for file in tracked()
        if file.parts[0] in PACK or file == Path("__init__.py")
        for line, name, relative in imports(file, ROOT)
        if not relative and within(name, PACK - {"nodes"})
    ]
    assert absolute == []


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("flowinone/pipeline.py", "import comfy.ops"),
        ("flowinone/model/coarse.py", "from ..training import losses"),
        ("flowinone/training/loop.py", "def late():\n    from ..toy.judge import judge"),
        ("comfyui_flowinone/routes.py", "from ..nodes import loader"),
        ("nodes/loader.py", "from devtools import tiny"),
        ("devtools/tiny.py", "from scripts import demo"),
        ("tests/host/test_x.py", "from tests.host import conftest"),
        ("tests/host/test_x.py", "from .conftest import server"),
        ("scripts/demo.py", "import benchmarks.network"),
        ("benchmarks/memory.py", "from tests.flowinone import test_x"),
    ],
)
def test_a_forbidden_import_is_found(place, code, tmp_path):
    file = tmp_path / place
    file.parent.mkdir(parents=True)
    file.write_text(code, encoding="utf-8")
    assert forbidden_imports([Path(place)], tmp_path)
