"""What a training run's file may say."""

import json
from pathlib import Path

import pytest

from flowinone.training.run_config import ConfigError, DataSource, as_fields, read_config

ROOT = Path(__file__).resolve().parents[2]
LEAST = ["out=run", "data=[pairs]", "checkpoint=a.pth", "vision=b", "vae=c"]


def test_a_file_and_changes_make_a_configuration(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "out: run\ndata: [pairs, {path: more, weight: 3}]\ncheckpoint: a.pth\nvision: b\nvae: c\nlora: {rank: 4}\n"
    )
    config = read_config(file, ["learning_rate=1e-4", "lora.alpha=8", "mode=lora", "betas=[0.9, 0.95]", "precision=no"])
    assert config.data == (DataSource("pairs", 1), DataSource("more", 3.0))
    assert (config.learning_rate, config.lora.rank, config.lora.alpha, config.betas) == (1e-4, 4, 8.0, (0.9, 0.95))
    assert config.precision == "no"


def test_paths_may_begin_with_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USERPROFILE", "/home/me")
    config = read_config(None, [*LEAST, "out=~/run", "data=[~/pairs, 'scenes:']"])
    assert (config.out, [source.path for source in config.data]) == ("/home/me/run", ["/home/me/pairs", "scenes:"])


def test_a_configuration_survives_a_file(tmp_path):
    config = read_config(None, [*LEAST, "samples=[x.png]", "network={coarse_width: 64}"])
    file = tmp_path / "again.yaml"
    file.write_text(json.dumps(as_fields(config)))  # JSON is YAML
    assert read_config(file) == config


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["nonsense"], "'nonsense' is not an override; write field=value"),
        (["stepz=3"], "stepz is not a field; choose from out, data, mode, "),
        (["lora.rang=3"], "lora.rang is not a field; choose from rank, alpha, dropout, layers"),
        (["steps=many"], "steps is 'many'; expected a valid integer"),
        (["steps=0"], "steps is 0; expected a number greater than or equal to 1"),
        (["steps=true"], "expected a valid integer"),
        (["mode=dream"], "mode is 'dream'; expected 'scratch', 'finetune' or 'lora'"),
        (["data=[]"], "data is empty"),
        (["data=pairs"], "data is 'pairs'; expected a list"),
        (["data=[{path: a, weight: 0}]"], "data[0].weight is 0; expected a number greater than 0"),
        (["data=[{weight: 2}]"], "data[0].path is missing"),
        (["ema=1"], "ema is 1; expected a number less than 1"),
        (["betas=[0.9]"], "betas[1] is missing"),
        (["learning_rate=true"], "learning_rate is True; expected a number"),
        (["data=[{path: a, wight: 0}]"], "data[0].wight is not a field; choose from path, weight"),
        (["checkpoint=''"], "checkpoint is empty"),
        (["mode=scratch"], "checkpoint is not used in mode scratch"),
        (["vae=''"], "vae is empty"),
        (["vision=''"], "vision is empty"),
        (["steps.more=1"], "steps.more cannot be set: steps has no fields"),
        (["train_prompt=false", "source_weight=1"], "set them to 0, or train_prompt to true"),
    ],
)
def test_what_cannot_be_is_named(changes, sentence):
    with pytest.raises(ConfigError) as error:
        read_config(None, [*LEAST, "steps=10", *changes])
    assert sentence in str(error.value)


def test_files_that_are_none(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("a: [")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        read_config(file)
    file.write_text("just words")
    with pytest.raises(ConfigError, match="contains no fields"):
        read_config(file)


@pytest.mark.parametrize("mode", ["scratch", "finetune", "lora"])
def test_the_example_configurations_are_ones(mode):
    assert read_config(ROOT / "docs" / "configs" / f"{mode}.yaml").mode == mode
