"""Training of a single module on one device: snapshots, weight average, learning-rate schedule, log.

The schedule is a cosine that ends at 2 % of the rate, which diffusers' `get_scheduler` doesn't have.
"""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from flowinone.training import snapshots
from flowinone.training.ema import WeightAverage
from flowinone.training.optimizers import make_optimizer
from flowinone.training.run_config import OptimizerName

log = logging.getLogger("flowinone.training")

_FINAL_RATE = 0.02
"""The last learning rate as a share of the first."""


class FitSettings(Protocol):
    """The fields of a configuration that `fit` reads."""

    out: str
    seed: int
    optimizer: OptimizerName
    learning_rate: float
    warmup: int
    ema: float
    checkpoint_every: int


def fit(
    module: nn.Module,
    loss_at: Callable[[int], tuple[Tensor, dict[str, Tensor]]],
    steps: int,
    settings: FitSettings,
    *,
    betas: tuple[float, float],
    weight_decay: float,
    adamw_only: tuple[str, ...] = (),
) -> None:
    """Train a module's trainable parameters, from the last snapshot in `settings.out` if there is one.

    `loss_at` gives the loss of a step by its number, and values to log with it; `adamw_only` is as for
    `make_optimizer`. Afterwards the module has the averaged weights. A resumed run ends like an uninterrupted one.
    """
    states = Path(settings.out) / "states"
    average = WeightAverage(module, settings.ema)
    optimizer = make_optimizer(settings.optimizer, module, settings.learning_rate, betas, weight_decay, adamw_only)
    start = 0
    if found := snapshots.latest(states):
        tensors, state, facts = snapshots.load_snapshot(found)
        module.load_state_dict(tensors["weights"])
        optimizer.load_state_dict(state)
        start = facts["step"]
        average.load_state(tensors["average"], start)
        log.info("resuming from step %d", start)
    began = time.monotonic()
    for step in range(start, steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _rate(step, steps, settings.warmup)
        torch.manual_seed(settings.seed * 7919 + step)
        loss, logged = loss_at(step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update()
        if (step + 1) % 50 == 0:
            seconds = (time.monotonic() - began) / (step + 1 - start)
            values = "  ".join(f"{name} {float(value.detach()):.4f}" for name, value in logged.items())
            log.info(f"step {step + 1} of {steps}  loss {loss.item():.4f}  {values}  {seconds:.2f} s per step")
        if (step + 1) % settings.checkpoint_every == 0 or step + 1 == steps:
            tensors = {"weights": module.state_dict(), "average": average.state()}
            snapshots.save_snapshot(states, step + 1, tensors, optimizer.state_dict(), {"seed": settings.seed}, keep=2)
    average.copy_to_parameters()


def _rate(step: int, steps: int, warmup: int) -> float:
    """The learning rate's factor: linear warm-up times a cosine."""
    progress = max(step - warmup, 0) / max(steps - warmup, 1)
    cosine = _FINAL_RATE + (1 - _FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * progress))
    return min(1.0, (step + 1) / warmup) * cosine
