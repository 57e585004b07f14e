"""The `flowinone` command: what it writes, says and returns, on good and bad input."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from devtools import tiny
from flowinone import FlowInOnePipeline, sampling
from flowinone.cli import COMMANDS, main
from flowinone.cli.model_options import load_pipeline

COMMAND = [
    sys.executable,
    "-c",
    "import sys; from devtools.comfyui.launch import accept_torchvision; accept_torchvision(); "
    "from flowinone.cli import main; sys.exit(main())",
]


@pytest.fixture
def weights(model_files):
    # The dtype of the pipelines that answers are compared with: auto takes the machine's.
    return ["--dtype", "fp32", *(part for name, path in model_files.items() for part in (f"--{name}", str(path)))]


@pytest.fixture
def prompts(tmp_path):
    """A folder with a picture in it, one in a sub-folder, a file that is none, and something else."""
    folder = tmp_path / "prompts"
    (folder / "more").mkdir(parents=True)
    Image.open(tiny.FIXTURES / "preprocess" / "small.png").save(folder / "b.jpg")
    Image.open(tiny.FIXTURES / "preprocess" / "wide.png").save(folder / "more" / "c.png")
    (folder / "a.png").write_bytes(b"not a picture")
    (folder / "notes.txt").write_text("no picture either")
    return folder


def generate(*arguments):
    return main(["generate", *map(str, arguments)])


def test_a_folder_is_answered_in_order_and_what_cannot_be_read_is_named(prompts, weights, tmp_path, capfd):
    out = tmp_path / "out"
    assert generate(prompts, "--out", out, "--steps", 1, "--seed", 7, "--batch-size", 2, *weights) == 1
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == ["b.png", os.path.join("more", "c.png")]
    errors = capfd.readouterr().err
    assert f"{prompts / 'a.png'} was left out: cannot identify image file" in errors
    assert "2/2" in errors  # two batches of one step

    # Each picture's seed counts the pictures before it, readable or not.
    for name, seed in (("b.png", 8), ("more/c.png", 9)):
        with Image.open(out / name) as answer:
            assert answer.size == (256, 256)
            about = json.loads(answer.text["flowinone"])
        assert about == {
            "seed": seed,
            "steps": 1,
            "guidance_scale": 7.0,
            "solver": "euler",
            "guidance_interval": [0.0, 1.0],
            "guidance_every": 1,
            "bypass": False,
            "prompt": "b.jpg" if seed == 8 else "c.png",
            "dtype": "float32",
            "flowinone": "0.1.0",
        }


def test_an_answer_is_the_pipelines_picture(prompts, weights, model_files, tmp_path):
    target = tmp_path / "deep" / "answer.png"
    settings = ["--steps", 2, "--guidance", 3.5, "--solver", "heun", "--bypass", "--seed", 4]
    assert generate(prompts / "b.jpg", "--out", target, *settings, *weights) == 0
    pipe = FlowInOnePipeline.from_single_files(**model_files)
    pipe.set_progress_bar_config(disable=True)
    expected = pipe(
        Image.open(prompts / "b.jpg"), steps=2, guidance_scale=3.5, solver="heun", bypass=True, generator=4
    ).images[0]
    assert np.array_equal(np.asarray(Image.open(target)), np.asarray(expected))


@pytest.mark.parametrize(
    ("able", "mini", "dtype"),
    [
        ({"avx512_bf16": True}, False, "bfloat16"),
        ({"amx_bf16": True}, False, "bfloat16"),
        ({"avx2": True}, False, "float32"),
        ({"avx512_bf16": True}, True, "float32"),
    ],
)
def test_a_cpu_that_computes_in_bfloat16_does(able, mini, dtype, model_files, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    files = dict.fromkeys(model_files) if mini else {name: str(path) for name, path in model_files.items()}
    pipe = load_pipeline(None, **files, device="cpu", mini=mini)
    assert pipe.model.dtype == getattr(torch, dtype)


@pytest.mark.long
def test_a_preset_counts_where_nothing_else_is_said(prompts, weights, model_files, tmp_path, capfd):
    target = tmp_path / "answer.png"
    given = ["--preset", "fast", "--solver", "heun", "--steps", 2, "--guidance-interval", 0.3, 1]
    assert generate(prompts / "b.jpg", "--out", target, *given, "--seed", 4, *weights) == 0
    pipe = FlowInOnePipeline.from_single_files(**model_files)
    pipe.set_progress_bar_config(disable=True)
    settings = dict(preset="fast", solver="heun", steps=2, generator=4)
    expected = pipe(Image.open(prompts / "b.jpg"), guidance_interval=(0.3, 1), **settings).images[0]
    assert np.array_equal(np.asarray(Image.open(target)), np.asarray(expected))
    assert not np.array_equal(
        np.asarray(expected), np.asarray(pipe(Image.open(prompts / "b.jpg"), **settings).images[0])
    )
    with Image.open(target) as answer:
        assert json.loads(answer.text["flowinone"])["guidance_every"] == sampling.PRESETS["fast"].guidance_every
    assert generate(prompts / "b.jpg", "--preset", "quick", *weights) == 2
    assert "preset 'quick' is unknown; choose one of reference" in capfd.readouterr().err
    assert generate(prompts / "b.jpg", "--guidance-interval", 0.6, 0.4, *weights) == 2
    assert "guidance interval 0.6 to 0.4 is invalid" in capfd.readouterr().err


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("solver", "warned"), [("euler", 1), ("euler_uniform", 0)])
def test_too_few_steps_on_upstreams_grid_are_warned_of_once(solver, warned, prompts, weights, tmp_path, capfd):
    arguments = ["--out", tmp_path / "answer.png", "--steps", 2, "--solver", solver, *weights]
    assert generate(prompts / "b.jpg", *arguments) == 0
    assert capfd.readouterr().err.count("flowinone: 2 steps are too few for the solver euler") == warned


def test_a_saved_pipeline_is_used_as_well(prompts, model_files, tmp_path):
    FlowInOnePipeline.from_single_files(**model_files).save_pretrained(tmp_path / "saved")
    target = tmp_path / "answer.png"
    assert generate(prompts / "b.jpg", "--out", target, "--steps", 1, "--model", tmp_path / "saved") == 0
    assert Image.open(target).size == (256, 256)


def test_existing_answers_are_kept_unless_overwritten(prompts, weights, tmp_path, capfd):
    target = tmp_path / "answer.png"
    target.write_bytes(b"mine")
    arguments = [prompts / "b.jpg", "--out", target, "--steps", 1, *weights]
    assert generate(*arguments) == 0
    assert target.read_bytes() == b"mine"
    assert "every image exists already (--overwrite replaces them)" in capfd.readouterr().err
    assert generate(*arguments, "--overwrite") == 0
    assert Image.open(target).size == (256, 256)


@pytest.mark.long
def test_standard_input_is_answered_on_standard_output(prompts, weights):
    run = subprocess.run(
        [*COMMAND, "generate", "-", "--steps", "1", *weights],
        input=(prompts / "more" / "c.png").read_bytes(),
        capture_output=True,
        check=True,
    )
    assert Image.open(io.BytesIO(run.stdout)).size == (256, 256)
    assert b"1/1" in run.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows delivers Ctrl-C to whole process groups only")
@pytest.mark.long
def test_ctrl_c_leaves_finished_answers_whole_and_nothing_half(prompts, weights, tmp_path):
    for i in range(20):
        Image.new("RGB", (300, 300), (10 * i, 0, 0)).save(prompts / f"{i:02}.png")
    (prompts / "a.png").unlink()
    out = tmp_path / "out"
    run = subprocess.Popen(
        [*COMMAND, "generate", str(prompts), "--out", str(out), "--steps", "20", *weights],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (out / "00.png").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert errors.rstrip().endswith("stopped")
    answers = list(out.iterdir())
    assert 1 <= len(answers) < 20
    for answer in answers:
        assert answer.suffix == ".png" and not answer.name.startswith(".")
        Image.open(answer).load()


@pytest.mark.long
def test_answers_below_the_input_folder_are_no_prompts_next_time(prompts, weights, capfd):
    arguments = [prompts, "--out", prompts / "answers", "--steps", 1, *weights]
    assert generate(*arguments) == 1
    before = sorted(prompts.rglob("*"))
    assert generate(*arguments, "--overwrite") == 1
    assert sorted(prompts.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.png"], "missing.png does not exist"),
        (["{prompts}", "--out", "one.png"], "one.png takes one image, and the inputs are 3 prompts"),
        (["{prompts}", "--out", "-"], "standard output takes one image"),
        (["{prompts}/b.jpg", "-"], "- stands for standard input"),
        (["{prompts}/more/c.png", "--out", "{prompts}/more", "--overwrite"], "would replace it; choose another --out"),
        (["{empty}"], "holds no pictures"),
        (["{prompts}/b.jpg", "--model", "{empty}"], "is not a saved pipeline"),
        (["{prompts}/b.jpg", "--checkpoint", "x"], "weights are missing: give --vision, --vae, or --model"),
        (["{prompts}/b.jpg", "--model", "x", "--vae", "y"], "--model takes the place of"),
        (["{prompts}/b.jpg", "--checkpoint", "x", "--vision", "x", "--vae", "x"], "x does not exist"),
    ],
)
def test_unusable_arguments_are_named_before_any_work(prompts, tmp_path, capfd, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert generate(*(a.format(prompts=prompts, empty=tmp_path / "empty") for a in arguments)) == 2
    errors = capfd.readouterr().err
    assert message in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "answers").exists()


def test_unknown_devices_and_solvers_are_named(prompts, weights, capfd):
    assert generate(prompts / "b.jpg", "--device", "abacus", *weights) == 2
    assert "device 'abacus' is not available here" in capfd.readouterr().err
    assert generate(prompts / "b.jpg", "--solver", "leapfrog", *weights) == 2
    assert "solver 'leapfrog' is unknown; choose one of euler," in capfd.readouterr().err
    with pytest.raises(SystemExit):
        generate(prompts / "b.jpg", "--steps", 0, *weights)
    assert "0 is less than 1" in capfd.readouterr().err


def test_convert_writes_the_network_in_bfloat16(model_files, tmp_path, capfd):
    target = tmp_path / "small.safetensors"
    assert main(["convert", str(model_files["checkpoint"]), str(target), "--dtype", "bf16"]) == 0
    with safe_open(target, "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.bfloat16}
        assert not any(name.startswith("open_clip") for name in file.keys())
    assert main(["convert", str(model_files["checkpoint"]), str(target)]) == 2
    assert str(target) in capfd.readouterr().err


def test_help_needs_no_torch_and_can_be_printed_in_any_encoding():
    code = """
import sys
from flowinone.cli import COMMANDS, main
for arguments in ([], *([name] for name in COMMANDS)):
    try:
        main([*arguments, "--help"])
    except SystemExit as stopped:
        assert not stopped.code
print("torch" in sys.modules)
"""
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.endswith("False\n")
    assert all(f"usage: flowinone {name} " in run.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", ["generate", "evaluate"])
def test_help_names_every_solver_and_preset(command, capfd):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = capfd.readouterr().out
    assert all(name in text for name in [*sampling.SOLVERS, *sampling.PRESETS])
