"""Each weight file is opened once and each model built once: the one that validates a file also gets its tensors."""

import collections
import functools
import sys
import weakref
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from devtools import tiny
from flowinone import FlowInOnePipeline, mini
from flowinone.model import PromptEncoder, VelocityNetwork
from flowinone.training.build import build_objective
from flowinone.training.run_config import DataSource, TrainingConfig
from flowinone.vision import VisionEncoder
from flowinone.weights import weightfile
from flowinone.weights.checkpoint import open_network
from flowinone.weights.conversion import convert

MINI = (mini.NETWORK, mini.VISION, mini.VAE)
MODULES = (PromptEncoder, VelocityNetwork, VisionEncoder, AutoencoderKL)


@pytest.fixture
def opened(monkeypatch):
    """How often each weight file was opened."""
    counts, open_file = collections.Counter(), weightfile._open_file

    def counted(path):
        counts[path] += 1
        return open_file(path)

    monkeypatch.setattr(weightfile, "_open_file", counted)
    return counts


@pytest.fixture
def built(monkeypatch):
    """How often each part's module was constructed, by the name of its class."""
    counts = collections.Counter()

    def counted(kind, construct):
        @functools.wraps(construct)
        def constructed(self, *arguments, **settings):
            counts[kind.__name__] += 1
            construct(self, *arguments, **settings)

        return constructed

    for kind in MODULES:
        monkeypatch.setattr(kind, "__init__", counted(kind, kind.__init__))
    return counts


def once(things):
    return collections.Counter(dict.fromkeys(things, 1))


def test_the_pipeline_opens_three_files_and_builds_three_models(opened, built):
    pipeline = FlowInOnePipeline.mini()
    assert opened == once(MINI)
    assert built == once(kind.__name__ for kind in MODULES)
    for part in pipeline.components.values():
        assert {parameter.device.type for parameter in part.parameters()} == {"cpu"}


def test_training_opens_three_files_and_builds_three_models(opened, built):
    network, vision, vae = map(str, MINI)
    config = TrainingConfig(
        out="", data=(DataSource("pairs"),), contrastive_weight=0.0, checkpoint=network, vision=vision, vae=vae
    )
    build_objective(config)
    assert opened == once(MINI)
    assert built == once(kind.__name__ for kind in MODULES)


@pytest.mark.parametrize("source", MINI, ids=lambda path: path.stem)
def test_a_conversion_opens_its_source_once(tmp_path, opened, source):
    convert(source, tmp_path / "out.safetensors", torch.bfloat16)
    assert opened == once([source])


def test_prompt_encoder_and_velocity_network_come_from_one_opened_file(tmp_path, opened, built):
    """What ComfyUI's loader asks for, whose velocity network ComfyUI builds itself."""
    path = tmp_path / "int8.safetensors"
    convert(mini.NETWORK, path, torch.int8)
    opened.clear(), built.clear()
    with open_network(path) as network:
        prompt_encoder = network.load_prompt_encoder(torch.float32)
        stored = network.stored_tensors("velocity_network")
    assert opened == once([path]) and built == once(["PromptEncoder", "VelocityNetwork"])
    assert {parameter.dtype for parameter in prompt_encoder.parameters()} == {torch.float32}
    assert stored["coarse.blocks.0.mlp.w0.weight"].dtype == torch.int8
    assert {"coarse.blocks.0.mlp.w0.weight_scale", "coarse.blocks.0.mlp.w0.comfy_quant"} < set(stored)
    assert (network.config.latent_size, network.preview is not None) == (16, True)


def test_a_closed_file_holds_no_tensors_and_leaves_those_that_were_read(tmp_path):
    path = tmp_path / "network.pth"
    torch.save(tiny.network_weights(), path, _use_new_zipfile_serialization=False)  # read whole, not mapped
    with open_network(path) as network:
        tensors = network.stored_tensors("velocity_network")
    first = next(iter(tensors))
    tensor = weakref.ref(tensors[first])
    assert tensor().isfinite().all()
    del tensors[first]
    assert tensor() is None


def mapped_ranges(path):
    """Where the file is mapped into memory: pairs of addresses."""
    mappings = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(path))]
    return [[int(address, 16) for address in mapping[0].split("-")] for mapping in mappings]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("save", [save_file, torch.save])
def test_tensors_stay_mapped_as_stored_and_are_copied_in_another_dtype(tmp_path, save):
    path = tmp_path / "network"
    save(tiny.network_weights(), path)
    for dtype, mapped in ((None, True), (torch.float32, True), (torch.bfloat16, False)):
        with open_network(path) as network:
            model = network.load(dtype)
        ranges = mapped_ranges(path)
        for parameter in model.parameters():
            assert any(start <= parameter.data_ptr() < end for start, end in ranges) == mapped
            assert not parameter.requires_grad
            assert parameter.dtype == dtype or dtype is None


def test_unscaled_float8_weights_need_a_dtype(tmp_path):
    path = tmp_path / "network.safetensors"
    save_file({name: tensor.to(torch.float8_e4m3fn) for name, tensor in tiny.network_weights().items()}, path)
    with pytest.raises(ValueError, match="network.safetensors stores .* as torch.float8_e4m3fn, which torch cannot"):
        open_network(path).load()
    assert open_network(path).load(torch.bfloat16).dtype == torch.bfloat16
