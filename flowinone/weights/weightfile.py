"""Weights files in the forms they are passed around in: safetensors and PyTorch's, sharded, wrapped, mistaken."""

import json
import os
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor


class CheckpointError(ValueError):
    """A weights file that cannot be used; the message names the file, what is wrong with it and what to do."""


DTYPE_CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Dtypes as a safetensors header spells them."""

_DTYPES = {code: dtype for dtype, code in DTYPE_CODES.items()}
_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
_PREFERRED = ("model.safetensors", "diffusion_pytorch_model.safetensors")
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.\w+)")
# Averaged weights come first: where a training checkpoint holds both, they are the ones to sample with.
_WRAPPERS = ("nnet_ema", "ema", "state_dict", "model", "module")
_PREFIXES = ("module.", "model.", "nnet_ema.", "_orig_mod.")
_LARGEST_HEADER = 100_000_000


class WeightFile(Mapping[str, Tensor]):
    """The tensors of a weights file, or of all files of a sharded one, by name; each is memory-mapped when asked for.

    Names are the stored ones without the wrapping prefix (`module.`, `model.` and the like) that all of them carry.
    `path` is what the user gave, `files` what it stands for, `metadata` a safetensors file's.
    """

    def __init__(self, path: Path, files: Iterable[Path]):
        self.path = path
        self.files = tuple(files)
        parts = [_open_part(file) for file in self.files]
        stored = {name: part for part in parts for name in part}
        if not stored:
            raise CheckpointError(f"{path} holds no tensors by name; choose a file with a model's weights")
        self.metadata: dict[str, str] = parts[0].metadata
        self.prefix = _wrapping_prefix(stored)
        self._parts = {name[len(self.prefix) :]: part for name, part in stored.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._parts[name].tensor(self.prefix + name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._parts[name].shape(self.prefix + name)

    def dtype(self, name: str) -> torch.dtype:
        return self._parts[name].dtype(self.prefix + name)


def open_weights(path: str | os.PathLike) -> WeightFile:
    """Open a weights file: safetensors or PyTorch's, one of a set of shards, a shards' index, or a folder with such.

    PyTorch files are read as weights only, so that no code in them runs; those from before version 1.6 are not mapped
    but read whole.
    Raises CheckpointError for anything that is not a whole weights file.
    """
    path = Path(path)
    return WeightFile(path, _files(path))


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; check the path")
    if path.is_dir():
        return _files(_only_candidate(path))
    if path.name.endswith(".index.json"):
        shards = _indexed(path)
    elif match := _SHARD.fullmatch(path.name):
        count = int(match[3])
        shards = [path.with_name(f"{match[1]}-{number:05}-of-{count:05}{match[4]}") for number in range(1, count + 1)]
    else:
        return [path]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise CheckpointError(
            f"{path} is one part of a checkpoint in {len(shards)} files, of which {', '.join(missing[:3])} "
            f"{'is' if len(missing) == 1 else 'are' if len(missing) <= 3 else f'and {len(missing) - 3} more are'} not beside it; "
            "download all of them into one folder"
        )
    return shards


def _only_candidate(folder: Path) -> Path:
    for name in _PREFERRED:
        if (folder / name).is_file():
            return folder / name
    indices = sorted(folder.glob("*.safetensors.index.json")) or sorted(folder.glob("*.index.json"))
    candidates = indices or sorted(file for file in folder.iterdir() if file.suffix in _SUFFIXES and file.is_file())
    # The parts of one sharded checkpoint are one candidate.
    candidates = list({_SHARD.sub(r"\1\4", file.name): file for file in candidates}.values())
    if not candidates:
        suffixes = ", ".join(_SUFFIXES)
        raise CheckpointError(f"{folder} is a folder without weights; expected a file that ends in {suffixes}")
    if len(candidates) > 1:
        names = ", ".join(file.name for file in candidates)
        raise CheckpointError(f"{folder} is a folder with several weights files ({names}); choose one of them")
    return candidates[0]


def _indexed(index: Path) -> list[Path]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return [index.with_name(name) for name in sorted(set(weight_map.values()))]
    except (ValueError, KeyError, TypeError, AttributeError):
        what = "not an index of weights files (it has no weight_map)"
        raise CheckpointError(f"{index} is {what}; download it again") from None


class _SafetensorsPart:
    def __init__(self, path: Path):
        _check_not_truncated(path)
        try:
            self._file = safe_open(path, framework="pt")
        except SafetensorError as error:
            raise CheckpointError(f"{path} is a damaged safetensors file ({error}); download it again") from None
        self.metadata = self._file.metadata() or {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.keys())

    def tensor(self, name: str) -> Tensor:
        return self._file.get_tensor(name)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._file.get_slice(name).get_shape())

    def dtype(self, name: str) -> torch.dtype:
        code = self._file.get_slice(name).get_dtype()
        return _DTYPES[code] if code in _DTYPES else self.tensor(name).dtype


class _PyTorchPart:
    metadata: dict[str, str] = {}

    def __init__(self, path: Path, mmap: bool):
        self._tensors = _unwrapped(_load_pickled(path, mmap))

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def tensor(self, name: str) -> Tensor:
        return self._tensors[name]

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name].shape)

    def dtype(self, name: str) -> torch.dtype:
        return self._tensors[name].dtype


def _open_part(path: Path) -> _SafetensorsPart | _PyTorchPart:
    with open(path, "rb") as stream:
        start = stream.read(512)
    if not start:
        raise CheckpointError(f"{path} is empty; download it again")
    # A safetensors header's length may begin with any other format's magic bytes, so this comes first.
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _LARGEST_HEADER:
        return _SafetensorsPart(path)
    if start.startswith(b"PK\x03\x04"):
        # Given a path that ends in .safetensors, torch.load would not look at the content.
        return _PyTorchPart(path, mmap=path.suffix != ".safetensors")
    if start.startswith(b"\x80"):
        return _PyTorchPart(path, mmap=False)
    if start.startswith(b"version https://git-lfs"):
        what = "a git-LFS pointer, not the weights it stands for; run `git lfs pull` or download the file itself"
    elif start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        what = "a web page saved under a weights file's name; download the file itself"
    elif start.startswith(b"\x1f\x8b"):
        what = "a gzip archive; unpack it and choose the weights file inside"
    elif start.startswith(b"GGUF"):
        what = "a GGUF file, which is not supported; choose safetensors or PyTorch weights"
    else:
        what = f"not a weights file; expected safetensors or PyTorch weights ({', '.join(_SUFFIXES)})"
    raise CheckpointError(f"{path} is {what}")


def _check_not_truncated(path: Path) -> None:
    size = path.stat().st_size
    with open(path, "rb") as stream:
        expected = 8 + int.from_bytes(stream.read(8), "little")
        if expected <= size:
            try:
                header = json.loads(stream.read(expected - 8))
                header.pop("__metadata__", None)
                expected += max((entry["data_offsets"][1] for entry in header.values()), default=0)
            except (ValueError, KeyError, TypeError, AttributeError, IndexError):
                return  # a header that safetensors itself will complain about
    if expected > size:
        raise CheckpointError(
            f"{path} is truncated: its header claims {expected:,} bytes and the file has {size:,}; download it again"
        )


def _load_pickled(path: Path, mmap: bool) -> object:
    try:
        if mmap:
            return torch.load(os.fspath(path), map_location="cpu", weights_only=True, mmap=True)
        with open(path, "rb") as stream:
            return torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        message = str(error)
        if isinstance(error, MemoryError) or "mmap" in message:
            raise  # the machine's trouble, not the file's
        named = re.search(r"GLOBAL (\S+)", message)
        if named or "TorchScript" in message:
            code = named[1] if named else "TorchScript"
            raise CheckpointError(
                f"{path} contains code ({code}), not weights alone; it was refused and not executed. "
                "Look for a safetensors version of it"
            ) from None
        if isinstance(error, pickle.UnpicklingError):
            what = "not a PyTorch weights file that can be read safely; look for a safetensors version of it"
        else:
            what = "a truncated or damaged PyTorch file; download it again"
        raise CheckpointError(f"{path} is {what}") from error


def _unwrapped(entries: object) -> dict[str, Tensor]:
    if not isinstance(entries, Mapping):
        return {}
    for wrapper in _WRAPPERS:
        if tensors := _unwrapped(entries.get(wrapper)):
            return tensors
    return {
        name: entry.detach() for name, entry in entries.items() if isinstance(name, str) and isinstance(entry, Tensor)
    }


def _wrapping_prefix(names: Iterable[str]) -> str:
    prefix = ""
    while True:
        inner = next((part for part in _PREFIXES if all(name.startswith(prefix + part) for name in names)), None)
        if inner is None:
            return prefix
        prefix += inner
