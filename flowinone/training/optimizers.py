"""The optimizers of a training run."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["adamw", "muon"]


class Together(torch.optim.Optimizer):
    """Several optimizers as one: their groups in one list, their states in one."""

    def __init__(self, *parts: torch.optim.Optimizer):
        # The base class would want groups of its own; all it holds is the parts'.
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
        """Raises ValueError where the state is another optimizer's."""
        states = state_dict.get("parts", [])
        if len(states) != len(self.parts):
            raise ValueError(f"the state is of {len(states) or 'one'} optimizers, expected {len(self.parts)}")
        for part, state in zip(self.parts, states):
            part.load_state_dict(state)


def make_optimizer(
    kind: Kind,
    module: nn.Module,
    learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float,
    plain: Iterable[str] = (),
) -> torch.optim.Optimizer:
    """An optimizer of what asks for gradients in a module, without decay on `nodecay_*`.

    muon orthogonalises the updates of linear layers (reference: torch.optim.Muon, scaled to AdamW's size, arXiv 2502.16982) and
    leaves everything else to AdamW, and the layers whose names begin with one of `plain`, such as classifiers.
    """
    learning = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    matrices = {}
    if kind == "muon":
        linear = {f"{name}.weight" for name, part in module.named_modules() if isinstance(part, nn.Linear)}
        matrices = {name: p for name, p in learning.items() if name in linear and not name.startswith(tuple(plain))}
    spared = [p for name, p in learning.items() if name.rsplit(".", 1)[-1].startswith("nodecay_")]
    others = [
        p for name, p in learning.items() if name not in matrices and not name.rsplit(".", 1)[-1].startswith("nodecay_")
    ]
    groups = [{"params": others, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=learning_rate, betas=betas)
    if not matrices:
        return adam
    muon = torch.optim.Muon(
        list(matrices.values()), lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return Together(muon, adam)
