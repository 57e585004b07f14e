"""What an evaluation measures: the verdict on every answer, accuracies with their intervals, costs."""

import dataclasses
from collections import Counter
from collections.abc import Mapping

from PIL import Image
from scipy.stats import binomtest

from ..prompts.spec import Task
from ..sampling import SamplerSettings
from ..toy import Verdict


@dataclasses.dataclass(frozen=True)
class EvaluationSettings(SamplerSettings):
    """How answers are sampled. `bypass` turns the dual path off for all prompts; otherwise each prompt decides."""

    bypass: bool = False

    def __str__(self) -> str:
        return f"{super().__str__()}{', dual path off' if self.bypass else ''}"


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """How many of `count` answers are correct; `count` is at least 1."""

    correct: int
    count: int

    @property
    def value(self) -> float:
        return self.correct / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % confidence interval."""
        low, high = binomtest(self.correct, self.count).proportion_ci(0.95, method="wilson")
        return float(low), float(high)


@dataclasses.dataclass(frozen=True)
class Metrics:
    """The metrics of a model's answers to one task's prompts, whose `verdicts` are in order.

    The others are means per picture: `evaluations` of the velocity (NFE), `forward_passes` of the network (two per
    evaluation with guidance), and seconds, `encode_seconds` for the prompt (0 if it was encoded before) and
    `sample_seconds` for sampling and decoding. `failures` are the first incorrect pictures, by index in `verdicts`.
    """

    verdicts: tuple[Verdict, ...]
    evaluations: float
    forward_passes: float
    encode_seconds: float
    sample_seconds: float
    failures: Mapping[int, Image.Image] = dataclasses.field(default_factory=dict)

    @property
    def accuracy(self) -> Accuracy:
        return Accuracy(sum(verdict.correct for verdict in self.verdicts), len(self.verdicts))

    @property
    def fault_counts(self) -> dict[str, int]:
        """How many answers have a fault of each kind; one answer can have several."""
        return dict(Counter(kind for verdict in self.verdicts for kind in sorted(set(verdict.kinds))))

    def first(self, count: int) -> "Metrics":
        """With the verdicts on the first prompts alone."""
        return dataclasses.replace(self, verdicts=self.verdicts[:count])


@dataclasses.dataclass(frozen=True)
class Variant:
    """Settings, and their metrics by task."""

    name: str
    settings: EvaluationSettings
    metrics: Mapping[Task, Metrics]

    @property
    def accuracy(self) -> Accuracy:
        """On all tasks together."""
        accuracies = [metrics.accuracy for metrics in self.metrics.values()]
        return Accuracy(sum(one.correct for one in accuracies), sum(one.count for one in accuracies))

    @property
    def evaluations(self) -> float:
        return self._mean("evaluations")

    @property
    def forward_passes(self) -> float:
        return self._mean("forward_passes")

    @property
    def encode_seconds(self) -> float:
        return self._mean("encode_seconds")

    @property
    def sample_seconds(self) -> float:
        return self._mean("sample_seconds")

    def first(self, count: int) -> "Variant":
        return dataclasses.replace(self, metrics={task: one.first(count) for task, one in self.metrics.items()})

    def _mean(self, name: str) -> float:
        return sum(getattr(metrics, name) for metrics in self.metrics.values()) / len(self.metrics)
