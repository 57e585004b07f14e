"""Weights files that a training run leaves behind, and what they say beside their tensors."""

import dataclasses
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional as F

from ..model import FlowInOneModel
from ..model.names import upstream_name
from ..vision import VisionEncoder
from ..weights.checkpoint import CONFIG, VISION_HEADS
from .snapshots import SnapshotError, remedy, save_tensors


def write_weights(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Path:
    """Write safetensors, whole or not at all; the path. Raises SnapshotError for what cannot be written."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        save_tensors(unfinished, tensors, {"format": "pt"} | metadata)
        os.replace(unfinished, path)
    except (OSError, SafetensorError) as error:
        unfinished.unlink(missing_ok=True)
        raise SnapshotError(
            f"{path} could not be written ({error}); {remedy(path.parent)}, then start again"
        ) from error
    return path


def write_network(path: Path, model: FlowInOneModel, beside: dict[str, Tensor]) -> Path:
    """Write a network under the public names, so that other programs can go on from it as well, with the tensors `beside` it.

    Raises as `write_weights`.
    """
    tensors = beside | {upstream_name(name): tensor for name, tensor in model.state_dict().items()}
    return write_weights(path, tensors, {CONFIG: json.dumps(dataclasses.asdict(model.config))})


def write_tower(path: Path, vision: VisionEncoder) -> Path:
    """Write a vision tower, and beside its tensors the head count, which no shape tells. Raises as `write_weights`."""
    # By parameter: some versions' state dicts hold the numbers of the places as well.
    return write_weights(path, dict(vision.named_parameters()), {VISION_HEADS: str(vision.config.num_attention_heads)})


def preview_factors(latents: Tensor, pictures: Tensor) -> dict[str, list]:
    """What ComfyUI needs to preview latents of an autoencoder that is not Stable Diffusion's, nearest by least squares:
    `factors` [C, 3] and `bias` [3] from scaled latents [B, C, H, W] to the colours, in -1..1, of pictures [B, 3, 8H, 8W]
    in 0..1. As JSON they are for the network's metadata, under `checkpoint.PREVIEW`.
    """
    colors = 2 * F.adaptive_avg_pool2d(pictures.double(), latents.shape[-2:]) - 1
    known, wanted = (values.movedim(1, -1).flatten(0, 2).double().cpu() for values in (latents, colors))
    known = torch.cat([known, torch.ones(len(known), 1, dtype=known.dtype)], dim=1)
    *factors, bias = torch.linalg.lstsq(known, wanted).solution.tolist()
    return {"factors": factors, "bias": bias}
