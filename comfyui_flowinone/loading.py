"""From files to ComfyUI's objects."""

import comfy.model_management
import comfy.sd
import torch

from ..flowinone.weights.checkpoint import NetworkFile, open_autoencoder, open_network, open_vision
from ..flowinone.weights.weightfile import CheckpointError
from .encoder import FlowInOneEncoder, vision_dtype
from .native import native_model

_COMFYUIS_GROUPS = 32
"""Of channels, in every norm of the VAEs it builds."""


def load_model(path: str, dtype: torch.dtype | None, disable_dynamic: bool = False):
    """MODEL of a FlowInOne checkpoint; see `native_model`. Raises CheckpointError for any other file."""
    with open_network(path) as network:
        tensors = network.stored_tensors("velocity_network")
    return _model(network, tensors, dtype, disable_dynamic)


def load_model_and_encoder(network_path: str, vision_path: str, dtype: torch.dtype | None):
    """`load_model` and the encoder (prompt encoder and a Janus-Pro file's vision tower); each file is opened once.

    Raises CheckpointError for files that are not what their inputs need, ImportError if transformers is too old.
    """
    with open_network(network_path) as network:
        encoder = _encoder(network, vision_path, dtype)
        tensors = network.stored_tensors("velocity_network")
    return _model(network, tensors, dtype), encoder


def _model(
    network: NetworkFile, tensors: dict[str, torch.Tensor], dtype: torch.dtype | None, disable_dynamic: bool = False
):
    # The file is closed by now, so that nothing else holds a weight that `native_model` has copied and dropped.
    model = native_model(tensors, network.config, dtype, disable_dynamic, network.preview)
    # How ComfyUI makes a second, independent copy: for torch.compile, hooks and further GPUs.
    model.cached_patcher_init = (load_model, (str(network.file.path), dtype))
    return model


def _encoder(network: NetworkFile, vision_path: str, dtype: torch.dtype | None) -> FlowInOneEncoder:
    try:
        # On first use: transformers takes seconds to import.
        from ..flowinone.vision import VisionEncoder
    except ImportError as error:
        raise ImportError(
            "Load FlowInOne needs transformers 4.52 or newer, for Janus-Pro's vision tower; "
            "update it: pip install -U transformers"
        ) from error

    dtype = vision_dtype(dtype, comfy.model_management.text_encoder_device())
    with open_vision(vision_path) as tower:
        vision = VisionEncoder.from_state_dict(tower.tensors(dtype), **tower.settings)
    return FlowInOneEncoder(vision, network.load_prompt_encoder(dtype))


def load_vae(path: str, dtype: torch.dtype | None) -> comfy.sd.VAE:
    """ComfyUI's VAE from a Stable Diffusion 1.x autoencoder or checkpoint of any width.

    It is in float32 if that is asked for, else in the dtype that ComfyUI chooses. Raises CheckpointError for another
    kind of file, for one that lacks tensors and for widths that ComfyUI cannot build.
    """
    with open_autoencoder(path) as autoencoder:
        tensors = autoencoder.tensors()
    stored = set(tensors)
    width = tensors["encoder.conv_in.weight"].shape[0]
    if width % _COMFYUIS_GROUPS:
        raise CheckpointError(
            f"{path} is a VAE of {width} channels; ComfyUI builds multiples of {_COMFYUIS_GROUPS} alone"
        )
    layout = None if width == 128 else _layout(tensors)
    # Stable Diffusion's VAE overflows in float16, and bfloat16 is ComfyUI's own choice where it suits.
    vae = comfy.sd.VAE(sd=tensors, config=layout, dtype=dtype if dtype == torch.float32 else None)
    if any(name.startswith("encoder.down.") for name in stored):
        missing = [name for name in vae.first_stage_model.state_dict() if name not in stored]
        if missing:
            raise CheckpointError(f"{path} lacks {len(missing)} tensors, the first {missing[0]}; download it again")
    for module in vae.first_stage_model.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.num_groups = autoencoder.settings.get("norm_num_groups", module.num_groups)
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
