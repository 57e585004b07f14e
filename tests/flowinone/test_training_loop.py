"""Training runs on the tiny models: they learn, stop anywhere, and go on as if they had not."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from flowinone import FlowInOnePipeline
from flowinone.checkpoint import load_network
from flowinone.model import FlowInOneModel
from flowinone.training import snapshots
from flowinone.training.config import ConfigError, read_config
from flowinone.training.loop import train
from flowinone.training.objective import Chance
from flowinone.training.optimizers import make_optimizer
from flowinone.training.parts import build
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]
TRAIN = "import sys, tests.conftest; from flowinone.cli import main; sys.exit(main(['train', *sys.argv[1:]]))"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Tiny models, and eight pairs: noise to noise of one colour."""
    folder = tmp_path_factory.mktemp("training")
    models = tiny.write_models(folder / "models")
    random = np.random.default_rng(0)
    for side in ("input", "output"):
        (folder / "pairs" / side).mkdir(parents=True)
    for number in range(8):
        prompt = random.integers(0, 255, (64, 64, 3), np.uint8)
        answer = np.full((64, 64, 3), (200, 40, 90), np.uint8)
        Image.fromarray(prompt).save(folder / "pairs" / "input" / f"{number}.png")
        Image.fromarray(answer).save(folder / "pairs" / "output" / f"{number}.png")
    return folder, models


@pytest.fixture
def fields(files, tmp_path):
    """A run's fields as a YAML file and changes to it."""
    folder, models = files
    settings = {
        "out": str(tmp_path / "run"), "data": [str(folder / "pairs")], **{name: str(path) for name, path in models.items()},
        "steps": 4, "batch_size": 2, "warmup": 0, "learning_rate": 1e-3, "ema": 0.9, "workers": 0, "log_every": 1,
        "checkpoint_every": 2, "sample_every": 100, "null_probability": 0.3, "contrastive_weight": 0,
    }  # fmt: skip

    def make(**changes):
        file = tmp_path / "run.yaml"
        file.write_text(json.dumps(settings | changes), encoding="utf-8")
        return file

    return make


def run(file, **options):
    return train(read_config(file), **options)


def test_training_lowers_the_loss_and_logs_it(fields, tmp_path):
    losses = run(fields(steps=14, kl_weight=0.0, checkpoint_every=100)).losses
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    (log,) = (tmp_path / "run" / "logs").iterdir()
    assert log.stat().st_size > 1000


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(fields, tmp_path, optimizer):
    same = dict(accumulation=2, optimizer=optimizer)
    whole = run(fields(out=str(tmp_path / "whole"), steps=6, **same)).losses
    first = run(fields(out=str(tmp_path / "parts"), steps=4, **same)).losses
    second = run(fields(out=str(tmp_path / "parts"), steps=6, **same)).losses
    assert first + second == whole
    one, other = (load_file(tmp_path / name / "flowinone.safetensors") for name in ("whole", "parts"))
    assert all(one[name].equal(other[name]) for name in one)


def test_source_steps_teach_the_prompt_encoder_to_guess(fields, files, tmp_path):
    _, models = files
    before, _ = load_network(models["checkpoint"], torch.float32)
    # Without an average, the weights are the last step's.
    learning = dict(kl_weight=0.0, ema=0, optimizer="muon", source_steps=12)
    seen = []
    losses = run(fields(steps=12, **learning), on_step=lambda step, terms: seen.append(set(terms))).losses
    assert seen == [{"loss", "source", "kl"}] * 12
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    after, _ = load_network(tmp_path / "run" / "flowinone.safetensors")
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert "prompt_encoder.head.weight" in changed
    assert all(name.startswith("prompt_encoder.") for name in changed)

    # Then comes the flow, in the same run, and a resumed one knows where it is; guessing goes on if it has a weight.
    run(fields(steps=13, **learning), on_step=lambda step, terms: seen.append(set(terms)))
    run(fields(steps=14, source_weight=0.5, **learning), on_step=lambda step, terms: seen.append(set(terms)))
    assert seen[12:] == [{"loss", "flow", "kl"}, {"loss", "flow", "kl", "source"}]
    after, _ = load_network(tmp_path / "run" / "flowinone.safetensors")
    assert not torch.equal(after["velocity_network.coarse.blocks.0.mlp.w0.weight"], before["velocity_network.coarse.blocks.0.mlp.w0.weight"])


def test_stopping_saves_the_state_after_the_step(fields, tmp_path):
    def stop(step, terms):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    result = run(fields(steps=50, checkpoint_every=20), on_step=stop)
    assert result.stopped and len(result.losses) == 3
    assert snapshots.steps(tmp_path / "run" / "states") == [3]
    assert len(run(fields(steps=5)).losses) == 2


def test_a_killed_run_goes_on_from_its_last_state(fields, tmp_path):
    file = fields(steps=400, checkpoint_every=2)
    states = tmp_path / "run" / "states"
    process = subprocess.Popen([sys.executable, "-c", TRAIN, str(file)], cwd=ROOT, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not snapshots.steps(states) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    done = snapshots.steps(states)[-1]
    assert 0 < done < 400
    assert len(run(fields(steps=done + 2)).losses) == 2


def test_two_processes_train_together(fields, tmp_path):
    file = fields(steps=3)
    program = tmp_path / "train.py"
    program.write_text(TRAIN, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    finished = subprocess.run(
        [*command, str(program), str(file)],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert finished.stderr.count("step 3 of 3") == 1
    trained, _ = load_network(tmp_path / "run" / "flowinone.safetensors")
    assert all(tensor.isfinite().all() for tensor in trained.values())


def test_everything_of_the_checkpoint_is_kept(fields, files, tmp_path):
    public = tiny.network_weights()
    extra = {"open_clip.note": torch.arange(3.0)}
    save_file(public | extra, tmp_path / "public.safetensors")
    run(fields(checkpoint=str(tmp_path / "public.safetensors"), steps=2))
    written = load_file(tmp_path / "run" / "flowinone.safetensors")
    assert written.keys() == public.keys() | extra.keys()
    assert written["open_clip.note"].equal(extra["open_clip.note"])
    moved = [name for name in public if not written[name].equal(public[name])]
    assert len(moved) > 0.9 * len(public)


def test_a_lora_changes_the_picture_and_nothing_else_is_written(fields, files, tmp_path):
    result = run(fields(mode="lora", steps=8, lora={"rank": 4, "alpha": 8}, learning_rate=1e-2))
    assert [file.name for file in result.files] == ["lora.safetensors"]
    _, models = files
    pipeline = FlowInOnePipeline.from_single_files(**models)
    pipeline.set_progress_bar_config(disable=True)
    prompt = Image.open(files[0] / "pairs" / "input" / "0.png")
    answers = {}
    for strength in (0, 1):
        if strength:
            assert pipeline.load_lora(result.files[0], strength) > 20
        answers[strength] = np.asarray(pipeline(prompt, steps=4, generator=0).images[0], float)
    assert np.abs(answers[1] - answers[0]).mean() > 1


def test_recomputing_changes_memory_and_not_the_gradients(fields):
    config = read_config(fields())
    gradients = []
    for again in (False, True):
        objective = build(read_config(fields(gradient_checkpointing=again)))
        batch = {name: tiny.fixture_input(name, (2, 3, side, side), 0.3) for name, side in (("vision", 384), ("image", 256), ("target", 256))}
        batch["bypass"] = torch.tensor([False, True])
        chance = Chance.draw(config.seed, 0, 2, objective.model.config.latent_shape, 0.0)
        loss, _ = objective(batch, chance)
        loss.backward()
        gradients.append({name: p.grad for name, p in objective.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 300
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4)


def test_a_full_disk_leaves_the_last_state(tmp_path, fields, monkeypatch):
    run(fields(steps=2))

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshots.torch, "save", full)
    with pytest.raises(snapshots.SnapshotError, match="make room.*goes on from step 2"):
        run(fields(steps=4))
    monkeypatch.undo()
    assert snapshots.steps(tmp_path / "run" / "states") == [2]
    assert [entry.name for entry in (tmp_path / "run" / "states").iterdir()] == ["step_00000002"]
    assert len(run(fields(steps=4)).losses) == 2


def test_the_sample_sheet_shows_prompt_and_answer(fields, files, tmp_path):
    prompt = files[0] / "pairs" / "input" / "3.png"
    run(fields(steps=2, sample_every=2, samples=[str(prompt)], sample_steps=2))
    sheet = Image.open(tmp_path / "run" / "samples" / "step_00000002.png")
    assert sheet.size == (512, 256)
    shown = np.asarray(sheet.crop((0, 0, 256, 256)).resize((64, 64)), float)
    assert np.abs(shown - np.asarray(Image.open(prompt), float)).mean() < 40


def test_a_network_from_scratch_learns_from_scenes(fields, files, tmp_path):
    shape = dataclasses.asdict(FlowInOneModel.from_state_dict(tiny.network_weights()).config)
    result = run(
        fields(
            mode="scratch", checkpoint="", vision="", network=shape, train_vision=True, steps=2, data=["scenes:doodle,wind"],
            tower=dict(hidden_size=48, num_hidden_layers=1, num_attention_heads=16, image_size=384, patch_size=16,
                       num_image_tokens=576, projection_dim=96, mlp_ratio=2, depth=2),
        )
    )  # fmt: skip
    assert [file.name for file in result.files] == ["flowinone.safetensors", "vision.safetensors"]
    pipeline = FlowInOnePipeline.from_single_files(*result.files, files[1]["vae"])
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline(Image.new("RGB", (64, 64)), steps=1, generator=0).images[0].size == (256, 256)
    with pytest.raises(ConfigError, match="no scenes for cooking"):
        run(fields(out=str(tmp_path / "other"), data=["scenes:cooking"]))


def test_another_kind_of_run_in_the_same_folder_is_refused(fields):
    run(fields(steps=2))
    with pytest.raises(snapshots.SnapshotError, match="another kind of run"):
        run(fields(steps=4, mode="lora"))


def test_going_on_with_another_optimizer_is_refused(fields):
    run(fields(steps=2))
    with pytest.raises(snapshots.SnapshotError, match="another optimizer"):
        run(fields(steps=4, optimizer="muon"))


def test_muon_moves_the_matrices_and_adamw_everything_else(fields):
    objective = build(read_config(fields()))
    optimizer = make_optimizer("muon", objective, 1e-3, (0.9, 0.9), 0.03, plain=("model.prompt_encoder",))
    muon, adamw = optimizer.parts
    by_tensor = {id(parameter): name for name, parameter in objective.named_parameters()}
    turned = {by_tensor[id(p)] for group in muon.param_groups for p in group["params"]}
    others = {by_tensor[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert turned | others == {name for name, p in objective.named_parameters() if p.requires_grad} and not turned & others
    assert "model.velocity_network.coarse.blocks.0.mlp.w0.weight" in turned
    assert not any("positions" in name or "nodecay" in name or "prompt_encoder" in name or name.endswith("bias") for name in turned)
    assert all("nodecay_" in by_tensor[id(p)] for p in adamw.param_groups[1]["params"]) and adamw.param_groups[1]["weight_decay"] == 0
