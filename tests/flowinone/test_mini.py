"""Mini, the model that ships with the package: it is complete, and works wherever files do.

What its pictures show is not tested here.
"""

import fnmatch
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from devtools import tiny
from flowinone import FlowInOnePipeline, mini
from flowinone.cli import main
from flowinone.sampling import PRESETS
from flowinone.training.build import build_objective
from flowinone.training.run_config import DataSource, TrainingConfig

ROOT = Path(__file__).parents[2]
PROMPT = tiny.FIXTURES / "preprocess" / "wide.png"
FILES = dict(checkpoint=mini.NETWORK, vision=mini.VISION, vae=mini.VAE)


@pytest.fixture(scope="module")
def pipe():
    pipeline = FlowInOnePipeline.mini()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def answer(pipe, **settings):
    chosen = dict(steps=2, guidance_scale=3.0, generator=5, output_type="np") | settings
    return pipe(Image.open(PROMPT).convert("RGB"), **chosen).images


def test_its_pictures_are_128_pixels_wide_and_its_latents_16(pipe):
    pictures = pipe([Image.open(PROMPT)] * 2, steps=1, generator=0).images
    assert [picture.size for picture in pictures] == [(128, 128)] * 2
    assert answer(pipe, output_type="latent").shape == (1, 4, 16, 16)


def test_it_computes_in_float32_unless_told_otherwise(pipe):
    assert {part.dtype for part in pipe.components.values()} == {torch.float32}
    half = FlowInOnePipeline.mini(torch.bfloat16, "cpu")
    assert {part.dtype for part in half.components.values()} == {torch.bfloat16}
    assert {part.device.type for part in half.components.values()} == {"cpu"}


def test_its_files_are_ordinary_ones(pipe):
    again = FlowInOnePipeline.from_single_files(**FILES, dtype=torch.float32)
    again.set_progress_bar_config(disable=True)
    assert np.array_equal(answer(again), answer(pipe))


def test_heads_and_groups_are_those_of_the_metadata_and_a_saved_folder_keeps_them(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    again = FlowInOnePipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    for one in (pipe, again):
        network = one.model.velocity_network.config
        assert (network.coarse_heads, network.context_heads) == (4, 4)
        assert one.vision.config.num_attention_heads == 4
        assert {module.num_groups for module in one.vae.modules() if isinstance(module, torch.nn.GroupNorm)} == {8}
    assert np.abs(answer(again) - answer(pipe)).max() < 1e-4


def test_it_is_small_and_in_half_precision():
    assert sum(path.stat().st_size for path in FILES.values()) <= 20_000_000
    for path in FILES.values():
        assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}


def test_training_goes_on_from_its_files():
    parts = {name: str(path) for name, path in FILES.items()}
    config = TrainingConfig(out="", data=(DataSource("pairs"),), contrastive_weight=0.0, **parts)
    objective = build_objective(config)
    assert objective.vision.config.num_attention_heads == 4
    assert objective.vae.config.norm_num_groups == 8
    assert objective.model.velocity_network.config.latent_size == 16


def generate(*arguments):
    return main(["generate", str(PROMPT), *map(str, arguments)])


def test_the_command_answers_with_it(pipe, tmp_path):
    target = tmp_path / "answer.png"
    assert generate("--out", target, "--mini", "--steps", 2, "--guidance", 3, "--seed", 5, "--device", "cpu") == 0
    expected = pipe(Image.open(PROMPT), steps=2, guidance_scale=3.0, generator=5).images[0]
    with Image.open(target) as picture:
        assert picture.size == (128, 128)
        assert np.array_equal(np.asarray(picture), np.asarray(expected))


@pytest.mark.parametrize(
    ("given", "steps", "guidance"),
    [
        ((), mini.STEPS, mini.GUIDANCE_SCALE),
        (("--preset", "fast"), PRESETS["fast"].steps, mini.GUIDANCE_SCALE),
        (("--guidance", 3, "--steps", 2), 2, 3.0),
    ],
)
def test_the_command_asks_it_as_it_answers_best(tmp_path, given, steps, guidance):
    target = tmp_path / "answer.png"
    assert generate("--out", target, "--mini", "--device", "cpu", *given) == 0
    with Image.open(target) as picture:
        facts = json.loads(picture.text["flowinone"])
    assert (facts["steps"], facts["guidance_scale"]) == (steps, guidance)


@pytest.mark.parametrize("option", ["--checkpoint", "--vision", "--vae", "--model"])
def test_the_command_takes_it_or_files(tmp_path, capfd, option):
    assert generate("--out", tmp_path / "answer.png", "--mini", option, "x") == 2
    assert "--mini takes the place of --checkpoint, --vision, --vae and --model" in capfd.readouterr().err


def test_the_command_names_it_where_no_weights_are_given(tmp_path, capfd):
    assert generate("--out", tmp_path / "answer.png") == 2
    assert "or --mini for the small model that ships with flowinone" in capfd.readouterr().err


def test_the_package_takes_its_files_along():
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    for path in FILES.values():
        name = path.relative_to(ROOT / "flowinone").as_posix()
        assert any(fnmatch.fnmatch(name, pattern) for pattern in settings["package-data"]["flowinone"]), name
