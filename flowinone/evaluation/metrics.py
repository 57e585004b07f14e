"""What an examination gives: the faults of every answer, and shares of right ones with their intervals."""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping

from PIL import Image

from ..prompts.spec import Task
from ..sampling import Guidance, check_solver
from ..toy import Verdict

_Z = 1.959964
"""Standard deviations, either way, that hold 95 % of a normal distribution."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """How answers are made, as `FlowInOnePipeline.__call__` has it; `bypass` turns the dual path off for all, else each
    prompt decides."""

    steps: int = 50
    guidance_scale: float = 7.0
    solver: str = "euler"
    bypass: bool = False
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    guidance_every: int = 1

    def __post_init__(self):
        check_solver(self.solver, self.steps)
        if not math.isfinite(self.guidance_scale):
            raise ValueError(f"the guidance scale is {self.guidance_scale}; it must be a number")
        self.guidance  # noqa: B018 - it complains of an interval that is none

    @property
    def guidance(self) -> Guidance:
        return Guidance(self.guidance_scale, self.guidance_interval, self.guidance_every)

    def __str__(self) -> str:
        steps = "" if self.solver == "dopri5" else f", {self.steps} step{'s' * (self.steps > 1)}"
        first, last = self.guidance_interval
        where = f" at {first:g} to {last:g}" * (self.guidance_interval != (0, 1)) + f", every {self.guidance_every}" * (
            self.guidance_every > 1
        )
        return f"{self.solver}{steps}, guidance {self.guidance_scale:g}{where}{', dual path off' * self.bypass}"


@dataclasses.dataclass(frozen=True)
class Score:
    """How many answers are right."""

    right: int
    count: int

    @property
    def share(self) -> float:
        return self.right / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share."""
        spread = _Z**2 / self.count
        middle = (self.share + spread / 2) / (1 + spread)
        reach = _Z / (1 + spread) * math.sqrt((self.share * (1 - self.share) + spread / 4) / self.count)
        return max(middle - reach, 0.0), min(middle + reach, 1.0)


@dataclasses.dataclass(frozen=True)
class Marks:
    """The judgements of a model's answers to one task's prompts, in order.

    `evaluations` of the velocity and `runs` of the network (with guidance two make one) a picture; seconds a picture, for `encoding` its prompt (0 if that was done before)
    and for `making` it. `wrong` are the first wrong pictures, by place in `judgements`.
    """

    judgements: tuple[Verdict, ...]
    evaluations: float
    runs: float
    encoding: float
    making: float
    wrong: Mapping[int, Image.Image] = dataclasses.field(default_factory=dict)

    @property
    def score(self) -> Score:
        return Score(sum(judgement.correct for judgement in self.judgements), len(self.judgements))

    @property
    def kinds(self) -> dict[str, int]:
        """How many answers have faults of a kind; one answer can have several."""
        return dict(Counter(kind for judgement in self.judgements for kind in sorted(set(judgement.kinds))))

    def first(self, count: int) -> "Marks":
        return dataclasses.replace(self, judgements=self.judgements[:count])


@dataclasses.dataclass(frozen=True)
class Variant:
    """A setting's marks by task."""

    name: str
    setting: Setting
    marks: Mapping[Task, Marks]

    @property
    def score(self) -> Score:
        """Of all tasks together."""
        scores = [marks.score for marks in self.marks.values()]
        return Score(sum(score.right for score in scores), sum(score.count for score in scores))

    @property
    def evaluations(self) -> float:
        return self._mean("evaluations")

    @property
    def runs(self) -> float:
        return self._mean("runs")

    @property
    def encoding(self) -> float:
        return self._mean("encoding")

    @property
    def making(self) -> float:
        return self._mean("making")

    def first(self, count: int) -> "Variant":
        return dataclasses.replace(self, marks={task: marks.first(count) for task, marks in self.marks.items()})

    def _mean(self, name: str) -> float:
        return sum(getattr(marks, name) for marks in self.marks.values()) / len(self.marks)
