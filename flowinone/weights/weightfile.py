"""Weight files in the forms they are passed around in: safetensors and PyTorch, sharded, wrapped or mislabelled.

safetensors and `torch.load` read the tensors. What they don't do is here: resolving folders, shards and indices,
unwrapping training checkpoints, and saying what a file is that neither can read.
"""

import json
import os
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .safetensors_header import DTYPES, MAX_HEADER_BYTES


class CheckpointError(ValueError):
    """A weight file that cannot be used. The message names the file, what is wrong with it and what to do."""


_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
_PREFERRED = ("model.safetensors", "diffusion_pytorch_model.safetensors")
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.\w+)")
# Averaged weights come first: where a training checkpoint holds both, they are the ones to sample with.
_WRAPPERS = ("nnet_ema", "ema", "state_dict", "model", "module")
_PREFIXES = ("module.", "model.", "nnet_ema.", "_orig_mod.")


class WeightFile(Mapping[str, Tensor]):
    """The tensors of a weight file, or of all files of a sharded one, by name. Each is memory-mapped when asked for.

    Names are the stored ones without the wrapping prefix (`module.`, `model.` and the like) that all of them share.
    `path` is what the user gave, `files` what it resolves to, `metadata` the safetensors metadata (empty for PyTorch
    files).
    """

    def __init__(self, path: Path, files: Iterable[Path]):
        self.path = path
        self.files = tuple(files)
        opened = [_open_file(file) for file in self.files]
        stored = {name: file for file in opened for name in file}
        if not stored:
            raise CheckpointError(f"{path} contains no named tensors; choose a file with a model's weights")
        self.metadata: dict[str, str] = opened[0].metadata
        self.prefix = _wrapping_prefix(stored)
        self._holders = {name[len(self.prefix) :]: file for name, file in stored.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._holders[name].tensor(self.prefix + name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._holders)

    def __len__(self) -> int:
        return len(self._holders)

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape; nothing is read."""
        return self._holders[name].shape(self.prefix + name)

    def dtype(self, name: str) -> torch.dtype:
        """A tensor's dtype; nothing is read."""
        return self._holders[name].dtype(self.prefix + name)

    def close(self) -> None:
        """Forget the tensors. Those already read stay valid; `path`, `files` and `metadata` stay.

        Without it, a PyTorch file that could not be memory-mapped keeps all of its tensors in memory, and Windows
        keeps a mapped file locked.
        """
        self._holders = {}


def open_weights(path: str | os.PathLike) -> WeightFile:
    """Open a weight file: safetensors or PyTorch, one of a set of shards, a shard index, or a folder with any of these.

    PyTorch files are read with `weights_only`, so that no code in them runs. Those from before PyTorch 1.6 are read
    whole instead of memory-mapped. Raises CheckpointError for anything that is not a complete weight file.
    """
    return WeightFile(Path(path), resolve_files(path))


def resolve_files(path: str | os.PathLike) -> list[Path]:
    """The files that a path stands for: itself, all shards of a sharded checkpoint, or what a folder holds.

    Raises CheckpointError for a path that does not exist, a folder without a single candidate, and missing shards.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; check the path")
    if path.is_dir():
        return resolve_files(_only_candidate(path))
    if path.name.endswith(".index.json"):
        shards = _indexed(path)
    elif match := _SHARD.fullmatch(path.name):
        count = int(match[3])
        shards = [path.with_name(f"{match[1]}-{number:05}-of-{count:05}{match[4]}") for number in range(1, count + 1)]
    else:
        return [path]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        named = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise CheckpointError(
            f"{path} belongs to a checkpoint in {len(shards)} files, and its folder lacks {named}; "
            "download all of them into one folder"
        )
    return shards


def _only_candidate(folder: Path) -> Path:
    for name in _PREFERRED:
        if (folder / name).is_file():
            return folder / name
    indices = sorted(folder.glob("*.safetensors.index.json")) or sorted(folder.glob("*.index.json"))
    candidates = indices or sorted(file for file in folder.iterdir() if file.suffix in _SUFFIXES and file.is_file())
    # The shards of one checkpoint are one candidate.
    candidates = list({_SHARD.sub(r"\1\4", file.name): file for file in candidates}.values())
    if not candidates:
        suffixes = ", ".join(_SUFFIXES)
        raise CheckpointError(f"{folder} is a folder without weights; expected a file that ends in {suffixes}")
    if len(candidates) > 1:
        names = ", ".join(file.name for file in candidates)
        raise CheckpointError(f"{folder} is a folder with several weight files ({names}); choose one of them")
    return candidates[0]


def _indexed(index: Path) -> list[Path]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return [index.with_name(name) for name in sorted(set(weight_map.values()))]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(
            f"{index} is not an index of weight files (it has no weight_map); download it again"
        ) from None


class _SafetensorsFile:
    def __init__(self, path: Path):
        try:
            self._file = safe_open(path, framework="pt")
        except SafetensorError as error:
            raise CheckpointError(f"{path} is a damaged safetensors file ({error}); download it again") from None
        self.metadata: dict[str, str] = self._file.metadata() or {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.keys())

    def tensor(self, name: str) -> Tensor:
        return self._file.get_tensor(name)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._file.get_slice(name).get_shape())

    def dtype(self, name: str) -> torch.dtype:
        code = self._file.get_slice(name).get_dtype()
        return DTYPES[code] if code in DTYPES else self.tensor(name).dtype


class _PyTorchFile:
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


def _open_file(path: Path) -> _SafetensorsFile | _PyTorchFile:
    with open(path, "rb") as stream:
        start = stream.read(512)
        # A safetensors header's length may begin with any other format's magic bytes, so this comes first.
        is_safetensors = start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER_BYTES
        if is_safetensors:
            _check_not_truncated(path, stream)
    if is_safetensors:
        return _SafetensorsFile(path)
    if start.startswith(b"PK\x03\x04"):
        # Given a path that ends in .safetensors, torch.load would not look at the content.
        return _PyTorchFile(path, mmap=path.suffix != ".safetensors")
    if start.startswith(b"\x80"):
        return _PyTorchFile(path, mmap=False)
    if not start:
        what = "empty; download it again"
    elif start.startswith(b"version https://git-lfs"):
        what = "a git-LFS pointer, not the weights it refers to; run `git lfs pull` or download the file itself"
    elif start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        what = "a web page saved under a weight file's name; download the file itself"
    elif start.startswith(b"\x1f\x8b"):
        what = "a gzip archive; unpack it and choose the weight file inside"
    elif start.startswith(b"GGUF"):
        what = "a GGUF file, which is not supported; choose safetensors or PyTorch weights"
    else:
        what = f"not a weight file; expected safetensors or PyTorch weights ({', '.join(_SUFFIXES)})"
    raise CheckpointError(f"{path} is {what}")


def _check_not_truncated(path: Path, stream: BinaryIO) -> None:
    """Raise CheckpointError for a safetensors file shorter than its header claims.

    safetensors notices this too; its message does not say that the download was cut off.
    """
    size = os.fstat(stream.fileno()).st_size
    stream.seek(0)
    expected = 8 + int.from_bytes(stream.read(8), "little")
    if expected <= size:
        try:
            header = json.loads(stream.read(expected - 8))
            header.pop("__metadata__", None)
            expected += max((entry["data_offsets"][1] for entry in header.values()), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return  # safetensors itself will complain about this header
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
            raise  # the machine's limits, not the file, are the cause
        named = re.search(r"GLOBAL (\S+)", message)
        if named or "TorchScript" in message:
            code = named[1] if named else "TorchScript"
            raise CheckpointError(
                f"{path} contains code ({code}), not weights alone; it was refused and not executed. "
                "Look for a safetensors version of it"
            ) from None
        if isinstance(error, pickle.UnpicklingError):
            what = "not a PyTorch weight file that can be read safely; look for a safetensors version of it"
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
