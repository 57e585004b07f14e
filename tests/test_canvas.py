"""The canvas's model, in JavaScript, by node's own test runner."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from flowinone.prompts.language import language

TESTS = Path(__file__).parent / "canvas"


def node() -> str | None:
    """A node to run: the machine's, or the one that Playwright brings."""
    found = shutil.which("node")
    if found is None:
        playwright = pytest.importorskip("playwright", reason="needs node, or playwright, which brings one")
        found = shutil.which("node", path=str(Path(playwright.__file__).parent / "driver"))
    return found


@pytest.mark.parametrize("file", sorted(path.name for path in TESTS.glob("*.test.mjs")))
def test_the_canvas_keeps_its_promises(file, tmp_path):
    facts = tmp_path / "language.json"
    facts.write_text(json.dumps(language()), encoding="utf-8")
    command = [node(), "--test", "--test-reporter=tap", str(TESTS / file)]
    finished = subprocess.run(
        command, env=os.environ | {"FLOWINONE_LANGUAGE": str(facts)}, capture_output=True, encoding="utf-8"
    )
    failed = [line.strip() for line in finished.stdout.splitlines() if line.lstrip().startswith("not ok")]
    assert finished.returncode == 0, "\n".join([*failed, finished.stdout[-6000:], finished.stderr[-2000:]])
