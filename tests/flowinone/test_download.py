"""`flowinone download` against a local hub: what it places, what it requests, and how it handles every fault."""

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from devtools import tiny
from devtools.hub_server import Hub
from flowinone.cli import main
from flowinone.model.flowinone_model import native_tensors
from flowinone.weights.checkpoint import open_autoencoder, open_network, open_vision
from flowinone.weights.download import PARTS, Download, check_disk_space
from flowinone.weights.hub import DownloadError, HubFile
from flowinone.weights.mapping import vision_map

ROOT = Path(__file__).parents[2]
REPOS = {part.kind: part.repo for part in PARTS}
FILES = {part.kind: part.file for part in PARTS}
PLACES = {
    "network": Path("flowinone", "flowinone_256px_bf16.safetensors"),
    "vision": Path("clip_vision", "janus_pro_1b_vision.safetensors"),
    "vae": Path("vae", "vae-ft-mse-840000-ema-pruned.safetensors"),
}
# huggingface_hub reads its environment once, on import. So the command runs in a process of its own, which the tests
# share and which waits less between retries.
COMMANDS = """
import contextlib, io, json, sys
import flowinone.weights.hub
from flowinone.cli import main

flowinone.weights.hub.RETRY_DELAYS = (0.01,) * 4
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(json.loads(line))
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""
COMMAND = [sys.executable, "-c", "import sys; from flowinone.cli import main; sys.exit(main())", "download"]


def vision_tensors():
    """The tiny tower under transformers' names, as the released file has it."""
    weights = tiny.vision_weights()
    return {
        name: source.build(*(weights[stored] for stored in source.names)).contiguous()
        for name, source in vision_map(weights).items()
    }


def janus(**replaced):
    """A file like the released Janus-Pro-1B: the tower, its pooling head, and a language model ten times their size."""
    tensors = {f"model.{name}": tensor for name, tensor in (vision_tensors() | replaced).items()}
    tower = sum(tensor.nbytes for tensor in tensors.values())
    tensors["model.vision_model.head.probe"] = torch.zeros(1, 1, 48)
    tensors["model.language_model.layers.0.mlp.up_proj.weight"] = torch.zeros(10 * tower // 4)
    tensors["model.zz.weight"] = torch.zeros(1000)
    return save(tensors)


def stored(weights):
    stream = io.BytesIO()
    torch.save(weights, stream)
    return stream.getvalue()


CONTENTS = {
    "network": stored(tiny.network_weights() | {"open_clip.logit_scale": torch.ones(())}),
    "vision": janus(),
    "vae": save(tiny.autoencoder_weights()),
}


@pytest.fixture(scope="module")
def server():
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def hub(server):
    for kind, content in CONTENTS.items():
        server.put(REPOS[kind], FILES[kind], content)
    server.reset()
    return server


@pytest.fixture(scope="module")
def environment(server, tmp_path_factory):
    ours = {"HF_ENDPOINT": server.endpoint, "HF_HOME": str(tmp_path_factory.mktemp("home")), "HF_TOKEN": "hf_secret"}
    ours |= {"HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1,localhost"}
    return {**os.environ, **ours}


@pytest.fixture(scope="module")
def commands(environment):
    with subprocess.Popen(
        [sys.executable, "-c", COMMANDS],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def download(commands):
    """Runs the command; gives its exit code, standard output and standard error."""

    def run(*arguments):
        commands.stdin.write(json.dumps(["download", *map(str, arguments)]) + "\n")
        commands.stdin.flush()
        return json.loads(commands.stdout.readline())

    return run


@pytest.fixture
def comfyui(tmp_path):
    root = tmp_path / "ComfyUI"
    (root / "comfy").mkdir(parents=True)
    (root / "main.py").touch()
    return root


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def assert_same(tensors, expected, dtype):
    assert set(tensors) == set(expected)
    for name, tensor in tensors.items():
        assert tensor.dtype == dtype and torch.equal(tensor, expected[name].to(dtype)), name


def test_three_files_are_placed_where_the_loaders_look(hub, download, comfyui):
    code, said, errors = download("--comfyui", comfyui)
    assert code == 0, errors
    assert files_of(comfyui / "models") == sorted(map(str, PLACES.values()))
    for kind, place in PLACES.items():
        assert f"{hub.endpoint}/{REPOS[kind]}" in said and f"placed: {comfyui / 'models' / place}" in said
        assert FILES[kind] in errors  # its progress
    assert "DeepSeek Model License, which restricts some uses: https://" in said

    models = comfyui / "models"
    expected = native_tensors({k: v for k, v in tiny.network_weights().items() if not k.startswith("open_clip")})
    assert_same(open_network(models / PLACES["network"]).tensors(), expected, torch.bfloat16)
    assert_same(open_vision(models / PLACES["vision"]).tensors(), vision_tensors(), torch.float16)
    assert_same(open_autoencoder(models / PLACES["vae"]).tensors(), tiny.autoencoder_weights(), torch.float32)

    with safe_open(models / PLACES["vision"], "pt") as file:
        assert file.metadata()["flowinone.source_sha256"] == hashlib.sha256(CONTENTS["vision"]).hexdigest()

    # The token goes to the hub, and never where the hub sends us.
    assert hub.tokens == {"hub": {"Bearer hf_secret"}, "content": {None}}


def test_of_janus_only_the_towers_bytes_are_read(hub, download, tmp_path):
    assert download("--to", tmp_path, "--only", "vision")[0] == 0
    content = CONTENTS["vision"]
    tower = sum(tensor.nbytes for tensor in vision_tensors().values())
    header = 8 + int.from_bytes(content[:8], "little")
    assert hub.sent("model.safetensors") == header + tower < len(content) / 8
    assert len(hub.transfers) <= 5  # neighbours come in one go
    assert files_of(tmp_path) == ["janus_pro_1b_vision.safetensors"]


def test_files_that_exist_already_are_not_requested(hub, download, comfyui):
    arguments = ["--comfyui", comfyui, "--only", "vision", "--only", "vae"]
    assert download(*arguments)[0] == 0
    hub.reset()
    code, said, errors = download(*arguments)
    assert (code, said, hub.transfers) == (0, "", [])
    assert [
        line.endswith("already exists and is kept (--overwrite downloads it again)") for line in errors.splitlines()
    ] == [
        True,
        True,
    ]
    assert download(*arguments, "--overwrite")[0] == 0
    assert hub.sent(FILES["vae"]) == len(CONTENTS["vae"])


def test_a_file_in_the_way_is_named_and_replaced_only_when_asked(hub, download, tmp_path):
    target = tmp_path / PLACES["vae"].name
    target.write_bytes(CONTENTS["vision"])
    code, _, errors = download("--to", tmp_path, "--only", "vae")
    assert code == 2 and target.read_bytes() == CONTENTS["vision"]
    assert f"{target} is a Janus-Pro vision encoder" in errors and "--overwrite replaces it" in errors
    assert download("--to", tmp_path, "--only", "vae", "--overwrite")[0] == 0
    assert target.read_bytes() == CONTENTS["vae"]


def test_a_dry_run_tells_sizes_and_writes_nothing(hub, download, comfyui):
    code, said, _ = download("--comfyui", comfyui, "--dry-run")
    assert code == 0
    assert re.search(r"flowinone_256px\.pth from \S+CSU-JPG/FlowInOne\n  size: 107 MB\n  licence: Apache-2\.0", said)
    assert re.search(r"size: \d{3} kB of 7\.\d MB, the vision tower and aligner alone", said)
    assert said.splitlines()[-1] == "to download: 128 MB"
    assert not (comfyui / "models").exists()
    assert hub.sent("model.safetensors") < 20_000 and hub.sent(FILES["network"]) == 0


def test_a_broken_connection_is_resumed_where_it_broke(hub, download, tmp_path):
    hub.cuts = [1_000_000, 0, 50_000, 0, 50_000]  # more often than tries in a row are made
    code, _, errors = download("--to", tmp_path, "--only", "vae")
    assert code == 0 and errors.count("retrying in 0.01 s") == 5
    starts = [0, 1_000_000, 1_000_000, 1_050_000, 1_050_000, 1_100_000]
    assert [transfer.start for transfer in hub.transfers] == starts
    assert hub.sent(FILES["vae"]) == len(CONTENTS["vae"])
    assert (tmp_path / PLACES["vae"].name).read_bytes() == CONTENTS["vae"]


def interrupt(hub, download, kind, after, *arguments):
    """A run whose connection breaks after so many bytes of the content, and stays broken."""
    headers = [None, None] if kind == "vision" else []
    hub.cuts = [*headers, after, *[0] * 4]
    code, said, errors = download("--only", kind, *arguments)
    assert code == 2 and "placed" not in said
    assert f"{FILES[kind]} of {REPOS[kind]}: the connection to {hub.endpoint} failed (" in errors.splitlines()[-1]
    assert "try again later with the same command, which resumes the download" in errors


@pytest.mark.parametrize(("kind", "after"), [("network", 60_000_000), ("vision", 40_000)])
def test_an_interrupted_download_is_resumed_by_the_next_run(hub, download, comfyui, kind, after):
    models = comfyui / "models"
    interrupt(hub, download, kind, after, "--comfyui", comfyui)
    assert [Path(name).suffix for name in files_of(models)] == [".part"]
    first = hub.sent(FILES[kind])
    hub.reset()
    code, said, errors = download("--comfyui", comfyui, "--only", kind)
    assert code == 0, errors
    assert "of it already here" in said and "starting over" not in errors
    assert files_of(models) == [str(PLACES[kind])]
    content = CONTENTS[kind]
    if kind == "network":
        assert [transfer.start for transfer in hub.transfers] == [after]
    else:
        header = 8 + int.from_bytes(content[:8], "little")
        tower = sum(tensor.nbytes for tensor in vision_tensors().values())
        assert first + hub.sent(FILES[kind]) == 2 * header + tower
        assert_same(open_vision(models / PLACES[kind]).tensors(), vision_tensors(), torch.float16)


@pytest.mark.parametrize("kind", ["vae", "vision"])
def test_a_file_that_changed_meanwhile_is_downloaded_from_its_start(hub, download, tmp_path, kind):
    interrupt(hub, download, kind, 40_000, "--to", tmp_path)
    if kind == "vae":
        weights = tiny.autoencoder_weights() | {"encoder.conv_in.bias": torch.full((128,), 0.25)}
        changed, open_file = save(weights), open_autoencoder
        sent = len(changed)
    else:
        weights = vision_tensors() | {"aligner.fc1.bias": torch.full_like(vision_tensors()["aligner.fc1.bias"], 0.25)}
        changed, open_file = janus(**weights), open_vision
        sent = 8 + int.from_bytes(changed[:8], "little") + sum(tensor.nbytes for tensor in weights.values())
    hub.put(REPOS[kind], FILES[kind], changed)
    hub.reset()
    code, _, errors = download("--only", kind, "--to", tmp_path)
    assert code == 0 and "has changed on the Hub since it was partly downloaded; starting over" in errors
    assert hub.sent(FILES[kind]) == sent
    assert files_of(tmp_path) == [PLACES[kind].name]
    loaded = open_file(tmp_path / PLACES[kind].name).tensors()
    assert all(torch.equal(tensor.float(), weights[name].to(tensor.dtype).float()) for name, tensor in loaded.items())


@pytest.mark.parametrize("kind", ["network", "vae"])
def test_a_damaged_file_is_not_placed(hub, download, comfyui, kind):
    hub.damaged = {FILES[kind]}
    code, _, errors = download("--comfyui", comfyui, "--only", kind)
    assert code == 2 and files_of(comfyui / "models") == []
    sentence = (
        f"{FILES[kind]} of {REPOS[kind]} is damaged: its SHA-256 is [0-9a-f]{{64}}, and the Hub's [0-9a-f]{{64}}; "
    )
    assert re.search(f"flowinone: {sentence}it was deleted, run the same command again\n$", errors)


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_a_tower_that_half_precision_cannot_hold_is_not_placed(hub, download, tmp_path, value):
    weight = vision_tensors()["aligner.fc1.weight"]
    weight[0, 0] = value
    hub.put(REPOS["vision"], FILES["vision"], janus(**{"aligner.fc1.weight": weight}))
    code, _, errors = download("--to", tmp_path, "--only", "vision")
    assert code == 2 and files_of(tmp_path) == []
    assert "is damaged: aligner.fc1.weight contains NaN, infinity or numbers beyond float16" in errors


def test_a_file_of_another_kind_is_not_placed(hub, download, tmp_path):
    hub.put(REPOS["vae"], FILES["vae"], CONTENTS["vision"])
    code, _, errors = download("--to", tmp_path, "--only", "vae")
    assert code == 2 and files_of(tmp_path) == []
    assert "is a Janus-Pro vision encoder" in errors and f"see {hub.endpoint}/{REPOS['vae']}" in errors


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\xff" * 100, "its header claims 18,446,744,073,709,551,615 bytes"),
        ((90).to_bytes(8, "little") + b" " * 80, "its header claims 90 bytes"),
        ((80).to_bytes(8, "little") + b"{" * 90, "its header is unreadable: "),
        ((80).to_bytes(8, "little") + b"[]" + b" " * 90, "its header is unreadable: "),
        (save({"aligner.fc1.weight": torch.ones(9)}).replace(b"[9]", b"[8]"), "tensors whose shape and size differ"),
        (save({"aligner.fc1.weight": torch.ones(9)})[:-1], "tensors outside of the file"),
        (save({"lm_head.weight": torch.ones(9)}), "has no Janus-Pro vision tower (found lm_head.weight)"),
    ],
)
def test_a_file_that_cannot_be_read_in_parts_is_named(hub, download, tmp_path, content, sentence):
    hub.put(REPOS["vision"], FILES["vision"], content)
    code, _, errors = download("--to", tmp_path, "--only", "vision")
    assert code == 2 and sentence in errors and "model.safetensors of deepseek-community/Janus-Pro-1B" in errors
    assert files_of(tmp_path) == []


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        (
            (404, "RepoNotFound"),
            "{hub} shows no repository {repo} (404); check HF_ENDPOINT, and set HF_TOKEN to a valid ",
        ),
        (
            (401, "RepoNotFound"),
            "{hub} shows no repository {repo} (401); check HF_ENDPOINT, and set HF_TOKEN to a valid ",
        ),
        ((403, "GatedRepo"), "{repo} is gated: accept its terms on {hub}/{repo}, and set HF_TOKEN to your token"),
        ((200, "None"), "{hub} does not tell commit, size and SHA-256 of {file} of {repo}, as the Hub does for large"),
        ((401, "Other"), "{file} of {repo}: {hub} answered 401; set HF_TOKEN to a valid token or unset it"),
        (
            (503, "Other"),
            "{file} of {repo}: {hub} answered 503; try again later with the same command, which resumes the download",
        ),
    ],
)
def test_a_hub_that_refuses_is_explained(hub, download, tmp_path, refusal, sentence):
    hub.refusals[REPOS["vae"]] = refusal
    code, _, errors = download("--to", tmp_path, "--only", "vae")
    assert code == 2
    last = errors.splitlines()[-1]
    assert last.startswith("flowinone: " + sentence.format(hub=hub.endpoint, repo=REPOS["vae"], file=FILES["vae"]))
    assert errors.count("retrying in") == (4 if refusal[0] == 503 else 0)


def test_a_file_that_its_repository_lacks_is_named(hub, download, tmp_path):
    hub.remove(REPOS["vision"], FILES["vision"])
    code, _, errors = download("--to", tmp_path, "--only", "vision")
    assert code == 2
    place = f"{hub.endpoint}/deepseek-community/Janus-Pro-1B/tree/main"
    assert f"deepseek-community/Janus-Pro-1B has no file model.safetensors (404); see what it has on {place}" in errors


def test_a_mirror_without_range_requests_serves_whole_files_only(hub, download, tmp_path):
    hub.ranges = False
    assert download("--to", tmp_path, "--only", "vae")[0] == 0
    code, _, errors = download("--to", tmp_path, "--only", "vision")
    assert code == 2 and re.search(
        f"{hub.endpoint} was asked for .* and sent the whole file; it has to serve parts of files", errors
    )
    assert files_of(tmp_path) == [PLACES["vae"].name]


def test_the_published_checkpoint_can_be_kept_and_is_not_downloaded_twice(hub, download, tmp_path):
    assert download("--to", tmp_path, "--only", "network", "--dtype", "none", "--keep-original")[0] == 0
    assert files_of(tmp_path) == ["flowinone_256px.pth", "flowinone_256px.safetensors"]
    original = tmp_path / "flowinone_256px.pth"
    assert original.read_bytes() == CONTENTS["network"]
    assert {tensor.dtype for tensor in load_file(tmp_path / "flowinone_256px.safetensors").values()} == {torch.float32}

    hub.reset()
    assert download("--to", tmp_path, "--only", "network", "--dtype", "fp16")[0] == 0
    assert original.exists() and hub.transfers == []
    tensors = open_network(tmp_path / "flowinone_256px_fp16.safetensors").tensors()
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}

    with open(original, "r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"?")
    code, _, errors = download("--to", tmp_path, "--only", "network")
    assert code == 2 and original.exists()
    assert f"{original} is damaged: its SHA-256 is" in errors and "delete it or move it away" in errors


def download_of(folder, kind, size, result):
    part = next(part for part in PARTS if part.kind == kind)
    source = HubFile(part.repo, part.file, "c0ffee", "5" * 64, size)
    return Download(part, source, [(0, size)], b"", folder / f"{kind}.part", folder / kind, None, result, None)


def test_a_disk_that_is_too_small_is_noticed_before_downloading(tmp_path):
    downloads = [
        download_of(tmp_path / "new", "network", 6_800_000_000, 3_400_000_000),
        download_of(tmp_path / "new", "vae", 335_000_000, 0),
    ]
    check_disk_space(downloads, free=lambda folder: 10_200_000_000)
    with pytest.raises(DownloadError) as raised:
        check_disk_space(downloads, free=lambda folder: 10_100_000_000)
    assert str(raised.value) == (
        f"{tmp_path} needs up to 10.2 GB and its disk has 10.1 GB free; "
        "free some space, or download one part at a time with --only"
    )
    # What an earlier run downloaded takes no more space.
    (tmp_path / "new").mkdir()
    with open(tmp_path / "new" / "network.part", "wb") as stream:
        stream.truncate(200_000_000)
    check_disk_space(downloads, free=lambda folder: 10_000_000_000)


@pytest.mark.parametrize(
    ("folders", "sentence"),
    [
        (
            [],
            "is not a ComfyUI folder (it has no main.py next to a folder models or comfy); "
            "give the folder with ComfyUI's",
        ),
        (["ComfyUI/comfy"], "; did you mean {inner}?; give"),
    ],
)
def test_a_folder_that_is_not_a_comfyui_is_named(tmp_path, capfd, folders, sentence):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder).with_name("main.py").touch()
    before = files_of(tmp_path)
    assert main(["download", "--comfyui", str(tmp_path)]) == 2
    errors = capfd.readouterr().err
    assert f"flowinone: {tmp_path} is not a ComfyUI" in errors and sentence.format(inner=tmp_path / "ComfyUI") in errors
    assert files_of(tmp_path) == before


def test_the_desktop_applications_folder_is_a_comfyui(hub, download, tmp_path):
    for folder in ("models", "custom_nodes"):
        (tmp_path / folder).mkdir()
    assert download("--comfyui", tmp_path, "--only", "vae")[0] == 0
    assert files_of(tmp_path / "models") == [str(PLACES["vae"])]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "one of the arguments --comfyui --to is required"),
        (["--comfyui", "a", "--to", "b"], "argument --to: not allowed with argument --comfyui"),
    ],
)
def test_one_place_has_to_be_given(capfd, arguments, sentence):
    with pytest.raises(SystemExit) as raised:
        main(["download", *arguments])
    assert raised.value.code == 2 and sentence in capfd.readouterr().err


def test_a_huggingface_hub_that_is_missing_is_named(monkeypatch, capfd):
    monkeypatch.delitem(sys.modules, "flowinone.weights.download")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main(["download", "--to", "weights"]) == 2
    assert "downloading needs huggingface_hub 1.0 and the packages of the library extra: pip" in capfd.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="Windows delivers Ctrl-C to whole process groups only")
def test_ctrl_c_places_nothing_and_the_next_run_goes_on(hub, environment, download, tmp_path):
    hub.pause = 0.02
    arguments = ["--to", str(tmp_path), "--only", "vae"]
    run = subprocess.Popen([*COMMAND, *arguments], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while hub.sent(FILES["vae"]) < 1_000_000 and time.monotonic() < deadline:
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert errors.splitlines()[-2:] == ["the download so far is kept: run the same command again to resume", "stopped"]
    (part,) = tmp_path.iterdir()
    held = part.stat().st_size
    assert part.suffix == ".part" and 0 < held < len(CONTENTS["vae"])

    hub.reset()
    assert download(*arguments)[0] == 0
    assert [transfer.start for transfer in hub.transfers] == [held]
    assert (tmp_path / PLACES["vae"].name).read_bytes() == CONTENTS["vae"]


def test_offline_mode_is_named(hub, environment, tmp_path):
    offline = {**environment, "HF_HUB_OFFLINE": "1"}
    command = [*COMMAND, "--to", str(tmp_path), "--only", "vae"]
    run = subprocess.run(command, cwd=ROOT, env=offline, capture_output=True, text=True)
    assert run.returncode == 2 and hub.transfers == []
    assert "offline mode is enabled. To disable it, please unset the `HF_HUB_OFFLINE`" in run.stderr
    assert "Traceback" not in run.stderr
