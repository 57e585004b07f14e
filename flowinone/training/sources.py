"""Sources of training pairs: folders of pictures, WebDataset shards, patterns of them, and registered sources.

A pair folder contains `input/` and `output/`; two pictures are a pair when their paths below these differ only in the
suffix. A text file `type` next to the two gives the type of all its pairs, and `input/NAME.type` that of one: t2i turns
the model's dual path off, for prompts that ask for a new picture (class- and text-to-image).
"""

import glob
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np

from ..files import PICTURE_SUFFIXES
from .pairs import BrokenPair, PackedStrings, PairRecord, PairSource, StoredPairs, type_word
from .shards import Shard

logger = logging.getLogger("flowinone.training")

_TYPE = "type"
_NAMED = 5
"""How many of the files that are left out the log names."""
_READERS = 8
"""Shards whose headers are read concurrently, to hide the latency of a network disk."""
_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")


class SourceOpener(Protocol):
    """Opens a registered source; `path` is what follows its name and colon in a data path.

    Prompts are viewed by the vision tower at `vision_size` pixels, targets have `image_size` (both are sides of
    squares). Pairs must follow from `seed`. Raises ValueError for a path that is none of this source's.
    """

    def __call__(self, path: str, *, seed: int, image_size: int, vision_size: int) -> PairSource: ...


def resolve_source(
    path: str, openers: Mapping[str, SourceOpener], *, seed: int, image_size: int, vision_size: int
) -> PairSource:
    """The source of a data path: of the opener whose name it begins with, as in `NAME:…`, or else `open_source`."""
    name, colon, rest = path.partition(":")
    if colon and name in openers:
        return openers[name](rest, seed=seed, image_size=image_size, vision_size=vision_size)
    return open_source(path)


def open_source(path: str | os.PathLike) -> StoredPairs:
    """`find_source`; files that are left out are logged."""
    source = find_source(path)
    if source.left_out:
        named = "; ".join(f"{name}: {reason}" for name, reason in source.left_out[:_NAMED])
        more = "; …" if len(source.left_out) > _NAMED else ""
        logger.warning("%s: left out %d files that make no pair: %s%s", source.name, len(source.left_out), named, more)
    return source


def find_source(path: str | os.PathLike) -> StoredPairs:
    """The pairs of a folder (a pair folder, one with some below, or one of .tar shards), a shard or a pattern of them.

    Patterns are `pairs-*.tar`, `pairs-{000000..000012}.tar` and `{cats,dogs}.tar`. Raises ValueError if there are no
    pairs, if a folder contains both pair folders and shards, or if a shard that a pattern names in braces is missing.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        folders = list(_pair_folders(path))
        shards = sorted(glob.glob(os.path.join(glob.escape(path), "*.tar")))
        if folders and shards:
            raise ValueError(
                f"{path} contains both pair folders ({folders[0]}) and shards ({shards[0]}); name one of them"
            )
        if not folders and not shards:
            raise ValueError(f"{path} contains no pairs; expected folders input and output, or .tar shards")
        parts = [FolderPairs(folder) for folder in folders] or _opened(shards)
    else:
        parts = _opened([path] if os.path.isfile(path) else _matching(path))
    source = parts[0] if len(parts) == 1 else JoinedPairs(path, parts)
    if not len(source):
        why = "; ".join(f"{name}: {reason}" for name, reason in source.left_out[:_NAMED]) or "it is empty"
        raise ValueError(f"{path} contains no pairs: {why}")
    return source


class FolderPairs(StoredPairs):
    """The pairs of one pair folder, in the order of their names."""

    def __init__(self, folder: str):
        self.name = folder
        self.type = None
        if os.path.isfile(file := os.path.join(folder, _TYPE)):
            self.type = type_word(Path(file).read_bytes())
        inputs, outputs = _pictures(os.path.join(folder, "input")), _pictures(os.path.join(folder, "output"))
        self.left_out = []
        sides = [("input", inputs, "output", outputs), ("output", outputs, "input", inputs)]
        for part, found, other, partners in sides:
            for stem, files in sorted(found.items()):
                if len(files) > 1:
                    self.left_out.append((os.path.join(folder, part, files[0]), f"it shares its name with {files[1]}"))
                elif stem not in partners:
                    self.left_out.append((os.path.join(folder, part, files[0]), f"it has no partner in {other}"))
        both = [stem for stem in sorted(inputs) if len(inputs[stem]) == len(outputs.get(stem, ())) == 1]
        self._inputs, self._outputs = (
            PackedStrings(inputs[stem][0] for stem in both),
            PackedStrings(outputs[stem][0] for stem in both),
        )

    def __len__(self) -> int:
        return len(self._inputs)

    def key(self, index: int) -> str:
        return os.path.splitext(self._inputs[index])[0]

    def pair_name(self, index: int) -> str:
        return os.path.join(self.name, "input", self._inputs[index])

    def record(self, index: int) -> PairRecord:
        name = self.pair_name(index)
        try:
            input = Path(name).read_bytes()
            output = Path(self.name, "output", self._outputs[index]).read_bytes()
            try:
                kind = type_word(Path(f"{os.path.splitext(name)[0]}.{_TYPE}").read_bytes())
            except FileNotFoundError:
                kind = self.type
        except OSError as error:
            raise BrokenPair(name, str(error)) from None
        return PairRecord(name, input, output, kind)


class JoinedPairs(StoredPairs):
    """Several folders or shards as one."""

    def __init__(self, name: str, parts: Sequence[StoredPairs]):
        self.name = name
        self.parts = tuple(parts)
        self.left_out = [one for part in parts for one in part.left_out]
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def key(self, index: int) -> str:
        part, inner = self._place(index)
        return part.key(inner)

    def pair_name(self, index: int) -> str:
        part, inner = self._place(index)
        return part.pair_name(inner)

    def record(self, index: int) -> PairRecord:
        part, inner = self._place(index)
        return part.record(inner)

    def _place(self, index: int) -> tuple[StoredPairs, int]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self.parts[number], index - int(self._ends[number - 1] if number else 0)


def _pair_folders(root: str) -> Iterator[str]:
    for place, folders, _ in os.walk(root, onerror=_fail):
        if {"input", "output"} <= set(folders):
            yield place
            folders[:] = [folder for folder in folders if folder not in ("input", "output")]
        folders.sort()


def _pictures(root: str) -> dict[str, list[str]]:
    """The paths of the pictures below a folder, by path without suffix and with / as separator."""
    found = {}
    for place, _, files in os.walk(root, onerror=_fail):
        inside = os.path.relpath(place, root)
        for file in sorted(files):
            suffix = os.path.splitext(file)[1]
            # macOS keeps metadata next to a picture under the same name with a leading dot.
            if suffix.lower() in PICTURE_SUFFIXES and not file.startswith("."):
                relative = file if inside == os.curdir else os.path.join(inside, file)
                stem = relative.removesuffix(suffix).replace(os.sep, "/")
                found.setdefault(stem, []).append(relative)
    return found


def _fail(error: OSError) -> None:
    raise error


def _matching(pattern: str) -> list[str]:
    """The shards that match a pattern, in order."""
    named = list(_expanded(pattern))
    found = []
    for name in named:
        if os.path.isfile(name):
            found.append(name)
        elif matches := sorted(glob.glob(name, recursive=True)):
            found += matches
        else:
            asked = f", which {pattern} names," if len(named) > 1 else ""
            raise ValueError(
                f"{name}{asked} does not exist; expected a pair folder, a .tar shard, or a pattern of them"
            )
    if not found:
        raise ValueError(f"{pattern} names no shards, because its range counts down; swap its ends")
    return found


def _expanded(pattern: str) -> Iterator[str]:
    """The expansions of the braces in a pattern: `{08..11}` counts, with as many digits, `{a,b}` lists."""
    match = _BRACES.search(pattern)
    if match is None:
        yield pattern
        return
    first, last, listed = match.groups()
    choices = listed.split(",") if listed else [f"{n:0{len(first)}}" for n in range(int(first), int(last) + 1)]
    for choice in choices:
        for rest in _expanded(pattern[match.end() :]):
            yield pattern[: match.start()] + choice + rest


def _opened(shards: Sequence[str]) -> list[Shard]:
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(Shard, shards))
