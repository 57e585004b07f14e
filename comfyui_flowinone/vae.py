"""The VAE: loading it as ComfyUI's, and the image latents that the flow looks at."""

import comfy.model_management
import comfy.sd
import torch
from PIL import Image
from torch import Tensor

from ..flowinone.config import LATENT_SCALE
from ..flowinone.preprocess import latent_view, to_pixels
from ..flowinone.sampling import source_latent
from ..flowinone.weights.checkpoint import open_autoencoder
from ..flowinone.weights.weightfile import CheckpointError
from .memory import in_parts

_COMFYUIS_GROUPS = 32
"""Groups of channels in every norm of the VAEs that ComfyUI builds."""


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
            f"{path} is a VAE of {width} channels; ComfyUI builds multiples of {_COMFYUIS_GROUPS} only"
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


def image_latents(vae, pictures: list[Image.Image], latent_size: int, noise: Tensor | None) -> Tensor:
    """The RGB pictures through a VAE that `require_kl_f8` lets pass: [B, 4, H, W] in float32, scaled.

    A posterior sample, or without noise its mean.
    """
    pixels = to_pixels([latent_view(picture, latent_size * 8) for picture in pictures])
    memory = vae.memory_used_encode(pixels.shape, vae.vae_dtype)
    comfy.model_management.load_models_gpu([vae.patcher], memory_required=memory)
    autoencoder = vae.first_stage_model

    # VAE.encode returns the mean alone. Upstream samples the posterior, which needs the variance, too.
    def encode(part: Tensor) -> Tensor:
        return autoencoder.quant_conv(autoencoder.encoder(part.to(vae.vae_dtype))).float()

    mean, logvar = torch.cat(list(in_parts(pixels, vae.patcher, vae.device, memory, encode))).chunk(2, dim=1)
    return LATENT_SCALE * source_latent(mean, logvar.clamp(-30, 20), noise)


def require_kl_f8(vae) -> None:
    """Raise ValueError, saying what to connect, unless `vae` is a Stable Diffusion 1.x autoencoder."""
    if vae is None:
        raise ValueError(
            "no VAE: choose a file as vae in Load FlowInOne, or connect a Load VAE node with a Stable Diffusion 1.x VAE"
        )
    autoencoder = getattr(vae, "first_stage_model", None)
    channels, ratio = getattr(vae, "latent_channels", None), getattr(vae, "downscale_ratio", None)
    if channels != 4 or ratio != 8 or not hasattr(autoencoder, "quant_conv"):
        raise ValueError(
            f"this VAE makes latents of {channels} channels and {ratio} pixels each, or is no KL autoencoder; "
            "FlowInOne needs a Stable Diffusion 1.x VAE (4 channels, 8 pixels a latent)"
        )
