"""LoRA files of the velocity network: reading them, and adding them to its weights.

A file has `diffusion_model.NAME.lora_A.weight` [r, in] and `.lora_B.weight` [out, r] for every matrix, and optionally
its `.alpha`. NAME is the layer's name in `VelocityNetwork`, so that ComfyUI's LoRA loader also finds the matrices in
its MODEL.
"""

import os

import torch
from torch import Tensor, nn

from .weightfile import CheckpointError, open_weights

PREFIX = "diffusion_model."
_A, _B, _ALPHA = ".lora_A.weight", ".lora_B.weight", ".alpha"


def read_lora(path: str | os.PathLike) -> dict[str, Tensor]:
    """The tensors of a LoRA file. Raises CheckpointError for files of another kind."""
    file = open_weights(path)
    if not any(name.endswith(_A) for name in file):
        raise CheckpointError(
            f"{path} is not a LoRA for FlowInOne; expected the keys {PREFIX}*{_A}, as `flowinone train` writes them"
        )
    # `diffusion_model.` may hide in the prefix that all keys share.
    return {PREFIX + (file.prefix + name).removeprefix(PREFIX): file[name] for name in file}


@torch.no_grad()
def add_lora(network: nn.Module, tensors: dict[str, Tensor], strength: float = 1.0) -> int:
    """Add a LoRA to a velocity network's weights in place; return how many matrices changed.

    A negative strength removes it again. Raises ValueError, before anything is changed, for a LoRA that does not fit
    the network.
    """
    weights, updates = dict(network.named_parameters()), {}
    for key in (key for key in tensors if key.endswith(_A)):
        name = key.removeprefix(PREFIX).removesuffix(_A)
        weight, down, up = weights.get(f"{name}.weight"), tensors[key], tensors.get(key.removesuffix(_A) + _B)
        if weight is None or up is None or (up.shape[0], *down.shape[1:]) != tuple(weight.shape):
            raise ValueError(f"the LoRA's {name} does not fit this network; it was trained for another network")
        alpha = tensors.get(key.removesuffix(_A) + _ALPHA)
        scale = strength * (1.0 if alpha is None else float(alpha) / len(down))
        updates[name] = scale, up, down
    for name, (scale, up, down) in updates.items():
        weight = weights[f"{name}.weight"]
        update = up.to(weight.device, torch.float32) @ down.to(weight.device, torch.float32)
        weight.copy_(weight.float() + scale * update.view_as(weight))
    return len(updates)
