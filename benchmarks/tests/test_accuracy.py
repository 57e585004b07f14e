"""The accuracy benchmark: the methods that it compares, and its table."""

import json
import sys

import pytest

from benchmarks import accuracy
from flowinone.evaluation.variants import forward_passes_of
from flowinone.sampling import PRESETS
from flowinone.toy import SCENE_TASKS


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["accuracy.py", *map(str, arguments)])
    accuracy.main()


def test_every_preset_is_compared_at_the_same_guidance_scale():
    methods = accuracy.methods(3.0)
    for name, preset in PRESETS.items():
        method = methods[f"preset {name}"]
        assert (method.solver, method.steps) == (preset.solver, preset.steps)
    assert {method.guidance_scale for name, method in methods.items() if name != "no guidance"} == {3.0}
    assert methods["no guidance"].guidance_scale == 1
    passes = {name: forward_passes_of(methods[f"preset {name}"]) for name in PRESETS}
    assert passes == {"reference": 100, "balanced": 36, "fast": 21}


@pytest.mark.long
def test_a_method_gets_a_row_in_the_table_and_in_the_file(monkeypatch, tmp_path, capsys):
    # As few evaluations as possible: the fine flow takes minutes.
    monkeypatch.setattr(accuracy, "FINE", dict(solver="rk4", steps=2))
    monkeypatch.setattr(accuracy, "COMPARED", 1)
    run(monkeypatch, "--count", 1, "--methods", "euler_uniform 6", "--json", tmp_path / "accuracy.json")
    heading, titles, row = capsys.readouterr().out.splitlines()
    assert "guidance 2, 1 prompts of each of 9 tasks" in heading
    assert titles.split()[:3] == ["method", "passes", "correct"]
    assert row.split()[:3] == ["euler_uniform", "6", "12"]
    report = json.loads((tmp_path / "accuracy.json").read_text(encoding="utf-8"))
    (figures,) = report["rows"]
    assert (figures["way"], figures["runs"], figures["count"]) == ("euler_uniform 6", 12, len(SCENE_TASKS))
    assert 0 <= figures["right"] <= figures["count"] and figures["seconds"] > 0 and 0 < figures["rms"] < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "guesswork 3"], "method 'guesswork 3' is unknown; choose of euler 6,"),
        (["--count", 0], "--count is 0; at least 1 is needed"),
    ],
)
def test_unknown_methods_and_counts_below_one_are_refused(monkeypatch, capsys, arguments, message):
    with pytest.raises(SystemExit):
        run(monkeypatch, *arguments)
    assert message in capsys.readouterr().err
