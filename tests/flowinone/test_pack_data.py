"""`flowinone pack-data`: what the shards hold, that they never differ, and what stays when something goes wrong."""

import io
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from flowinone.cli import main
from flowinone.pictures import as_rgb
from flowinone.prompts import dumps, tasks
from flowinone.prompts.prompt_files import PROMPT_CHUNK
from flowinone.training.sources import find_source


def pack(*arguments):
    return main(["pack-data", *map(str, arguments)])


def picture(seed, size=(12, 10), mode="RGB"):
    noise = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 4), dtype=np.uint8)
    return Image.fromarray(noise, "RGBA").convert(mode)


def save(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def write_pairs(folder, count, size=(12, 10)):
    for number in range(count):
        save(picture(number, size), folder / "input" / f"{number:03}.png")
        save(picture(1000 + number, size), folder / "output" / f"{number:03}.png")
    return folder


def write_slow_pairs(folder, count):
    """Pairs that are not copied but encoded, which takes some 20 ms each."""
    write_pairs(folder, count, size=(300, 300))
    for path in folder.rglob("*.png"):
        Image.open(path).convert("RGBA").save(path, compress_level=0)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_pairs(tmp_path / "pairs", 10)


@pytest.fixture
def gallery(tmp_path):
    """Pairs of every kind, in a folder."""
    root = tmp_path / "gallery"
    names = ["1 plain", "2.alpha", "3-jpeg", "deep/4 turned", "deep/5 t2i", "deep/6 c2i", "深/7", "deep/8 composed"]
    for number, name in enumerate(names):
        save(picture(number), root / "input" / f"{name}.png")
        save(picture(50 + number), root / "output" / f"{name}.png")
    save(picture(1, mode="RGBA"), root / "input" / "2.alpha.png")
    (root / "input" / "3-jpeg.png").unlink()
    save(picture(2), root / "input" / "3-jpeg.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    save(picture(3), root / "input" / "deep" / "4 turned.png", exif=exif)
    (root / "input" / "deep" / "5 t2i.type").write_text("t2i\n")
    (root / "input" / "deep" / "6 c2i.type").write_text("c2i")
    chunks = PngInfo()
    chunks.add_text(PROMPT_CHUNK, dumps(tasks.class_to_image("arch")))
    save(picture(7), root / "input" / "deep" / "8 composed.png", pnginfo=chunks)
    return root


def members(shard):
    with tarfile.open(shard) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def contents(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


def assert_same_pairs(one, other):
    assert len(one) == len(other)
    for index in range(len(one)):
        first, second = one.pair(index), other.pair(index)
        for before, after in ((first.input, second.input), (first.output, second.output)):
            assert before.size == after.size and before.tobytes() == after.tobytes()
        assert first.bypass == second.bypass


def test_packed_pairs_read_back_are_the_same_to_the_pixel(gallery, tmp_path, capfd):
    out = tmp_path / "deep" / "out"
    assert pack(gallery, "--out", out, "--per-shard", 3, "--workers", 1) == 0
    outputs = capfd.readouterr()
    assert outputs.out.splitlines() == [str(out / f"shards-00000{n}.tar") for n in range(3)]
    assert "8/8" in outputs.err
    assert sorted(path.name for path in out.iterdir()) == [f"shards-00000{n}.tar" for n in range(3)]
    packed = find_source(out)
    assert packed.left_out == []
    assert_same_pairs(find_source(gallery), packed)
    assert [packed.pair(index).bypass for index in range(8)] == [False] * 4 + [True, False, True, False]


def test_shards_have_upstreams_layout(gallery, tmp_path):
    pack(gallery, "--out", tmp_path / "out", "--workers", 1)
    files = members(tmp_path / "out" / "shards-000000.tar")
    keys = ["00000000_1_plain", "00000001_2_alpha", "00000002_3_jpeg", "00000003_deep_4_turned", "00000004_deep_5_t2i"]
    keys += ["00000005_deep_6_c2i", "00000006_deep_8_composed", "00000007_7"]
    expected = [(key, part) for key in keys for part in ("in.png", "out.png", "type")]
    typed = {"00000004_deep_5_t2i": b"t2i", "00000005_deep_6_c2i": b"c2i", "00000006_deep_8_composed": b"t2i"}
    # WebDataset takes what comes before the first dot for the key, and members in a row for a sample.
    assert [tuple(name.split(".", 1)) for name in files] == [
        one for one in expected if one[1] != "type" or one[0] in typed
    ]
    assert {name.split(".")[0]: word for name, word in files.items() if name.endswith("type")} == typed
    for name, content in files.items():
        if name.endswith(".png"):
            image = Image.open(io.BytesIO(content))
            # A reader that knows neither transparency nor orientation sees the same picture.
            assert (image.format, image.mode) == ("PNG", "RGB")
            assert image.tobytes() == as_rgb(image).tobytes()


def test_only_what_is_no_plain_png_is_encoded_anew(gallery, tmp_path):
    pack(gallery, "--out", tmp_path / "out", "--workers", 1)
    files = members(tmp_path / "out" / "shards-000000.tar")
    stored = {path.read_bytes() for path in gallery.rglob("*.png")}
    anew = {name for name, content in files.items() if name.endswith(".png") and content not in stored}
    assert anew == {"00000001_2_alpha.in.png", "00000002_3_jpeg.in.png", "00000003_deep_4_turned.in.png"}


def test_the_same_pairs_give_the_same_bytes_however_they_are_packed(gallery, tmp_path):
    outs = [tmp_path / f"out{workers}" for workers in (1, 3)]
    for workers, out in zip((1, 3), outs):
        assert pack(gallery, "--out", out, "--per-shard", 2, "--workers", workers) == 0
        for path in gallery.rglob("*.png"):
            os.utime(path, (1, 1))
    assert contents(outs[0]) == contents(outs[1])
    assert len(contents(outs[0])) == 4


def test_several_inputs_and_shards_are_packed_in_turn(gallery, folder, tmp_path):
    pack(gallery, "--out", tmp_path / "first", "--per-shard", 3, "--workers", 1)
    (tmp_path / "second").mkdir()
    shards = tmp_path / "first" / "shards-{000000..000002}.tar"
    assert pack(folder, shards, "--out", tmp_path / "second", "--name", "all", "--workers", 1) == 0
    (path,) = (tmp_path / "second").iterdir()
    assert path.name == "all-000000.tar"
    packed = find_source(path)
    assert len(packed) == 18
    assert all(len(name) < 100 for name in members(path))
    pack(folder, gallery, "--out", tmp_path / "direct", "--workers", 1)
    assert_same_pairs(packed, find_source(tmp_path / "direct"))


@pytest.mark.parametrize("workers", [1, 2])
def test_broken_pairs_are_left_out_and_listed(folder, tmp_path, capfd, workers):
    content = (folder / "input" / "004.png").read_bytes()
    (folder / "input" / "004.png").write_bytes(content[:100])
    (folder / "output" / "007.png").write_bytes(b"")
    (folder / "input" / "008.type").write_text("video")
    (folder / "output" / "009.png").unlink()
    out = tmp_path / "out"
    assert pack(folder, "--out", out, "--per-shard", 4, "--workers", workers) == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("flowinone: ")]
    assert lines == [
        f"flowinone: {folder / 'input' / '009.png'} was left out: it has no partner in output",
        f"flowinone: {folder / 'input' / '004.png'} was left out: its input cannot be read: image file is truncated",
        f"flowinone: {folder / 'output' / '007.png'} was left out: its output is empty".replace(
            "output" + os.sep, "input" + os.sep
        ),
        f"flowinone: {folder / 'input' / '008.png'} was left out: its type is 'video'; expected t2i or c2i, or none",
    ]
    keys = [f"{n:08}_{n:03}" for n in range(9) if n not in (4, 7, 8)]
    packed = find_source(out)
    assert [packed.key(index) for index in range(len(packed))] == keys


def test_a_run_goes_on_with_the_shards_that_are_missing(folder, tmp_path, capfd):
    (folder / "input" / "004.png").write_bytes(b"")
    out = tmp_path / "out"
    arguments = [folder, "--out", out, "--per-shard", 3, "--workers", 1]
    assert pack(*arguments) == 1
    whole = contents(out)
    listed = capfd.readouterr()
    assert "its input is empty" in listed.err
    (out / "shards-000002.tar").unlink()
    for path in out.iterdir():
        os.utime(path, (1, 1))
    assert pack(*arguments) == 1
    again = capfd.readouterr()
    assert again.out == listed.out
    assert "3/3" in again.err
    assert f"004.png was left out: {out / 'shards-000001.tar'} was packed without it" in again.err
    assert contents(out) == whole
    assert [int(path.stat().st_mtime) == 1 for path in sorted(out.iterdir())] == [True, True, False, True]

    assert pack(*arguments, "--overwrite") == 1
    assert contents(out) == whole
    assert not any(int(path.stat().st_mtime) == 1 for path in out.iterdir())


def test_shards_of_other_pairs_are_neither_kept_nor_mixed_with(folder, tmp_path, capfd):
    out = tmp_path / "out"
    arguments = ["--out", out, "--per-shard", 5, "--workers", 1]
    pack(folder, *arguments)
    before = contents(out)
    save(picture(1), folder / "input" / "0000.png")
    save(picture(1), folder / "output" / "0000.png")
    capfd.readouterr()
    assert pack(folder, *arguments) == 2
    assert (
        "shards-000000.tar exists and contains other pairs; --overwrite replaces it, another --name keeps it"
        in capfd.readouterr().err
    )
    assert contents(out) == before

    # Larger shards are fewer, and one of the smaller ones would stay.
    assert pack(folder, "--out", out, "--per-shard", 20, "--overwrite") == 2
    assert (
        "shards-000001.tar is left over from another run and would be mixed with these shards" in capfd.readouterr().err
    )
    assert contents(out) == before
    assert pack(folder, "--out", out, "--name", "others", "--workers", 1) == 0
    assert {name: content for name, content in contents(out).items() if name.startswith("shards")} == before

    # A shard that was cut off by another program is no shard of these pairs.
    cut = out / "others-000000.tar"
    cut.write_bytes(cut.read_bytes()[:-10_240])
    assert pack(folder, "--out", out, "--name", "others", "--workers", 1) == 2
    assert pack(folder, "--out", out, "--name", "others", "--workers", 1, "--overwrite") == 0


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.skipif(os.name == "nt", reason="Windows delivers Ctrl-C to whole process groups only")
@pytest.mark.long
def test_ctrl_c_leaves_whole_shards_and_the_next_run_goes_on(tmp_path, workers):
    folder, out = write_slow_pairs(tmp_path / "pairs", 33), tmp_path / "out"
    options = ["--out", str(out), "--per-shard", "3", "--workers", workers]
    command = [sys.executable, "-m", "flowinone", "pack-data", str(folder), *options]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(out.glob("*.tar")) and time.monotonic() < deadline:
        time.sleep(0.005)
    # As a terminal does: to every process of the run.
    os.killpg(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert errors.rstrip().endswith("stopped")
    assert "Traceback" not in errors
    shards = sorted(out.iterdir())
    assert 1 <= len(shards) < 11
    assert all(re.fullmatch(r"shards-\d{6}\.tar", path.name) for path in shards)
    assert [len(find_source(path)) for path in shards] == [3] * len(shards)
    stopped = contents(out)
    assert pack(folder, "--out", out, "--per-shard", 3, "--workers", 2) == 0
    assert stopped.items() < contents(out).items()
    assert_same_pairs(find_source(out), find_source(folder))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_shard_that_cannot_be_written_ends_the_run_and_leaves_nothing_half(folder, tmp_path, capfd, workers):
    out = tmp_path / "out"
    (out / "shards-000001.tar").mkdir(parents=True)
    assert pack(folder, "--out", out, "--per-shard", 2, "--workers", workers, "--overwrite") == 2
    errors = capfd.readouterr().err
    assert "shards-000001.tar" in errors and "Traceback" not in errors
    assert not list(out.glob(".*"))
    assert all(len(find_source(path)) == 2 for path in out.iterdir() if path.is_file())


def test_a_process_that_ends_early_ends_the_run_with_a_sentence(tmp_path, capfd):
    folder, out = write_slow_pairs(tmp_path / "pairs", 40), tmp_path / "out"
    others = set(multiprocessing.active_children())

    def kill_one():
        deadline = time.monotonic() + 60
        while not list(out.glob("*")) and time.monotonic() < deadline:
            time.sleep(0.005)
        (set(multiprocessing.active_children()) - others).pop().kill()

    killer = threading.Thread(target=kill_one)
    killer.start()
    assert pack(folder, "--out", out, "--per-shard", 2, "--workers", 2) == 2
    killer.join()
    assert "a packing process was killed, perhaps because memory ran out; use fewer --workers" in capfd.readouterr().err


def test_a_shard_none_of_whose_pairs_can_be_read_is_an_empty_one(folder, tmp_path):
    for number in (2, 3):
        (folder / "input" / f"00{number}.png").write_bytes(b"")
    out = tmp_path / "out"
    assert pack(folder, "--out", out, "--per-shard", 2, "--workers", 1) == 1
    # Patterns such as {000000..000004} go on naming files that are there.
    assert len(find_source(out / "shards-{000000..000004}.tar")) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing", "--out", "out"], "missing does not exist; expected a pair folder"),
        (["{folder}", "--out", "out", "--name", "../x"], "--name ../x cannot start a file name"),
        (["{folder}", "--out", "out", "--name", ".x"], "--name .x cannot start a file name"),
        (["shards-000000.tar", "--out", ".", "--overwrite"], "shards-000000.tar is an input and would be replaced"),
        ([".", "--out", ".", "--overwrite"], "is an input and would be replaced"),
        (["{folder}", "--out", "file"], "file"),
    ],
)
def test_unusable_arguments_are_named_and_change_nothing(folder, tmp_path, capfd, monkeypatch, arguments, message):
    work = tmp_path / "work"
    pack(folder, "--out", work, "--workers", 1)
    monkeypatch.chdir(work)
    Path("file").write_bytes(b"mine")
    before = contents(work)
    capfd.readouterr()
    assert pack(*(argument.format(folder=folder) for argument in arguments)) == 2
    errors = capfd.readouterr().err
    assert message in errors and "Traceback" not in errors
    assert contents(work) == before


def test_numbers_of_nothing_are_refused(folder, capfd):
    for option in ("--per-shard", "--workers"):
        with pytest.raises(SystemExit):
            pack(folder, "--out", "out", option, 0)
        assert "0 is less than 1" in capfd.readouterr().err


def test_packing_needs_no_torch():
    # Every worker process imports it anew.
    code = "import sys, flowinone.training.packing; print({'torch', 'transformers', 'diffusers'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
