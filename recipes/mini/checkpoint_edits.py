"""What the recipe does to checkpoints between its stages, and to the last one before it ships."""

import json
import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from flowinone.autoencoder import latents_of_moments
from flowinone.model.names import native_name
from flowinone.training.cache import PairCache
from flowinone.training.export import write_weights
from flowinone.weights.checkpoint import PREVIEW
from flowinone.weights.weightfile import open_weights


def merge(prompt_encoder: Path, velocity_network: Path, target: Path) -> Path:
    """Write a network with the prompt encoder of one file and the velocity network of another; `target`."""
    encoder, velocity = open_weights(prompt_encoder), open_weights(velocity_network)
    tensors = {
        name: (encoder if native_name(name).startswith("prompt_encoder.") else velocity)[name] for name in encoder
    }
    return write_weights(target, tensors, encoder.metadata)


def with_source_deviation(source: Path, target: Path, deviation: float) -> Path:
    """Write a network whose source distribution has the same means and that standard deviation; `target`."""
    file = open_weights(source)
    tensors = {name: file[name] for name in file}
    for name, tensor in tensors.items():
        kind = native_name(name).removeprefix("prompt_encoder.head.")
        if kind in ("weight", "bias"):  # the first half gives means, the second log-variances
            tensor[len(tensor) // 2 :] = 2 * math.log(deviation) if kind == "bias" else 0.0
    return write_weights(target, tensors, file.metadata)


def preview_factors(latents: Tensor, pictures: Tensor) -> dict[str, list]:
    """The linear map from latents to colours that ComfyUI needs for previews, fitted by least squares.

    `factors` [C, 3] and `bias` [3] map scaled latents [B, C, H, W] to the colours, in -1..1, of pictures [B, 3, 8H, 8W]
    in 0..1. As JSON they belong in the network's metadata, under `checkpoint.PREVIEW`.
    """
    colors = 2 * F.adaptive_avg_pool2d(pictures.double(), latents.shape[-2:]) - 1
    known, wanted = (values.movedim(1, -1).flatten(0, 2).double().cpu() for values in (latents, colors))
    known = torch.cat([known, torch.ones(len(known), 1, dtype=known.dtype)], dim=1)
    *factors, bias = torch.linalg.lstsq(known, wanted).solution.tolist()
    return {"factors": factors, "bias": bias}


def write_shipped_files(network: Path, vision: Path, vae: Path, cache: PairCache, folder: Path) -> list[Path]:
    """Write the three files in half precision, as `flowinone/mini` has them; their paths.

    Preview factors are fitted to the first 2,048 targets of a cache, whose moments are there.
    """
    moments = torch.tensor(cache["target_encoded"][:2048]).float()
    pictures = torch.tensor(cache["target"][:2048]).permute(0, 3, 1, 2).float() / 255
    preview = json.dumps(preview_factors(latents_of_moments(moments, None), pictures))
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for source, name in ((network, "network"), (vision, "vision"), (vae, "vae")):
        file = open_weights(source)
        tensors = {key: file[key].half() for key in file}
        metadata = {key: value for key, value in file.metadata.items() if key.startswith("flowinone.")}
        if name == "network":
            metadata[PREVIEW] = preview
        written.append(write_weights(folder / f"{name}.safetensors", tensors, metadata))
    return written
