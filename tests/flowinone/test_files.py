import io
import os
import stat
import sys
from pathlib import Path

import pytest

from flowinone.files import atomic_path, atomic_write, escape_unencodable, is_picture, user_path, write_output

ERRORS = [KeyboardInterrupt, RuntimeError, OSError]


def test_an_atomic_write_replaces_the_target_at_the_end(tmp_path):
    target = tmp_path / "new folder" / "a.bin"
    with atomic_write(target) as stream:
        stream.write(b"first")
        assert not target.exists()
    with atomic_write(target, sync=True) as stream:
        stream.write(b"second")
        assert target.read_bytes() == b"first"
    assert target.read_bytes() == b"second"
    assert os.listdir(target.parent) == ["a.bin"]


def test_text_is_utf_8_with_plain_line_ends(tmp_path):
    with atomic_write(tmp_path / "a.txt", "w") as stream:
        stream.write("ä\n")
    assert (tmp_path / "a.txt").read_bytes() == "ä\n".encode()


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("earlier", [None, b"earlier"])
def test_a_failed_write_leaves_nothing_and_keeps_the_earlier_file(tmp_path, error, earlier):
    target = tmp_path / "a.bin"
    if earlier:
        target.write_bytes(earlier)
    with pytest.raises(error), atomic_write(target) as stream:
        stream.write(b"half")
        raise error
    assert os.listdir(tmp_path) == (["a.bin"] if earlier else [])
    assert not earlier or target.read_bytes() == earlier


def test_a_target_that_cannot_be_replaced_leaves_nothing_behind(tmp_path):
    (tmp_path / "a folder").mkdir()
    with pytest.raises(OSError), atomic_write(tmp_path / "a folder") as stream:
        stream.write(b"content")
    assert os.listdir(tmp_path) == ["a folder"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_written_files_have_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with atomic_path(tmp_path / "a.bin") as partial:
        partial.unlink()
        partial.touch(mode=0o600)  # as safetensors does
    with atomic_write(tmp_path / "b.bin"):
        pass
    wanted = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.bin", "b.bin")] == [wanted, wanted]


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    target = tmp_path / "a.bin"
    with atomic_write(target) as first, atomic_write(target) as second:
        first.write(b"first")
        second.write(b"second")
    assert target.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_tilde_means_the_home_folder(tmp_path, monkeypatch):
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert user_path("~/a.bin") == tmp_path / "a.bin"
    assert user_path("~no such user/a.bin") == Path("~no such user/a.bin")
    write_output(b"content", "~/a.bin")
    assert (tmp_path / "a.bin").read_bytes() == b"content"


def test_pictures_are_known_by_suffix():
    assert is_picture(Path("a.PNG")) and is_picture(Path("a.b.jpeg"))
    assert not is_picture(Path("a.json")) and not is_picture(Path("png"))


def test_any_message_can_be_printed_in_any_encoding():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    with pytest.raises(UnicodeEncodeError):
        stream.write("绘 …")
    escape_unencodable(stream, None, io.StringIO())
    print("绘 … \udcff", end="", file=stream, flush=True)
    assert stream.buffer.getvalue() == b"\\u7ed8 \x85 \\udcff"
