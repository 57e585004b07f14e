"""LoRA adapters: injected by peft, exported in the layout that `flowinone.weights.lora` and ComfyUI read."""

import re

import torch
from torch import Tensor, nn

from ..weights.lora import PREFIX
from .run_config import ConfigError, LoraSettings


def add_adapters(network: nn.Module, settings: LoraSettings) -> None:
    """Add low-rank adapters, the only trainable parameters, to the linear layers that the settings name.

    Raises ConfigError if no layer's name matches.
    """
    from peft import LoraConfig, inject_adapter_in_model

    names = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and re.fullmatch(settings.layers, name)
    ]
    if not names:
        raise ConfigError(
            f"lora.layers is {settings.layers!r}, which matches no linear layer; "
            "their names are such as coarse.blocks.0.mlp.w0"
        )
    adapters = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=names
    )
    inject_adapter_in_model(adapters, network)


def adapter_tensors(network: nn.Module, settings: LoraSettings) -> dict[str, Tensor]:
    """The adapters' tensors under the names of a LoRA file."""
    tensors = {}
    for name, parameter in network.named_parameters():
        if match := re.fullmatch(r"(.+)\.lora_([AB])\.default\.weight", name):
            tensors[f"{PREFIX}{match[1]}.lora_{match[2]}.weight"] = parameter.detach().cpu().contiguous()
            tensors[f"{PREFIX}{match[1]}.alpha"] = torch.tensor(float(settings.alpha))
    return tensors
