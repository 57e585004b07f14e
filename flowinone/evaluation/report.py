"""An examination's outcome for people and programs: table.md, scores.json and failures.png."""

import json
from collections.abc import Mapping
from pathlib import Path

from ..toy import FAULT_KINDS
from .contact_sheet import sheet
from .metrics import Score, Variant
from .runner import Scores

RESULTS = TABLE, FIGURES, SHEET = "table.md", "scores.json", "failures.png"


def write_report(folder: Path, scores: Scores, facts: Mapping, about: Mapping, command: str) -> list[Path]:
    """Write the three files into a folder; their paths.

    `facts` are the settings and, as "model", the model's digests; `about` is the machine; `command` was typed.
    """
    written = [folder / name for name in RESULTS]
    written[0].write_text(table(scores, facts, about, command), encoding="utf-8")
    written[1].write_text(json.dumps(figures(scores, facts, about, command), indent=1), encoding="utf-8")
    sheet(scores).save(written[2])
    return written


def figures(scores: Scores, facts: Mapping, about: Mapping, command: str) -> dict:
    """Every figure, for JSON."""
    variants = {variant.name: _variant_figures(variant) for variant in (scores.main, *scores.variants)}
    return {"command": command, "settings": facts, "machine": about, "variants": variants}


def _variant_figures(variant: Variant) -> dict:
    setting = variant.setting
    tasks = {
        task: _score_figures(marks.score)
        | {
            "reasons": marks.kinds,
            "evaluations": marks.evaluations,
            "runs": marks.runs,
            "seconds_encoding": marks.encoding,
            "seconds_making": marks.making,
        }
        for task, marks in variant.marks.items()
    }
    return {
        "steps": None if setting.solver == "dopri5" else setting.steps,
        "guidance_scale": setting.guidance_scale,
        "solver": setting.solver,
        "guidance_interval": list(setting.guidance_interval),
        "guidance_every": setting.guidance_every,
        "dual_path": not setting.bypass,
        "all": _score_figures(variant.score) | {"evaluations": variant.evaluations, "runs": variant.runs},
        "tasks": tasks,
    }


def _score_figures(score: Score) -> dict:
    return {"right": score.right, "count": score.count, "share": score.share, "interval": list(score.interval)}


def table(scores: Scores, facts: Mapping, about: Mapping, command: str) -> str:
    """The scores in Markdown, and below them how they were made."""
    main = scores.main
    spent = f"{main.encoding:.3f} s to encode a prompt, {main.making:.3f} s to make a picture"
    count = next(iter(main.marks.values())).score.count
    lines = [f"# Right answers to {count:,} held-out prompts of each task", "", f"{main.setting}.", ""]
    lines += _row("task", "right", "share", "95 % interval") + _row("---", "---:", "---:", "---:")
    rows = {task: marks.score for task, marks in main.marks.items()} | {"**all**": main.score}
    for name, score in rows.items():
        interval = " to ".join(map(_percent, score.interval))
        lines += _row(name, f"{score.right:,} of {score.count:,}", _percent(score.share), interval)
    if scores.variants:
        lines += _variant_table(scores)
    lines += ["", "## What was wrong", "", "How many answers have a fault of a kind; some have several.", ""]
    lines += _row("task", "wrong", *FAULT_KINDS) + _row("---", *["---:"] * (1 + len(FAULT_KINDS)))
    for task, marks in main.marks.items():
        kinds = marks.kinds
        lines += _row(task, marks.score.count - marks.score.right, *(kinds.get(kind, "") for kind in FAULT_KINDS))
    lines += ["", "## How", "", f"- command: `{command}`"]
    for part, files in facts["model"].items():
        lines += [f"- {part}: {name}, sha256 {digest}" for name, digest in files.items()]
    lines += [
        f"- prompts: {count:,} of each task{_variant_count(scores)}, held out from training, seed {scores.seed}",
        f"- time: {spent}, whatever else the machine did",
        f"- device: {facts['device']}, {facts['dtype']}, {facts['batch size']} at a time",
        "- machine: " + ", ".join(f"{name} {value}" for name, value in about.items()),
        "",
    ]
    return "\n".join(lines)


def _variant_table(scores: Scores) -> list[str]:
    count = next(iter(scores.variants[0].marks.values())).score.count
    tasks = list(scores.main.marks)
    lines = ["", f"## Variants, on the first {count:,} prompts of each task", ""]
    lines += [
        "Evaluations of the velocity and runs of the network (where there is guidance, two make one) a picture, and % right.",
        "",
    ]
    lines += _row("variant", "evaluations", "runs", "s a picture", *tasks, "all") + _row(
        "---", *["---:"] * (4 + len(tasks))
    )
    for variant in (scores.main.first(count), *scores.variants):
        scored = [*(marks.score for marks in variant.marks.values()), variant.score]
        shares = [_percent(score.share, "") for score in scored]
        name = f"{variant.name} ({variant.setting})"
        lines += _row(name, f"{variant.evaluations:.4g}", f"{variant.runs:.4g}", f"{variant.making:.3f}", *shares)
    return lines


def _variant_count(scores: Scores) -> str:
    if not scores.variants:
        return ""
    return f", the first {next(iter(scores.variants[0].marks.values())).score.count:,} of them for the variants"


def _row(*cells) -> list[str]:
    return [f"| {' | '.join(map(str, cells))} |"]


def _percent(share: float, unit: str = " %") -> str:
    return f"{100 * share:.1f}{unit}"
