"""The training of a single module on one device, as the autoencoder's and the tower's: states, average, falling rate, log."""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from flowinone.training import snapshots
from flowinone.training.optimizers import Kind, make_optimizer
from flowinone.training.parts import MovingAverage

log = logging.getLogger("flowinone.training")


class Settings(Protocol):
    """The fields of a configuration that `fit` reads."""

    out: str
    seed: int
    optimizer: Kind
    learning_rate: float
    warmup: int
    ema: float
    checkpoint_every: int


def fit(
    module: nn.Module,
    loss_of: Callable[[int], tuple[Tensor, dict[str, Tensor]]],
    steps: int,
    settings: Settings,
    *,
    betas: tuple[float, float],
    weight_decay: float,
    plain: tuple[str, ...] = (),
) -> None:
    """Train what asks for gradients in a module, from the last state in `settings.out` if there is one; it ends with its moving average for weights.

    `loss_of` gives the loss of a step, by its number, and what else to log of it. The rate falls along a cosine to a 50th;
    `plain` is as for `make_optimizer`. Resumed runs end like uninterrupted ones.
    """
    states = Path(settings.out) / "states"
    average = MovingAverage(module, settings.ema)
    optimizer = make_optimizer(settings.optimizer, module, settings.learning_rate, betas, weight_decay, plain)
    start = 0
    if found := snapshots.latest(states):
        tensors, state, facts = snapshots.load(found)
        module.load_state_dict(tensors["weights"])
        average.values = {name: tensor.to(average.values[name].device) for name, tensor in tensors["average"].items()}
        optimizer.load_state_dict(state)
        start = facts["step"]
        log.info("going on from step %d", start)
    began = time.monotonic()
    for step in range(start, steps):
        up = min(1.0, (step + 1) / settings.warmup)
        share = max(step - settings.warmup, 0) / max(steps - settings.warmup, 1)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * up * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        torch.manual_seed(settings.seed * 7919 + step)
        loss, marks = loss_of(step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update(module, step)
        if (step + 1) % 50 == 0:
            each = (time.monotonic() - began) / (step + 1 - start)
            known = "  ".join(f"{name} {float(mark.detach()):.4f}" for name, mark in marks.items())
            log.info("step %d of %d  loss %.4f  %s  %.2f s a step", step + 1, steps, loss.item(), known, each)
        if (step + 1) % settings.checkpoint_every == 0 or step + 1 == steps:
            tensors = {"weights": module.state_dict(), "average": average.values}
            snapshots.save(states, step + 1, tensors, optimizer.state_dict(), {"seed": settings.seed}, 2)
    learning = dict(module.named_parameters())
    for name, value in average.values.items():
        learning[name].data.copy_(value)
