import gzip
import json
import os
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from devtools import tiny
from flowinone.weights.weightfile import CheckpointError, open_weights

WEIGHTS = tiny.vision_weights()
TRAINING_STATE = {"optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}, "epoch": 3, "step": torch.tensor(7)}


def assert_same(tensors, expected):
    assert set(tensors) == set(expected)
    for name, tensor in tensors.items():
        assert tensor.dtype == expected[name].dtype and torch.equal(tensor, expected[name]), name


def legacy(weights, path):
    torch.save(weights, path, _use_new_zipfile_serialization=False)


def prefixed(prefix, weights):
    return {prefix + name: tensor for name, tensor in weights.items()}


def write_shards(folder, save, stem, suffix, weights, count=3, index=True):
    """`weights` in `count` files and, if asked for, their index; the paths of the shards."""
    names = list(weights)
    shards = [folder / f"{stem}-{number:05}-of-{count:05}{suffix}" for number in range(1, count + 1)]
    for number, shard in enumerate(shards):
        save({name: weights[name] for name in names[number::count]}, shard)
    if index:
        weight_map = {name: shards[number % count].name for number, name in enumerate(names)}
        (folder / f"{stem}{suffix}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return shards


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights},
        lambda weights: {"model": weights, **TRAINING_STATE},
        lambda weights: {"nnet_ema": prefixed("module.", weights)},
        lambda weights: {"ema": {"module": weights}, "model": prefixed("x.", weights)},
        lambda weights: {"state_dict": {"model": prefixed("module._orig_mod.", weights)}, "epoch": 1},
        lambda weights: prefixed("nnet_ema.", weights),
        lambda weights: prefixed("model.module.", weights),
        lambda weights: {name: torch.nn.Parameter(tensor) for name, tensor in weights.items()},
    ],
)
@pytest.mark.parametrize("save", [torch.save, legacy])
def test_every_wrapping_of_a_pytorch_file_gives_the_same_tensors(tmp_path, wrap, save):
    save(wrap(WEIGHTS), tmp_path / "x.pth")
    assert_same(open_weights(tmp_path / "x.pth"), WEIGHTS)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".download"])
def test_the_content_and_not_the_suffix_says_how_a_file_is_read(tmp_path, suffix):
    for save in (torch.save, legacy, save_file):
        save(WEIGHTS, tmp_path / f"x{suffix}")
        assert_same(open_weights(tmp_path / f"x{suffix}"), WEIGHTS)


@pytest.mark.parametrize(("save", "suffix"), [(save_file, ".safetensors"), (torch.save, ".bin")])
@pytest.mark.parametrize("index", [True, False])
def test_a_sharded_checkpoint_loads_by_folder_index_or_any_shard(tmp_path, save, suffix, index):
    shards = write_shards(tmp_path, save, "model", suffix, prefixed("module.", WEIGHTS), index=index)
    for path in (tmp_path, *shards, *tmp_path.glob("*.index.json")):
        assert_same(open_weights(path), WEIGHTS)


def test_a_folder_stands_for_its_only_weights_file(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    torch.save(WEIGHTS, tmp_path / "pytorch_model.bin")
    assert_same(open_weights(tmp_path), WEIGHTS)
    assert_same(open_weights(str(tmp_path)), WEIGHTS)


def test_a_folder_with_model_safetensors_stands_for_it(tmp_path):
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    torch.save({"x": torch.ones(1)}, tmp_path / "optimizer.pt")
    assert_same(open_weights(tmp_path), WEIGHTS)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_names_and_shapes_are_known_without_reading_tensors(tmp_path):
    count = 64_000_000
    header = json.dumps({"a": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}).encode()
    with open(tmp_path / "x.safetensors", "wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(8 + len(header) + 4 * count)

    def resident():
        status = Path("/proc/self/status").read_text().splitlines()
        return sum(int(line.split()[1]) for line in status if line.startswith("Rss"))

    before = resident()
    file = open_weights(tmp_path / "x.safetensors")
    assert (list(file), len(file), file.shape("a"), file.dtype("a")) == (["a"], 1, (count,), torch.float32)
    file["a"]
    # The tensor is 250,000 kB; a few thousand are the reader's own.
    assert resident() - before < 50_000


def test_metadata_and_dtypes_are_the_files(tmp_path):
    weights = {"a": torch.ones(2, dtype=torch.bfloat16), "b": torch.ones((), dtype=torch.int64), "c": torch.zeros(0, 3)}
    save_file(weights, tmp_path / "x.safetensors", metadata={"title": "mine"})
    file = open_weights(tmp_path / "x.safetensors")
    assert file.metadata == {"title": "mine"} and file.path == tmp_path / "x.safetensors"
    assert {name: (file.dtype(name), file.shape(name)) for name in file} == {
        name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in weights.items()
    }
    assert_same(file, weights)


# Files that are not weights files, or not whole ones: how to write each, and the sentence after the file's name.

NO_TENSORS = "contains no named tensors; choose a file with a model's weights"
NO_WEIGHTS = "is not a weight file; expected safetensors or PyTorch weights"
DAMAGED = "is a truncated or damaged PyTorch file; download it again"


def write_truncated_safetensors(path):
    save_file({"x": torch.ones(10_000)}, path)
    path.write_bytes(path.read_bytes()[:5_000])


def write_safetensors_cut_in_its_header(path):
    save_file({f"stages.0.{n}": torch.ones(1) for n in range(100)}, path)
    path.write_bytes(path.read_bytes()[:500])


def write_padded_safetensors(path):
    save_file({"stages.0.tensor_true": torch.ones(10)}, path)
    path.write_bytes(path.read_bytes() + b"more")


def write_truncated_zip(path):
    torch.save({"x": torch.ones(10_000)}, path)
    path.write_bytes(path.read_bytes()[:5_000])


def write_truncated_legacy(path):
    legacy({"x": torch.ones(10_000)}, path)
    path.write_bytes(path.read_bytes()[:5_000])


def write_other_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/readme.txt", "no weights")


def write_script(path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


@pytest.mark.filterwarnings("ignore:'torch.load' received a zip file", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda path: None, "does not exist; check the path"),
        (lambda path: path.touch(), "is empty; download it again"),
        (Path.mkdir, "is a folder without weights; expected a file that ends in .safetensors, .pth, .pt, .ckpt, .bin"),
        (
            write_truncated_safetensors,
            "is truncated: its header claims 40,072 bytes and the file has 5,000; download it",
        ),
        (write_safetensors_cut_in_its_header, "is truncated: its header claims "),
        (write_padded_safetensors, "is a damaged safetensors file ("),
        (write_truncated_zip, DAMAGED),
        (write_truncated_legacy, DAMAGED),
        (write_other_zip, DAMAGED),
        (write_script, "contains code (TorchScript), not weights alone; it was refused and not executed."),
        (
            lambda path: path.write_text("\n<!DOCTYPE html><html><body>Not found</body></html>"),
            "is a web page saved under a weight file's name; download the file itself",
        ),
        (
            lambda path: path.write_text(
                "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 6829752381\n"
            ),
            "is a git-LFS pointer, not the weights it refers to; run `git lfs pull` or download the file itself",
        ),
        (
            lambda path: path.write_bytes(gzip.compress(b"preparation.tar")),
            "is a gzip archive; unpack it and choose the weight file inside",
        ),
        (
            lambda path: path.write_bytes(b"GGUF" + bytes(64)),
            "is a GGUF file, which is not supported; choose safetensors",
        ),
        (lambda path: path.write_text('{"message": "no such file"}'), NO_WEIGHTS),
        (lambda path: path.write_bytes(b"\x01\x02"), NO_WEIGHTS),
        (lambda path: torch.save([torch.ones(1)], path), NO_TENSORS),
        (lambda path: torch.save(TRAINING_STATE["optimizer"], path), NO_TENSORS),
        (lambda path: save_file({}, path), NO_TENSORS),
    ],
)
def test_what_is_not_a_whole_weights_file_is_named_for_what_it_is(tmp_path, monkeypatch, write, sentence):
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    path = os.path.join("models", "x.weights")
    write(Path(path))
    with pytest.raises(CheckpointError) as raised:
        open_weights(path)
    assert str(raised.value).startswith(f"{path} {sentence}")


@pytest.mark.parametrize("save", [torch.save, legacy])
def test_code_in_a_pickle_is_refused_and_not_executed(tmp_path, save):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    save({**WEIGHTS, "payload": Payload()}, tmp_path / "x.pth")
    with pytest.raises(
        CheckpointError, match=r"x\.pth contains code \(\w+\.mkdir\), .*; it was refused and not executed"
    ):
        open_weights(tmp_path / "x.pth")
    assert not (tmp_path / "executed").exists()
    # The payload is a real one: an unsafe reader runs it.
    torch.load(tmp_path / "x.pth", weights_only=False)
    assert (tmp_path / "executed").exists()


def test_a_folder_with_several_weights_files_names_them(tmp_path):
    for name in ("b.pth", "a.safetensors"):
        save_file({"x": torch.ones(1)}, tmp_path / name)
    with pytest.raises(
        CheckpointError, match=r"with several weight files \(a.safetensors, b.pth\); choose one of them"
    ):
        open_weights(tmp_path)


def test_a_missing_shard_is_named(tmp_path):
    shards = write_shards(tmp_path, save_file, "model", ".safetensors", {name: torch.ones(9) for name in "abcdef"})
    shards[1].unlink()
    for path in (tmp_path, shards[0], tmp_path / "model.safetensors.index.json"):
        with pytest.raises(
            CheckpointError,
            match="in 3 files, and its folder lacks model-00002-of-00003.safetensors; download all of them",
        ):
            open_weights(path)


def test_a_damaged_shard_is_named(tmp_path):
    shards = write_shards(tmp_path, save_file, "model", ".safetensors", {name: torch.ones(99) for name in "abc"})
    shards[2].write_bytes(shards[2].read_bytes()[:200])
    with pytest.raises(CheckpointError, match="model-00003-of-00003.safetensors is truncated"):
        open_weights(tmp_path)


@pytest.mark.parametrize("content", ["no json", "[]", '{"weight_map": ["x"]}', '{"metadata": {}}'])
def test_an_index_without_a_weight_map_is_refused(tmp_path, content):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(content)
    with pytest.raises(CheckpointError, match="is not an index of weight files"):
        open_weights(index)
