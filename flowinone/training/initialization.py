"""Random weights of new networks and vision towers."""

import math

import torch
from torch import Tensor, nn
from transformers.models.janus.configuration_janus import JanusVisionConfig

from ..config import FlowInOneConfig
from ..model import FlowInOneModel
from ..model.coarse import GatedCrossAttention
from ..model.layers import Positions
from ..vision import VisionEncoder


def new_network(config: FlowInOneConfig) -> FlowInOneModel:
    """A network with torch's own initialisation, except for two things that let it locate content early.

    Position embeddings start as sinusoids, the same for latent and image latent. Cross-attention's query and key
    weights start equal, so that every position attends to its own counterpart in the prompt image first.
    """
    model = FlowInOneModel(config)
    for module in model.modules():
        if isinstance(module, Positions):
            module.table.data = _sinusoids(module.size, module.table.shape[1])
        elif isinstance(module, GatedCrossAttention):
            module.query.weight.data.mul_(1.5)
            module.key_value.weight.data[: config.coarse_width] = module.query.weight.data
    return model


def _sinusoids(size: int, width: int) -> Tensor:
    """Sines and cosines [size², width] of the columns and rows of a square grid, at several wavelengths."""
    count = -(-width // 4)
    angles = torch.arange(size)[:, None] * math.pi / size * torch.logspace(0, 1, count, base=size)
    line = torch.cat([angles.sin(), angles.cos()], dim=1)  # [size, width / 2]
    grid = torch.cat([line.repeat(size, 1), line.repeat_interleave(size, dim=0)], dim=1)
    return grid[:, :width].contiguous()


def new_vision_tower(fields: dict) -> VisionEncoder:
    """A vision tower with those `JanusVisionConfig` fields, initialised to keep the variance of its input.

    transformers' own initialisation suits widths of a thousand channels; a narrow tower would lose its input.
    """
    vision = VisionEncoder(JanusVisionConfig(**fields))
    for module in vision.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
    nn.init.normal_(vision.vision_model.embeddings.position_embedding.weight, std=0.2)
    return vision
