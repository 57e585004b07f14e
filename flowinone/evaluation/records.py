"""An examination's marks on disk, task by task: whole or not there at all."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from ..files import write_output
from ..prompts.spec import Task
from ..toy import Fault, Verdict
from .metrics import Marks

_OTHERWISE = "choose another --out, or replace it with --overwrite"
_ANEW = "delete it, and its part is done anew"


class Records:
    """The marks of an examination in a folder, for a stopped one to go on from.

    `facts` (for JSON) say which examination it is. Raises ValueError for a folder that has another one's, or marks or
    `results` (file names) of nobody knows which, unless `overwrite`, which removes the marks.
    """

    def __init__(self, folder: str | os.PathLike, facts: Mapping, overwrite: bool = False, results: Sequence[str] = ()):
        self.folder = Path(folder, "marks")
        self._facts = json.loads(json.dumps(facts))
        marks = [file for kind in ("*.*.json", "*.*.*.png") for file in sorted(self.folder.glob(kind))]
        there = marks + [file for name in results if (file := Path(folder, name)).exists()]
        if overwrite:
            for file in marks:
                file.unlink()
        elif self._settings.is_file():
            self._check(_read(self._settings, _OTHERWISE))
        elif there:
            raise ValueError(f"{there[0]} exists; {_OTHERWISE}")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_output(json.dumps(self._facts, indent=1).encode(), str(self._settings))

    @property
    def _settings(self) -> Path:
        return self.folder / "settings.json"

    def _check(self, found: dict) -> None:
        for name in sorted(found.keys() | self._facts.keys()):
            then, now = found.get(name), self._facts.get(name)
            if then != now:
                held = f"{self.folder.parent} holds an examination with {name} {_short(then)}"
                raise ValueError(f"{held}, and this one has {_short(now)}; {_OTHERWISE}")

    def has(self, name: str, task: Task) -> bool:
        return self._file(name, task).is_file()

    def read(self, name: str, task: Task) -> Marks:
        """A variant's marks of a task, which are there. Raises ValueError for damaged ones."""
        file = self._file(name, task)
        stored = _read(file, _ANEW)
        try:
            judgements = tuple(
                Verdict(tuple(Fault(kind, reason) for kind, reason in faults)) for faults in stored["faults"]
            )
            wrong = {}
            for place in stored["wrong"]:
                with Image.open(self._picture(name, task, place)) as picture:
                    wrong[place] = picture.convert("RGB")
            return Marks(judgements, stored["evaluations"], stored["runs"], stored["encoding"], stored["making"], wrong)
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise ValueError(f"{file} cannot be used ({error}); {_ANEW}") from None

    def write(self, name: str, task: Task, marks: Marks) -> None:
        for place, picture in marks.wrong.items():
            picture.save(self._picture(name, task, place))
        stored = {
            "evaluations": marks.evaluations,
            "runs": marks.runs,
            "encoding": marks.encoding,
            "making": marks.making,
            "wrong": list(marks.wrong),
            "faults": [judgement.faults for judgement in marks.judgements],
        }
        write_output(json.dumps(stored).encode(), str(self._file(name, task)))

    def _file(self, name: str, task: Task) -> Path:
        return self.folder / f"{name.replace(' ', '-')}.{task}.json"

    def _picture(self, name: str, task: Task, place: int) -> Path:
        return self.folder / f"{name.replace(' ', '-')}.{task}.{place}.png"


def _read(file: Path, remedy: str) -> dict:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} cannot be used ({error}); {remedy}") from None


def _short(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
