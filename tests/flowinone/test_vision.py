"""The vision encoder's tokens are upstream's, from both layouts of its files."""

import pytest
import torch

from devtools import tiny
from devtools.numerics import relative_error
from flowinone.vision import VisionEncoder
from flowinone.weights.mapping import janus_map, vision_map


def built(mapping, stored):
    return {name: source.build(*(stored[part] for part in source.names)) for name, source in mapping.items()}


@pytest.fixture(scope="module")
def native():
    stored = tiny.vision_weights()
    return built(vision_map(stored), stored)


def test_tokens_are_upstreams(native, upstream):
    reference = upstream("janus_vision_tiny")
    encoder = VisionEncoder.from_state_dict(native)
    pixels = tiny.fixture_input("pixel_values", (2, 3, 384, 384), 0.5)
    assert relative_error(encoder.vision_model(pixels).last_hidden_state, reference["features"]) < 1e-5
    assert relative_error(encoder(pixels), reference["tokens"]) < 1e-5


def test_layouts_convert_into_each_other_and_back(native):
    stored = tiny.vision_weights()
    used = {name for name in stored if "attn_pool" not in name}
    restored = built(janus_map(native), native)
    assert restored.keys() == used
    assert all(torch.equal(restored[name], stored[name]) for name in used)

    as_transformers = {f"model.{name}": tensor for name, tensor in native.items()}
    as_transformers["model.language_model.embed_tokens.weight"] = torch.zeros(2, 2)
    assert built(vision_map(as_transformers), as_transformers).keys() == native.keys()


def test_sizes_are_inferred_from_the_tensors():
    stored = {
        name: torch.empty(shape, device="meta")
        for name, shape in {
            "vision_model.vision_tower.pos_embed": (1, 144, 64),
            "vision_model.vision_tower.patch_embed.proj.weight": (64, 3, 14, 14),
            "vision_model.vision_tower.patch_embed.proj.bias": (64,),
            "vision_model.vision_tower.norm.weight": (64,),
            "vision_model.vision_tower.norm.bias": (64,),
            "vision_model.vision_tower.blocks.0.norm1.weight": (64,),
            "vision_model.vision_tower.blocks.0.norm1.bias": (64,),
            "vision_model.vision_tower.blocks.0.norm2.weight": (64,),
            "vision_model.vision_tower.blocks.0.norm2.bias": (64,),
            "vision_model.vision_tower.blocks.0.attn.qkv.weight": (192, 64),
            "vision_model.vision_tower.blocks.0.attn.qkv.bias": (192,),
            "vision_model.vision_tower.blocks.0.attn.proj.weight": (64, 64),
            "vision_model.vision_tower.blocks.0.attn.proj.bias": (64,),
            "vision_model.vision_tower.blocks.0.mlp.fc1.weight": (160, 64),
            "vision_model.vision_tower.blocks.0.mlp.fc1.bias": (160,),
            "vision_model.vision_tower.blocks.0.mlp.fc2.weight": (64, 160),
            "vision_model.vision_tower.blocks.0.mlp.fc2.bias": (64,),
            "aligner.layers.0.weight": (80, 64),
            "aligner.layers.0.bias": (80,),
            "aligner.layers.2.weight": (80, 80),
            "aligner.layers.2.bias": (80,),
            "aligner.layers.4.weight": (80, 80),
            "aligner.layers.4.bias": (80,),
        }.items()
    }
    encoder = VisionEncoder.from_state_dict(built(vision_map(stored), stored))
    assert encoder.image_size == 168
    assert (encoder.config.num_hidden_layers, encoder.config.depth, encoder.config.projection_dim) == (1, 3, 80)


def test_what_is_missing_is_named(native):
    with pytest.raises(ValueError, match=r"aligner\.fc1\.weight missing"):
        VisionEncoder.from_state_dict({name: t for name, t in native.items() if not name.startswith("aligner.fc1")})
    with pytest.raises(ValueError, match=r"1 missing tensors: aligner\.hidden_layers\.0\.bias"):
        VisionEncoder.from_state_dict({n: t for n, t in native.items() if n != "aligner.hidden_layers.0.bias"})
