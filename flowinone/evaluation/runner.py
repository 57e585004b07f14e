"""Examining a model: it answers held-out prompts of made-up scenes, as it is used and in variants, and is judged."""

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..model import Condition
from ..pipeline import FlowInOnePipeline
from ..prompts.spec import Task
from ..sampling import SOLVERS, Velocity, draw_noise, guided_velocity, integrate
from ..toy import SCENE_TASKS, Verdict
from .judging import Examiners, results
from .metrics import Marks, Setting, Variant
from .records import Records

MAIN = "main"
"""The name of the setting that is examined in full."""
STEPS = (5, 10, 20, 50)
"""Of the variants with fewer or more steps."""
WRONG_KEPT = 4
"""Wrong pictures of a task that are kept to be looked at."""
_SEEDS = 2**31
"""Examples between those of a seed and those of the next, as training has it."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """An examination's outcome: the main setting's marks, and its variants', which are of the first prompts of each
    task. Prompts are drawn `prompt_side` pixels wide."""

    main: Variant
    variants: tuple[Variant, ...]
    seed: int
    prompt_side: int

    def number(self, place: int) -> int:
        """What `example` makes the prompt at a place in the judgements from; also the seed of its answer."""
        return example_number(self.seed, place)


def checked_tasks(tasks: Sequence[str]) -> tuple[Task, ...]:
    """The tasks, each once. Raises ValueError for one without scenes, or none."""
    unknown = [task for task in tasks if task not in SCENE_TASKS]
    if unknown or not tasks:
        named = f"there are no scenes for {unknown[0]!r}" if unknown else "no task is given"
        raise ValueError(f"{named}; choose of {', '.join(SCENE_TASKS)}")
    return tuple(dict.fromkeys(tasks))


def example_number(seed: int, place: int) -> int:
    return seed * _SEEDS + place


@torch.no_grad()
def examine(
    pipeline: FlowInOnePipeline,
    tasks: Sequence[Task] = SCENE_TASKS,
    count: int = 1000,
    setting: Setting | None = None,
    variant_count: int = 0,
    *,
    seed: int = 0,
    batch_size: int = 16,
    workers: int | None = None,
    records: Records | None = None,
    progress: bool = True,
    others: Mapping[str, Setting] | None = None,
) -> Scores:
    """Let a pipeline answer `count` held-out prompts of each task, and judge its answers.

    `setting` is upstream's unless given. With a `variant_count` the first so many prompts, `count` at most, are
    answered in variants of the setting, too: `others`, by name, if given, else those of `variants`. Another `seed` below 2**32 takes other prompts. `workers`
    are `Examiners`'; `progress` shows a bar. What `records` hold is not done again, and what is done goes there,
    variant by variant and task by task. Raises ValueError for tasks without scenes and numbers out of range.
    """
    tasks, setting = checked_tasks(tasks), setting or Setting()
    given = {"count": (count, 1), "variant_count": (variant_count, 0), "batch_size": (batch_size, 1), "seed": (seed, 0)}
    for name, (number, least) in given.items():
        if not least <= number < 2**32:
            raise ValueError(f"{name} is {number}; it goes from {least} to {2**32 - 1}")
    shared = min(variant_count, count)
    with (
        Examiners(workers) as examiners,
        tqdm(unit="run", unit_scale=True, file=sys.stderr, disable=not progress) as bar,
    ):
        examination = _Examination(pipeline, examiners, seed, batch_size, shared, records, bar)

        def compared(evaluations: int) -> Mapping[str, Setting]:
            return {} if not shared else variants(setting, evaluations) if others is None else others

        # What dopri5 takes is not known before; with it as the main setting this is a first guess.
        expected = compared(evaluations_of(setting))
        examination.expect(
            {MAIN: (setting, count)} | {name: (other, shared) for name, other in expected.items()}, tasks
        )
        main = examination.variant(MAIN, setting, count, tasks)
        done = [
            examination.variant(name, other, shared, tasks) for name, other in compared(round(main.evaluations)).items()
        ]
    return Scores(main, tuple(done), seed, pipeline.vision.image_size)


def variants(setting: Setting, evaluations: int) -> dict[str, Setting]:
    """What a setting is compared with, by name: the dual path off for all prompts, guidance 1 (none), fewer and more
    steps, and the other solvers, with such steps that they evaluate the velocity `evaluations` times, or nearly so."""
    others = {
        "dual path off": dataclasses.replace(setting, bypass=True),
        "guidance 1": dataclasses.replace(setting, guidance_scale=1.0),
    }
    if setting.solver != "dopri5":
        others |= {f"{steps} steps": dataclasses.replace(setting, steps=steps) for steps in STEPS}
    for solver in SOLVERS:
        other = dataclasses.replace(setting, solver=solver)
        others[solver] = other if solver in (setting.solver, "dopri5") else steps_for(other, evaluations)
    return {name: other for name, other in others.items() if other != setting}


def steps_for(setting: Setting, evaluations: int) -> Setting:
    """The setting, its solver not dopri5, with the steps that take nearest to so many evaluations; of two the fewer."""
    before = setting
    steps = 0
    while True:
        steps += 1
        now = dataclasses.replace(setting, steps=steps)
        taken = evaluations_of(now)
        if taken >= evaluations:
            fewer = steps > 1 and evaluations - evaluations_of(before) <= taken - evaluations
            return before if fewer else now
        before = now


def evaluations_of(setting: Setting) -> int:
    """How often a setting's solver evaluates the velocity; of dopri5, of a flow that stands still."""
    return _still(setting)[0]


def runs_of(setting: Setting) -> int:
    """How many runs of the network, one branch of guidance each, a picture takes; with dopri5 as `evaluations_of`."""
    return _still(setting)[1]


def _still(setting: Setting) -> tuple[int, int]:
    network, picture = CountedNetwork(lambda x, *_: torch.zeros_like(x)), torch.zeros(1, 1)
    velocity = CountedVelocity(
        guided_velocity(network, Condition.prompt(picture, torch.tensor([False])), setting.guidance)
    )
    integrate(velocity, picture, setting.solver, setting.steps)
    return velocity.calls, network.runs


class CountedVelocity:
    """A velocity that counts its evaluations in `calls`."""

    def __init__(self, velocity: Velocity):
        self.velocity, self.calls = velocity, 0

    def __call__(self, x: Tensor, t: float) -> Tensor:
        self.calls += 1
        return self.velocity(x, t)


class CountedNetwork:
    """A network for `guided_velocity` that counts what runs through it, samples in `runs`, and tells `on_run` how many after each."""

    def __init__(self, network: Callable[..., Tensor], on_run: Callable[[int], None] = lambda count: None):
        self.network, self.on_run, self.runs = network, on_run, 0

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        result = self.network(x, t, condition)
        self.runs += len(x)
        self.on_run(len(x))
        return result


@dataclasses.dataclass(frozen=True)
class _Encoded:
    """A batch of prompts: source and image latents [B, C, H, W] on the CPU, bypass [B], and the seconds they took."""

    source: Tensor
    image: Tensor
    bypass: Tensor
    seconds: float

    def first(self, count: int) -> "_Encoded":
        """Without the seconds: they were spent before."""
        return _Encoded(self.source[:count], self.image[:count], self.bypass[:count], 0.0)


class _Examination:
    """A pipeline at its examination."""

    def __init__(
        self,
        pipeline: FlowInOnePipeline,
        examiners: Examiners,
        seed: int,
        batch_size: int,
        shared: int,
        records: Records | None,
        bar: tqdm,
    ):
        self.pipeline, self.examiners, self.records, self.bar = pipeline, examiners, records, bar
        self.seed, self.batch_size, self.shared = seed, batch_size, shared
        self.config = pipeline.model.velocity_network.config
        self.side = self.config.latent_size * 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
        # By task, the batches that hold the first `shared` prompts.
        self.encoded: dict[Task, list[_Encoded]] = {}
        self.left: dict[tuple[str, Task], int] = {}

    def expect(self, parts: Mapping[str, tuple[Setting, int]], tasks: Sequence[Task]) -> None:
        """Say what there is to do, for the bar: runs of the network, a picture and a branch of guidance each."""
        for name, (setting, count) in parts.items():
            for task in tasks:
                if self.records is None or not self.records.has(name, task):
                    self.left[name, task] = runs_of(setting) * count
        self._update_total()

    def variant(self, name: str, setting: Setting, count: int, tasks: Sequence[Task]) -> Variant:
        return Variant(name, setting, {task: self._recorded(name, setting, task, count) for task in tasks})

    def _recorded(self, name: str, setting: Setting, task: Task, count: int) -> Marks:
        if self.records is not None and self.records.has(name, task):
            return self.records.read(name, task)
        self.bar.set_description(f"{name}: {task}")
        marks = self._marks(setting, task, count, WRONG_KEPT if name == MAIN else 0)
        if self.records is not None:
            self.records.write(name, task, marks)
        self.left.pop((name, task), None)
        self._update_total()
        return marks

    def _update_total(self) -> None:
        self.bar.total = self.bar.n + sum(self.left.values())
        self.bar.refresh()

    def _marks(self, setting: Setting, task: Task, count: int, keep: int) -> Marks:
        evaluations, runs, encoding, making = 0, 0, 0.0, 0.0
        judgements, kept, waiting = [], {}, None
        for start, batch in self._batches(task, count):
            began = time.perf_counter()
            pictures, calls, taken = self._answers(setting, batch)
            making += time.perf_counter() - began
            encoding += batch.seconds
            evaluations += calls * len(pictures)
            runs += taken
            numbers = [example_number(self.seed, start + place) for place in range(len(pictures))]
            # One batch is judged while the next is made.
            waiting, before = (pictures, self.examiners.judge(task, numbers, pictures)), waiting
            if before:
                _settle(*before, judgements, kept, keep)
        _settle(*waiting, judgements, kept, keep)
        return Marks(tuple(judgements), evaluations / count, runs / count, encoding / count, making / count, kept)

    def _answers(self, setting: Setting, batch: _Encoded) -> tuple[list[Image.Image], int, int]:
        """The pictures, how often the velocity was evaluated for them, and the runs of the network that this took, a sample each."""
        device = self.pipeline.model.device
        source, image, bypass = (tensor.to(device) for tensor in (batch.source, batch.image, batch.bypass))
        bypass = torch.ones_like(bypass) if setting.bypass else bypass
        network = CountedNetwork(self.pipeline.model.velocity, self.bar.update)
        condition = Condition.prompt(image, bypass)
        velocity = CountedVelocity(guided_velocity(network, condition, setting.guidance))
        latents = integrate(velocity, source, setting.solver, setting.steps)
        return self.pipeline.decode(latents), velocity.calls, network.runs

    def _batches(self, task: Task, count: int) -> Iterator[tuple[int, _Encoded]]:
        """Batches with the number of their first prompt; the next one's prompts are drawn while one is answered."""
        there = self.encoded.setdefault(task, [])
        drawing = None
        for index, start in enumerate(range(0, count, self.batch_size)):
            size = min(self.batch_size, count - start)
            if index < len(there):
                yield start, there[index].first(size)
                continue
            drawn = results(drawing or self._draw(task, start, size))
            following = start + size
            left = min(self.batch_size, count - following)
            drawing = self._draw(task, following, left) if left else None
            batch = self._encode(start, drawn)
            if start < self.shared:
                there.append(batch)
            yield start, batch

    def _draw(self, task: Task, start: int, size: int) -> list:
        numbers = [example_number(self.seed, start + place) for place in range(size)]
        return self.examiners.draw(task, numbers, self.side, self.pipeline.vision.image_size)

    def _encode(self, start: int, drawn: Sequence[tuple[Image.Image, bool]]) -> _Encoded:
        began = time.perf_counter()
        pictures, bypass = zip(*drawn)
        # As the pipeline has it, called with the example's number as its generator.
        seeds = [example_number(self.seed, start + place) for place in range(len(drawn))]
        noise = draw_noise(seeds, self.config.latent_shape)
        source, image = (latents.cpu() for latents in self.pipeline.encode(pictures, *noise))
        return _Encoded(source, image, torch.tensor(bypass), time.perf_counter() - began)


def _settle(pictures: list, judging: list, judgements: list[Verdict], kept: dict[int, Image.Image], keep: int) -> None:
    """Add a batch's judgements, and its wrong pictures to `kept` while they are fewer than `keep`."""
    for picture, judgement in zip(pictures, results(judging)):
        if not judgement.correct and len(kept) < keep:
            kept[len(judgements)] = picture
        judgements.append(judgement)
