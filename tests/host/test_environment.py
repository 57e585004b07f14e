"""How the scripts find an existing ComfyUI and its Python, and what they install."""

import sys

import pytest

from scripts import environment


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
