"""From files to ComfyUI's objects."""

import comfy.model_management
import comfy.sd
import torch

from ..flowinone.model import PromptEncoder
from ..flowinone.weights import checkpoint
from .encoder import FlowInOneEncoder, vision_dtype
from .native import native_model

_COMFYUIS_GROUPS = 32
"""Of channels, in every norm of the VAEs it builds."""


def load_model(path: str, dtype: torch.dtype | None, disable_dynamic: bool = False):
    """MODEL of a FlowInOne checkpoint; see `native_model`. Raises CheckpointError for any other file."""
    tensors, config = checkpoint.load_stored_network(path)
    part = _part(tensors, "velocity_network")
    # `native_model` lets go of each weight as it is copied, which takes effect only if nobody else holds it.
    del tensors
    model = native_model(part, config, dtype, disable_dynamic, checkpoint.load_preview(path))
    # How ComfyUI makes a second, independent copy: for torch.compile, hooks and further GPUs.
    model.cached_patcher_init = (load_model, (path, dtype))
    return model


def load_encoder(network_path: str, vision_path: str, dtype: torch.dtype | None) -> FlowInOneEncoder:
    """The encoder of a FlowInOne checkpoint's prompt encoder and a Janus-Pro file's vision tower.

    Raises CheckpointError for files that are not what their places need, ImportError where transformers is too old.
    """
    try:
        # On first use: transformers takes seconds to import.
        from ..flowinone.vision import VisionEncoder
    except ImportError as error:
        raise ImportError(
            "Load FlowInOne needs transformers 4.52 or newer, for Janus-Pro's vision tower; update it: pip install -U transformers"
        ) from error

    # As stored, to let the velocity network's 8-bit matrices be: dequantised they would be read whole.
    tensors, config = checkpoint.load_stored_network(network_path)
    dtype = vision_dtype(dtype, comfy.model_management.text_encoder_device())
    tower, settings = checkpoint.load_vision(vision_path, dtype)
    vision = VisionEncoder.from_state_dict(tower, **settings)
    prompt_encoder = PromptEncoder(config, device="meta")
    weights = {name: tensor.to(dtype) for name, tensor in _part(tensors, "prompt_encoder").items()}
    prompt_encoder.load_state_dict(weights, assign=True)
    return FlowInOneEncoder(vision, prompt_encoder.eval().requires_grad_(False))


def load_vae(path: str, dtype: torch.dtype | None) -> comfy.sd.VAE:
    """ComfyUI's VAE of a Stable Diffusion 1.x autoencoder or checkpoint, of any width, in ComfyUI's dtype for VAEs or in float32.

    Raises CheckpointError for another kind of file, for one that lacks tensors and for widths that ComfyUI cannot build.
    """
    tensors, settings = checkpoint.load_autoencoder(path)
    stored = set(tensors)
    width = tensors["encoder.conv_in.weight"].shape[0]
    if width % _COMFYUIS_GROUPS:
        raise checkpoint.CheckpointError(
            f"{path} is a VAE of {width} channels; ComfyUI builds multiples of {_COMFYUIS_GROUPS} alone"
        )
    layout = None if width == 128 else _layout(tensors)
    # Stable Diffusion's VAE overflows in float16, and bfloat16 is ComfyUI's own choice where it suits.
    vae = comfy.sd.VAE(sd=tensors, config=layout, dtype=dtype if dtype == torch.float32 else None)
    if any(name.startswith("encoder.down.") for name in stored):
        missing = [name for name in vae.first_stage_model.state_dict() if name not in stored]
        if missing:
            raise checkpoint.CheckpointError(
                f"{path} lacks {len(missing)} tensors, the first {missing[0]}; download it again"
            )
    for module in vae.first_stage_model.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.num_groups = settings.get("norm_num_groups", module.num_groups)
    return vae


def _layout(tensors: dict[str, torch.Tensor]) -> dict | None:
    """The configuration of an ldm autoencoder that is not 128 channels wide, which ComfyUI would take for granted."""
    levels = [name for name in tensors if name.startswith("encoder.down.") and name.endswith(".block.0.conv2.weight")]
    if not levels:
        return None
    width = tensors["encoder.conv_in.weight"].shape[0]
    multipliers = [
        tensors[f"encoder.down.{level}.block.0.conv2.weight"].shape[0] // width for level in range(len(levels))
    ]
    blocks = 1 + max(int(name.split(".")[4]) for name in tensors if name.startswith("encoder.down.0.block."))
    sizes = dict(
        double_z=True,
        z_channels=4,
        resolution=256,
        in_channels=3,
        out_ch=3,
        ch=width,
        ch_mult=multipliers,
        num_res_blocks=blocks,
        attn_resolutions=[],
        dropout=0.0,
    )
    return {"params": {"ddconfig": sizes, "embed_dim": 4}}


def _part(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """The tensors of one part of the network, named as in the part itself."""
    return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
