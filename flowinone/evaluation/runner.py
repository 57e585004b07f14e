"""Runs an evaluation: a model answers held-out prompts of the toy world, with its settings and in variants of them."""

import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..model import Condition
from ..pipeline import FlowInOnePipeline
from ..prompts.spec import Task
from ..sampling import draw_noise, guided_velocity, integrate
from ..toy import SCENE_TASKS, Verdict
from .judging import JudgePool, results
from .metrics import EvaluationSettings, Metrics, Variant
from .records import Records
from .variants import CountedNetwork, CountedVelocity, evaluations_of, forward_passes_of, variants

MAIN = "main"
"""The name of the variant that answers all prompts."""
FAILURES_KEPT = 4
"""Incorrect pictures of each task that are kept for the report."""
_SEED_STRIDE = 2**31
"""Examples between the first of one seed and the first of the next, as in training."""


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """The metrics of the main settings, and of the variants on the first prompts of each task.

    Prompts are rendered `prompt_size` pixels wide.
    """

    main: Variant
    variants: tuple[Variant, ...]
    seed: int
    prompt_size: int

    def example_seed(self, index: int) -> int:
        """The seed of the example at an index of the verdicts; also of its answer's noise."""
        return example_seed(self.seed, index)


def checked_tasks(tasks: Sequence[str]) -> tuple[Task, ...]:
    """The tasks without duplicates. Raises ValueError for a task without scenes, or if there is none."""
    unknown = [task for task in tasks if task not in SCENE_TASKS]
    if unknown or not tasks:
        named = f"there are no scenes for {unknown[0]!r}" if unknown else "no task is given"
        raise ValueError(f"{named}; choose of {', '.join(SCENE_TASKS)}")
    return tuple(dict.fromkeys(tasks))


def example_seed(seed: int, index: int) -> int:
    return seed * _SEED_STRIDE + index


@torch.no_grad()
def run_evaluation(
    pipeline: FlowInOnePipeline,
    tasks: Sequence[Task] = SCENE_TASKS,
    count: int = 1000,
    settings: EvaluationSettings | None = None,
    variant_count: int = 0,
    *,
    seed: int = 0,
    batch_size: int = 16,
    workers: int | None = None,
    records: Records | None = None,
    progress: bool = True,
) -> EvaluationResult:
    """Let a pipeline answer `count` held-out prompts of each task, and judge its answers.

    The `settings` default to upstream's. The first `variant_count` prompts are also answered in their `variants`. A
    `seed` below 2**32 chooses the prompts. `workers` are those of `JudgePool`; `progress` shows a bar. What `records`
    already hold is not computed again, and the metrics of each variant and task are added to them. Raises ValueError
    for tasks without scenes and numbers out of range.
    """
    tasks, settings = checked_tasks(tasks), settings or EvaluationSettings()
    given = {"count": (count, 1), "variant_count": (variant_count, 0), "batch_size": (batch_size, 1), "seed": (seed, 0)}
    for name, (number, least) in given.items():
        if not least <= number < 2**32:
            raise ValueError(f"{name} is {number}; it goes from {least} to {2**32 - 1}")
    shared = min(variant_count, count)
    with JudgePool(workers) as pool, tqdm(unit="pass", unit_scale=True, file=sys.stderr, disable=not progress) as bar:
        evaluation = _Evaluation(pipeline, pool, seed, batch_size, shared, records, bar)
        # The NFE of dopri5 is not known in advance; with it in the main settings this is an estimate.
        expected = variants(settings, evaluations_of(settings)) if shared else {}
        evaluation.expect(
            {MAIN: (settings, count)} | {name: (other, shared) for name, other in expected.items()}, tasks
        )
        main = evaluation.variant(MAIN, settings, count, tasks)
        compared = variants(settings, round(main.evaluations)) if shared else {}
        done = [evaluation.variant(name, other, shared, tasks) for name, other in compared.items()]
    return EvaluationResult(main, tuple(done), seed, pipeline.vision.image_size)


@dataclasses.dataclass(frozen=True)
class _Encoded:
    """A batch of prompts: source and image latents [B, C, H, W] on the CPU, bypass [B], and the seconds it took."""

    source: Tensor
    image: Tensor
    bypass: Tensor
    seconds: float

    def first(self, count: int) -> "_Encoded":
        """The first prompts, without the seconds, which were counted before."""
        return _Encoded(self.source[:count], self.image[:count], self.bypass[:count], 0.0)


class _Evaluation:
    """A pipeline, and what its variants share: judges, records, and the encoded prompts."""

    def __init__(
        self,
        pipeline: FlowInOnePipeline,
        pool: JudgePool,
        seed: int,
        batch_size: int,
        shared: int,
        records: Records | None,
        bar: tqdm,
    ):
        self.pipeline, self.pool, self.records, self.bar = pipeline, pool, records, bar
        self.seed, self.batch_size, self.shared = seed, batch_size, shared
        self.latent_shape = pipeline.model.velocity_network.config.latent_shape
        self.size = self.latent_shape[1] * 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
        # By task, the batches that contain the first `shared` prompts.
        self.encoded: dict[Task, list[_Encoded]] = {}
        self.left: dict[tuple[str, Task], int] = {}

    def expect(self, parts: Mapping[str, tuple[EvaluationSettings, int]], tasks: Sequence[Task]) -> None:
        """Set the bar's total: the forward passes that are not in the records."""
        for name, (settings, count) in parts.items():
            for task in tasks:
                if self.records is None or not self.records.has(name, task):
                    self.left[name, task] = forward_passes_of(settings) * count
        self._update_total()

    def variant(self, name: str, settings: EvaluationSettings, count: int, tasks: Sequence[Task]) -> Variant:
        return Variant(name, settings, {task: self._recorded(name, settings, task, count) for task in tasks})

    def _recorded(self, name: str, settings: EvaluationSettings, task: Task, count: int) -> Metrics:
        if self.records is not None and self.records.has(name, task):
            return self.records.read(name, task)
        self.bar.set_description(f"{name}: {task}")
        metrics = self._measure(settings, task, count, FAILURES_KEPT if name == MAIN else 0)
        if self.records is not None:
            self.records.write(name, task, metrics)
        self.left.pop((name, task), None)
        self._update_total()
        return metrics

    def _update_total(self) -> None:
        self.bar.total = self.bar.n + sum(self.left.values())
        self.bar.refresh()

    def _measure(self, settings: EvaluationSettings, task: Task, count: int, failures_kept: int) -> Metrics:
        evaluations, forward_passes, encode_seconds, sample_seconds = 0, 0, 0.0, 0.0
        verdicts, failures, pending = [], {}, None
        for start, batch in self._batches(task, count):
            began = time.perf_counter()
            pictures, calls, passes = self._answers(settings, batch)
            sample_seconds += time.perf_counter() - began
            encode_seconds += batch.seconds
            evaluations += calls * len(pictures)
            forward_passes += passes
            judging = self.pool.judge(task, self._example_seeds(start, len(pictures)), pictures)
            # A batch is judged while the next one is sampled.
            pending, before = (pictures, judging), pending
            if before:
                _collect(*before, verdicts, failures, failures_kept)
        _collect(*pending, verdicts, failures, failures_kept)
        costs = (total / count for total in (evaluations, forward_passes, encode_seconds, sample_seconds))
        return Metrics(tuple(verdicts), *costs, failures)

    def _answers(self, settings: EvaluationSettings, batch: _Encoded) -> tuple[list[Image.Image], int, int]:
        """The pictures, the NFE, and the forward passes, counted per sample."""
        device = self.pipeline.model.device
        source, image, bypass = (tensor.to(device) for tensor in (batch.source, batch.image, batch.bypass))
        condition = Condition.prompt(image, torch.ones_like(bypass) if settings.bypass else bypass)
        network = CountedNetwork(self.pipeline.model.velocity, self.bar.update)
        velocity = CountedVelocity(guided_velocity(network, condition, settings.guidance))
        latents = integrate(velocity, source, settings.solver, settings.steps)
        return self.pipeline.decode(latents), velocity.calls, network.forward_passes

    def _batches(self, task: Task, count: int) -> Iterator[tuple[int, _Encoded]]:
        """Batches with the index of their first prompt. The next prompts are rendered while a batch is answered."""
        encoded = self.encoded.setdefault(task, [])
        rendering = None
        for index, start in enumerate(range(0, count, self.batch_size)):
            size = min(self.batch_size, count - start)
            if index < len(encoded):
                yield start, encoded[index].first(size)
                continue
            rendered = results(rendering or self._render(task, start, size))
            following = start + size
            left = min(self.batch_size, count - following)
            rendering = self._render(task, following, left) if left else None
            batch = self._encode(start, rendered)
            if start < self.shared:
                encoded.append(batch)
            yield start, batch

    def _render(self, task: Task, start: int, size: int) -> list:
        seeds = self._example_seeds(start, size)
        return self.pool.render(task, seeds, self.size, self.pipeline.vision.image_size)

    def _encode(self, start: int, rendered: Sequence[tuple[Image.Image, bool]]) -> _Encoded:
        began = time.perf_counter()
        pictures, bypass = zip(*rendered)
        # The same noise as the pipeline's, called with the example's seed as its generator.
        noise = draw_noise(self._example_seeds(start, len(rendered)), self.latent_shape)
        source, image = (latents.cpu() for latents in self.pipeline.encode(pictures, *noise))
        return _Encoded(source, image, torch.tensor(bypass), time.perf_counter() - began)

    def _example_seeds(self, start: int, count: int) -> list[int]:
        return [example_seed(self.seed, index) for index in range(start, start + count)]


def _collect(
    pictures: list, judging: list, verdicts: list[Verdict], failures: dict[int, Image.Image], failures_kept: int
) -> None:
    """Add a batch's verdicts, and its incorrect pictures to `failures` while there are fewer than `failures_kept`."""
    for picture, verdict in zip(pictures, results(judging)):
        if not verdict.correct and len(failures) < failures_kept:
            failures[len(verdicts)] = picture
        verdicts.append(verdict)
