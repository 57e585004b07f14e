"""The report on an evaluation: table.md, scores.json with every figure, and failures.png with incorrect answers."""

import json
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from ..contact_sheet import Entry, contact_sheet
from ..toy import FAULT_KINDS, example
from .metrics import Accuracy, Variant
from .runner import EvaluationResult

RESULTS = TABLE, FIGURES, SHEET = "table.md", "scores.json", "failures.png"


def write_report(folder: Path, result: EvaluationResult, facts: Mapping, machine: Mapping, command: str) -> list[Path]:
    """Write the three files into a folder; returns their paths.

    `facts` are the settings and, as "model", the digests of the model's files. `machine` is what the evaluation ran on,
    `command` what the user typed.
    """
    written = [folder / name for name in RESULTS]
    written[0].write_text(table(result, facts, machine, command), encoding="utf-8")
    written[1].write_text(json.dumps(figures(result, facts, machine, command), indent=1), encoding="utf-8")
    failure_sheet(result).save(written[2])
    return written


def figures(result: EvaluationResult, facts: Mapping, machine: Mapping, command: str) -> dict:
    """Every figure, for JSON."""
    variants = {variant.name: _variant_figures(variant) for variant in (result.main, *result.variants)}
    return {"command": command, "settings": facts, "machine": machine, "variants": variants}


def _variant_figures(variant: Variant) -> dict:
    settings = variant.settings
    tasks = {
        task: _accuracy_figures(metrics.accuracy)
        | {
            "reasons": metrics.fault_counts,
            "evaluations": metrics.evaluations,
            "runs": metrics.forward_passes,
            "seconds_encoding": metrics.encode_seconds,
            "seconds_making": metrics.sample_seconds,
        }
        for task, metrics in variant.metrics.items()
    }
    return {
        "steps": None if settings.solver == "dopri5" else settings.steps,
        "guidance_scale": settings.guidance_scale,
        "solver": settings.solver,
        "guidance_interval": list(settings.guidance_interval),
        "guidance_every": settings.guidance_every,
        "dual_path": not settings.bypass,
        "all": _accuracy_figures(variant.accuracy)
        | {"evaluations": variant.evaluations, "runs": variant.forward_passes},
        "tasks": tasks,
    }


def _accuracy_figures(accuracy: Accuracy) -> dict:
    low_high = list(accuracy.interval)
    return {"right": accuracy.correct, "count": accuracy.count, "share": accuracy.value, "interval": low_high}


def table(result: EvaluationResult, facts: Mapping, machine: Mapping, command: str) -> str:
    """The accuracies in Markdown, and below them how they were measured."""
    main = result.main
    count = _count(main)
    lines = [f"# Accuracy on {count:,} held-out prompts of each task", "", f"{main.settings}.", ""]
    lines += _row("task", "correct", "accuracy", "95 % interval") + _row("---", "---:", "---:", "---:")
    rows = {task: metrics.accuracy for task, metrics in main.metrics.items()} | {"**all**": main.accuracy}
    for name, accuracy in rows.items():
        interval = " to ".join(map(_percent, accuracy.interval))
        lines += _row(name, f"{accuracy.correct:,} of {accuracy.count:,}", _percent(accuracy.value), interval)
    if result.variants:
        lines += _variant_table(result)
    lines += ["", "## Faults", "", "How many answers have a fault of each kind; some have several.", ""]
    lines += _row("task", "incorrect", *FAULT_KINDS) + _row("---", *["---:"] * (1 + len(FAULT_KINDS)))
    for task, metrics in main.metrics.items():
        counts, accuracy = metrics.fault_counts, metrics.accuracy
        lines += _row(task, accuracy.count - accuracy.correct, *(counts.get(kind, "") for kind in FAULT_KINDS))
    lines += ["", "## Method", "", f"- command: `{command}`"]
    for part, files in facts["model"].items():
        lines += [f"- {part}: {name}, sha256 {digest}" for name, digest in files.items()]
    compared = f", the first {_count(result.variants[0]):,} of them for the variants" if result.variants else ""
    seconds = f"{main.encode_seconds:.3f} s to encode a prompt, {main.sample_seconds:.3f} s to sample a picture"
    lines += [
        f"- prompts: {count:,} of each task{compared}, held out from training, seed {result.seed}",
        f"- time: {seconds}, with whatever else ran on the machine",
        f"- device: {facts['device']}, {facts['dtype']}, batches of {facts['batch size']}",
        "- machine: " + ", ".join(f"{name} {value}" for name, value in machine.items()),
        "",
    ]
    return "\n".join(lines)


def _variant_table(result: EvaluationResult) -> list[str]:
    count, tasks = _count(result.variants[0]), list(result.main.metrics)
    lines = ["", f"## Variants, on the first {count:,} prompts of each task", ""]
    lines += [
        "Evaluations of the velocity (NFE) and forward passes of the network (two for each evaluation with guidance) a "
        "picture, and accuracy in %.",
        "",
    ]
    lines += _row("variant", "evaluations", "forward passes", "s a picture", *tasks, "all")
    lines += _row("---", *["---:"] * (4 + len(tasks)))
    for variant in (result.main.first(count), *result.variants):
        accuracies = [*(metrics.accuracy for metrics in variant.metrics.values()), variant.accuracy]
        costs = f"{variant.evaluations:.4g}", f"{variant.forward_passes:.4g}", f"{variant.sample_seconds:.3f}"
        shares = [_percent(accuracy.value, "") for accuracy in accuracies]
        lines += _row(f"{variant.name} ({variant.settings})", *costs, *shares)
    return lines


def failure_sheet(result: EvaluationResult) -> Image.Image:
    """The first incorrect answers of the main settings, by task: prompt, answer, correct answer, and the faults."""
    sections = {}
    for task, metrics in result.main.metrics.items():
        entries = []
        for index, answer in metrics.failures.items():
            seed = result.example_seed(index)
            made = example(task, seed, answer.width, held_out=True, prompt_size=result.prompt_size)
            reasons = "; ".join(metrics.verdicts[index].reasons)
            entries.append(Entry((made.input, answer, made.output), f"{index}: {reasons}"))
        accuracy = metrics.accuracy
        sections[f"{task}: {accuracy.count - accuracy.correct} of {accuracy.count} incorrect"] = entries
    title = "incorrect answers: prompt, answer, correct answer"
    return contact_sheet(sections, 144, title=title, columns=2, gap=6, caption_lines=3)


def _count(variant: Variant) -> int:
    """The number of prompts of each task."""
    return next(iter(variant.metrics.values())).accuracy.count


def _row(*cells) -> list[str]:
    return [f"| {' | '.join(map(str, cells))} |"]


def _percent(value: float, unit: str = " %") -> str:
    return f"{100 * value:.1f}{unit}"
