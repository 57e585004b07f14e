"""Files on the Hugging Face Hub: what they are, and parts of them, downloaded so that a later run can resume.

huggingface_hub (1.32 and 2.4) restarts an interrupted download in the next run, downloads whole files only and
verifies no checksum. So the transfer is done here, by plain HTTP; endpoint, token, proxies, offline mode and errors
are huggingface_hub's.
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

# HTTPError is that of its HTTP client (httpx or httpx2, by version), and the base class of connection failures too.
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

from .safetensors_header import DTYPES, MAX_HEADER_BYTES, encode_header

RETRY_DELAYS = (1, 2, 4, 8)
"""Seconds before each retry, as long as no data arrives; after the last one a download gives up."""
_SHA256 = re.compile(r"[0-9a-f]{64}")

ByteRange = tuple[int, int]
"""The first byte, and the one after the last."""

Log = Callable[[str], None]
"""Gets each line for the user, such as news of a retry."""


class DownloadError(OSError):
    """A file that could not be downloaded; the message names it, what was wrong and what to do."""


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


def find_hub_file(repo: str, name: str, log: Log) -> HubFile:
    """The file on the repository's main branch. Raises DownloadError if the Hub does not show it."""
    what, delays = f"{name} of {repo}", iter(RETRY_DELAYS)
    while True:
        try:
            metadata = get_hf_file_metadata(hf_hub_url(repo, name), library_name="flowinone")
            break
        except HTTPError as error:
            _wait_to_retry(delays, error, repo, name, log)
    commit, sha256, size = metadata.commit_hash, metadata.etag, metadata.size
    if not (commit and size and _SHA256.fullmatch(sha256 or "")):
        raise DownloadError(
            f"{constants.ENDPOINT} does not tell commit, size and SHA-256 of {what}, as the Hub does for large files; "
            "check HF_ENDPOINT, and proxies in between"
        )
    return HubFile(repo, name, commit, sha256, size)


def stream_range(file: HubFile, start: int, end: int, log: Log) -> Iterator[bytes]:
    """The bytes from `start` to before `end` of the file, in pieces as they arrive.

    A connection that breaks is replaced by another that continues. Raises DownloadError when retries do not help.
    """
    url = hf_hub_url(file.repo, file.name, revision=file.commit)
    delays = iter(RETRY_DELAYS)
    while start < end:
        # A compressed response would have other bytes.
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
                    delays = iter(RETRY_DELAYS)
                    yield piece
                    if start == end and response.status_code == 200:
                        return  # the rest of the file was not asked for
            error: Exception = ConnectionError("the response ended early")
        except HTTPError as failure:
            error = failure
        if start < end:
            _wait_to_retry(delays, error, file.repo, file.name, log)


def _check_range(response, file: HubFile, start: int) -> None:
    if response.status_code == 200 and start == 0:
        return
    given = response.headers.get("Content-Range", "")
    if not (given.startswith(f"bytes {start}-") and given.endswith(f"/{file.size}")):
        answer = f"Content-Range {given!r}" if given else "the whole file"
        raise DownloadError(
            f"{constants.ENDPOINT} was asked for {file} from byte {start:,} of {file.size:,} and sent {answer}; "
            "it has to serve parts of files: check HF_ENDPOINT, and proxies in between"
        )


def _wait_to_retry(delays: Iterator[float], error: Exception, repo: str, name: str, log: Log) -> None:
    """Sleep before a retry; raise DownloadError if a retry makes no sense or none is left."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    delay = next(delays, None) if status is None or status in (408, 429) or status >= 500 else None
    what = f"{name} of {repo}"
    hub = constants.ENDPOINT
    happened = f"{hub} answered {status}" if status else f"the connection to {hub} failed ({error})"
    if delay is not None:
        log(f"{what}: {happened}; retrying in {delay} s")
        time.sleep(delay)
        return
    if isinstance(error, GatedRepoError):
        message = f"{repo} is gated: accept its terms on {hub}/{repo}, and set HF_TOKEN to your token"
    elif isinstance(error, RepositoryNotFoundError):
        message = (
            f"{hub} shows no repository {repo} ({status}); check HF_ENDPOINT, "
            "and set HF_TOKEN to a valid token or unset it"
        )
    elif isinstance(error, RemoteEntryNotFoundError):
        message = f"{repo} has no file {name} (404); see what it has on {hub}/{repo}/tree/main"
    elif status in (401, 403):
        message = f"{what}: {happened}; set HF_TOKEN to a valid token or unset it"
    else:
        message = f"{what}: {happened}; try again later with the same command, which resumes the download"
    raise DownloadError(message) from error


def download_ranges(
    file: HubFile,
    ranges: Sequence[ByteRange],
    head: bytes,
    target: Path,
    advance: Callable[[int], None],
    log: Log,
) -> None:
    """Write `head` and then the file's ranges, one after the other, to `target`; what it already holds is kept.

    `advance` gets the number of bytes that arrived. Raises DownloadError.
    """
    target.touch()
    with open(target, "r+b") as stream:
        present = stream.seek(0, os.SEEK_END)
        if present < len(head):
            stream.seek(0)
            stream.write(head)
            advance(len(head) - present)
        # Every byte has its place, so that two runs at the same time write the same file.
        present -= len(head)
        for start, end in ranges:
            skipped = min(max(present, 0), end - start)
            for piece in stream_range(file, start + skipped, end, log):
                stream.write(piece)
                advance(len(piece))
            present -= end - start


def tensor_entries(file: HubFile, log: Log) -> dict[str, dict]:
    """The header entries of a safetensors file on the Hub, with `data_offsets` counted from the start of the file.

    Only these bytes are transferred, which huggingface_hub's own header parser doesn't guarantee. Raises
    DownloadError if it is not such a file, or its header contradicts itself or the file's size.
    """
    length = int.from_bytes(b"".join(stream_range(file, 0, 8, log)), "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, file.size - 8):
        raise _not_safetensors(file, f"its header claims {length:,} bytes")
    try:
        header = json.loads(b"".join(stream_range(file, 8, 8 + length, log)))
        header.pop("__metadata__", None)
        for entry in header.values():
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            if not (8 + length <= begin and end <= file.size):
                raise ValueError("tensors outside of the file")
            if end - begin != math.prod(entry["shape"]) * DTYPES[entry["dtype"]].itemsize:
                raise ValueError("tensors whose shape and size differ")
            entry["data_offsets"] = begin, end
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _not_safetensors(file, f"its header is unreadable: {error}") from None
    return header


def _not_safetensors(file: HubFile, why: str) -> DownloadError:
    return DownloadError(
        f"{file} is not a safetensors file of which parts can be read ({why}); "
        "download it by hand and convert it with `flowinone convert`"
    )


def subset(entries: dict[str, dict], names: Collection[str], metadata: dict[str, str]) -> tuple[bytes, list[ByteRange]]:
    """A safetensors file of some of the tensors: its header, and the ranges of the original file that follow."""
    header: dict[str, dict] = {}
    ranges: list[ByteRange] = []
    offset = 0
    for name in sorted(names, key=lambda name: entries[name]["data_offsets"]):
        begin, end = entries[name]["data_offsets"]
        header[name] = {**entries[name], "data_offsets": [offset, offset + end - begin]}
        offset += end - begin
        if ranges and ranges[-1][1] == begin:
            ranges[-1] = ranges[-1][0], end
        else:
            ranges.append((begin, end))
    return encode_header(header, metadata), ranges
