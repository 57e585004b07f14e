"""From files to ComfyUI's objects."""

import comfy.model_management
import comfy.sd
import torch

from ..flowinone import checkpoint
from ..flowinone.model import PromptEncoder
from ..flowinone.vision import VisionEncoder
from .encoder import FlowInOneEncoder, vision_dtype
from .native import native_model


def load_flowinone(network_path: str, vision_path: str, dtype: torch.dtype | None):
    """MODEL and FlowInOneEncoder of a FlowInOne checkpoint and a Janus-Pro vision file.

    Raises CheckpointError for a file that is not what its place needs.
    """
    tensors, config = checkpoint.load_network(network_path)
    parts = {"prompt_encoder": {}, "velocity_network": {}}
    for name in list(tensors):
        part, _, rest = name.partition(".")
        parts[part][rest] = tensors.pop(name)

    encoder_dtype = vision_dtype(dtype, comfy.model_management.text_encoder_device())
    vision = VisionEncoder.from_state_dict(checkpoint.load_vision(vision_path, encoder_dtype))
    prompt_encoder = PromptEncoder(config, device="meta")
    weights = {name: tensor.to(encoder_dtype, copy=True) for name, tensor in parts["prompt_encoder"].items()}
    prompt_encoder.load_state_dict(weights, assign=True)
    encoder = FlowInOneEncoder(vision, prompt_encoder.eval().requires_grad_(False))
    return native_model(parts["velocity_network"], config, dtype), encoder


def load_vae(path: str) -> comfy.sd.VAE:
    """ComfyUI's VAE of a Stable Diffusion 1.x autoencoder or checkpoint, of any width.

    ComfyUI's own loader expects 128 channels; for others it is told. Raises CheckpointError for another kind of file.
    """
    tensors = checkpoint.load_autoencoder(path)
    width = tensors["encoder.conv_in.weight"].shape[0]
    if width == 128 or not any(name.startswith("encoder.down.") for name in tensors):
        return comfy.sd.VAE(sd=tensors)
    levels = 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("encoder.down."))
    multipliers = [tensors[f"encoder.down.{level}.block.0.conv2.weight"].shape[0] // width for level in range(levels)]
    blocks = 1 + max(int(name.split(".")[4]) for name in tensors if name.startswith("encoder.down.0.block."))
    layout = dict(
        double_z=True, z_channels=4, resolution=256, in_channels=3, out_ch=3,
        ch=width, ch_mult=multipliers, num_res_blocks=blocks, attn_resolutions=[], dropout=0.0,
    )  # fmt: skip
    return comfy.sd.VAE(sd=tensors, config={"params": {"ddconfig": layout, "embed_dim": 4}})
