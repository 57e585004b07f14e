"""The project's own files: one version, and a lock that fits what it locks."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import flowinone
from devtools.environment import LOCK, REQUIREMENTS

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
SYSTEMS = ("linux", "win32", "darwin")


def requirements(file):
    lines = (line.partition(" #")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_the_version_is_the_one_in_pyproject():
    assert f'version = "{flowinone.__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()


def test_the_version_of_an_installed_package_is_its_metadatas(tmp_path):
    (tmp_path / "flowinone").mkdir()
    for name in ("__init__.py", "_version.py"):
        shutil.copy(ROOT / "flowinone" / name, tmp_path / "flowinone")
    (tmp_path / "flowinone-9.8.7.dist-info").mkdir()
    metadata = "Metadata-Version: 2.1\nName: flowinone\nVersion: 9.8.7\n"
    (tmp_path / "flowinone-9.8.7.dist-info" / "METADATA").write_text(metadata, encoding="utf-8")
    show = "import flowinone; print(flowinone.__version__)"
    run = subprocess.run([sys.executable, "-c", show], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "9.8.7"


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_has_one_version_of_each_requirement(python, system):
    place = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": system}
    locked = {}
    for entry in requirements(LOCK):
        if entry.marker is None or entry.marker.evaluate(place):
            locked.setdefault(normal(entry.name), []).append(next(iter(entry.specifier)).version)
    assert not {name: versions for name, versions in locked.items() if len(versions) != 1}
    for needed in requirements(REQUIREMENTS):
        (version,) = locked.get(normal(needed.name), [None])
        assert version and needed.specifier.contains(version), f"{needed}: renew it with python devtools/lock.py"


def test_the_lock_names_no_index():
    assert "://" not in LOCK.read_text(encoding="utf-8")


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()
