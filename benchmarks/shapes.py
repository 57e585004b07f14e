"""The model's three parts in the sizes that are measured, and weights for them that follow from a seed."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers.models.janus.configuration_janus import JanusVisionConfig

from flowinone.autoencoder import autoencoder_from_state_dict, autoencoder_of_widths
from flowinone.config import FlowInOneConfig
from flowinone.pipeline import FlowInOneNetwork, FlowInOnePipeline
from flowinone.vision import VisionEncoder
from flowinone.weights.checkpoint import CONFIG, VISION_HEADS

Parts = dict[str, dict[str, Tensor]]


@dataclasses.dataclass(frozen=True)
class Shapes:
    """Network, vision tower (`JanusVisionConfig`'s fields, where they are not Janus-Pro-1B's) and widths of the VAE."""

    network: FlowInOneConfig
    vision: Mapping[str, float]
    vae: tuple[int, ...]


SIZES = {
    "full": Shapes(FlowInOneConfig(), {}, (128, 256, 512, 512)),
    "small": Shapes(
        FlowInOneConfig(
            token_width=1024,
            context_width=384,
            context_layers=5,
            context_mlp_width=512,
            reduced_widths=(192, 96),
            coarse_width=512,
            coarse_heads=8,
            coarse_blocks=33,
            coarse_mlp_width=1024,
            gate_width=128,
            fine_width=256,
            fine_blocks=17,
            fine_mlp_width=512,
        ),
        dict(hidden_size=512, num_hidden_layers=12, num_attention_heads=8, projection_dim=1024),
        (64, 128, 256, 256),
    ),
    "tiny": Shapes(
        FlowInOneConfig(
            token_count=16,
            token_width=64,
            context_length=8,
            context_width=32,
            context_layers=1,
            context_mlp_width=64,
            reduced_widths=(16,),
            latent_size=16,
            coarse_width=64,
            coarse_heads=4,
            coarse_blocks=5,
            coarse_mlp_width=128,
            gate_width=16,
            fine_width=32,
            fine_blocks=3,
            fine_mlp_width=64,
        ),
        dict(
            image_size=64,
            num_image_tokens=16,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            projection_dim=64,
        ),
        (32, 32, 32, 32),
    ),
}
"""`full` is what FlowInOne's authors released; `small` has half its widths and depths."""

# No divisor of a layer's width, so that a matrix's rows differ.
_NOISE = 2**24 - 3


def meta_parts(shapes: Shapes, dtype: torch.dtype) -> Parts:
    """The three parts' tensors without values, on the meta device, by part and name."""
    with torch.device("meta"):
        modules = {
            "network": FlowInOneNetwork.without_memory(shapes.network),
            "vision": VisionEncoder(JanusVisionConfig(**shapes.vision)),
            "vae": autoencoder_of_widths(shapes.vae),
        }
    return {
        part: {name: tensor.to(dtype) for name, tensor in module.state_dict().items()}
        for part, module in modules.items()
    }


def meta_pipeline(shapes: Shapes, dtype: torch.dtype) -> FlowInOnePipeline:
    """The pipeline of that size on the meta device, which takes neither memory nor time."""
    parts = meta_parts(shapes, dtype)
    heads = dict(coarse_heads=shapes.network.coarse_heads, context_heads=shapes.network.context_heads)
    pipeline = FlowInOnePipeline(
        FlowInOneNetwork.from_state_dict(parts["network"], **heads),
        VisionEncoder.from_state_dict(parts["vision"], num_attention_heads=_vision_heads(shapes)),
        autoencoder_from_state_dict(parts["vae"]),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def write_files(shapes: Shapes, folder: Path, seed: int) -> dict[str, Path]:
    """Write the three parts in bfloat16, as `flowinone convert` leaves them, with weights from `seed`; the files by
    part.
    """
    noise = torch.empty(_NOISE, dtype=torch.bfloat16).normal_(generator=torch.Generator().manual_seed(seed))
    metadata = {
        "network": {CONFIG: json.dumps(dataclasses.asdict(shapes.network))},
        "vision": {VISION_HEADS: str(_vision_heads(shapes))},
        "vae": {},
    }
    files = {}
    for part, tensors in meta_parts(shapes, torch.bfloat16).items():
        files[part] = folder / f"{part}.safetensors"
        weights = {name: _weight(name, tensor.shape, noise) for name, tensor in tensors.items()}
        save_file(weights, files[part], metadata[part])
    return files


def _vision_heads(shapes: Shapes) -> int:
    return JanusVisionConfig(**shapes.vision).num_attention_heads


def _weight(name: str, shape: torch.Size, noise: Tensor) -> Tensor:
    """Values of a size that keeps numbers in range: matrices keep variance, scales are 1 and offsets 0."""
    if len(shape) < 2:
        offset = name.endswith(("bias", "offset", "nodecay_weight", "nodecay_bias"))
        return torch.full(shape, 0.0 if offset else 1.0, dtype=noise.dtype)
    # What the numbers are costs no time, and drawing billions of them does: the same come again and again.
    count = math.prod(shape)
    values = noise[:count].repeat(-(-count // len(noise)))[:count].reshape(shape)
    return values.div_(math.prod(shape[1:]) ** 0.5)
