"""The metrics of an unfinished evaluation on disk, a file per variant and task, so that it can be resumed."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from ..files import write_output
from ..prompts.spec import Task
from ..toy import Fault, Verdict
from .metrics import Metrics

_CHOOSE_OTHER = "choose another --out, or replace it with --overwrite"
_DELETE = "delete it, and the next run computes it again"


class Records:
    """The metrics that an evaluation has in a folder so far.

    `facts` (for JSON) identify the evaluation. Raises ValueError if the folder holds another one, or if it holds
    metrics or `results` (file names) without facts; `overwrite` removes the metrics instead.
    """

    def __init__(self, folder: str | os.PathLike, facts: Mapping, overwrite: bool = False, results: Sequence[str] = ()):
        self.folder = Path(folder, "marks")
        self._facts = json.loads(json.dumps(facts))
        files = [file for kind in ("*.*.json", "*.*.*.png") for file in sorted(self.folder.glob(kind))]
        existing = files + [file for name in results if (file := Path(folder, name)).exists()]
        if overwrite:
            for file in files:
                file.unlink()
        elif self._settings.is_file():
            self._check(_read(self._settings, _CHOOSE_OTHER))
        elif existing:
            raise ValueError(f"{existing[0]} exists; {_CHOOSE_OTHER}")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_output(json.dumps(self._facts, indent=1).encode(), str(self._settings))

    @property
    def _settings(self) -> Path:
        return self.folder / "settings.json"

    def _check(self, found: dict) -> None:
        for name in sorted(found.keys() | self._facts.keys()):
            then, now = found.get(name), self._facts.get(name)
            if then != now:
                held = f"{self.folder.parent} holds an evaluation with {name} {_short(then)}"
                raise ValueError(f"{held}, and this one has {_short(now)}; {_CHOOSE_OTHER}")

    def has(self, name: str, task: Task) -> bool:
        return self._file(name, task).is_file()

    def read(self, name: str, task: Task) -> Metrics:
        """A variant's metrics of a task. Raises ValueError for a damaged file."""
        file = self._file(name, task)
        stored = _read(file, _DELETE)
        try:
            verdicts = tuple(
                Verdict(tuple(Fault(kind, reason) for kind, reason in faults)) for faults in stored["faults"]
            )
            failures = {}
            for index in stored["wrong"]:
                with Image.open(self._picture(name, task, index)) as picture:
                    failures[index] = picture.convert("RGB")
            costs = (stored[key] for key in ("evaluations", "runs", "encoding", "making"))
            return Metrics(verdicts, *costs, failures)
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise ValueError(f"{file} cannot be used ({error}); {_DELETE}") from None

    def write(self, name: str, task: Task, metrics: Metrics) -> None:
        for index, picture in metrics.failures.items():
            picture.save(self._picture(name, task, index))
        stored = {
            "evaluations": metrics.evaluations,
            "runs": metrics.forward_passes,
            "encoding": metrics.encode_seconds,
            "making": metrics.sample_seconds,
            "wrong": list(metrics.failures),
            "faults": [verdict.faults for verdict in metrics.verdicts],
        }
        write_output(json.dumps(stored).encode(), str(self._file(name, task)))

    def _file(self, name: str, task: Task) -> Path:
        return self.folder / f"{name.replace(' ', '-')}.{task}.json"

    def _picture(self, name: str, task: Task, index: int) -> Path:
        return self.folder / f"{name.replace(' ', '-')}.{task}.{index}.png"


def _read(file: Path, remedy: str) -> dict:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} cannot be used ({error}); {remedy}") from None


def _short(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
