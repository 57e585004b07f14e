"""The training loop: any number of processes, exact resume, logs, sample sheets."""

import contextlib
import dataclasses
import datetime
import json
import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from PIL import Image
from torch import Tensor

from ..contact_sheet import Entry, contact_sheet
from ..generation import UNREADABLE, prompt_picture
from ..pipeline import FlowInOnePipeline
from ..toy import SCENE_TASKS, SceneSource
from . import snapshots
from .cache import PairCache
from .config import ConfigError, TrainingConfig, as_fields
from .data import Mixture, PairSource, TrainingPictures, loader, on_device, open_source
from .export import write_network, write_tower, write_weights
from .objective import Chance, Objective
from .optimizers import make_optimizer
from .parts import MovingAverage, adapter_tensors, build, quick_attention, training_only

log = logging.getLogger("flowinone.training")

SCENES = "scenes:"
"""What a path of `data` begins with that stands for made-up scenes (`flowinone.toy`)."""

_DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclasses.dataclass
class Result:
    """How a run ended: the losses [steps] of this process's part of it, the files it wrote, and whether it was stopped early."""

    losses: list[float]
    files: list[Path]
    stopped: bool


def train(
    config: TrainingConfig, resume: bool = True, on_step: Callable[[int, dict[str, float]], None] | None = None
) -> Result:
    """Train as the configuration says, from the last state in its folder if there is one and `resume` is set.

    Resumed runs have the losses of uninterrupted ones: all chance follows from seed and step. Ctrl-C ends a run after its step, with
    its state saved. Without `resume` the states of an earlier run are kept under another name. Raises ConfigError, CheckpointError and
    SnapshotError with the remedy; the last good state always stays.
    """
    accelerator = Accelerator(
        # Left alone, several processes without a GPU would look for one.
        cpu=not torch.accelerator.is_available(),
        mixed_precision=config.precision,
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=True),
            # The others wait while the first process draws the cache.
            InitProcessGroupKwargs(timeout=datetime.timedelta(days=1)),
        ],
    )
    out = Path(config.out)
    samples = _samples(config)
    objective = build(config)
    if accelerator.is_main_process:
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.json").write_text(json.dumps(as_fields(config), indent=1), encoding="utf-8")
        if not resume and (aside := snapshots.set_aside(out / "states")):
            log.info("the states of the run before are now in %s", aside)
    average = MovingAverage(objective, config.ema) if config.ema else None
    optimizer = make_optimizer(config.optimizer, objective, config.learning_rate, config.betas, config.weight_decay)
    start = _resumed(objective, average, optimizer, out, accelerator) if resume else 0

    latent_shape = objective.model.config.latent_shape
    vision_size = objective.vision.image_size
    image_size = latent_shape[1] * 2 ** (len(objective.vae.config.block_out_channels) - 1)
    sources = [(source_at(source.path, config.seed, image_size, vision_size), source.weight) for source in config.data]
    mixture = Mixture(sources, config.seed)
    batches = _batches(config, mixture, objective, vision_size, image_size, start, accelerator)
    wrapped, optimizer = accelerator.prepare(objective, optimizer)
    if average is not None:
        average.values = {name: value.to(accelerator.device) for name, value in average.values.items()}
    writer = _writer(out) if accelerator.is_main_process else None
    stop = _Stop()
    result = Result([], [], False)
    began = time.monotonic()
    step = start
    with stop, quick_attention(accelerator.device):
        while step < config.steps and not result.stopped:
            # Dropout, too, is the same after a resume.
            torch.manual_seed((config.seed * 7919 + step) * 1024 + accelerator.process_index)
            terms = _step(config, wrapped, optimizer, batches, step, accelerator, latent_shape)
            if average is not None:
                average.update(objective, step)
            step += 1
            result.losses.append(terms["loss"])
            if on_step is not None:
                on_step(step, terms)
            if accelerator.is_main_process:
                _report(config, writer, step, start, terms, began)
                if step % config.sample_every == 0 and samples:
                    _sample_sheet(config, samples, objective, average, step, out, writer)
                if step % config.checkpoint_every == 0 or step == config.steps:
                    _save(config, objective, average, optimizer, step, out, accelerator)
            result.stopped = _anywhere(stop.asked, accelerator) and step < config.steps
    if accelerator.is_main_process:
        if mixture.broken:
            log.warning(
                "%d pairs could not be used and were left out, %d times", len(mixture.broken), mixture.broken.total()
            )
        if result.stopped and step > start and step % config.checkpoint_every:
            _save(config, objective, average, optimizer, step, out, accelerator)
        result.files = _export(config, objective, average, out)
        if writer is not None:
            writer.close()
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return result


def source_at(path: str, seed: int, image_size: int, vision_size: int) -> PairSource:
    """Pairs at a path, or made up where it is `scenes:` and the tasks, all of them if none is named."""
    if not path.startswith(SCENES):
        return open_source(path)
    tasks = tuple(filter(None, path.removeprefix(SCENES).split(","))) or SCENE_TASKS
    unknown = [task for task in tasks if task not in SCENE_TASKS]
    if unknown:
        raise ConfigError(f"data {path!r}: there are no scenes for {unknown[0]}; choose of {', '.join(SCENE_TASKS)}")
    return SceneSource(tasks, seed, image_size, vision_size)


def _batches(
    config: TrainingConfig,
    mixture: Mixture,
    objective: Objective,
    vision_size: int,
    image_size: int,
    start: int,
    accelerator: Accelerator,
) -> Iterator[dict[str, Any]]:
    """This process's batches from step `start` on: of new pairs, or of those in the cache."""
    place = dict(rank=accelerator.process_index, world=accelerator.num_processes)
    first, count = start * config.accumulation, (config.steps - start) * config.accumulation
    if not config.cache:
        pictures = TrainingPictures(mixture, config.batch_size, vision_size, image_size, count, first, **place)
        return iter(loader(pictures, config.workers))
    cache = PairCache(Path(config.cache_folder or Path(config.out) / "cache"), config.cache, vision_size, image_size)
    frozen = ("image", "target") if objective.trains_vision else ("image", "target", "vision")
    if accelerator.is_main_process:
        cache.fill(mixture, max(config.workers, 1))
        for name in frozen:
            cache.encode(
                name,
                objective.vision if name == "vision" else objective.vae,
                accelerator.device,
                _DTYPES[config.precision],
            )
    accelerator.wait_for_everyone()
    return cache.batches(config.batch_size, config.seed, first, count, frozen, **place)


def _anywhere(asked: bool, accelerator: Accelerator) -> bool:
    """Whether any process was asked to stop: all stop after the same step, or some would wait for the others without end."""
    if accelerator.num_processes == 1:
        return asked
    return bool(accelerator.reduce(torch.tensor(float(asked), device=accelerator.device), "sum") > 0)


def _step(
    config: TrainingConfig, wrapped, optimizer, batches, step: int, accelerator: Accelerator, latent_shape
) -> dict[str, float]:
    """One optimizer step; the loss and its terms, averaged over its batches and processes."""
    sums: dict[str, Tensor] = {}
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * _rate(config, step)
    for part in range(config.accumulation):
        batch = next(batches)
        number = (step * config.accumulation + part) * accelerator.num_processes + accelerator.process_index
        count = len(batch["bypass"])
        chance = Chance.draw(config.seed, number, count, latent_shape, config.null_probability).to(accelerator.device)
        last = part == config.accumulation - 1
        with contextlib.nullcontext() if last else accelerator.no_sync(wrapped):
            loss, terms = wrapped(on_device(batch, accelerator.device), chance, step < config.source_steps)
            accelerator.backward(loss / config.accumulation)
        for name, term in {"loss": loss.detach(), **terms}.items():
            sums[name] = sums.get(name, 0) + term / config.accumulation
    if config.clip:
        accelerator.clip_grad_norm_(wrapped.parameters(), config.clip)
    optimizer.step()
    optimizer.zero_grad()
    names = sorted(sums)
    values = accelerator.reduce(torch.stack([sums[name] for name in names]), "mean").tolist()
    if not math.isfinite(values[names.index("loss")]):
        raise FloatingPointError(
            f"the loss is {values[names.index('loss')]} at step {step + 1}; lower learning_rate, or train with precision no"
        )
    return dict(zip(names, values))


def _rate(config: TrainingConfig, step: int) -> float:
    """The learning rate's factor: up in `warmup` steps, then constant or down along a cosine."""
    up = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.schedule == "constant" or step < config.warmup:
        return up
    share = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * share))


def _state(objective: Objective) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in objective.named_parameters() if parameter.requires_grad}


def _save(
    config: TrainingConfig,
    objective: Objective,
    average: MovingAverage | None,
    optimizer,
    step: int,
    out: Path,
    accelerator: Accelerator,
) -> None:
    tensors = {"weights": _state(objective)} | ({"average": average.values} if average else {})
    facts = {"mode": config.mode, "seed": config.seed}
    if accelerator.scaler is not None:
        facts["scaler"] = accelerator.scaler.state_dict()
    snapshots.save(out / "states", step, tensors, optimizer.state_dict(), facts, config.keep)
    log.info("state of step %d saved", step)


def _resumed(
    objective: Objective, average: MovingAverage | None, optimizer, out: Path, accelerator: Accelerator
) -> int:
    """Take the last state over; the number of steps done."""
    found = snapshots.latest(out / "states")
    if found is None:
        return 0
    tensors, state, facts = snapshots.load(found)
    learning = _state(objective)
    if learning.keys() != tensors["weights"].keys():
        raise snapshots.SnapshotError(
            f"{found} is the state of another kind of run; choose another folder as out, or delete this one"
        )
    for name, parameter in learning.items():
        parameter.data.copy_(tensors["weights"][name])
    if average is not None and "average" in tensors:
        average.values = tensors["average"]
    try:
        optimizer.load_state_dict(state)
    except (ValueError, KeyError) as error:
        raise snapshots.SnapshotError(
            f"{found} is the state of a run with another optimizer ({error}); choose another folder as out, or delete this one"
        ) from None
    if accelerator.scaler is not None and "scaler" in facts:
        accelerator.scaler.load_state_dict(facts["scaler"])
    if accelerator.is_main_process:
        log.info("going on from step %d", facts["step"])
    return facts["step"]


def _export(config: TrainingConfig, objective: Objective, average: MovingAverage | None, out: Path) -> list[Path]:
    """Write what was learnt as files that pipeline and ComfyUI load, averaged if there is an average; their paths."""
    written = []
    with average.swapped(objective) if average is not None else contextlib.nullcontext():
        if config.mode == "lora":
            tensors = adapter_tensors(objective.model.velocity_network, config.lora)
            written.append(write_weights(out / "lora.safetensors", tensors, {}))
        else:
            # Every tensor that came along goes on with it.
            beside = training_only(config.checkpoint) if config.checkpoint else {}
            if objective.features is not None:
                beside |= objective.features.checkpoint()
            written.append(write_network(out / "flowinone.safetensors", objective.model, beside))
        if config.train_vision:
            written.append(write_tower(out / "vision.safetensors", objective.vision))
    return written


def _report(config: TrainingConfig, writer, step: int, start: int, terms: dict[str, float], began: float) -> None:
    if writer is not None:
        for name, value in terms.items():
            writer.add_scalar(f"loss/{name}", value, step)
    if step % config.log_every and step != config.steps:
        return
    each = (time.monotonic() - began) / (step - start)
    left = each * (config.steps - step)
    parts = "  ".join(f"{name} {value:.4f}" for name, value in terms.items() if name != "loss")
    log.info(
        "step %d of %d  loss %.4f  (%s)  %.2f s a step  %s left",
        step,
        config.steps,
        terms["loss"],
        parts,
        each,
        _duration(left),
    )


def _duration(seconds: float) -> str:
    minutes, hours = int(seconds // 60) % 60, int(seconds // 3600)
    return (
        f"{hours} h {minutes} min"
        if hours
        else f"{minutes} min {int(seconds % 60)} s"
        if minutes
        else f"{int(seconds)} s"
    )


def _writer(out: Path):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(out / "logs"))


def _samples(config: TrainingConfig) -> list[tuple[Image.Image, bool]]:
    """The sample prompts, each with its bypass. Raises ConfigError for what cannot be read."""
    read = []
    for path in config.samples:
        try:
            read.append(prompt_picture(path))
        except UNREADABLE as error:
            raise ConfigError(f"samples: {path} cannot be read as a prompt ({error})") from error
    return read


@torch.no_grad()
def _sample_sheet(
    config: TrainingConfig,
    samples: Sequence[tuple[Image.Image, bool]],
    objective: Objective,
    average: MovingAverage | None,
    step: int,
    out: Path,
    writer,
) -> None:
    """Answer the sample prompts, and save prompts and answers next to each other."""
    prompts, bypasses = zip(*samples)
    pipeline = FlowInOnePipeline(objective.model, objective.vision, objective.vae)
    pipeline.set_progress_bar_config(disable=True)
    learning = [module for module in objective.modules() if module.training]
    objective.eval()
    with average.swapped(objective) if average is not None else contextlib.nullcontext():
        answers = pipeline(
            prompts,
            bypass=bypasses,
            steps=config.sample_steps,
            guidance_scale=config.guidance_scale,
            generator=config.seed,
        ).images
    for module in learning:
        module.training = True
    sheet = contact_sheet({"": [Entry(pair) for pair in zip(prompts, answers)]}, answers[0].width)
    folder = out / "samples"
    folder.mkdir(exist_ok=True)
    sheet.save(folder / f"step_{step:08d}.png")
    if writer is not None:
        writer.add_image("samples", np.asarray(sheet), step, dataformats="HWC")


class _Stop:
    """Within a `with` block, the first Ctrl-C or TERM only asks to stop; a second one stops at once."""

    def __init__(self):
        self.asked = False

    def __enter__(self) -> "_Stop":
        self.before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, number, frame) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        log.warning("stopping after this step; press Ctrl-C again to stop at once")
