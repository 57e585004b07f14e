import dataclasses
import json

import pytest
import torch
from safetensors.torch import save_file

from devtools import tiny
from flowinone.config import FlowInOneConfig
from flowinone.model import FlowInOneModel
from flowinone.model.flowinone_model import native_tensors
from flowinone.weights.checkpoint import open_autoencoder, open_network, open_vision
from flowinone.weights.mapping import vision_map
from flowinone.weights.weightfile import CheckpointError

NOTHING = torch.zeros(())
ONE = torch.ones(4, 4, 1, 1)
NETWORK = tiny.network_weights()
NATIVE = native_tensors(NETWORK)
VISION = tiny.vision_weights()
AUTOENCODER = tiny.autoencoder_weights()


def assert_same(tensors, expected):
    assert set(tensors) == set(expected)
    for name, tensor in tensors.items():
        assert tensor.dtype == expected[name].dtype and torch.equal(tensor, expected[name]), name


def prefixed(prefix, weights):
    return {prefix + name: tensor for name, tensor in weights.items()}


def transformers_names(weights):
    mapping = vision_map(weights)
    return {name: source.build(*(weights[n] for n in source.names)).contiguous() for name, source in mapping.items()}


def test_native_names_load_like_upstreams(tmp_path):
    save_file(prefixed("module.", NATIVE), tmp_path / "x.safetensors")
    assert_same(open_network(tmp_path / "x.safetensors").tensors(), NATIVE)


def test_training_only_tensors_are_never_read(tmp_path):
    # Reading the first of them to cast it would need two pebibytes.
    training_only = {"open_clip.huge": NOTHING.expand(2**50), "open_clip_output.0.weight": torch.ones(2)}
    torch.save(NETWORK | training_only, tmp_path / "x.pth")
    tensors = open_network(tmp_path / "x.pth").tensors(torch.bfloat16)
    assert set(tensors) == set(NATIVE)


def test_floating_point_tensors_are_cast_and_integers_are_not(tmp_path):
    save_file(AUTOENCODER | {"encoder.steps": torch.tensor([3])}, tmp_path / "x.safetensors")
    tensors = open_autoencoder(tmp_path / "x.safetensors").tensors(torch.float16)
    assert tensors.pop("encoder.steps").dtype == torch.int64
    assert_same(tensors, {name: tensor.half() for name, tensor in AUTOENCODER.items()})


def test_tensors_go_to_the_device_asked_for(tmp_path):
    save_file(NETWORK, tmp_path / "x.safetensors")
    tensors = open_network(tmp_path / "x.safetensors").tensors(torch.bfloat16, "meta")
    assert {(tensor.device.type, tensor.dtype) for tensor in tensors.values()} == {("meta", torch.bfloat16)}


def test_head_counts_come_from_the_metadata(tmp_path):
    heads = json.dumps(dataclasses.asdict(FlowInOneConfig(coarse_heads=4, context_heads=2)))
    save_file(NATIVE, tmp_path / "x.safetensors", metadata={"flowinone.config": heads})
    file = open_network(tmp_path / "x.safetensors")
    config = file.config
    assert (config.coarse_heads, config.context_heads, config.coarse_width) == (4, 2, 64)
    assert FlowInOneModel.from_state_dict(file.tensors(), coarse_heads=4, context_heads=2).config == config
    assert file.load().config == config


VISION_COUNT = open_vision, VISION, "flowinone.vision_heads", "num_attention_heads"
AUTOENCODER_COUNT = open_autoencoder, AUTOENCODER, "flowinone.norm_groups", "norm_num_groups"


@pytest.mark.parametrize(("open_file", "weights", "key", "setting"), [VISION_COUNT, AUTOENCODER_COUNT])
def test_what_shapes_of_the_other_parts_do_not_tell_comes_from_the_metadata_too(
    tmp_path, open_file, weights, key, setting
):
    path = tmp_path / "x.safetensors"
    save_file(weights, path, {key: "8"})
    assert open_file(path).settings == {setting: 8}
    save_file(weights, path)
    assert open_file(path).settings == {}
    for unreadable in ("", "eight", "0", "-8", "8.0", "[8]"):
        save_file(weights, path, {key: unreadable})
        with pytest.raises(CheckpointError, match=f"has unreadable {key} metadata; convert it again"):
            open_file(path)
    save_file(weights, path, {key: "100"})
    with pytest.raises(CheckpointError, match=f"cannot be used: {key}=100 does not divide a layer's width [0-9]+$"):
        open_file(path)


def test_a_networks_preview_comes_from_its_metadata(tmp_path):
    factors, bias = [[0.5, 0, -1], [1, 2, 3], [0, 0, 0], [-0.25, 0, 1]], [0.1, 0, -0.1]
    path = tmp_path / "x.safetensors"
    save_file(NETWORK, path, {"flowinone.preview": json.dumps({"factors": factors, "bias": bias})})
    assert open_network(path).preview == (factors, bias)
    save_file(NETWORK, path)
    assert open_network(path).preview is None
    for unreadable in (
        "no json",
        "[]",
        "{}",
        {"factors": factors},
        {"factors": factors[1:], "bias": bias},
        {"factors": factors, "bias": [0, "a", 0]},
    ):
        save_file(
            NETWORK, path, {"flowinone.preview": unreadable if isinstance(unreadable, str) else json.dumps(unreadable)}
        )
        network = open_network(path)
        with pytest.raises(CheckpointError, match="has unreadable flowinone.preview metadata; convert it again"):
            network.preview  # noqa: B018


def test_the_released_files_keys_and_shapes_are_a_whole_network(tmp_path):
    keys = tiny.manifest("flowinone_256px")
    assert len(keys) == 3235
    torch.save({name: NOTHING.expand(shape) for name, shape in keys.items()}, tmp_path / "flowinone_256px.pth")
    network = open_network(tmp_path / "flowinone_256px.pth")
    assert network.config == FlowInOneConfig()
    assert len(network.tensors()) == sum(not name.startswith("open_clip") for name in keys)


@pytest.mark.parametrize(
    "layout",
    [
        lambda weights: weights,
        lambda weights: weights | {"language_model.model.norm.weight": torch.ones(2), "gen_head.x": torch.ones(1)},
        lambda weights: transformers_names(weights),
        lambda weights: prefixed("model.", transformers_names(weights)),
        lambda weights: (
            prefixed("model.", transformers_names(weights) | {"language_model.layers.0.x": torch.ones(2)})
            | {"lm_head.weight": torch.ones(2)}
        ),
    ],
)
def test_every_layout_of_janus_gives_the_same_vision_encoder(tmp_path, layout):
    expected = transformers_names(VISION)
    torch.save(layout(VISION), tmp_path / "x.bin")
    save_file(layout(VISION), tmp_path / "x.safetensors")
    for name in ("x.bin", "x.safetensors"):
        assert_same(open_vision(tmp_path / name).tensors(), expected)


@pytest.mark.parametrize(
    "layout",
    [
        lambda weights: weights,
        lambda weights: prefixed("first_stage_model.", weights),
        lambda weights: prefixed("vae.", weights),
        lambda weights: {
            "state_dict": prefixed("first_stage_model.", weights)
            | {"model.diffusion_model.input_blocks.0.0.bias": ONE},
            "global_step": 4,
        },
        lambda weights: weights | {"loss.logvar": torch.ones(1)},
    ],
)
def test_every_layout_of_an_autoencoder_gives_the_same_tensors(tmp_path, layout):
    torch.save(layout(AUTOENCODER), tmp_path / "x.ckpt")
    assert_same(open_autoencoder(tmp_path / "x.ckpt").tensors(), AUTOENCODER)


def test_a_diffusers_autoencoder_keeps_its_names(tmp_path):
    AutoencoderKL = pytest.importorskip("diffusers").AutoencoderKL
    save_autoencoder(AutoencoderKL, tmp_path / "vae", levels=4)
    tensors = open_autoencoder(tmp_path / "vae").tensors()
    assert set(tensors) == set(AutoencoderKL.from_pretrained(tmp_path / "vae").state_dict())


def save_autoencoder(kind, folder, levels):
    kind(
        block_out_channels=(8,) * levels,
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
    ).save_pretrained(folder)


def test_an_autoencoder_of_another_scale_is_refused(tmp_path):
    AutoencoderKL = pytest.importorskip("diffusers").AutoencoderKL
    save_autoencoder(AutoencoderKL, tmp_path / "vae", levels=3)
    with pytest.raises(
        CheckpointError, match="is a VAE of 4 pixels per latent; expected Stable Diffusion 1.x's with 8"
    ):
        open_autoencoder(tmp_path / "vae")


@pytest.mark.parametrize(
    ("open_file", "weights", "sentence"),
    [
        (
            open_network,
            {"model.diffusion_model.input_blocks.0.0.weight": ONE, "model.diffusion_model.out.2.bias": ONE},
            "is a Stable Diffusion checkpoint (found model.diffusion_model.input_blocks.*); "
            "expected the FlowInOne keys stages.* (upstream) or velocity_network.* (converted)",
        ),
        (
            open_network,
            {"model.diffusion_model.input_blocks.0.0.weight": ONE, "first_stage_model.decoder.conv_in.weight": ONE},
            "is a Stable Diffusion checkpoint (found model.diffusion_model.input_blocks.*)",
        ),
        (
            open_network,
            {"model.diffusion_model.blocks.0.q.weight": ONE},
            "is a diffusion model's checkpoint (found model.diffusion_model.*)",
        ),
        (open_network, {"double_blocks.0.img_attn.proj.weight": ONE}, "is a Flux checkpoint (found double_blocks.*)"),
        (open_network, {"down_blocks.0.resnets.0.conv1.weight": ONE}, "is a diffusers UNet (found down_blocks.*)"),
        (
            open_network,
            {"lora_unet_mid_block.lora_up.weight": ONE, "lora_unet_mid_block.lora_down.weight": ONE},
            "is a LoRA (found lora_unet_mid_block.lora_up.*)",
        ),
        (open_network, {"velocity_network.x.lora_A.weight": ONE}, "is a LoRA (found velocity_network.x.lora_A.*)"),
        (
            open_network,
            {"vision_model.post_layernorm.bias": ONE},
            "is a CLIP or SigLIP vision model (found vision_model.*)",
        ),
        (open_network, {"decoder.conv_in.weight": ONE, "quant_conv.weight": ONE}, "is a VAE (found decoder.conv_in.*)"),
        (open_network, {"layers.0.self_attn.q_proj.weight": ONE}, "is a language model (found layers.0*)"),
        (open_network, {"foo.weight": ONE, "bar.bias": ONE}, "is an unknown model (found foo.weight, bar.bias)"),
        (
            open_vision,
            {"stages.0.tensor_true": ONE},
            "is a FlowInOne network (found stages.*); expected Janus-Pro's keys ",
        ),
        (
            open_vision,
            {"vision_model.encoder.layers.0.self_attn.out_proj.weight": ONE},
            "is a CLIP or SigLIP vision model (found vision_model.*); expected Janus-Pro's keys ",
        ),
        (open_vision, {"vae.encoder.conv_in.weight": ONE}, "is a VAE (found vae.encoder.conv_in.*)"),
        (
            open_autoencoder,
            {"velocity_network.fine.x": ONE},
            "is a FlowInOne network (found velocity_network.*); expected a Stable Diffusion 1.x VAE's keys ",
        ),
        (
            open_autoencoder,
            {"conditioner.embedders.1.model.x": ONE, "first_stage_model.encoder.conv_in.weight": ONE},
            "is an SDXL checkpoint (found conditioner.embedders.*)",
        ),
        (
            open_autoencoder,
            {"model.diffusion_model.input_blocks.0.0.weight": ONE, "model_ema.decay": ONE},
            "is a Stable Diffusion checkpoint (found model.diffusion_model.input_blocks.*) without its VAE",
        ),
        (
            open_autoencoder,
            {"encoder.layers.0.weight": ONE, "encoder.layers.1.conv.0.weight": ONE},
            "is a TAESD preview autoencoder (found encoder.layers.0.*)",
        ),
        (open_autoencoder, {"1.weight": ONE, "3.conv.0.weight": ONE}, "is a TAESD preview autoencoder (found 1.*)"),
        (
            open_autoencoder,
            {"encoder.conv_in.weight": ONE, "decoder.conv_in.weight": torch.ones(8, 16, 3, 3)},
            "is a VAE with 16 latent channels (as in Flux and Stable Diffusion 3); expected Stable ",
        ),
        (
            open_autoencoder,
            {"encoder.conv_in.weight": ONE, "decoder.conv_in.weight": ONE, "quant_conv.weight": ONE},
            "lacks 3 tensors, the first: encoder.conv_out.weight, decoder.conv_out.weight, post_quant_conv.weight",
        ),
    ],
)
def test_a_file_of_the_wrong_kind_is_named_for_what_it_is(tmp_path, monkeypatch, open_file, weights, sentence):
    monkeypatch.chdir(tmp_path)
    torch.save(weights, "x.pth")
    with pytest.raises(CheckpointError) as raised:
        open_file("x.pth")
    assert str(raised.value).startswith(f"x.pth {sentence}")


def network_error(path, weights, **metadata):
    save_file(weights, path, **metadata)
    with pytest.raises(CheckpointError) as raised:
        open_network(path)
    return str(raised.value).removeprefix(f"{path} ")


def test_missing_tensors_of_a_network_are_counted_and_named_as_in_the_file(tmp_path):
    gone = ("stages.0.blocks.1.block1.norm.", "context_encoder.linear.bias")
    network = {name: tensor for name, tensor in NETWORK.items() if not name.startswith(gone)}
    native = {name: tensor for name, tensor in NATIVE.items() if name != "prompt_encoder.head.bias"}
    sentence = network_error(tmp_path / "x.safetensors", network)
    assert sentence.startswith(
        "lacks 5 tensors, the first: context_encoder.linear.bias, stages.0.blocks.1.block1.norm."
    )
    assert (
        network_error(tmp_path / "y.safetensors", native)
        == "lacks 1 tensor, prompt_encoder.head.bias; download it again"
    )


def test_a_network_that_is_mostly_missing_is_refused(tmp_path):
    sentence = network_error(tmp_path / "x.safetensors", {"stages.0.tensor_true": torch.ones(1)})
    assert sentence.startswith("cannot be used: not a complete FlowInOne network: ")


def test_foreign_tensors_in_a_network_are_named(tmp_path):
    sentence = network_error(tmp_path / "x.safetensors", NETWORK | {"stages.0.extra": torch.ones(1)})
    assert sentence.startswith(
        "has 1 tensor, stages.0.extra, not part of FlowInOne; expected the FlowInOne keys stages.*"
    )
    sentence = network_error(tmp_path / "x.safetensors", NETWORK | {"stages.0.blocks.7.block2.w0.weight": ONE})
    assert sentence.startswith("has 1 tensor, stages.0.blocks.7.block2.w0.weight, not part of FlowInOne")


def test_misshapen_tensors_of_a_network_are_named(tmp_path):
    sentence = network_error(tmp_path / "x.safetensors", NETWORK | {"stages.0.tensor_true": torch.ones(3)})
    assert sentence == (
        "has 1 tensor, stages.0.tensor_true, whose shapes do not fit the rest of the network; download it again"
    )


@pytest.mark.parametrize("config", ["{}", "no json", "[1]", '{"coarse_heads": null, "context_heads": 8}'])
def test_unreadable_configuration_is_refused(tmp_path, config):
    sentence = network_error(tmp_path / "x.safetensors", NATIVE, metadata={"flowinone.config": config})
    assert sentence == "has unreadable flowinone.config metadata; convert it again"


def test_head_counts_that_do_not_divide_the_width_are_refused(tmp_path):
    config = '{"coarse_heads": 7, "context_heads": 8}'
    sentence = network_error(tmp_path / "x.safetensors", NATIVE, metadata={"flowinone.config": config})
    assert sentence == "cannot be used: coarse_heads=7 does not divide the coarse stage's width 64"


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        ("aligner.layers.0.weight", "aligner.fc1.weight"),
        ("vision_model.vision_tower.blocks.1.norm2.bias", "vision_model.encoder.layers.1.layer_norm2.bias"),
        ("vision_model.vision_tower.pos_embed", "vision_model.embeddings.position_embedding.weight"),
    ],
)
def test_missing_tensors_of_the_vision_encoder_are_named(tmp_path, gone, named):
    save_file({name: tensor for name, tensor in VISION.items() if name != gone}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=f"lacks 1 tensor, {named}"):
        open_vision(tmp_path / "x.safetensors")
