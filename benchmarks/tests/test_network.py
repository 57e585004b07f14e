"""The network benchmark: its counts against known figures, and the whole program at a tiny size."""

import json
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import costs, measuring, methods, network, reference
from benchmarks.reporting import STEPS, Row, summary
from benchmarks.shapes import SIZES, meta_pipeline, write_files
from devtools.numerics import relative_error
from devtools.peak_memory import PeakBytes
from flowinone import FlowInOnePipeline
from flowinone.config import FlowInOneConfig
from flowinone.model import Condition
from flowinone.weights.eightbit import KINDS

ROOT = Path(network.__file__).parents[1]
# As a script, in an environment whose torchvision may not fit its torch.
START = (
    "import runpy, sys; from devtools.comfyui.launch import accept_torchvision; accept_torchvision(); "
    "del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
)
COMMAND = [sys.executable, "-c", START, network.__file__]
QUICK = ["--device", "cpu", "--size", "tiny", "--dtype", "float32", "bfloat16", "--seconds", "1"]


def program(*options, **settings):
    return subprocess.run([*COMMAND, *options], cwd=ROOT, capture_output=True, text=True, **settings)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    files = write_files(SIZES["tiny"], tmp_path_factory.mktemp("tiny"), seed=0)
    pipeline = FlowInOnePipeline.from_single_files(files["network"], files["vision"], files["vae"], torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run from beginning to end, its report and its plot."""
    folder = tmp_path_factory.mktemp("benchmark")
    run = program(*QUICK, "--batch", "2", "1", "--rounds", "2", "--json", folder / "n.json", "--plot", folder / "n.png")
    assert run.returncode == 0, run.stderr
    return run, json.loads((folder / "n.json").read_text()), folder / "n.png"


@pytest.mark.parametrize(("dual", "published"), [(True, 738.6), (False, 580.9)])
def test_a_pass_of_the_released_network_has_the_published_operations(dual, published):
    assert round(costs.pass_flops(FlowInOneConfig(), dual) / 1e9, 1) == published


@pytest.mark.parametrize("dual", [True, False])
def test_the_operations_are_those_that_torch_counts(tiny, dual):
    config = tiny.model.velocity_network.config
    latent, flag = torch.zeros(1, *config.latent_shape), torch.ones(1, dtype=torch.bool)
    with FlopCounterMode(display=False) as counter:
        reference.as_reference(tiny.model).velocity(latent, torch.zeros(1), Condition(latent, flag, flag ^ dual))
    # Of the CPU's fused attention it knows nothing.
    assert costs.pass_flops(config, dual) == counter.get_total_flops()


def test_the_operations_of_attention_are_those_that_torch_counts():
    config = SIZES["tiny"].network
    model = reference.as_reference(meta_pipeline(SIZES["tiny"], torch.float32).model)
    latent, flag = torch.zeros(1, *config.latent_shape), torch.ones(1, dtype=torch.bool, device="meta")
    with PeakBytes(), FlopCounterMode(display=False) as counter:
        model.velocity(latent, torch.zeros(1), Condition(latent, flag, flag, dual=True))
    assert costs.pass_flops(config) + costs.attention_flops(config) == counter.get_total_flops()


def test_the_full_size_is_the_released_one():
    pipeline = meta_pipeline(SIZES["full"], torch.bfloat16)
    assert costs.value_count(pipeline.model) == 1_370_173_880
    assert costs.weight_bytes(pipeline) == 2 * (1_370_173_880 + 309_984_256 + 83_653_863)
    assert pipeline.vision.config.num_attention_heads == 16


@pytest.mark.long
def test_all_methods_give_the_same_image(tiny):
    pictures = costs.prompt_pictures(2)
    source, image_latent = costs.encode(tiny, pictures)
    bypass = torch.tensor([False, True])
    with torch.no_grad():
        # The default backend takes half a minute and a C++ compiler.
        made = {
            "own": methods.own(tiny),
            "reference": methods.reference(tiny),
            "compiled": methods.compiled(tiny, backend="eager"),
        }
        assert made.keys() == methods.METHODS.keys()
        ends = {name: methods.steps_from(method(image_latent, bypass), source, 3) for name, method in made.items()}
    assert relative_error(ends["own"], source) > 0.1
    # Float32 sums in another order, three steps of them at guidance 7.
    assert relative_error(ends["own"], ends["reference"]) < 1e-4
    assert relative_error(ends["compiled"], ends["reference"]) < 1e-4


def test_the_reference_takes_no_second_copy_of_the_weights(tiny):
    shared = {parameter.data_ptr() for parameter in tiny.model.parameters()}
    assert {parameter.data_ptr() for parameter in reference.as_reference(tiny.model).parameters()} == shared


def test_the_reference_holds_all_maps_the_same_joined_and_their_norm():
    config = SIZES["full"].network
    model = reference.as_reference(meta_pipeline(SIZES["full"], torch.float32).model)
    latent, flag = torch.zeros(1, *config.latent_shape), torch.zeros(1, dtype=torch.bool, device="meta")
    with PeakBytes() as counted:
        model.velocity(latent, torch.zeros(1), Condition(latent, flag, flag, dual=True))
    assert counted.peak > 3 * 4 * config.coarse_size**2 * (config.coarse_blocks + 1) * config.coarse_width


def test_weights_follow_from_the_seed(tmp_path):
    contents = []
    for number, seed in enumerate((0, 0, 1)):
        (tmp_path / str(number)).mkdir()
        files = write_files(SIZES["tiny"], tmp_path / str(number), seed)
        contents.append([file.read_bytes() for file in files.values()])
    assert contents[0] == contents[1] != contents[2]


def test_few_steps_are_timed_where_many_take_too_long():
    assert network.counts_for(step=0.001, enough=20, rounds=3, curve=True) == [10, 20, 30, 40, 50, 50, 50]
    assert network.counts_for(step=0.001, enough=20, rounds=3, curve=False) == [50, 50, 50]
    assert network.counts_for(step=0.5, enough=20, rounds=2, curve=False) == [20, 20]
    assert network.counts_for(step=1, enough=6, rounds=2, curve=True) == [1, 2, 3, 3]
    assert network.counts_for(step=9, enough=20, rounds=3, curve=True) == [2]
    assert network.counts_for(step=9, enough=20, rounds=3, curve=False) == []


def test_pictures_of_few_steps_are_scaled_and_the_floor_is_the_slower_of_arithmetic_and_reading():
    row = Row("own", "bfloat16", batch=4, encode=2.0, decode=6.0, first=9.0, samples=[(1, 3.0), (2, 4.0), (2, 10.0)])
    size = {"flop_per_pass": 10, "weight_bytes_per_pass": {"bfloat16": 600}}
    floor = {"matrix_flop_per_s": {"bfloat16": 1000}, "copy_byte_per_s": 1000}
    (figures,) = summary([row], size, floor)
    assert (figures["step_s"], figures["picture_s"], figures["whole_picture_s"]) == (
        3,
        3 * STEPS / 4,
        3 * STEPS / 4 + 2,
    )
    assert figures["scaled"] and figures["ratio"] is None
    assert figures["floor_step_s"] == 0.6  # the weights' bytes; the arithmetic takes 2 · 4 · 10 / 1000
    (figures,) = summary([row], size | {"weight_bytes_per_pass": {"bfloat16": 0}}, floor)
    assert figures["floor_step_s"] == 0.08


@pytest.mark.long
def test_a_run_reports_every_way_at_every_batch(finished):
    run, report, _ = finished
    assert report["complete"] and report["size"] == "tiny" and report["steps"] == 50
    assert report["machine"]["torch"] == torch.__version__
    assert set(report["floor"]["matrix_flop_per_s"]) == {"float32", "bfloat16"}
    rows = [(row["batch"], row["method"], row["dtype"]) for row in report["rows"]]
    variants = [("reference", "float32"), ("own", "float32"), ("own", "bfloat16")]
    assert rows == [(batch, *variant) for batch in (1, 2) for variant in variants]
    printed = run.stdout.splitlines()
    assert sum(line.split()[:1] in (["1"], ["2"]) for line in printed) == len(rows)


@pytest.mark.long
def test_ratios_and_pictures_follow_from_what_was_timed(finished):
    _, report, _ = finished
    references = {row["batch"]: row for row in report["rows"] if row["method"] == "reference"}
    for row in report["rows"]:
        assert row["step_s"] == statistics.median(taken / count for count, taken in row["samples"])
        whole = [taken for count, taken in row["samples"] if count == 50]
        assert row["scaled"] == (not whole)
        picture = (statistics.median(whole) if whole else 50 * row["step_s"]) / row["batch"]
        assert row["picture_s"] == pytest.approx(picture)
        ends = (row["encode_s"] + row["decode_s"]) / row["batch"]
        assert row["whole_picture_s"] == pytest.approx(picture + ends)
        for part, ratio in row["ratio"].items():
            assert ratio == pytest.approx(row[f"{part}_s"] / references[row["batch"]][f"{part}_s"])
        work = (
            2 * row["batch"] * report["network"]["flop_per_pass"] / report["floor"]["matrix_flop_per_s"][row["dtype"]]
        )
        assert row["floor_step_s"] >= work
        assert row["times_floor"] == pytest.approx(row["step_s"] / row["floor_step_s"])


@pytest.mark.long
def test_memory_and_loading_are_reported(finished):
    _, report, _ = finished
    by_method = {(entry["method"], entry["dtype"]): entry for entry in report["memory"]}
    assert all(entry["counted_bytes"] > entry["weight_bytes"] > 0 for entry in by_method.values())
    half, single = by_method["own", "bfloat16"], by_method["own", "float32"]
    assert 2 * half["weight_bytes"] == single["weight_bytes"]
    assert half["counted_bytes"] < single["counted_bytes"]
    assert [entry["what"] for entry in report["load"]] == ["network", "pipeline"]
    for entry in report["load"]:
        assert entry["ratio"] == pytest.approx(entry["load_s"] / entry["read_s"])
    # 16-bit weights, and the file's header.
    assert report["load"][0]["file_bytes"] > 2 * report["network"]["values"]


@pytest.mark.long
def test_8_bit_weights_are_smaller_and_computed_with_in_16(monkeypatch, tmp_path):
    pytest.importorskip("torchao", reason="needs torchao: pip install flowinone[eightbit]")
    target = tmp_path / "n.json"
    options = ["--device", "cpu", "--size", "tiny", "--mode", "own", "--batch", "1", "--seconds", "1", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", ["network.py", *options, "--dtype", "bfloat16", *KINDS, "--json", str(target)])
    assert network.main() == 0
    report = json.loads(target.read_text())
    assert [row["dtype"] for row in report["rows"]] == ["bfloat16", *KINDS]
    assert set(report["floor"]["matrix_flop_per_s"]) == {"float32", "bfloat16"}
    half, *small = (entry["counted_bytes"] for entry in report["memory"])
    assert max(small) < half
    read = report["network"]["weight_bytes_per_pass"]
    assert all(read["bfloat16"] / 2 < read[kind] < 0.7 * read["bfloat16"] for kind in KINDS)


@pytest.mark.long
def test_the_plot_shows_a_line_for_every_method(finished):
    with Image.open(finished[2]) as plot:
        colors = {color for _, color in plot.convert("RGB").getcolors(2**20)}
    assert {(0x77, 0x77, 0x77), (0x1F, 0x6F, 0xB4), (0xC8, 0x50, 0x1E)} <= colors


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT to a child")
@pytest.mark.long
def test_an_interrupted_run_keeps_what_it_measured(tmp_path):
    # Far more batches than it will come to.
    batches = map(str, range(1, 100))
    command = [*COMMAND, *QUICK, "--batch", *batches, "--json", tmp_path / "n.json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as run:
        for line in run.stdout:
            if line.split()[:2] == ["1", "own"]:
                break
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate()
    assert run.returncode == 130, errors
    assert "Interrupted" in errors
    report = json.loads((tmp_path / "n.json").read_text())
    assert not report["complete"]
    assert [row["method"] for row in report["rows"][:3]] == ["reference", "own", "own"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--batch", "0"], "0 is no whole number from 1"),
        (["--tf32", "--device", "cpu"], "--tf32 is for CUDA, and the device is cpu"),
        (["--mode", "reference", "--dtype", "bfloat16"], "the reference is in float32"),
        (["--mode", "reference", "--compiled"], "is a form of the method own"),
        (["--json", "nowhere/n.json"], "there is no folder nowhere"),
        (["--dtype", "int8"], "8-bit weights need torchao"),
        (["--plot", "n.jpg"], "ends in .png"),
    ],
)
def test_options_that_cannot_be_followed_are_refused(monkeypatch, capsys, options, complaint):
    monkeypatch.setattr(sys, "argv", ["network.py", *options])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        network.parsed_options()
    assert complaint in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused_with_the_names_of_those_that_are():
    with pytest.raises(ValueError, match=r"--device cuda cannot be used \(.+\); torch .+ sees cpu"):
        measuring.find_device("cuda")


def test_too_little_memory_is_told_before_anything_is_made(monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["network.py", "--device", "cpu", "--mode", "own", "--dtype", "bfloat16", "--batch", "4"]
    )
    monkeypatch.setattr(measuring, "available_bytes", lambda device: 3_000_000_000)
    monkeypatch.setattr(
        measuring,
        "measure_floor",
        lambda *_: {"matrix_flop_per_s": {"bfloat16": 1, "float32": 1}, "copy_byte_per_s": 1},
    )
    assert network.main() == 1
    told = capsys.readouterr().err
    assert "cpu has 3.00 GB of memory left, and this needs" in told and "3.53 GB for weights in bfloat16" in told
    assert "Making" not in told
