"""A training pair, a prompt picture and its target picture: as files store it, and as training sees it."""

import abc
import dataclasses
import io
from collections.abc import Iterable
from typing import Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..pictures import as_rgb
from ..prompts import PromptError
from ..prompts.prompt_files import PROMPT_CHUNK, embedded_prompt

TEXT_TO_IMAGE = "t2i"
TYPES = (TEXT_TO_IMAGE, "c2i")
"""A pair's types (upstream: `scripts/wds_organize/unified_to_tars.py`); the first turns the dual path off."""
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
LONGEST_TYPE = 64
"""Bytes of a type that are read."""


class BrokenPair(ValueError):
    """A pair that cannot be trained on: its `name`, and the `reason`."""

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclasses.dataclass(frozen=True)
class Pair:
    """A prompt and its target as RGB pictures of any size; `bypass` is whether the model's dual path is off."""

    input: Image.Image
    output: Image.Image
    bypass: bool
    name: str


class PairSource(Protocol):
    """Pairs by number. Data loaders copy sources to other processes: they must be picklable and hold no open files."""

    name: str

    def __len__(self) -> int: ...

    def pair(self, index: int) -> Pair:
        """Raises BrokenPair for one that cannot be used."""


@dataclasses.dataclass(frozen=True)
class PairRecord:
    """A pair as stored: the bytes of two picture files, and its type if it has one."""

    name: str
    input: bytes
    output: bytes
    type: str | None


class StoredPairs(abc.ABC):
    """Pairs on disk, two picture files each. `left_out` are files that make no pair, with reasons."""

    name: str
    left_out: list[tuple[str, str]]

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def key(self, index: int) -> str:
        """The pair's name within its folder or shard, without suffixes."""

    @abc.abstractmethod
    def pair_name(self, index: int) -> str:
        """The pair's name in messages: where it is."""

    @abc.abstractmethod
    def record(self, index: int) -> PairRecord:
        """Raises BrokenPair for one that cannot be read."""

    def pair(self, index: int) -> Pair:
        return decoded(self.record(index))[0]


def decoded(record: PairRecord) -> tuple[Pair, tuple[Image.Image, Image.Image]]:
    """The pair, and both pictures as their files have them. Raises BrokenPair for damaged pictures and unknown types.

    Without a type, the document that `flowinone compose` embeds in the prompt picture says whether the dual path is on;
    without either, it is on.
    """
    if record.type not in (None, *TYPES):
        raise BrokenPair(record.name, f"its type is {record.type!r}; expected {' or '.join(TYPES)}, or none")
    input, stored_input = _picture(record, "input")
    output, stored_output = _picture(record, "output")
    bypass = record.type == TEXT_TO_IMAGE
    if record.type is None:
        try:
            prompt = embedded_prompt(stored_input)
        except PromptError as error:
            reason = f"its input's {PROMPT_CHUNK} chunk cannot be read ({error}); give the pair a type instead"
            raise BrokenPair(record.name, reason) from None
        bypass = prompt is not None and prompt.bypass
    return Pair(input, output, bypass, record.name), (stored_input, stored_output)


def _picture(record: PairRecord, part: str) -> tuple[Image.Image, Image.Image]:
    content = getattr(record, part)
    if not content:
        raise BrokenPair(record.name, f"its {part} is empty")
    try:
        # Only these formats: others start programs (EPS).
        stored = Image.open(io.BytesIO(content), formats=_FORMATS)
        return as_rgb(stored), stored
    except UnidentifiedImageError:
        raise BrokenPair(record.name, f"its {part} is not a picture ({', '.join(_FORMATS)})") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises anything for damaged bytes, and a long run must survive them
        raise BrokenPair(record.name, f"its {part} cannot be read: {error or type(error).__name__}") from None


def type_word(content: bytes) -> str | None:
    """The type in a `type` file's content, None for an empty one."""
    return content[:LONGEST_TYPE].decode("utf-8", "replace").strip() or None


class PackedStrings:
    """Millions of short strings in two buffers: little memory, shared by forked processes, and quick to pickle."""

    def __init__(self, texts: Iterable[str]):
        # File names can contain lone surrogates.
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        self._joined = b"".join(encoded)
        self._ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        start = self._ends[index - 1] if index else 0
        return self._joined[start : self._ends[index]].decode("utf-8", "surrogatepass")
