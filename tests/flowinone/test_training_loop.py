"""Training runs on the tiny models: they learn, stop anywhere, and go on as if they had not."""

import contextlib
import dataclasses
import json
import os
import re
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
from torch.nn import functional as F

from devtools import tiny
from flowinone import FlowInOnePipeline
from flowinone.model import FlowInOneModel
from flowinone.prompts import dumps, tasks
from flowinone.toy import SOURCE_NAME, open_scenes
from flowinone.training import losses, snapshots
from flowinone.training.build import build_objective
from flowinone.training.ema import WeightAverage
from flowinone.training.export import write_weights
from flowinone.training.features import TargetFeatures
from flowinone.training.loop import train
from flowinone.training.objective import NoiseDraws
from flowinone.training.optimizers import make_optimizer, make_schedule
from flowinone.training.run_config import ConfigError, read_config
from flowinone.weights.checkpoint import open_network

ROOT = Path(__file__).resolve().parents[2]
TRAIN = (
    "import sys; from devtools.comfyui.launch import accept_torchvision; accept_torchvision(); "
    "from flowinone.cli import main; sys.exit(main(['train', *sys.argv[1:]]))"
)


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
        "out": str(tmp_path / "run"),
        "data": [str(folder / "pairs")],
        **{name: str(path) for name, path in models.items()},
        "steps": 4,
        "batch_size": 2,
        "warmup": 0,
        "learning_rate": 1e-3,
        "ema": 0.9,
        "workers": 0,
        "log_every": 1,
        "checkpoint_every": 2,
        "sample_every": 100,
        "null_probability": 0.3,
        "contrastive_weight": 0,
    }

    def make(**changes):
        file = tmp_path / "run.yaml"
        file.write_text(json.dumps(settings | changes), encoding="utf-8")
        return file

    return make


def run(file, **options):
    return train(read_config(file), sources={SOURCE_NAME: open_scenes}, **options)


@pytest.mark.long
def test_training_lowers_the_loss_and_logs_it(fields, tmp_path):
    losses = run(fields(steps=14, kl_weight=0.0, checkpoint_every=100)).losses
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    (log,) = (tmp_path / "run" / "logs").iterdir()
    assert log.stat().st_size > 1000


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.long
def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(fields, tmp_path, optimizer):
    same = dict(accumulation=2, optimizer=optimizer)
    whole = run(fields(out=str(tmp_path / "whole"), steps=6, **same)).losses
    first = run(fields(out=str(tmp_path / "parts"), steps=4, **same)).losses
    second = run(fields(out=str(tmp_path / "parts"), steps=6, **same)).losses
    assert first + second == whole
    one, other = (load_file(tmp_path / name / "flowinone.safetensors") for name in ("whole", "parts"))
    assert all(one[name].equal(other[name]) for name in one)


@pytest.mark.long
def test_source_steps_teach_the_prompt_encoder_to_guess(fields, files, tmp_path):
    _, models = files
    before = open_network(models["checkpoint"]).tensors(torch.float32)
    # Without an average, the weights are the last step's.
    learning = dict(kl_weight=0.0, ema=0, optimizer="muon", source_steps=12)
    seen = []
    losses = run(fields(steps=12, **learning), on_step=lambda step, terms: seen.append(set(terms))).losses
    assert seen == [{"loss", "source", "kl"}] * 12
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    after = open_network(tmp_path / "run" / "flowinone.safetensors").tensors()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert "prompt_encoder.head.weight" in changed
    assert all(name.startswith("prompt_encoder.") for name in changed)

    # Then comes the flow, in the same run, and a resumed one knows where it is; guessing goes on if it has a weight.
    run(fields(steps=13, **learning), on_step=lambda step, terms: seen.append(set(terms)))
    run(fields(steps=14, source_weight=0.5, **learning), on_step=lambda step, terms: seen.append(set(terms)))
    assert seen[12:] == [{"loss", "flow", "kl"}, {"loss", "flow", "kl", "source"}]
    after = open_network(tmp_path / "run" / "flowinone.safetensors").tensors()
    assert not torch.equal(
        after["velocity_network.coarse.blocks.0.mlp.w0.weight"],
        before["velocity_network.coarse.blocks.0.mlp.w0.weight"],
    )


@pytest.mark.long
def test_runs_of_different_precision_follow_each_other_in_a_process(fields):
    run(fields(steps=1, precision="bf16"))
    assert len(run(fields(steps=2, precision="no")).losses) == 1


@pytest.mark.long
def test_stopping_saves_the_state_after_the_step(fields, tmp_path):
    def stop(step, terms):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    result = run(fields(steps=50, checkpoint_every=20), on_step=stop)
    assert result.stopped and len(result.losses) == 3
    assert snapshots.steps(tmp_path / "run" / "states") == [3]
    assert len(run(fields(steps=5)).losses) == 2


@pytest.mark.long
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


def in_two_processes(program, tmp_path, *arguments):
    """A program's two processes, begun."""
    file = tmp_path / "program.py"
    file.write_text(program, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--master-port=0",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=localhost:0",
    ]
    place = dict(cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}, text=True)
    return subprocess.Popen(
        [*command, str(file), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **place
    )


def end_of(processes):
    """Whatever they still had to say, once they are done; they must not have failed."""
    output, _ = processes.communicate(timeout=300)
    assert processes.returncode == 0, output[-3000:]
    return output


def logged_losses(output):
    """The losses by step that a run has logged, as their digits."""
    lines = re.findall(r"step (\d+) of \d+  loss ([\d.]+)", output)
    assert len(dict(lines)) == len(lines), "only one of the processes logs"
    return {int(step): digits for step, digits in lines}


@pytest.mark.long
def test_two_processes_learn_and_go_on_exactly_where_they_were_stopped(fields, tmp_path):
    steps = dict(steps=14, kl_weight=0.0, checkpoint_every=4)
    whole = logged_losses(end_of(in_two_processes(TRAIN, tmp_path, str(fields(out=str(tmp_path / "whole"), **steps)))))
    assert [*whole] == [*range(1, 15)]
    losses = [float(digits) for digits in whole.values()]
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])

    file, states = fields(**steps), tmp_path / "run" / "states"
    named = (
        "import os, pathlib; "
        "pathlib.Path(__file__).with_name('process_' + os.environ['RANK']).write_text(str(os.getpid())); "
    )
    stopped = in_two_processes(named + TRAIN, tmp_path, str(file))
    while not snapshots.steps(states) and stopped.poll() is None:
        time.sleep(0.05)
    # Only one of the two is asked to, and both stop.
    os.kill(int((tmp_path / "process_1").read_text()), signal.SIGTERM)
    output = stopped.communicate(timeout=300)[0]
    begun, done = logged_losses(output), snapshots.steps(states)[-1]
    assert 4 <= done < 14 and [*begun] == [*range(1, done + 1)], output[-3000:]

    rest = logged_losses(end_of(in_two_processes(TRAIN, tmp_path, str(file))))
    assert begun | rest == whole and [*rest] == [*range(done + 1, 15)]
    one, other = (load_file(tmp_path / name / "flowinone.safetensors") for name in ("whole", "run"))
    assert all(one[name].equal(other[name]) for name in one)


@pytest.mark.long
def test_the_contrastive_term_looks_at_the_pairs_of_all_processes(tmp_path):
    program = """
import torch
from torch import distributed
from flowinone.training import losses
from devtools.tiny import fixture_input
distributed.init_process_group("gloo")
rank = distributed.get_rank()
half = slice(2 * rank, 2 * rank + 2)
sources = fixture_input("ctx_feat", (4, 4096))[half].requires_grad_()
features = fixture_input("img_feat", (4, 4096))[half]
loss = losses.contrastive_loss(sources, features, 10.0)
loss.backward()
assert sources.grad.abs().max() > 0
distributed.all_reduce(loss.detach_())
if rank == 0:
    print(f"mean {loss.item() / 2:.6f}")
distributed.destroy_process_group()
"""
    mean = float(re.search(r"mean ([\d.]+)", end_of(in_two_processes(program, tmp_path)))[1])
    whole = losses.contrastive_loss(
        tiny.fixture_input("ctx_feat", (4, 4096)), tiny.fixture_input("img_feat", (4, 4096)), 10.0
    )
    assert mean == pytest.approx(float(whole), abs=2e-6)


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
def test_recomputing_changes_memory_and_not_the_gradients(fields):
    config = read_config(fields())
    gradients = []
    for again in (False, True):
        objective = build_objective(read_config(fields(gradient_checkpointing=again)))
        batch = {
            name: tiny.fixture_input(name, (2, 3, side, side), 0.3)
            for name, side in (("vision", 384), ("image", 256), ("target", 256))
        }
        batch["bypass"] = torch.tensor([False, True])
        draws = NoiseDraws.draw(config.seed, 0, 2, objective.model.config.latent_shape, 0.0)
        loss, _ = objective(batch, draws)
        loss.backward()
        gradients.append({name: p.grad for name, p in objective.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 300
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4)


@contextlib.contextmanager
def no_file_above(size):
    """The system refuses to write more than so many bytes into a file, as it does on a full disk."""
    resource = pytest.importorskip("resource", reason="the system cannot limit the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("refused", ["weights", "optimizer"])
@pytest.mark.long
def test_a_full_disk_leaves_the_last_state(tmp_path, fields, refused):
    run(fields(steps=2))
    states = tmp_path / "run" / "states"
    sizes = {file.name: file.stat().st_size for file in (states / "step_00000002").iterdir()}
    assert sizes["optimizer.pt"] > sizes["weights.safetensors"] + 1000
    with no_file_above(
        sizes["weights.safetensors"] - 1000 if refused == "weights" else sizes["weights.safetensors"] + 500
    ):
        with pytest.raises(snapshots.SnapshotError, match="step_00000004 could not be written.*resumes from step 2"):
            run(fields(steps=4))
    assert [entry.name for entry in states.iterdir()] == ["step_00000002"]
    assert len(run(fields(steps=4)).losses) == 2


@pytest.mark.long
def test_a_full_disk_leaves_the_last_result(tmp_path, fields, files):
    result = tmp_path / "result.safetensors"
    write_weights(result, {"a": torch.zeros(10)}, {})
    with no_file_above(1000), pytest.raises(snapshots.SnapshotError, match="result.safetensors could not be written"):
        write_weights(result, {"a": torch.zeros(1000)}, {})
    assert [*tmp_path.iterdir()] == [result] and len(load_file(result)["a"]) == 10


def test_results_are_read_by_whoever_reads_other_files(tmp_path):
    plain = tmp_path / "plain.txt"
    plain.touch()
    assert (
        write_weights(tmp_path / "result.safetensors", {"a": torch.zeros(1)}, {}).stat().st_mode == plain.stat().st_mode
    )


@pytest.mark.long
def test_a_run_that_starts_anew_keeps_the_states_of_the_one_before(tmp_path, fields):
    run(fields(steps=4))
    assert len(run(fields(steps=2), resume=False).losses) == 2
    assert snapshots.steps(tmp_path / "run" / "states") == [2]
    assert snapshots.steps(tmp_path / "run" / "states_before_1") == [2, 4]
    assert len(run(fields(steps=3)).losses) == 1
    run(fields(steps=2), resume=False)
    assert snapshots.steps(tmp_path / "run" / "states_before_2") == [2, 3]


def target_features(width=32, hidden=64, side=64, layers=2):
    """The published file's `open_clip*` tensors, of a small tower."""
    block = {
        "norm1": (width,),
        "attn.qkv": (3 * width, width),
        "attn.proj": (width, width),
        "norm2": (width,),
        "mlp.fc1": (48, width),
        "mlp.fc2": (width, 48),
    }
    pool = {
        "q": (width, width),
        "kv": (2 * width, width),
        "proj": (width, width),
        "norm": (width,),
        "mlp.fc1": (48, width),
        "mlp.fc2": (width, 48),
    }
    parts = {f"blocks.{layer}.{name}": shape for layer in range(layers) for name, shape in block.items()}
    parts |= {f"attn_pool.{name}": shape for name, shape in pool.items()} | {
        "patch_embed.proj": (width, 3, 16, 16),
        "norm": (width,),
    }
    named = {f"open_clip.visual.trunk.{name}": shape for name, shape in parts.items()}
    named |= {
        "open_clip_output.fc1": (hidden, width),
        "open_clip_output.norm": (hidden,),
        "open_clip_output.fc2": (4096, hidden),
    }
    shapes = {f"{name}.weight": shape for name, shape in named.items()} | {
        f"{name}.bias": shape[:1] for name, shape in named.items()
    }
    shapes |= {
        "open_clip.visual.trunk.pos_embed": (1, (side // 16) ** 2, width),
        "open_clip.visual.trunk.attn_pool.latent": (1, 1, width),
    }
    return {name: tiny.weight(name, shape) for name, shape in shapes.items()} | {
        "open_clip.logit_scale": torch.tensor(4.0)
    }


@pytest.mark.long
def test_the_contrastive_term_trains_its_head_and_leaves_its_tower(fields, tmp_path):
    extra = target_features()
    save_file(tiny.network_weights() | extra, tmp_path / "public.safetensors")
    seen = []
    run(
        fields(checkpoint=str(tmp_path / "public.safetensors"), steps=2, contrastive_weight=1.0),
        on_step=lambda step, terms: seen.append(terms),
    )
    assert [set(terms) for terms in seen] == [{"loss", "flow", "kl", "contrastive"}] * 2
    assert all(0 < terms["contrastive"] < 10 for terms in seen)
    written = load_file(tmp_path / "run" / "flowinone.safetensors")
    assert {name for name in extra if not written[name].equal(extra[name])} == {
        "open_clip.logit_scale",
        *(name for name in extra if name.startswith("open_clip_output.")),
    }


def test_target_features_are_those_of_the_plain_tower():
    tensors = target_features()
    trunk = {name.removeprefix("open_clip.visual.trunk."): tensor for name, tensor in tensors.items()}
    pixels = tiny.fixture_input("target_pixels", (2, 3, 64, 64))

    def linear(x, name):
        return F.linear(x, trunk[f"{name}.weight"], trunk[f"{name}.bias"])

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], trunk[f"{name}.weight"], trunk[f"{name}.bias"], eps=1e-6)

    def attention(*parts):
        q, k, v = (part.unflatten(-1, (16, -1)).transpose(1, 2) for part in parts)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def mlp(x, name):
        return linear(F.gelu(linear(x, f"{name}.fc1")), f"{name}.fc2")

    x = (
        F.conv2d(pixels, trunk["patch_embed.proj.weight"], trunk["patch_embed.proj.bias"], stride=16)
        .flatten(2)
        .transpose(1, 2)
    )
    x = x + trunk["pos_embed"]
    for layer in range(2):
        block = f"blocks.{layer}"
        x = x + linear(
            attention(*linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv").chunk(3, dim=-1)), f"{block}.attn.proj"
        )
        x = x + mlp(norm(x, f"{block}.norm2"), f"{block}.mlp")
    keys, values = linear(norm(x, "norm"), "attn_pool.kv").chunk(2, dim=-1)
    x = linear(
        attention(linear(trunk["attn_pool.latent"].expand(2, -1, -1), "attn_pool.q"), keys, values), "attn_pool.proj"
    )
    x = (x + mlp(norm(x, "attn_pool.norm"), "attn_pool.mlp"))[:, 0]
    trunk |= {
        name.removeprefix("open_clip_output."): tensor
        for name, tensor in tensors.items()
        if name.startswith("open_clip_output.")
    }
    hidden = F.gelu(linear(x, "fc1"))
    hidden = F.layer_norm(
        hidden, hidden.shape[-1:], tensors["open_clip_output.norm.weight"], tensors["open_clip_output.norm.bias"]
    )
    features, temperature = TargetFeatures.from_checkpoint(tensors)(pixels)
    torch.testing.assert_close(features, linear(hidden, "fc2"), atol=1e-5, rtol=1e-4)
    assert temperature == 4


@pytest.mark.long
def test_the_sample_sheet_shows_prompt_and_answer(fields, files, tmp_path):
    prompt = files[0] / "pairs" / "input" / "3.png"
    run(fields(steps=2, sample_every=2, samples=[str(prompt)], sample_steps=2))
    sheet = Image.open(tmp_path / "run" / "samples" / "step_00000002.png")
    (log,) = (tmp_path / "run" / "logs").iterdir()
    assert b"samples" in log.read_bytes()
    assert sheet.size == (512, 256)
    shown = np.asarray(sheet.crop((0, 0, 256, 256)).resize((64, 64)), float)
    assert np.abs(shown - np.asarray(Image.open(prompt), float)).mean() < 40


@pytest.mark.long
def test_a_caption_among_the_samples_is_answered_without_the_dual_path(fields, tmp_path, monkeypatch):
    document = tmp_path / "caption.json"
    document.write_text(dumps(tasks.text_to_image("a red heart")), encoding="utf-8")
    asked = []
    answer = FlowInOnePipeline.__call__

    def listen(pipeline, prompts, bypass, **settings):
        asked.append((len(prompts), bypass))
        return answer(pipeline, prompts, bypass=bypass, **settings)

    monkeypatch.setattr(FlowInOnePipeline, "__call__", listen)
    run(fields(steps=1, sample_every=1, samples=[str(document)], sample_steps=1))
    assert asked == [(1, (True,))]


@pytest.mark.long
def test_samples_are_looked_at_before_anything_is_learnt(fields, tmp_path):
    (tmp_path / "words.png").write_text("no picture", encoding="utf-8")
    for name in ("words.png", "missing.png"):
        with pytest.raises(ConfigError, match=f"samples: .*{name} cannot be read"):
            run(fields(samples=[str(tmp_path / name)]))
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_a_network_from_scratch_learns_from_scenes(fields, files, tmp_path):
    shape = dataclasses.asdict(FlowInOneModel.from_state_dict(tiny.network_weights()).config)
    result = run(
        fields(
            mode="scratch",
            checkpoint="",
            vision="",
            network=shape,
            train_vision=True,
            steps=2,
            data=["scenes:doodle,wind"],
            tower=dict(
                hidden_size=48,
                num_hidden_layers=1,
                num_attention_heads=16,
                image_size=384,
                patch_size=16,
                num_image_tokens=576,
                projection_dim=96,
                mlp_ratio=2,
                depth=2,
            ),
        )
    )
    assert [file.name for file in result.files] == ["flowinone.safetensors", "vision.safetensors"]
    pipeline = FlowInOnePipeline.from_single_files(*result.files, files[1]["vae"])
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline(Image.new("RGB", (64, 64)), steps=1, generator=0).images[0].size == (256, 256)
    with pytest.raises(ConfigError, match="no scenes for cooking"):
        run(fields(out=str(tmp_path / "other"), data=["scenes:cooking"]))


@pytest.mark.long
def test_a_prompt_encoder_may_stay_as_it_is(fields, files):
    (network,) = run(fields(steps=2, train_prompt=False)).files
    before, after = (open_network(file).tensors(torch.float32) for file in (files[1]["checkpoint"], network))
    assert {name.partition(".")[0] for name in after if not torch.equal(after[name], before[name])} == {
        "velocity_network"
    }


@pytest.mark.long
def test_another_kind_of_run_in_the_same_folder_is_refused(fields):
    run(fields(steps=2))
    with pytest.raises(snapshots.SnapshotError, match="snapshot of another kind of run"):
        run(fields(steps=4, mode="lora"))


@pytest.mark.long
def test_going_on_with_another_optimizer_is_refused(fields):
    run(fields(steps=2))
    with pytest.raises(snapshots.SnapshotError, match="snapshot of a run with another optimizer"):
        run(fields(steps=4, optimizer="muon"))


@pytest.mark.long
def test_muon_moves_the_matrices_and_adamw_everything_else(fields):
    objective = build_objective(read_config(fields()))
    optimizer = make_optimizer("muon", objective, 1e-3, (0.9, 0.9), 0.03, adamw_only=("model.prompt_encoder",))
    muon, adamw = optimizer.parts
    by_tensor = {id(parameter): name for name, parameter in objective.named_parameters()}
    turned = {by_tensor[id(p)] for group in muon.param_groups for p in group["params"]}
    others = {by_tensor[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert (
        turned | others == {name for name, p in objective.named_parameters() if p.requires_grad} and not turned & others
    )
    assert "model.velocity_network.coarse.blocks.0.mlp.w0.weight" in turned
    assert not any(
        "positions" in name or "nodecay" in name or "prompt_encoder" in name or name.endswith("bias") for name in turned
    )
    assert (
        all("nodecay_" in by_tensor[id(p)] for p in adamw.param_groups[1]["params"])
        and adamw.param_groups[1]["weight_decay"] == 0
    )


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1 / 3, 2 / 3, 1, 1, 1, 1, 1]),
        ("cosine", [1 / 3, 2 / 3, 1, *(0.5 * (1 + np.cos(np.pi * step / 5)) for step in range(1, 5))]),
    ],
)
def test_the_learning_rate_warms_up_from_the_first_step_and_is_the_same_after_a_resume(optimizer, schedule, expected):
    def rates(start):
        layer = torch.nn.Linear(2, 2)
        optimize = make_optimizer(optimizer, layer, 0.5, (0.9, 0.9), 0.0)
        scheduler = make_schedule(schedule, optimize, 0.1, warmup=3, steps=7, start=start)
        for _ in range(start, 7):
            yield [group["lr"] for group in optimize.param_groups]
            layer(torch.ones(1, 2)).sum().backward()
            optimize.step()
            scheduler.step()

    whole = list(rates(0))
    for found, factor in zip(whole, expected):
        assert found == pytest.approx([0.1 * factor] * len(found))
    assert list(rates(4)) == whole[4:]


def test_the_average_warms_up_resumes_exactly_and_takes_the_weights_place_for_a_while():
    layer = torch.nn.Linear(1, 1, bias=False)
    steps = [float(value) for value in range(1, 7)]

    def average_of(average, values):
        for value in values:
            layer.weight.data.fill_(value)
            average.update()
        return average

    whole = average_of(WeightAverage(layer, 0.3), steps)
    expected = steps[0]
    for number, value in enumerate(steps[1:], 1):
        decay = min(0.3, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * value
    assert whole.state()["weight"].item() == pytest.approx(expected)
    resumed = WeightAverage(layer, 0.3)
    resumed.load_state(average_of(WeightAverage(layer, 0.3), steps[:3]).state(), 3)
    assert average_of(resumed, steps[3:]).state()["weight"].equal(whole.state()["weight"])
    with whole.applied():
        assert layer.weight.item() == pytest.approx(expected)
    assert layer.weight.item() == steps[-1]


def test_training_knows_nothing_of_the_toy_world():
    for file in (ROOT / "flowinone" / "training").glob("*.py"):
        text = file.read_text(encoding="utf-8").lower()
        assert "scene" not in text and "toy" not in text, file.name
