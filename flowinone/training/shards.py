"""WebDataset shards: tar files of `KEY.in.png`, `KEY.out.png` and, for some pairs, `KEY.type`.

Upstream packs them so (`scripts/wds_organize/unified_to_tars.py`).
"""

import os
import re
import tarfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np

from ..files import PICTURE_SUFFIXES, atomic_path
from .pairs import LONGEST_TYPE, BrokenPair, PackedStrings, PairRecord, StoredPairs, type_word

_MEMBER = re.compile(r"(.+)\.(?:(in|out)(\.\w+)|(type))", re.IGNORECASE)
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
"""The magic numbers of gzip, bzip2, xz and zstandard."""
_END = bytes(tarfile.BLOCKSIZE)
"""The block that ends a tar file."""


class Shard(StoredPairs):
    """The pairs of a tar file, in its order. Its headers are read once; then a pair is read from its offset.

    Pictures may have any of `files.PICTURE_SUFFIXES`. A truncated or damaged file gives the pairs before the damage.
    """

    def __init__(self, path: str):
        self.name = path
        samples, trouble = _index(path)
        self.left_out = []
        whole = []
        for number, (key, parts) in enumerate(samples):
            missing = [part for part in ("in", "out") if part not in parts]
            if missing:
                self.left_out.append((f"{path}:{key}", f"it has no {' and no '.join(missing)} picture"))
            elif trouble and number == len(samples) - 1 and not _has_all(parts, samples[:-1]):
                self.left_out.append((f"{path}:{key}", "the file ends before the type that it may have"))
            else:
                whole.append((key, parts))
        if trouble:
            self.left_out.append((path, f"{trouble}; of its pairs, {len(whole)} are used"))
        self._keys = PackedStrings(key for key, _ in whole)
        self._types = PackedStrings(parts.get("type") or "" for _, parts in whole)
        places = [(*parts["in"], *parts["out"]) for _, parts in whole]
        self._places = np.array(places, dtype=np.int64).reshape(-1, 4)

    def __len__(self) -> int:
        return len(self._places)

    def key(self, index: int) -> str:
        return self._keys[index]

    def pair_name(self, index: int) -> str:
        return f"{self.name}:{self._keys[index]}"

    def record(self, index: int) -> PairRecord:
        name = self.pair_name(index)
        start, size, output_start, output_size = self._places[index].tolist()
        try:
            # Opened each time: processes would share a file position, and data sets have more shards than a process may
            # have open files.
            with open(self.name, "rb") as file:
                file.seek(start)
                input = file.read(size)
                file.seek(output_start)
                output = file.read(output_size)
        except OSError as error:
            raise BrokenPair(name, str(error)) from None
        return PairRecord(name, input, output, self._types[index] or None)


def _index(path: str) -> tuple[list[tuple[str, dict]], str | None]:
    """Keys, and for each the (offset, size) of `in` and `out`, and its `type`, as far as it has them.

    And what is wrong with the file, None if nothing is.
    """
    samples: list[tuple[str, dict]] = []
    latest: dict[str, dict] = {}
    with open(path, "rb") as file:
        if file.read(5).startswith(_COMPRESSED):
            return [], "it is compressed; unpack it, since pairs are read from all over a shard"
        length = file.seek(0, os.SEEK_END)
        file.seek(0)
        reached = 0
        try:
            for member in tarfile.open(fileobj=file, mode="r:"):
                end = member.offset_data + member.size
                if not member.offset_data <= end <= length:
                    break
                reached = end + -end % tarfile.BLOCKSIZE
                match = _MEMBER.fullmatch(member.name)
                if not match or not member.isreg() or (match[2] and match[3].lower() not in PICTURE_SUFFIXES):
                    continue
                key, part = match[1], (match[2] or match[4]).lower()
                if part in latest.get(key, (part,)):
                    # A key that comes again is another sample, as it is to WebDataset.
                    latest[key] = {}
                    samples.append((key, latest[key]))
                latest[key][part] = (member.offset_data, member.size)
                if part == "type":
                    file.seek(member.offset_data)
                    latest[key][part] = type_word(file.read(min(member.size, LONGEST_TYPE)))
        except (tarfile.TarError, ValueError):
            pass  # for the check below, which finds what tarfile takes for the end of the file, too
        file.seek(reached)
        if file.read(tarfile.BLOCKSIZE) == _END:
            return samples, None
    return samples, f"it is cut off or damaged at byte {reached}" if reached else "it is not a tar file"


def _has_all(last: dict, others: list[tuple[str, dict]]) -> bool:
    """Whether the last sample of a cut-off file is complete; without its type, it could take the wrong path."""
    return "type" in last or any("type" not in parts for _, parts in others)


def write_shard(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
    """Write a tar file of samples, each a key and files by suffix, atomically; the same samples give the same bytes."""
    with atomic_path(path) as partial, tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as archive:
        for key, files in samples:
            for suffix, content in files.items():
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(content)
                archive.addfile(member, BytesIO(content))
