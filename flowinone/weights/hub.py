"""Files on the Hugging Face Hub: what they are, and parts of them, fetched so that a later run can go on.

huggingface_hub (1.32 and 2.4) starts a cut download over in the next run, fetches whole files only and checks no sum.
So the transfer is made here, by plain HTTP; endpoint, token, proxies, offline mode and errors are huggingface_hub's.
"""

import dataclasses
import json
import math
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

# HTTPError is its HTTP client's, httpx's or httpx2's by version, and the base of connection troubles too.
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

from .weightfile import DTYPE_CODES

WAITS = (1, 2, 4, 8)
"""Seconds before each new try, as long as nothing comes; after the last a download gives up."""
LARGEST_HEADER = 100_000_000
"""Bytes of a safetensors header, as safetensors itself has it."""
_SIZES = {code: dtype.itemsize for dtype, code in DTYPE_CODES.items()}
_SHA256 = re.compile(r"[0-9a-f]{64}")

Range = tuple[int, int]
"""From which byte of a file up to, not with, which."""


class DownloadError(OSError):
    """A file that could not be fetched; the message names it, what was wrong and what to do."""


@dataclasses.dataclass(frozen=True)
class HubFile:
    """A file as it was in one commit of a repository; `size` in bytes."""

    repo: str
    name: str
    commit: str
    sha256: str
    size: int

    def __str__(self):
        return f"{self.name} of {self.repo}"


def look_up(repo: str, name: str, say: Callable[[str], None]) -> HubFile:
    """The file on the repository's main branch. Raises DownloadError if the Hub does not show it."""
    what, waits = f"{name} of {repo}", iter(WAITS)
    while True:
        try:
            metadata = get_hf_file_metadata(hf_hub_url(repo, name), library_name="flowinone")
            break
        except HTTPError as error:
            _wait(waits, error, repo, name, say)
    commit, sha256, size = metadata.commit_hash, metadata.etag, metadata.size
    if not (commit and size and _SHA256.fullmatch(sha256 or "")):
        raise DownloadError(
            f"{constants.ENDPOINT} does not tell commit, size and SHA-256 of {what}, as the Hub does of large files; "
            "check HF_ENDPOINT, and proxies in between"
        )
    return HubFile(repo, name, commit, sha256, size)


def read(file: HubFile, start: int, end: int, say: Callable[[str], None]) -> Iterator[bytes]:
    """Bytes `start` up to `end` of the file, in pieces as they come; where a connection is cut, the next one goes on.

    `say` gets a line for each new try. Raises DownloadError when tries do not help.
    """
    url = hf_hub_url(file.repo, file.name, revision=file.commit)
    waits = iter(WAITS)
    while start < end:
        # A compressed answer would have other bytes.
        headers = build_hf_headers(
            library_name="flowinone", headers={"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        )
        try:
            with http_stream_backoff(
                "GET",
                url,
                headers=headers,
                timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
                retry_on_exceptions=(),
                retry_on_status_codes=429,
            ) as response:
                hf_raise_for_status(response)
                _check_range(response, file, start)
                for piece in response.iter_bytes():
                    piece = piece[: end - start]
                    start += len(piece)
                    waits = iter(WAITS)
                    yield piece
                    if start == end and response.status_code == 200:
                        return  # what follows was not asked for
            trouble = ConnectionError("the answer ended early")
        except HTTPError as error:
            trouble = error
        if start < end:
            _wait(waits, trouble, file.repo, file.name, say)


def _check_range(response, file: HubFile, start: int) -> None:
    if response.status_code == 200 and start == 0:
        return
    given = response.headers.get("Content-Range", "")
    if not (given.startswith(f"bytes {start}-") and given.endswith(f"/{file.size}")):
        answer = f"Content-Range {given!r}" if given else "the whole file"
        raise DownloadError(
            f"bytes {start:,} and on of {file} ({file.size:,} bytes) were asked for, "
            f"and {constants.ENDPOINT} gave {answer}; "
            "it has to serve parts of files: check HF_ENDPOINT, and proxies in between"
        )


def _wait(waits: Iterator[float], trouble: Exception, repo: str, name: str, say: Callable[[str], None]) -> None:
    """Wait until a new try makes sense; DownloadError where none does, or none is left."""
    status = trouble.response.status_code if isinstance(trouble, HfHubHTTPError) else None
    wait = next(waits, None) if status is None or status in (408, 429) or status >= 500 else None
    what = f"{name} of {repo}"
    hub = constants.ENDPOINT
    came = f"{hub} answered {status}" if status else f"the connection to {hub} failed ({trouble})"
    if wait is not None:
        say(f"{what}: {came}; trying again in {wait} s")
        time.sleep(wait)
        return
    if isinstance(trouble, GatedRepoError):
        sentence = f"{repo} is gated: accept its terms on {hub}/{repo}, and set HF_TOKEN to a token of yours"
    elif isinstance(trouble, RepositoryNotFoundError):
        sentence = (
            f"{hub} shows no repository {repo} ({status}); check HF_ENDPOINT, "
            "and set HF_TOKEN to a valid token or to none"
        )
    elif isinstance(trouble, RemoteEntryNotFoundError):
        sentence = f"{repo} has no file {name} (404); see what it has on {hub}/{repo}/tree/main"
    elif status in (401, 403):
        sentence = f"{what}: {came}; set HF_TOKEN to a valid token or to none"
    else:
        sentence = f"{what}: {came}; try again later, with the same command: it goes on from what has arrived"
    raise DownloadError(sentence) from trouble


def fetch(
    file: HubFile,
    ranges: Sequence[Range],
    head: bytes,
    target: Path,
    advance: Callable[[int], None],
    say: Callable[[str], None],
) -> None:
    """Make `target` hold `head` and then the ranges of the file, one behind the other; what it holds already stays.

    `advance` gets the number of bytes that came. Raises DownloadError.
    """
    target.touch()
    with open(target, "r+b") as stream:
        held = stream.seek(0, os.SEEK_END)
        if held < len(head):
            stream.seek(0)
            stream.write(head)
            advance(len(head) - held)
        # Every byte has its place: a second run at the same time writes the same file and spoils nothing.
        held -= len(head)
        for start, end in ranges:
            here = min(max(held, 0), end - start)
            for piece in read(file, start + here, end, say):
                stream.write(piece)
                advance(len(piece))
            held -= end - start


def tensor_entries(file: HubFile, say: Callable[[str], None]) -> dict[str, dict]:
    """The header of a safetensors file on the Hub; `data_offsets` count from the start of the file, other than stored.

    Raises DownloadError if it is not such a file, or its header is at odds with itself or with the file's size.
    """
    length = int.from_bytes(b"".join(read(file, 0, 8, say)), "little")
    if not 2 <= length <= min(LARGEST_HEADER, file.size - 8):
        raise _not_safetensors(file, f"its header claims {length:,} bytes")
    try:
        header = json.loads(b"".join(read(file, 8, 8 + length, say)))
        header.pop("__metadata__", None)
        for entry in header.values():
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            if not (8 + length <= begin and end <= file.size):
                raise ValueError("tensors outside of the file")
            if end - begin != math.prod(entry["shape"]) * _SIZES[entry["dtype"]]:
                raise ValueError("tensors whose shape and size differ")
            entry["data_offsets"] = begin, end
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _not_safetensors(file, f"its header is unreadable: {error}") from None
    return header


def _not_safetensors(file: HubFile, why: str) -> DownloadError:
    return DownloadError(
        f"{file} is not a safetensors file to read parts of ({why}); "
        "download one by hand, and turn it into a smaller one with `flowinone convert`"
    )


def selection(entries: dict[str, dict], names: Collection[str], metadata: dict[str, str]) -> tuple[bytes, list[Range]]:
    """Some tensors of a safetensors file as a file of their own: its header, and the ranges of the first that follow."""
    header, ranges, offset = {"__metadata__": metadata}, [], 0
    for name in sorted(names, key=lambda name: entries[name]["data_offsets"]):
        begin, end = entries[name]["data_offsets"]
        header[name] = {**entries[name], "data_offsets": [offset, offset + end - begin]}
        offset += end - begin
        if ranges and ranges[-1][1] == begin:
            ranges[-1] = ranges[-1][0], end
        else:
            ranges.append((begin, end))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, ranges
