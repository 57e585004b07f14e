"""Files and streams: paths as users type them, picture suffixes, atomic writes, output for any terminal's encoding."""

import contextlib
import io
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

STANDARD_STREAM = "-"
"""Given as a path, it means standard input or standard output."""

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
"""What a folder is searched for where pictures are wanted; in lower case."""


def user_path(path: str | os.PathLike) -> Path:
    """A path as users type it: a leading `~` or `~user` is the home folder, if there is such a user."""
    return Path(os.path.expanduser(path))


def is_picture(path: Path) -> bool:
    """Whether the name ends in one of `PICTURE_SUFFIXES`, in upper or lower case."""
    return path.suffix.lower() in PICTURE_SUFFIXES


@contextlib.contextmanager
def atomic_path(target: str | os.PathLike, sync: bool = False) -> Iterator[Path]:
    """An empty file next to `target` that replaces it when the block ends, for libraries that write to a path.

    If the block raises, that file is removed and an earlier target stays. Missing folders are created. The target gets
    the permissions of any new file, whichever the library sets. `sync` waits until the disk has the content.
    Close the file before the block ends: Windows cannot rename open ones. Raises OSError for what cannot be written.
    """
    target = user_path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, so that no loader lists it, and random, so that two processes never write to the same one.
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.open("xb").close()
        mode = partial.stat().st_mode
        yield partial
        if partial.stat().st_mode != mode:  # safetensors replaces the file by one that only its owner can read
            partial.chmod(mode)
        if sync:
            with open(partial, "r+b") as stream:
                os.fsync(stream.fileno())
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_write(target: str | os.PathLike, mode: str = "wb", sync: bool = False) -> Iterator[IO[Any]]:
    """A file object for writing, whose content replaces `target` when the block ends; see `atomic_path`.

    `mode` is "wb", or "w" for UTF-8 text with `\\n` between lines.
    """
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    with atomic_path(target, sync) as partial, open(partial, mode, encoding=encoding, newline=newline) as stream:
        yield stream


def write_output(content: bytes, target: str) -> None:
    """Write `content` to the file `target` atomically, or to standard output for `-`. Raises OSError."""
    if target == STANDARD_STREAM:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    with atomic_write(target) as stream:
        stream.write(content)


def escape_unencodable(*streams: IO[str] | None) -> None:
    """Make text streams write characters that their encoding lacks as `\\uXXXX`, where they would raise otherwise.

    A terminal or pipe in cp1252 or ASCII then takes any message and file name. Streams that cannot be changed are left.
    """
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
