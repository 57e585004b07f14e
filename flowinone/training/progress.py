"""What a training run reports: log lines, TensorBoard scalars, and sheets of sample pictures."""

import contextlib
import logging
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..contact_sheet import Entry, contact_sheet
from ..pipeline import FlowInOnePipeline
from ..prompts.prompt_files import READ_ERRORS, load_prompt_image
from .ema import WeightAverage
from .objective import Objective
from .run_config import ConfigError, TrainingConfig

log = logging.getLogger("flowinone.training")


class ProgressLog:
    """Loss terms as log lines every `log_every` steps, and for TensorBoard, where it is installed, at every step."""

    def __init__(self, config: TrainingConfig, start: int):
        self.config, self.start = config, start
        self.began = time.monotonic()
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(Path(config.out) / "logs"))
        except ImportError:
            self.writer = None

    def step(self, step: int, terms: dict[str, float]) -> None:
        """Report the loss terms of a step, counted from 1."""
        if self.writer is not None:
            for name, value in terms.items():
                self.writer.add_scalar(f"loss/{name}", value, step)
        if step % self.config.log_every and step != self.config.steps:
            return
        seconds = (time.monotonic() - self.began) / (step - self.start)
        parts = "  ".join(f"{name} {value:.4f}" for name, value in terms.items() if name != "loss")
        log.info(
            f"step {step} of {self.config.steps}  loss {terms['loss']:.4f}  ({parts})  {seconds:.2f} s per step  "
            f"{_duration(seconds * (self.config.steps - step))} left"
        )

    def picture(self, name: str, picture: Image.Image, step: int) -> None:
        if self.writer is not None:
            self.writer.add_image(name, np.asarray(picture), step, dataformats="HWC")

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


def _duration(seconds: float) -> str:
    hours, minutes = int(seconds // 3600), int(seconds // 60) % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {int(seconds % 60)} s" if minutes else f"{int(seconds)} s"


class SampleSheets:
    """Pictures for a run's sample prompts. Raises ConfigError at once for prompts that cannot be read."""

    def __init__(self, config: TrainingConfig):
        self.config = config
        self.prompts: list[Image.Image] = []
        self.bypass: list[bool] = []
        for path in config.samples:
            try:
                prompt, bypass = load_prompt_image(path)
            except READ_ERRORS as error:
                raise ConfigError(f"samples: {path} cannot be read as a prompt ({error})") from error
            self.prompts.append(prompt)
            self.bypass.append(bypass)

    @torch.no_grad()
    def write(self, objective: Objective, average: WeightAverage | None, step: int) -> Image.Image:
        """Sample with the averaged weights, if there are any, and write prompts and results next to each other."""
        config = self.config
        pipeline = FlowInOnePipeline(objective.model, objective.vision, objective.vae)
        pipeline.set_progress_bar_config(disable=True)
        in_training = [module for module in objective.modules() if module.training]
        objective.eval()
        with average.applied() if average is not None else contextlib.nullcontext():
            results = pipeline(
                self.prompts,
                bypass=tuple(self.bypass),
                steps=config.sample_steps,
                guidance_scale=config.guidance_scale,
                generator=config.seed,
            ).images
        for module in in_training:
            module.training = True
        sheet = contact_sheet({"": [Entry(pair) for pair in zip(self.prompts, results)]}, results[0].width)
        folder = Path(config.out) / "samples"
        folder.mkdir(exist_ok=True)
        sheet.save(folder / f"step_{step:08d}.png")
        return sheet
