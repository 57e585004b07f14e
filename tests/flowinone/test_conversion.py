import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from devtools import tiny
from flowinone import mini
from flowinone.config import FlowInOneConfig
from flowinone.model import FlowInOneModel
from flowinone.model.flowinone_model import native_tensors
from flowinone.model.names import upstream_name
from flowinone.weights.checkpoint import open_autoencoder, open_network
from flowinone.weights.conversion import convert, open_model_file
from flowinone.weights.weightfile import CheckpointError

ROOT = Path(__file__).parents[2]


def metadata(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def assert_same(tensors, expected):
    assert set(tensors) == set(expected)
    for name, tensor in tensors.items():
        assert tensor.dtype == expected[name].dtype and torch.equal(tensor, expected[name]), name


# Upstream's files hold tensors that only training or the language model reads; these are the rest.
NETWORK = {name: tensor for name, tensor in tiny.network_weights().items() if not name.startswith("open_clip")}
VISION = {name: tensor for name, tensor in tiny.vision_weights().items() if ".attn_pool." not in name}


@pytest.fixture
def network_file(tmp_path):
    torch.save(tiny.network_weights() | {"open_clip.logit_scale": torch.ones(())}, tmp_path / "network.pth")
    return tmp_path / "network.pth"


@pytest.fixture
def vision_file(tmp_path):
    torch.save(tiny.vision_weights() | {"language_model.model.norm.weight": torch.ones(3)}, tmp_path / "vision.bin")
    return tmp_path / "vision.bin"


@pytest.fixture
def autoencoder_file(tmp_path):
    weights = {f"first_stage_model.{name}": tensor for name, tensor in tiny.autoencoder_weights().items()}
    weights["model.diffusion_model.input_blocks.0.0.bias"] = torch.ones(3)
    torch.save({"state_dict": weights}, tmp_path / "sd.ckpt")
    return tmp_path / "sd.ckpt"


def test_the_network_goes_to_native_names_and_back_bit_for_bit(tmp_path, network_file):
    convert(network_file, tmp_path / "native.safetensors")
    convert(tmp_path / "native.safetensors", tmp_path / "upstream.safetensors", to_upstream=True)
    assert_same(load_file(tmp_path / "native.safetensors"), native_tensors(NETWORK))
    assert_same(load_file(tmp_path / "upstream.safetensors"), NETWORK)


def test_the_vision_encoder_goes_to_transformers_names_and_back_bit_for_bit(tmp_path, vision_file):
    convert(vision_file, tmp_path / "transformers.safetensors")
    convert(tmp_path / "transformers.safetensors", tmp_path / "deepseek.safetensors", to_upstream=True)
    convert(vision_file, tmp_path / "straight.safetensors", to_upstream=True)
    assert "vision_model.encoder.layers.2.self_attn.k_proj.weight" in load_file(tmp_path / "transformers.safetensors")
    assert_same(load_file(tmp_path / "deepseek.safetensors"), VISION)
    assert_same(load_file(tmp_path / "straight.safetensors"), VISION)


@pytest.mark.parametrize("to_upstream", [False, True])
def test_the_autoencoder_comes_out_alone_under_its_own_names(tmp_path, autoencoder_file, to_upstream):
    convert(autoencoder_file, tmp_path / "vae.safetensors", to_upstream=to_upstream)
    assert_same(load_file(tmp_path / "vae.safetensors"), tiny.autoencoder_weights())


def test_every_name_of_the_released_file_has_its_way_there_and_back(tmp_path):
    keys = [name for name in tiny.manifest("flowinone_256px") if not name.startswith("open_clip")]
    native = native_tensors(dict.fromkeys(keys))
    assert len(native) == len(keys)
    assert [upstream_name(name) for name in native] == keys


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_floating_point_tensors_are_cast_and_integers_are_not(tmp_path, dtype):
    weights = tiny.autoencoder_weights()
    others = {"encoder.steps": torch.tensor(3), "encoder.on": torch.tensor([True])}
    save_file(weights | others, tmp_path / "vae.safetensors")
    convert(tmp_path / "vae.safetensors", tmp_path / "out.safetensors", dtype)
    tensors = load_file(tmp_path / "out.safetensors")
    assert_same({name: tensors.pop(name) for name in others}, others)
    assert {tensor.dtype for tensor in tensors.values()} == {dtype}
    assert_same({n: t.float() for n, t in tensors.items()}, {n: t.to(dtype).float() for n, t in weights.items()})


def test_transposed_scalar_and_empty_tensors_survive(tmp_path):
    transposed = torch.arange(6.0).reshape(2, 3).T
    odd = {"encoder.a": transposed, "encoder.b": torch.tensor(2.0), "encoder.c": torch.zeros(0, 4)}
    torch.save(tiny.autoencoder_weights() | odd, tmp_path / "vae.pt")
    convert(tmp_path / "vae.pt", tmp_path / "out.safetensors")
    assert_same(load_file(tmp_path / "out.safetensors"), tiny.autoencoder_weights() | odd)


def test_every_tensor_starts_at_a_multiple_of_its_size(tmp_path):
    weights = tiny.autoencoder_weights() | {"encoder.on": torch.tensor([True]), "encoder.steps": torch.tensor([3])}
    save_file(weights, tmp_path / "vae.safetensors")
    convert(tmp_path / "vae.safetensors", tmp_path / "out.safetensors")
    stored = (tmp_path / "out.safetensors").read_bytes()
    length = int.from_bytes(stored[:8], "little")
    header = json.loads(stored[8 : 8 + length])
    assert length % 8 == 0
    for name, tensor in weights.items():
        assert header[name]["data_offsets"][0] % tensor.element_size() == 0


def test_the_metadata_tell_where_a_file_comes_from(tmp_path, network_file, vision_file, autoencoder_file):
    parts = [
        (network_file, "network", "Apache-2.0"),
        (vision_file, "vision", "DeepSeek Model License"),
        (autoencoder_file, "autoencoder", "CreativeML Open RAIL-M"),
    ]
    for source, kind, licence in parts:
        target = tmp_path / f"{kind}.safetensors"
        convert(source, target, torch.bfloat16)
        stored = metadata(target)
        assert (stored["format"], stored["flowinone.kind"], stored["flowinone.dtype"]) == ("pt", kind, "bfloat16")
        assert stored["flowinone.source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
        assert licence in stored["flowinone.license"]
    config = json.loads(metadata(tmp_path / "network.safetensors")["flowinone.config"])
    assert FlowInOneConfig(**config).coarse_width == 64


def test_a_second_conversion_keeps_checksum_licence_and_head_counts(tmp_path):
    earlier = {
        "flowinone.config": '{"coarse_heads": 4, "context_heads": 2}',
        "flowinone.source_sha256": "of the first source",
        "flowinone.license": "mine",
        "title": "not ours",
    }
    save_file(tiny.network_weights(), tmp_path / "in.safetensors", metadata=earlier)
    convert(tmp_path / "in.safetensors", tmp_path / "out.safetensors", torch.float16)
    stored = metadata(tmp_path / "out.safetensors")
    assert (stored["flowinone.source_sha256"], stored["flowinone.license"]) == ("of the first source", "mine")
    assert stored["flowinone.dtype"] == "float16" and "title" not in stored
    config = open_network(tmp_path / "out.safetensors").config
    assert (config.coarse_heads, config.context_heads) == (4, 2)


@pytest.mark.parametrize("to_upstream", [False, True])
def test_a_conversion_keeps_what_shapes_do_not_tell(tmp_path, to_upstream):
    preview = json.dumps({"factors": [[1.0, 2.0, 3.0]] * 4, "bias": [4.0, 5.0, 6.0]})
    network = tmp_path / "network.safetensors"
    save_file(load_file(mini.NETWORK), network, metadata(mini.NETWORK) | {"flowinone.preview": preview})
    out = tmp_path / "out.safetensors"
    for source, names in ((network, ("config", "preview")), (mini.VISION, ["settings"]), (mini.VAE, ["settings"])):
        convert(source, out, torch.float32, to_upstream=to_upstream, overwrite=True)
        for name in names:
            assert getattr(open_model_file(out), name) == getattr(open_model_file(source), name) is not None
    assert open_autoencoder(out).settings == {"norm_num_groups": 8}


def test_a_sharded_source_gives_the_checksum_of_each_file(tmp_path):
    names = list(tiny.vision_weights())
    shards = [tmp_path / f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
    for number, shard in enumerate(shards):
        torch.save({name: tiny.vision_weights()[name] for name in names[number::2]}, shard)
    convert(shards[0], tmp_path / "out.safetensors", to_upstream=True)
    assert_same(load_file(tmp_path / "out.safetensors"), VISION)
    sums = [hashlib.sha256(shard.read_bytes()).hexdigest() for shard in shards]
    assert metadata(tmp_path / "out.safetensors")["flowinone.source_sha256"] == ",".join(sums)


def test_progress_rises_to_the_total(tmp_path, network_file):
    calls = []
    convert(network_file, tmp_path / "out.safetensors", progress=lambda done, total: calls.append((done, total)))
    done, totals = [done for done, _ in calls], {total for _, total in calls}
    assert done == sorted(done) and totals == {done[-1]}
    written = sum(tensor.nbytes for tensor in load_file(tmp_path / "out.safetensors").values())
    assert done[-1] == network_file.stat().st_size + written


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("earlier", [None, b"an earlier target"])
def test_an_interrupted_conversion_leaves_nothing_and_keeps_the_earlier_target(tmp_path, network_file, error, earlier):
    target = tmp_path / "out.safetensors"
    if earlier:
        target.write_bytes(earlier)
    before = sorted(tmp_path.iterdir())
    during = []

    def interrupt(done, total):
        if done > 0.9 * total:
            during.extend(tmp_path.glob("*.partial"))
            raise error

    with pytest.raises(error):
        convert(network_file, target, progress=interrupt, overwrite=True)
    assert len(during) == 1
    assert sorted(tmp_path.iterdir()) == before
    assert not earlier or target.read_bytes() == earlier


def test_an_earlier_target_is_replaced_only_when_asked(tmp_path, vision_file):
    target = tmp_path / "out.safetensors"
    target.write_bytes(b"an earlier target")
    with pytest.raises(CheckpointError, match="out.safetensors exists; give the result another name, or ask for it "):
        convert(vision_file, target)
    assert target.read_bytes() == b"an earlier target"
    convert(vision_file, target, overwrite=True)
    assert len(load_file(target)) > 0


def test_the_source_is_never_its_own_target(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_file(tiny.vision_weights(), "in.safetensors")
    with pytest.raises(CheckpointError, match="is the source itself; give the result another name"):
        convert("in.safetensors", tmp_path / "in.safetensors", overwrite=True)
    assert_same(load_file("in.safetensors"), tiny.vision_weights())


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("missing/out.safetensors", "cannot be written: there is no folder missing; create it first"),
        ("out.pth", "would be a safetensors file; give it a name that ends in .safetensors"),
    ],
)
def test_a_target_that_cannot_be_written_is_named(tmp_path, monkeypatch, vision_file, target, sentence):
    monkeypatch.chdir(tmp_path)
    target = os.path.normpath(target)
    with pytest.raises(CheckpointError) as raised:
        convert(vision_file, target)
    assert str(raised.value) == f"{target} {sentence}"


def test_a_disk_that_is_too_small_is_noticed_before_writing(tmp_path):
    # A stored scalar that is seen as four pebibytes.
    torch.save(tiny.autoencoder_weights() | {"encoder.huge": torch.zeros(()).expand(2**50)}, tmp_path / "vae.pt")
    with pytest.raises(CheckpointError, match=r"needs 4,503,\d+ GB and its disk has [\d,.]+ [GM]B free; make room"):
        convert(tmp_path / "vae.pt", tmp_path / "out.safetensors", progress=pytest.fail)
    assert [path.name for path in tmp_path.iterdir()] == ["vae.pt"]


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        (
            {"x.lora_up.weight": torch.ones(1)},
            "is a LoRA (found x.lora_up.*); expected a FlowInOne network, a Janus-Pro ",
        ),
        ({"stages.0.tensor_true": torch.ones(1)}, "cannot be used: not a complete FlowInOne network"),
    ],
)
def test_a_source_without_a_part_of_flowinone_is_refused(tmp_path, weights, sentence):
    save_file(weights, tmp_path / "in.safetensors")
    with pytest.raises(CheckpointError) as raised:
        convert(tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    assert str(raised.value).startswith(f"{tmp_path / 'in.safetensors'} {sentence}")


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_the_target_has_the_mode_of_any_new_file(tmp_path, vision_file):
    (tmp_path / "any").touch()
    convert(vision_file, tmp_path / "out.safetensors")
    mode, expected = ((tmp_path / name).stat().st_mode for name in ("out.safetensors", "any"))
    assert stat.S_IMODE(mode) == stat.S_IMODE(expected)


MEASURE = """
import sys, threading
import torch
from flowinone.weights.conversion import convert

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

def watch():
    while not finished.wait(0.0005):
        peaks.append(anonymous())

finished = threading.Event()
peaks = [before := anonymous()]
watcher = threading.Thread(target=watch)
watcher.start()
# The progress callback runs while the tensor written last is still alive.
convert(sys.argv[1], sys.argv[2], torch.bfloat16, progress=lambda done, total: peaks.append(anonymous()))
finished.set()
watcher.join()
print(max(peaks) - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_near_the_largest_tensor(tmp_path):
    coarse = dict(coarse_width=256, coarse_blocks=33, coarse_mlp_width=768, gate_width=64)
    fine = dict(fine_width=64, fine_blocks=3, fine_mlp_width=128)
    prompt = dict(token_width=96, context_width=128, context_layers=1, reduced_widths=(64, 32, 8))
    config = FlowInOneConfig(**coarse, **fine, **prompt)
    weights = {upstream_name(name): tensor for name, tensor in FlowInOneModel(config).state_dict().items()}
    torch.save(weights, tmp_path / "in.pth")
    sizes = [tensor.nbytes for tensor in weights.values()]
    assert sum(sizes) > 180e6
    largest = max(sizes)
    del weights
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "in.pth"), str(tmp_path / "out.safetensors")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    # Mapped pages of the source are the kernel's to drop, so anonymous memory alone counts: the largest tensor in
    # bfloat16 (its size in float32 leaves room) and 16 MB for recipes, meta tensors and the allocator. A copy of all
    # tensors would be 98 MB.
    growth = 1024 * int(result.stdout)
    assert growth < largest + 16e6, f"{growth / 1e6:.1f} MB for a largest tensor of {largest / 1e6:.1f} MB"
