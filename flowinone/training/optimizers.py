"""The optimizers and learning-rate schedules of a training run."""

from collections.abc import Iterable

import torch
from diffusers.optimization import get_scheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from .run_config import ConfigError, OptimizerName, ScheduleName


class OptimizersContainer(torch.optim.Optimizer):
    """Several optimizers as one: it lists the parameter groups and the states of all."""

    def __init__(self, *parts: torch.optim.Optimizer):
        # The base class would want parameter groups of its own.
        self.parts = parts
        self.defaults = {}

    @property
    def param_groups(self) -> list[dict]:
        return [group for part in self.parts for group in part.param_groups]

    @property
    def state(self) -> dict[Tensor, dict]:
        return {parameter: state for part in self.parts for parameter, state in part.state.items()}

    def step(self, closure=None) -> None:
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict) -> None:
        """Raises ValueError if the state is another optimizer's."""
        states = state_dict.get("parts", [])
        if len(states) != len(self.parts):
            raise ValueError(f"the state is of {len(states) or 'one'} optimizers, expected {len(self.parts)}")
        for part, state in zip(self.parts, states):
            part.load_state_dict(state)


def make_optimizer(
    name: OptimizerName,
    module: nn.Module,
    learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float,
    adamw_only: Iterable[str] = (),
) -> torch.optim.Optimizer:
    """An optimizer of a module's trainable parameters, without weight decay on `nodecay_*`.

    muon orthogonalises the updates of linear layers' weights (reference: torch.optim.Muon, scaled to AdamW's size,
    arXiv 2502.16982). AdamW trains everything else, and the layers whose names begin with one of `adamw_only`, such as
    classifier heads. Raises ConfigError for muon with a torch that lacks it.
    """
    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    matrices = {}
    if name == "muon":
        linear = {f"{layer}.weight" for layer, part in module.named_modules() if isinstance(part, nn.Linear)}
        matrices = {n: p for n, p in trained.items() if n in linear and not n.startswith(tuple(adamw_only))}
    no_decay = {n: p for n, p in trained.items() if n.rsplit(".", 1)[-1].startswith("nodecay_")}
    others = [p for n, p in trained.items() if n not in matrices and n not in no_decay]
    groups = [
        {"params": others, "weight_decay": weight_decay},
        {"params": list(no_decay.values()), "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=learning_rate, betas=betas)
    if not matrices:
        return adamw
    if not hasattr(torch.optim, "Muon"):
        raise ConfigError(
            f"optimizer muon needs torch 2.9 or newer, and {torch.__version__} is installed; "
            "update torch, or choose optimizer adamw"
        )
    muon = torch.optim.Muon(
        list(matrices.values()), lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return OptimizersContainer(muon, adamw)


def make_schedule(
    name: ScheduleName, optimizer: torch.optim.Optimizer, learning_rate: float, warmup: int, steps: int, start: int
) -> LRScheduler:
    """diffusers' schedule of the learning rate: linear warm-up, then constant, or down to 0 along a cosine.

    It starts at step `start` of `steps`. A resumed run takes its learning rate from the configuration, not from the
    optimizer's state. Call its `step` after the optimizer's.
    """
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] = learning_rate
    return get_scheduler(
        {"constant": "constant_with_warmup", "cosine": "cosine"}[name],
        optimizer,
        num_warmup_steps=warmup,
        # diffusers' first warm-up step has a learning rate of 0 and would be lost: all steps are one ahead.
        num_training_steps=steps + 1,
        last_epoch=start,
    )
