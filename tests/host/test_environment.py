"""How the scripts find an existing ComfyUI, its Python and a browser, and what they install."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from devtools import environment


@pytest.fixture
def comfyui(tmp_path, monkeypatch):
    """A folder laid out like ComfyUI, and no variable that names a Python for it."""
    monkeypatch.delenv("COMFYUI_PYTHON", raising=False)
    folder = tmp_path / "ComfyUI"
    (folder / "comfy").mkdir(parents=True)
    (folder / "main.py").touch()
    return folder


def make_python(path):
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def test_a_folder_around_comfyui_is_refused_with_the_right_one(comfyui):
    assert environment.check_comfyui(comfyui) == comfyui.resolve()
    with pytest.raises(environment.SetupError, match="did you mean .*ComfyUI"):
        environment.check_comfyui(comfyui.parent)


def test_the_python_beside_a_comfyui_is_found_nearest_first(comfyui):
    assert environment.python_of(comfyui) is None
    portable = make_python(comfyui.parent / "python_embeded" / "python.exe")
    assert environment.python_of(comfyui) == portable
    own = make_python(environment.venv_python(comfyui / "venv"))
    assert environment.python_of(comfyui) == own


def test_a_named_python_comes_first_and_must_exist(comfyui, monkeypatch):
    monkeypatch.setenv("COMFYUI_PYTHON", sys.executable)
    assert str(environment.python_of(comfyui)) == sys.executable
    monkeypatch.setenv("COMFYUI_PYTHON", str(comfyui / "nothing"))
    with pytest.raises(environment.SetupError, match="COMFYUI_PYTHON=.*nothing"):
        environment.python_of(comfyui)


def test_only_the_packages_we_pin_are_left_out_of_comfyuis_requirements(comfyui):
    (comfyui / "requirements.txt").write_text("torch\ntorchsde\ntorchvision>=0.1\ntorchaudio\nnumpy>=1.25.0\n#note\n")

    assert environment.comfyui_requirements(comfyui).split() == ["torchsde", "numpy>=1.25.0", "#note"]


PYTHON = Path(sys.executable)
posix = pytest.mark.skipif(os.name == "nt", reason="writes shell scripts")


@pytest.fixture
def no_browser(tmp_path, monkeypatch):
    """An empty folder that is all of the PATH, and no browser that Playwright has fetched; the log lies there, too."""
    monkeypatch.delenv("FLOWINONE_BROWSER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "none"))
    monkeypatch.setattr(environment, "LOG", tmp_path / "environment.log")
    if environment.installed_browsers():
        pytest.skip("a browser is installed outside the PATH")
    return tmp_path


def make_program(path, *lines):
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


@pytest.fixture
def real_browser():
    found = environment.find_browser(PYTHON)
    if found is None:
        pytest.skip("needs a browser")
    return found


@posix
def test_a_named_browser_comes_first_and_must_be_a_program(tmp_path, monkeypatch):
    named = make_program(tmp_path / "my browser")
    monkeypatch.setenv("FLOWINONE_BROWSER", str(named))
    assert environment.find_browser(PYTHON) == str(named)
    named.chmod(0o644)
    with pytest.raises(environment.SetupError, match="FLOWINONE_BROWSER=.*my browser is not a program"):
        environment.find_browser(PYTHON)


def test_no_browser_is_looked_for_or_fetched_if_none_is_wanted(no_browser, monkeypatch):
    monkeypatch.setenv("FLOWINONE_BROWSER", "none")
    assert environment.prepare_browser() is None
    assert not environment.LOG.exists()


@posix
def test_the_first_browser_that_starts_is_taken(real_browser, no_browser):
    assert environment.find_browser(PYTHON) is None
    # As Ubuntu's: it only tells how to get the real one.
    make_program(no_browser / "chromium", "echo 'Command requires the chromium snap to be installed.'", "exit 1")
    assert environment.find_browser(PYTHON) is None
    works = make_program(no_browser / "google-chrome", f'PATH=/usr/bin:/bin exec "{real_browser}" "$@"')
    assert environment.find_browser(PYTHON) == str(works)
    works.unlink()
    assert environment.find_browser(PYTHON) is None


@posix
def test_a_package_is_asked_for_without_questions_and_its_refusal_is_no_error(no_browser, monkeypatch):
    monkeypatch.setattr(environment, "AS_ROOT", True)
    assert not environment.apt_installs("chromium")
    make_program(no_browser / "apt-get", 'echo "$DEBIAN_FRONTEND: $*"', "exit 100")
    monkeypatch.setenv("PATH", os.pathsep.join([str(no_browser), "/usr/bin", "/bin"]))
    assert not environment.apt_installs("chromium")
    assert environment.LOG.read_text().split("\n")[:2] == [
        "noninteractive: update",
        "noninteractive: install -y --no-install-recommends chromium",
    ]


@posix
def test_a_step_that_takes_too_long_is_ended_with_all_that_it_started(no_browser):
    steps = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]]).wait()"
    ticks = "import time\nwhile True: print('tick', flush=True); time.sleep(0.1)"
    assert not environment.run_bounded([sys.executable, "-c", steps, ticks], minutes=2 / 60)
    before = environment.LOG.stat().st_size
    assert before
    time.sleep(0.5)
    assert environment.LOG.stat().st_size == before


def test_processes_change_the_environment_one_after_the_other(tmp_path):
    program = (
        "import pathlib, sys, time; from devtools import environment; environment.CACHE = pathlib.Path(sys.argv[1])\n"
        "with environment.alone(), open(sys.argv[1] + '/log', 'a') as log:\n"
        "    print('in', file=log, flush=True); time.sleep(0.3); print('out', file=log, flush=True)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    running = [subprocess.Popen(command, cwd=environment.ROOT, stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert (tmp_path / "log").read_text().split() == ["in", "out"] * 3
