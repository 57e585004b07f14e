"""`flowinone evaluate`: the prompts, the metrics, the report, and that a stopped evaluation is resumed."""

import _thread
import dataclasses
import hashlib
import json
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from flowinone import FlowInOnePipeline
from flowinone.cli import main
from flowinone.evaluation.judging import JudgePool, results
from flowinone.evaluation.metrics import Accuracy, EvaluationSettings, Metrics
from flowinone.evaluation.runner import run_evaluation
from flowinone.evaluation.variants import CountedVelocity, evaluations_of, forward_passes_of, variants
from flowinone.sampling import SOLVERS, integrate
from flowinone.toy import COLORS, FAULT_KINDS, SCENE_TASKS, SHAPES, Scene, SceneObject, example, judge

NAMES = ["dual path off", "guidance 1", "5 steps", "10 steps", "20 steps", "50 steps", *SOLVERS]


@pytest.fixture(scope="module")
def pipe(model_files):
    return FlowInOnePipeline.from_single_files(**model_files)


@pytest.fixture
def weights(model_files):
    return [part for name, path in model_files.items() for part in (f"--{name}", str(path))]


def evaluate(*arguments):
    return main(["evaluate", *map(str, arguments)])


def accuracy(task, pictures):
    with JudgePool(0) as pool:
        verdicts = results(pool.judge(task, range(len(pictures)), pictures))
    return Metrics(tuple(verdicts), 0, 0, 0, 0).accuracy


@pytest.mark.parametrize("task", SCENE_TASKS)
def test_correct_answers_reach_full_accuracy_and_other_prompts_answers_none(task):
    answers = [example(task, number, held_out=True).output for number in range(6)]
    assert accuracy(task, answers) == Accuracy(6, 6)
    # Each is correct for its neighbour.
    assert accuracy(task, answers[1:] + answers[:1]) == Accuracy(0, 6)


@pytest.mark.long
def test_other_processes_render_and_judge_alike():
    made = [example("visual_marker", number, 128, held_out=True, prompt_size=256) for number in range(3)]
    with JudgePool(2) as pool:
        drawn = results(pool.render("visual_marker", range(3), 128, 256))
        judged = results(pool.judge("visual_marker", range(3), [made[0].output, made[0].output, made[2].photo]))
    for one, (picture, bypass) in zip(made, drawn):
        assert np.array_equal(np.asarray(picture), np.asarray(one.input)) and bypass == one.prompt.bypass
    assert judged == [judge(made[0], made[0].output), judge(made[1], made[0].output), judge(made[2], made[2].photo)]
    assert [verdict.correct for verdict in judged] == [True, False, False]


def test_accuracies_come_with_wilsons_interval():
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    known = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0, 0.1611), (1, 29): (0.0061, 0.1718)}
    for (correct, count), interval in known.items():
        assert Accuracy(correct, count).interval == pytest.approx(interval, abs=5e-5)
    assert Accuracy(20, 20).interval == pytest.approx((1 - 0.1611, 1), abs=5e-5)


def test_faults_are_counted_by_kind_once_an_answer():
    scenes = {number: example("text_box", number, held_out=True).answer.scene for number in range(20)}
    numbers, scenes = zip(*[(number, scene) for number, scene in scenes.items() if len(scene.objects) == 2][:3])

    def other(choices, but):
        return next(choice for choice in choices if choice != but)

    recolored, bare, reshaped = (list(scene.objects) for scene in scenes)
    recolored = [dataclasses.replace(thing, color=other(COLORS, thing.color)) for thing in recolored]
    reshaped[0] = dataclasses.replace(reshaped[0], shape=other(SHAPES, reshaped[0].shape))
    things = (recolored, [], reshaped)
    pictures = [Scene(scene.background, tuple(kept)).render(128) for scene, kept in zip(scenes, things)]
    with JudgePool(0) as pool:
        verdicts = results(pool.judge("text_box", numbers, pictures))
    assert Metrics(tuple(verdicts), 0, 0, 0, 0).fault_counts == {"colour": 1, "missing": 1, "shape": 1}
    assert verdicts[0].kinds == ("colour", "colour")
    assert all(len(verdict.kinds) == len(verdict.reasons) for verdict in verdicts)


def test_every_fault_has_a_known_kind():
    for task in SCENE_TASKS:
        made = example(task, 3, held_out=True)
        things = (SceneObject("ball", "red", (0.2, 0.8), 0.1), SceneObject("moon", "black", (0.85, 0.85), 0.1))
        ground = made.answer.scene.background
        for scene in (Scene(ground, things), Scene(dataclasses.replace(ground, colors=((40,) * 3,) * 2))):
            verdict = judge(made, scene.render(128))
            assert verdict.kinds and set(verdict.kinds) <= set(FAULT_KINDS)


@pytest.mark.long
def test_answers_are_the_pipelines_whatever_the_batch(pipe):
    settings = EvaluationSettings("heun", 1, 3.0)
    alone, together = (
        run_evaluation(pipe, ["text_to_image"], 2, settings, seed=5, batch_size=size, workers=0, progress=False)
        for size in (1, 2)
    )
    pipe.set_progress_bar_config(disable=True)
    for task, metrics in alone.main.metrics.items():
        assert metrics.accuracy == Accuracy(0, 2) and set(metrics.failures) == {0, 1}
        for index, picture in metrics.failures.items():
            number = alone.example_seed(index)
            made = example(task, number, 256, held_out=True, prompt_size=pipe.vision.image_size)
            answer = pipe(made.input, 1, 3.0, made.prompt.bypass, "heun", generator=number).images[0]
            assert np.array_equal(np.asarray(picture), np.asarray(answer))
            # Larger batches sum in another order.
            difference = np.asarray(picture).astype(int) - np.asarray(together.main.metrics[task].failures[index])
            assert np.abs(difference).max() <= 1


def test_solvers_are_compared_at_like_numbers_of_evaluations():
    compared = variants(EvaluationSettings(), 50)
    assert list(compared) == [name for name in NAMES if name not in ("50 steps", "euler")]
    for name in set(SOLVERS) - {"euler", "dopri5"}:
        velocity = CountedVelocity(lambda x, t: x)
        integrate(velocity, torch.ones(1), compared[name].solver, compared[name].steps)
        assert abs(velocity.calls - 50) <= (2 if name == "rk4" else 0)
    assert compared["dual path off"] == EvaluationSettings(bypass=True)
    assert compared["guidance 1"] == EvaluationSettings(guidance_scale=1)
    assert compared["5 steps"] == EvaluationSettings(steps=5)
    adaptive = variants(EvaluationSettings(solver="dopri5"), 62)
    assert evaluations_of(adaptive["euler"]) == 62 and not {"5 steps", "dopri5"} & set(adaptive)
    assert evaluations_of(variants(EvaluationSettings(steps=1), 1)["rk4"]) == 4


def test_evaluations_without_guidance_take_one_forward_pass():
    assert forward_passes_of(EvaluationSettings()) == 100
    assert forward_passes_of(EvaluationSettings(guidance_scale=1)) == 50
    # Times 0.25 and 0.5 of the grid 0, 0.25, 0.5, 0.75.
    assert forward_passes_of(EvaluationSettings("euler_uniform", 4, guidance_interval=(0.2, 0.6))) == 6
    assert forward_passes_of(EvaluationSettings("euler_uniform", 5, guidance_every=2)) == 8


@pytest.mark.long
def test_a_model_gets_a_table_figures_and_a_sheet_of_incorrect_answers(weights, model_files, tmp_path, capfd):
    tasks = ["wind", "class_to_image"]
    counts = ["--count", 2, "--variant-count", 1, "--workers", 1]
    command = ["--out", tmp_path / "out", *weights, *counts, "--steps", 2, "--guidance", 1, "--tasks", *tasks]
    assert evaluate(*command) == 0
    printed = capfd.readouterr()
    assert printed.out.split() == [str(tmp_path / "out" / name) for name in ("table.md", "scores.json", "failures.png")]
    assert "100%" in printed.err

    scores = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert list(scores["variants"]) == ["main", *(name for name in NAMES if name not in ("guidance 1", "euler"))]
    for name, variant in scores["variants"].items():
        count = 2 if name == "main" else 1
        assert {task: metrics["count"] for task, metrics in variant["tasks"].items()} == dict.fromkeys(tasks, count)
        assert variant["all"]["count"] == 2 * count and variant["all"]["right"] == 0
        for metrics in variant["tasks"].values():
            assert metrics["share"] == 0 and 0 < metrics["interval"][1] < 1
            assert 1 <= sum(metrics["reasons"].values()) and set(metrics["reasons"]) <= set(FAULT_KINDS)
    evaluations = {name: variant["all"]["evaluations"] for name, variant in scores["variants"].items()}
    assert (evaluations["main"], evaluations["20 steps"], evaluations["heun"]) == (2, 20, 2)
    runs = {name: variant["all"]["runs"] for name, variant in scores["variants"].items()}
    assert (runs["main"], runs["20 steps"], runs["heun"]) == (2, 20, 2)
    assert evaluations["dopri5"] > 6

    text = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "| wind | 0 of 2 | 0.0 % | 0.0 % to 65.8 % |" in text
    assert f"flowinone evaluate --out {tmp_path / 'out'} --checkpoint {model_files['checkpoint']}" in text.replace(
        "'", ""
    )
    for part, path in model_files.items():
        assert f"- {part}: {path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}\n" in text
    assert f"torch {torch.__version__}" in text
    with Image.open(tmp_path / "out" / "failures.png") as sheet:
        width, height = sheet.size
        assert np.asarray(sheet)[height // 2 :].std() > 10

    # What the records hold is not computed again.
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "marks").glob("*.*.*")}
    (tmp_path / "out" / "table.md").unlink()
    assert evaluate(*command) == 0
    assert (tmp_path / "out" / "table.md").read_text(encoding="utf-8") == text
    assert {file: file.stat().st_mtime_ns for file in kept} == kept

    assert evaluate(*command, "--steps", 3) == 2
    refusal = (
        "holds an evaluation with steps 2, and this one has 3; choose another --out, or replace it with --overwrite"
    )
    assert refusal in capfd.readouterr().err


@pytest.mark.long
def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(weights, tmp_path, capfd):
    def command(folder):
        counts = "--count", 1, "--variant-count", 0, "--workers", 1
        return "--out", tmp_path / folder, *weights, *counts, "--steps", 2, "--tasks", *SCENE_TASKS[:3]

    first, _, last = (tmp_path / "stopped" / "marks" / f"main.{task}.json" for task in SCENE_TASKS[:3])

    def interrupt():
        deadline = time.monotonic() + 60
        while not first.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        _thread.interrupt_main()

    stopper = threading.Thread(target=interrupt)
    stopper.start()
    assert evaluate(*command("stopped")) == 130
    stopper.join()
    assert "what is done is kept: run the same command again to resume\nstopped\n" in capfd.readouterr().err
    assert first.exists() and not last.exists() and not (tmp_path / "stopped" / "table.md").exists()

    before = first.stat().st_mtime_ns
    assert evaluate(*command("stopped")) == 0
    assert first.stat().st_mtime_ns == before and last.exists()
    assert evaluate(*command("whole")) == 0
    stopped, whole = (
        json.loads((tmp_path / name / "scores.json").read_text(encoding="utf-8")) for name in ("stopped", "whole")
    )
    for scores in (stopped, whole):
        for metrics in scores["variants"]["main"]["tasks"].values():
            assert metrics.pop("seconds_making") > 0 and metrics.pop("seconds_encoding") > 0
    assert stopped["variants"] == whole["variants"]
    assert (tmp_path / "stopped" / "failures.png").read_bytes() == (tmp_path / "whole" / "failures.png").read_bytes()

    first.write_text("[", encoding="utf-8")
    assert evaluate(*command("stopped")) == 2
    assert f"{first} cannot be used" in capfd.readouterr().err
    (tmp_path / "stopped" / "marks" / "settings.json").unlink()
    assert evaluate(*command("stopped")) == 2
    assert f"{first} exists; choose another --out, or replace it with --overwrite" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "doodle", "juggling"], "there are no scenes for 'juggling'; choose of class_to_image,"),
        (["--solver", "leapfrog"], "solver 'leapfrog' is unknown; choose one of euler,"),
        (["--guidance", "nan"], "guidance scale is nan, which is not a finite number"),
        (["--model", "x"], "--model takes the place of --checkpoint, --vision and --vae"),
        (["--seed", str(2**32)], f"seed is {2**32}; it goes from 0 to {2**32 - 1}"),
        ([], "table.md exists; choose another --out, or replace it with --overwrite"),
    ],
)
def test_what_cannot_be_done_is_said(weights, tmp_path, capfd, arguments, message):
    (tmp_path / "table.md").write_text("mine", encoding="utf-8")
    assert evaluate("--out", tmp_path, *weights, *arguments, *(["--overwrite"] if "--seed" in arguments else [])) == 2
    errors = capfd.readouterr().err
    assert message in errors and "Traceback" not in errors
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("option", ["--count", "--steps", "--batch-size", "--workers"])
def test_numbers_below_one_are_refused(option, tmp_path, capfd):
    with pytest.raises(SystemExit):
        evaluate("--out", tmp_path, "--mini", option, 0)
    assert "0 is less than 1" in capfd.readouterr().err
