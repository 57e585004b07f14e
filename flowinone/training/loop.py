"""The training loop: wires the components together, for any number of processes, with exact resume.

The learning-rate schedule and the weight average are diffusers' (`optimizers`, `ema`), processes and mixed precision
accelerate's, adapters peft's. Snapshots are this package's own (`snapshots`): accelerate's `save_state` writes frozen
weights, too, and leaves half a state behind on a full disk.
"""

import contextlib
import dataclasses
import datetime
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import Tensor

from ..weights.checkpoint import open_network
from . import snapshots
from .adapters import adapter_tensors
from .build import build_objective, math_attention_on_cpu
from .cache import PairCache
from .data import BatchDataset, Mixture, batch_loader, to_device
from .ema import WeightAverage, trainable
from .export import write_network, write_tower, write_weights
from .objective import NoiseDraws
from .optimizers import make_optimizer, make_schedule
from .progress import ProgressLog, SampleSheets
from .run_config import ConfigError, TrainingConfig, as_fields
from .sources import SourceOpener, resolve_source
from .stopping import StopRequest

log = logging.getLogger("flowinone.training")

_DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

StepCallback = Callable[[int, dict[str, float]], None]
"""Called after each step with its number, counted from 1, and its loss terms."""


@dataclasses.dataclass
class TrainingResult:
    """The loss of each step since the run was started or resumed, the files written, and whether it was stopped."""

    losses: list[float]
    files: list[Path]
    stopped: bool


def train(
    config: TrainingConfig,
    resume: bool = True,
    on_step: StepCallback | None = None,
    sources: Mapping[str, SourceOpener] | None = None,
) -> TrainingResult:
    """Run a training, from the last snapshot in its folder if there is one and `resume` is set.

    A resumed run has the losses of an uninterrupted one: all random numbers follow from seed and step. Ctrl-C stops a
    run after its step and saves its state. Without `resume`, the snapshots of an earlier run are renamed, not deleted.
    `sources` open the paths in `data` that begin with their name and a colon; all others are folders and shards.
    Raises ConfigError, CheckpointError and SnapshotError with the remedy; the last complete snapshot always stays.
    """
    return Trainer(config, resume, sources or {}).run(on_step)


class Trainer:
    """The components of a run, ready at its first or next step."""

    def __init__(self, config: TrainingConfig, resume: bool, sources: Mapping[str, SourceOpener]):
        self.config = config
        self.out = Path(config.out)
        # accelerate would insist on the precision of this process's previous run.
        AcceleratorState._reset_state()
        self.accelerator = Accelerator(
            # Otherwise, several processes without a GPU would look for one.
            cpu=not torch.accelerator.is_available(),
            mixed_precision=config.precision,
            kwargs_handlers=[
                DistributedDataParallelKwargs(find_unused_parameters=True),
                # The other processes wait while the first fills the cache.
                InitProcessGroupKwargs(timeout=datetime.timedelta(days=1)),
            ],
        )
        self.samples = SampleSheets(config)
        self.objective = build_objective(config)
        if self.accelerator.is_main_process:
            self._prepare_folder(resume)
        self.average = WeightAverage(self.objective, config.ema) if config.ema else None
        self.optimizer = make_optimizer(
            config.optimizer, self.objective, config.learning_rate, config.betas, config.weight_decay
        )
        self.step = self.start = self._resume() if resume else 0
        self.schedule = make_schedule(
            config.schedule, self.optimizer, config.learning_rate, config.warmup, config.steps, self.start
        )
        self.mixture = self._open_data(sources)
        self.batches = self._make_batches()
        # The schedule isn't prepared: accelerate would advance it once per process.
        self.wrapped, self.optimizer = self.accelerator.prepare(self.objective, self.optimizer)
        if self.average is not None:
            self.average.to_parameters_device()

    def run(self, on_step: StepCallback | None = None) -> TrainingResult:
        """Train to the last step, or until stopped, and write the results."""
        config, main = self.config, self.accelerator.is_main_process
        result = TrainingResult([], [], False)
        progress = ProgressLog(config, self.start) if main else None
        saved = None
        with StopRequest() as stop, math_attention_on_cpu(self.accelerator.device):
            while self.step < config.steps and not result.stopped:
                terms = self._train_step()
                result.losses.append(terms["loss"])
                if on_step is not None:
                    on_step(self.step, terms)
                if progress is not None:
                    progress.step(self.step, terms)
                    if self.samples.prompts and self.step % config.sample_every == 0:
                        sheet = self.samples.write(self.objective, self.average, self.step)
                        progress.picture("samples", sheet, self.step)
                    if self.step % config.checkpoint_every == 0 or self.step == config.steps:
                        saved = self._save()
                result.stopped = stop.received_by_any(self.accelerator) and self.step < config.steps
        if progress is not None:
            if self.mixture.broken:
                kinds, times = len(self.mixture.broken), self.mixture.broken.total()
                log.warning("%d pairs were unusable and left out, %d times in all", kinds, times)
            if result.stopped and saved != self.step:
                self._save()
            result.files = self._export()
            progress.close()
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
        return result

    def _train_step(self) -> dict[str, float]:
        """One optimizer step; the loss and its terms, averaged over its batches and processes."""
        config, accelerator = self.config, self.accelerator
        # So that dropout is the same after a resume.
        torch.manual_seed((config.seed * 7919 + self.step) * 1024 + accelerator.process_index)
        sums: dict[str, Tensor] = {}
        for part in range(config.accumulation):
            batch = next(self.batches)
            number = (self.step * config.accumulation + part) * accelerator.num_processes + accelerator.process_index
            draws = NoiseDraws.draw(
                config.seed,
                number,
                len(batch["bypass"]),
                self.objective.model.config.latent_shape,
                config.null_probability,
            ).to(accelerator.device)
            last = part == config.accumulation - 1
            with contextlib.nullcontext() if last else accelerator.no_sync(self.wrapped):
                loss, terms = self.wrapped(
                    to_device(batch, accelerator.device), draws, source_only=self.step < config.source_steps
                )
                accelerator.backward(loss / config.accumulation)
            for name, term in {"loss": loss.detach(), **terms}.items():
                sums[name] = sums.get(name, 0) + term / config.accumulation
        if config.clip:
            accelerator.clip_grad_norm_(self.wrapped.parameters(), config.clip)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update()
        self.step += 1
        names = sorted(sums)
        means = accelerator.reduce(torch.stack([sums[name] for name in names]), "mean").tolist()
        terms = dict(zip(names, means))
        if not math.isfinite(terms["loss"]):
            raise FloatingPointError(
                f"the loss is {terms['loss']} at step {self.step}; lower learning_rate, or train with precision: no"
            )
        return terms

    def _prepare_folder(self, resume: bool) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "config.json").write_text(json.dumps(as_fields(self.config), indent=1), encoding="utf-8")
        if not resume and (renamed := snapshots.set_aside(self.out / "states")):
            log.info("the snapshots of the previous run are now in %s", renamed)

    def _open_data(self, sources: Mapping[str, SourceOpener]) -> Mixture:
        """Raises ConfigError for a path without usable pairs."""
        config = self.config
        sizes = dict(image_size=self._image_size, vision_size=self.objective.vision.image_size)
        try:
            opened = [
                (resolve_source(data.path, sources, seed=config.seed, **sizes), data.weight) for data in config.data
            ]
        except ValueError as error:
            raise ConfigError(f"data: {error}") from error
        return Mixture(opened, config.seed)

    @property
    def _image_size(self) -> int:
        """The side of target pictures in pixels."""
        vae = self.objective.vae.config
        return self.objective.model.config.latent_shape[1] * 2 ** (len(vae.block_out_channels) - 1)

    def _make_batches(self) -> Iterator[dict[str, Any]]:
        """This process's batches from the current step on, streamed or from the cache."""
        config, accelerator, objective = self.config, self.accelerator, self.objective
        vision_size = objective.vision.image_size
        process = dict(rank=accelerator.process_index, world=accelerator.num_processes)
        first, count = self.step * config.accumulation, (config.steps - self.step) * config.accumulation
        if not config.cache:
            batches = BatchDataset(
                self.mixture, config.batch_size, vision_size, self._image_size, count, first, **process
            )
            return iter(batch_loader(batches, config.workers))
        cache = PairCache(config.cache_folder or self.out / "cache", config.cache, vision_size, self._image_size)
        encoders = {"image": objective.vae, "target": objective.vae}
        if not objective.trains_vision:
            encoders["vision"] = objective.vision
        if accelerator.is_main_process:
            cache.fill(self.mixture, max(config.workers, 1))
            for name, encoder in encoders.items():
                cache.encode(name, encoder, accelerator.device, _DTYPES[config.precision])
        accelerator.wait_for_everyone()
        return cache.batches(config.batch_size, config.seed, first, count, encoders.keys(), **process)

    def _save(self) -> int:
        """Write a snapshot; the step it is of."""
        tensors = {"weights": trainable(self.objective)}
        if self.average is not None:
            tensors["average"] = self.average.state()
        facts = {"mode": self.config.mode, "seed": self.config.seed}
        if self.accelerator.scaler is not None:
            facts["scaler"] = self.accelerator.scaler.state_dict()
        snapshots.save_snapshot(
            self.out / "states", self.step, tensors, self.optimizer.state_dict(), facts, self.config.keep
        )
        log.info("snapshot of step %d saved", self.step)
        return self.step

    def _resume(self) -> int:
        """Load the last snapshot, if there is one; the number of steps done."""
        found = snapshots.latest(self.out / "states")
        if found is None:
            return 0
        tensors, optimizer_state, facts = snapshots.load_snapshot(found)
        trained = trainable(self.objective)
        if trained.keys() != tensors["weights"].keys():
            raise snapshots.SnapshotError(
                f"{found} is a snapshot of another kind of run; choose another folder as out, or delete this one"
            )
        for name, parameter in trained.items():
            parameter.data.copy_(tensors["weights"][name])
        if self.average is not None and "average" in tensors:
            self.average.load_state(tensors["average"], facts["step"])
        try:
            self.optimizer.load_state_dict(optimizer_state)
        except (ValueError, KeyError) as error:
            raise snapshots.SnapshotError(
                f"{found} is a snapshot of a run with another optimizer ({error}); "
                "choose another folder as out, or delete this one"
            ) from None
        if self.accelerator.scaler is not None and "scaler" in facts:
            self.accelerator.scaler.load_state_dict(facts["scaler"])
        if self.accelerator.is_main_process:
            log.info("resuming from step %d", facts["step"])
        return facts["step"]

    def _export(self) -> list[Path]:
        """Write the trained weights, averaged if there is an average, as files that pipeline and ComfyUI load."""
        config, objective, written = self.config, self.objective, []
        with self.average.applied() if self.average is not None else contextlib.nullcontext():
            if config.mode == "lora":
                tensors = adapter_tensors(objective.model.velocity_network, config.lora)
                written.append(write_weights(self.out / "lora.safetensors", tensors, {}))
            else:
                # Tensors that only training reads are passed on, so that the result can be fine-tuned again.
                extra = open_network(config.checkpoint).training_tensors() if config.checkpoint else {}
                if objective.features is not None:
                    extra |= objective.features.checkpoint()
                written.append(write_network(self.out / "flowinone.safetensors", objective.model, extra))
            if config.train_vision:
                written.append(write_tower(self.out / "vision.safetensors", objective.vision))
        return written
