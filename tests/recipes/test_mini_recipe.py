"""Mini's recipe: its stages' settings, and training of the autoencoder, the tower and the prompt encoder."""

import dataclasses
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from flowinone import FlowInOnePipeline, mini
from flowinone.autoencoder import autoencoder_from_state_dict, decode_latents, latents_of_moments
from flowinone.model.names import native_name
from flowinone.toy import COLORS, SCENE_TASKS, SHAPES, SOURCE_NAME, SceneSource, example, open_scenes
from flowinone.training.build import build_objective
from flowinone.training.cache import PairCache
from flowinone.training.data import Mixture, to_device
from flowinone.training.loop import train
from flowinone.training.objective import NoiseDraws
from flowinone.training.run_config import ConfigError, TrainingConfig, read_config
from flowinone.vision import VisionEncoder
from flowinone.weights.checkpoint import open_autoencoder, open_network, open_vision
from recipes.mini import latent_regression, ocr_pretraining
from recipes.mini.autoencoder_training import (
    AutoencoderConfig,
    DecoderConfig,
    autoencoder_loss,
    fresh_autoencoder,
    ldm_tensors,
    normalise,
    train_autoencoder,
    train_decoder,
)
from recipes.mini.checkpoint_edits import with_source_deviation
from recipes.mini.latent_regression import (
    LatentRegressionConfig,
    error_weights,
    label_map,
    rows,
    train_latent_regression,
)
from recipes.mini.ocr_pretraining import OCRConfig, train_ocr, words_of
from recipes.mini.run import Recipe, stage_names

COUNT = 40
TOWER = dict(
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    patch_size=16,
    image_size=64,
    mlp_ratio=2.0,
    projection_dim=32,
    depth=2,
    num_image_tokens=16,
)
NETWORK = dict(
    token_count=16,
    token_width=32,
    context_length=4,
    context_width=32,
    context_layers=1,
    context_heads=2,
    context_mlp_width=32,
    reduced_widths=[8],
    latent_size=8,
    coarse_width=32,
    coarse_heads=2,
    coarse_blocks=3,
    coarse_mlp_width=32,
    gate_width=8,
    fine_width=16,
    fine_blocks=3,
    fine_mlp_width=16,
    fine_kernel=3,
)


def trained(config: TrainingConfig):
    return train(config, sources={SOURCE_NAME: open_scenes})


@pytest.fixture(scope="module")
def scenes():
    return Mixture([(SceneSource(size=64, prompt_size=64), 1)], seed=3)


@pytest.fixture(scope="module")
def cache(scenes, tmp_path_factory):
    made = PairCache(tmp_path_factory.mktemp("cache"), COUNT, 64, 64)
    made.fill(scenes)
    return made


@pytest.fixture(scope="module")
def files(cache, tmp_path_factory):
    """An autoencoder and a tower, trained for a moment."""
    folder = tmp_path_factory.mktemp("parts")
    config = AutoencoderConfig(str(folder / "vae"), widths=(8, 8, 16, 16), groups=4, steps=4, batch_size=1, bf16=False)
    ocr = OCRConfig(str(folder / "ocr"), TOWER, word_steps=2, word_batch_size=8, steps=2, batch_size=8, bf16=False)
    return {"vae": str(train_autoencoder(config, cache)), "vision": str(train_ocr(ocr, cache))}


def settings(out, files, **changes) -> TrainingConfig:
    fields = dict(
        out=str(out),
        data=["scenes:"],
        mode="scratch",
        network=NETWORK,
        steps=4,
        batch_size=4,
        warmup=0,
        seed=3,
        learning_rate=1e-3,
        ema=0.9,
        workers=0,
        cache=COUNT,
        kl_weight=0.0,
        log_every=1,
        checkpoint_every=2,
        **files,
    )
    file = out.with_suffix(".json")
    file.write_text(json.dumps(fields | changes), encoding="utf-8")
    return read_config(file)


@pytest.mark.long
def test_encoded_pairs_have_the_loss_of_their_pictures(cache, scenes, files, tmp_path):
    objective = build_objective(settings(tmp_path / "run", files))
    device = torch.device("cpu")
    for name, encoder in (("image", objective.vae), ("target", objective.vae), ("vision", objective.vision)):
        cache.encode(name, encoder, device, torch.float32)
    batch = next(cache.batches(6, 0, 0, 1, ("image", "target", "vision")))
    same = next(cache.batches(6, 0, 0, 1, ()))
    draws = NoiseDraws.draw(0, 0, 6, objective.model.config.latent_shape, 0.3)
    losses = [float(objective(to_device(one, device), draws)[0].detach()) for one in (batch, same)]
    # The cache keeps half precision.
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)


@pytest.mark.long
def test_another_encoder_encodes_again(cache, files, tmp_path):
    objective = build_objective(settings(tmp_path / "run", files))
    cache.encode("image", objective.vae, torch.device("cpu"), torch.float32)
    before = np.array(cache["image_encoded"])
    with torch.no_grad():
        objective.vae.quant_conv.bias.add_(1)
    cache.encode("image", objective.vae, torch.device("cpu"), torch.float32)
    assert np.allclose(cache["image_encoded"], before + 1, atol=2e-2)


@pytest.mark.long
def test_a_run_on_a_cache_resumes_exactly(files, tmp_path):
    whole = trained(settings(tmp_path / "whole", files)).losses
    first = trained(settings(tmp_path / "parts", files, steps=2)).losses
    second = trained(settings(tmp_path / "parts", files)).losses
    assert first + second == pytest.approx(whole, rel=1e-6)


@pytest.mark.long
def test_a_cache_and_the_contrastive_term_exclude_each_other(tmp_path, files):
    with pytest.raises(ValueError, match="contrastive_weight needs the target pictures"):
        settings(tmp_path / "run", files, mode="finetune", checkpoint="x.safetensors", network={})


@pytest.mark.long
def test_an_autoencoder_learns_resumes_and_writes_a_file_that_loaders_take(cache, tmp_path):
    config = AutoencoderConfig(
        str(tmp_path / "vae"),
        widths=(16, 16, 16, 16),
        groups=4,
        steps=30,
        batch_size=2,
        warmup=5,
        checkpoint_every=15,
        bf16=False,
    )
    pixels = torch.tensor(cache["target"][:8]).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        torch.manual_seed(0)
        before = autoencoder_loss(fresh_autoencoder(config), pixels, config)["error"]
    whole = train_autoencoder(config, cache)
    file = open_autoencoder(whole)
    vae = autoencoder_from_state_dict(file.tensors(), **file.settings)
    assert vae.config.norm_num_groups == 4
    with torch.no_grad():
        seen = vae.decode(vae.encode(pixels).latent_dist.mean).sample
    assert (seen - pixels).abs().mean() < 0.7 * before

    # The same steps in two parts: the second part begins from the state of step 15.
    parts = dataclasses.replace(config, out=str(tmp_path / "parts"))
    train_autoencoder(parts, cache)
    (tmp_path / "parts" / "vae.safetensors").unlink()
    shutil.rmtree(tmp_path / "parts" / "states" / "step_00000030")
    resumed = load_file(train_autoencoder(parts, cache))
    for name, tensor in load_file(whole).items():
        torch.testing.assert_close(resumed[name], tensor, rtol=1e-4, atol=1e-4)


@pytest.mark.long
def test_a_decoder_learns_alone_and_latents_stay_what_they_are(cache, files, tmp_path):
    file = open_autoencoder(files["vae"])
    before, layout = file.tensors(), file.settings
    cache.encode("target", autoencoder_from_state_dict(before, **layout), torch.device("cpu"), torch.float32)
    config = DecoderConfig(str(tmp_path / "decoder"), files["vae"], steps=40, warmup=5, noise=0.05, bf16=False)
    decoder = open_autoencoder(train_decoder(config, cache))
    after = decoder.tensors()
    assert decoder.settings == layout
    moved = {name for name, tensor in before.items() if not tensor.equal(after[name])}
    assert moved and all(name.startswith(("decoder.", "post_quant_conv.")) for name in moved)
    pixels = torch.tensor(cache["target"][:16]).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = latents_of_moments(torch.tensor(cache["target_encoded"][:16]).float(), None)
    errors = [
        (2 * decode_latents(autoencoder_from_state_dict(tensors, **layout), latents) - 1 - pixels).abs().mean()
        for tensors in (before, after)
    ]
    assert errors[1] < 0.9 * errors[0]


def test_normalising_changes_the_latents_and_not_the_pictures():
    config = AutoencoderConfig("", widths=(16, 16, 16, 16), groups=4)
    torch.manual_seed(1)
    vae = fresh_autoencoder(config).eval()
    pixels = torch.rand(16, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        before = vae.encode(pixels).latent_dist
        picture = vae.decode(before.mean).sample
        normalise(vae, pixels)
        after = vae.encode(pixels).latent_dist
        torch.testing.assert_close(vae.decode(after.mean).sample, picture, rtol=1e-3, atol=1e-3)
    scaled = after.mean * 0.2301
    torch.testing.assert_close(scaled.mean(dim=(0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(scaled.std(dim=(0, 2, 3)), torch.ones(4), rtol=1e-3, atol=0)
    # The noise grows with the latents.
    torch.testing.assert_close(
        after.std / after.mean.std(dim=(0, 2, 3))[:, None, None],
        before.std / before.mean.std(dim=(0, 2, 3))[:, None, None],
    )


def test_an_autoencoder_keeps_its_pictures_under_the_public_names():
    vae = fresh_autoencoder(AutoencoderConfig("", widths=(8, 8, 16, 16), groups=4)).eval()
    again = autoencoder_from_state_dict(
        {name: tensor.clone() for name, tensor in ldm_tensors(vae).items()}, norm_num_groups=4
    )
    pixels = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(again(pixels).sample, vae(pixels).sample)


@pytest.mark.long
def test_words_are_those_of_the_prompt_that_a_pair_is_named_after(scenes):
    for task in SCENE_TASKS:
        said = example(task, 7).words.lower().replace(".", "").replace(",", "").split()
        assert words_of(f"{task}-7") == said[:16]


@pytest.mark.long
def test_a_tower_learns_words_and_its_file_says_its_heads(cache, tmp_path, caplog, monkeypatch):
    # As in the first minutes of a real run, in which words stand alike.
    monkeypatch.setattr(ocr_pretraining, "_VARIATION_RAMP", 1e6)
    tower = TOWER | dict(hidden_size=64, num_hidden_layers=2, projection_dim=64)
    config = OCRConfig(
        str(tmp_path / "ocr"),
        tower,
        word_steps=150,
        word_batch_size=64,
        steps=1,
        batch_size=4,
        warmup=10,
        learning_rate=2e-3,
        bf16=False,
    )
    with caplog.at_level("INFO", "flowinone.training"):
        file = train_ocr(config, cache)
    losses = [
        float(record.message.split("loss ")[1].split()[0]) for record in caplog.records if " loss " in record.message
    ]
    assert losses[-1] < 0.8 * losses[0]
    vision = open_vision(file)
    assert VisionEncoder.from_state_dict(vision.tensors(), **vision.settings).config.num_attention_heads == 2


def whole_and_resumed(learn, config, cache):
    """What four steps give, and what they give when the run is stopped after two."""
    parts = dataclasses.replace(config, out=f"{config.out}-parts")
    learn(parts, cache)
    for folder in (Path(parts.out) / "states").glob("*4"):
        shutil.rmtree(folder)
    return learn(config, cache), learn(parts, cache)


@pytest.mark.long
def test_stopped_ocr_pretraining_resumes_exactly(cache, tmp_path):
    config = OCRConfig(
        str(tmp_path / "whole"),
        TOWER,
        word_steps=2,
        word_batch_size=8,
        steps=2,
        batch_size=8,
        checkpoint_every=2,
        bf16=False,
    )
    whole, resumed = (load_file(file) for file in whole_and_resumed(train_ocr, config, cache))
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("task", SCENE_TASKS)
def test_errors_have_most_weight_where_a_prompt_changes_something(task):
    for seed in range(8):
        planned = example(task, seed)
        scene, photo = planned.answer.scene, planned.photo_scene
        shapes, colors = label_map(scene, 32)
        counts = error_weights(planned, 32)
        assert counts.min() == np.float16(0.1) and counts.max() == 1
        for thing in scene.objects:
            column, row = (int(along * 32) for along in thing.center)
            assert (shapes[row, column], colors[row, column]) == (
                1 + [*SHAPES].index(thing.shape),
                1 + [*COLORS].index(thing.color),
            )
            assert counts[row, column] == (np.float16(0.4) if photo and thing in photo.objects else 1)
        for thing in photo.objects if photo else ():
            column, row = (int(along * 32) for along in thing.center)
            assert thing in scene.objects or counts[row, column] == 1
        if scene.flag:
            cloth = colors == 1 + [*COLORS].index(scene.flag.color)
            assert (shapes[cloth] == 1 + len(SHAPES)).all() and (counts[cloth] == 1).all() and cloth.any()
        assert ((shapes > 0) == (colors > 0)).all() and shapes.any() == bool(scene.objects or scene.flag)


@pytest.fixture(scope="module")
def network(cache, files, tmp_path_factory):
    """A network after a single step; the cache's targets are encoded for it."""
    file = open_autoencoder(files["vae"])
    autoencoder = autoencoder_from_state_dict(file.tensors(), **file.settings)
    cache.encode("target", autoencoder, torch.device("cpu"), torch.float32)
    return str(trained(settings(tmp_path_factory.mktemp("begun") / "run", files, steps=1, sample_every=9)).files[0])


@pytest.mark.long
def test_predictions_get_better_and_the_velocity_network_stays(cache, files, network, tmp_path, caplog):
    config = LatentRegressionConfig(
        str(tmp_path / "regression"),
        network,
        files["vision"],
        steps=200,
        batch_size=16,
        warmup=5,
        learning_rate=5e-3,
        bf16=False,
    )
    with caplog.at_level("INFO", "flowinone.training"):
        trained, tower = train_latent_regression(config, [cache])
    losses = [
        float(record.message.split("  loss ")[1].split()[0]) for record in caplog.records if "  loss " in record.message
    ]
    assert losses[-1] < 0.7 * losses[0]
    before, after = load_file(network), load_file(trained)
    moved = {name for name, tensor in before.items() if not tensor.equal(after[name])}
    assert after.keys() == before.keys() and moved
    assert all(native_name(name).startswith("prompt_encoder.") for name in moved)
    found = open_vision(tower)
    assert VisionEncoder.from_state_dict(found.tensors(), **found.settings).config.num_attention_heads == 2


@pytest.mark.long
def test_the_reader_learns_and_recognises_things_in_predictions(cache, files, network, tmp_path, caplog):
    config = LatentRegressionConfig(
        str(tmp_path / "regression"),
        network,
        files["vision"],
        steps=150,
        batch_size=16,
        warmup=5,
        learning_rate=5e-3,
        bf16=False,
        reader_weight=1.0,
        reader_steps=100,
    )
    with caplog.at_level("INFO", "flowinone.training"):
        train_latent_regression(config, [cache])
    lines = [record.message for record in caplog.records if "  loss " in record.message]
    reader, regressor = ([line for line in lines if ("regression " in line) == found] for found in (False, True))
    errors = (
        [float(line.split("loss ")[1].split()[0]) for line in reader],
        [float(line.split("reader ")[1].split()[0]) for line in regressor],
    )
    assert [len(each) for each in errors] == [2, 3]
    for each in errors:
        assert each[-1] < 0.9 * each[0]


@pytest.mark.long
def test_a_new_prompt_encoder_takes_the_old_ones_place(cache, files, network, tmp_path):
    config = LatentRegressionConfig(
        str(tmp_path / "regression"),
        network,
        files["vision"],
        dict(context_length=16, reduced_widths=[4]),
        steps=1,
        batch_size=4,
        bf16=False,
    )
    opened, trained_file = (open_network(file) for file in (network, train_latent_regression(config, [cache])[0]))
    before, after, layout = opened.tensors(), trained_file.tensors(), trained_file.config
    assert (layout.context_length, layout.reduced_widths) == (16, (4,)) and layout.coarse_heads == NETWORK[
        "coarse_heads"
    ]
    assert all(tensor.equal(after[name]) for name, tensor in before.items() if name.startswith("velocity_network."))


@pytest.mark.long
def test_latent_regression_samples_all_caches(files, network, cache, tmp_path, monkeypatch):
    looked_up = []
    monkeypatch.setattr(
        latent_regression, "rows", lambda arrays, numbers: looked_up.append((arrays, numbers)) or rows(arrays, numbers)
    )
    config = LatentRegressionConfig(
        str(tmp_path / "regression"), network, files["vision"], steps=3, batch_size=16, bf16=False
    )
    train_latent_regression(config, [cache, cache])
    assert all([len(array) for array in arrays] == [COUNT, COUNT] for arrays, _ in looked_up)
    numbers = np.concatenate([numbers for _, numbers in looked_up])
    assert numbers.min() < COUNT <= numbers.max() < 2 * COUNT


def test_rows_are_numbered_from_array_to_array():
    arrays = np.arange(3), np.arange(10, 14), np.arange(20, 22)
    assert rows(arrays, np.array([0, 2, 3, 6, 7, 8])).tolist() == [0, 2, 10, 13, 20, 21]
    assert rows(arrays, np.array([4, 4])).tolist() == [11, 11]
    assert rows(arrays[:1], np.array([1])).tolist() == [1]


@pytest.mark.long
def test_stopped_latent_regression_resumes_exactly(cache, files, network, tmp_path):
    config = LatentRegressionConfig(
        str(tmp_path / "whole"),
        network,
        files["vision"],
        steps=4,
        batch_size=8,
        warmup=1,
        checkpoint_every=2,
        bf16=False,
        reader_weight=0.5,
        reader_steps=2,
    )
    for written in zip(*whole_and_resumed(train_latent_regression, config, [cache])):
        whole, resumed = map(load_file, written)
        for name, tensor in whole.items():
            torch.testing.assert_close(resumed[name], tensor, rtol=1e-4, atol=1e-5)


def test_another_source_deviation_leaves_the_means_as_they_are(tmp_path):
    tokens = torch.randn(2, 144, 256, generator=torch.Generator().manual_seed(0))
    (mean, _), (same, logvar) = (
        open_network(file).load(torch.float32).encode_prompt(tokens)
        for file in (mini.NETWORK, with_source_deviation(mini.NETWORK, tmp_path / "wide.safetensors", 0.5))
    )
    assert torch.equal(mean, same)
    # In half precision.
    torch.testing.assert_close(logvar, torch.full_like(logvar, 2 * math.log(0.5)), atol=5e-3, rtol=0)


def test_every_stage_starts_from_files_of_earlier_ones():
    recipe = Recipe(Path("out"))
    names = stage_names()
    assert [name[:2] for name in names] == [f"{number:02}" for number in range(1, len(names) + 1)]
    for number, name in enumerate(names):
        stage, config = recipe.stages[name], recipe.config(name)
        files = [stage.encode_targets, stage.initial, stage.settings]
        used = {part for part in re.findall(r"out/([\w]+)/", str(files))}
        assert used <= {*names[:number], *([name] if stage.initial else [])}
        assert config.out == str(Path("out", name))
    # The last stage freezes the prompt encoder, and so goes with the tower of the one before.
    assert recipe.config(names[-1]).vision == str(Path("out", names[-2], "vision.safetensors"))


def test_unknown_fields_of_a_stage_are_named():
    with pytest.raises(ConfigError, match="stepz is not a field"):
        Recipe(Path("out"), overrides=["01_autoencoder.settings.stepz=3"])
    with pytest.raises(ConfigError, match="objective is 'dream'"):
        Recipe(Path("out"), overrides=["01_autoencoder.objective=dream"])


@pytest.mark.long
def test_the_recipe_runs_from_its_first_stage_to_files_for_the_package(tmp_path):
    """Every stage for a step or two, with small modules."""
    tower = dict(TOWER, image_size=64, num_image_tokens=16)
    changes = {"pairs.image_size": 64, "pairs.vision_size": 64}
    changes |= {f"pairs.sets.{name}.count": 16 for name in ("base", "more", "flow", "harder", "last")}
    for name in stage_names():
        changes |= {f"{name}.settings.steps": 1, f"{name}.settings.batch_size": 2}
    changes |= {
        "01_autoencoder.settings.widths": [8, 8, 16, 16],
        "01_autoencoder.settings.groups": 4,
        "03_ocr_pretraining.settings.tower": tower,
        "03_ocr_pretraining.settings.word_steps": 1,
        "03_ocr_pretraining.settings.word_batch_size": 2,
        "12_weighted_regression_fine.settings.new_prompt_encoder": dict(context_length=16, reduced_widths=[4]),
        "15_reader_regression.settings.reader_steps": 1,
        **{f"{name}.settings.network": NETWORK for name in ("04_flow_matching", "05_latent_regression")},
    }
    recipe = Recipe(tmp_path, overrides=[f"{name}={json.dumps(value)}" for name, value in changes.items()])
    assert all(recipe.run(name) for name in stage_names())
    network, vision, vae = recipe.ship(tmp_path / "mini")
    pipeline = FlowInOnePipeline.from_single_files(network, vision, vae)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline(Image.new("RGB", (64, 64)), steps=1, generator=0).images[0].size == (64, 64)
    assert {tensor.dtype for tensor in load_file(network).values()} == {torch.float16}
    # Stage 08 has the prompt encoder of 07 and the velocity network of 04.
    merged = load_file(tmp_path / "08_joint_frozen_tower" / "initial.safetensors")
    encoder = load_file(tmp_path / "07_latent_regression_tower" / "flowinone.safetensors")
    velocity = load_file(tmp_path / "04_flow_matching" / "flowinone.safetensors")
    for name, tensor in merged.items():
        source = encoder if native_name(name).startswith("prompt_encoder.") else velocity
        assert tensor.equal(source[name])
