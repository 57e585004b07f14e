"""The image autoencoder: Stable Diffusion's KL-f8 VAE, from diffusers, with FlowInOne's latent scale."""

from collections.abc import Mapping, Sequence

import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

from .config import LATENT_SCALE
from .model.flowinone_model import check_tensors


def autoencoder_from_state_dict(state_dict: Mapping[str, Tensor], **overrides) -> AutoencoderKL:
    """The autoencoder that `state_dict` (ldm's or diffusers' names, no prefix) describes, with those very tensors.

    `overrides` are `AutoencoderKL`'s settings; shapes do not tell the number of groups of its norms (32). Raises
    ValueError for missing, unexpected or misshapen tensors, naming the first few.
    """
    if "encoder.conv_in.weight" not in state_dict or "encoder.conv_out.weight" not in state_dict:
        raise ValueError("not a KL autoencoder: encoder.conv_in.weight or encoder.conv_out.weight is missing")
    ldm = any(name.startswith("encoder.down.") for name in state_dict)
    config = _config_from_shapes({name: tuple(tensor.shape) for name, tensor in state_dict.items()}, ldm) | overrides
    with torch.device("meta"):
        autoencoder = AutoencoderKL(**config)
    if ldm:
        state_dict = convert_ldm_vae_checkpoint(dict(state_dict), config)
    check_tensors(autoencoder, state_dict)
    autoencoder.load_state_dict(state_dict, assign=True)
    return autoencoder.eval().requires_grad_(False)


def autoencoder_of_widths(widths: Sequence[int], blocks: int = 2, groups: int = 32) -> AutoencoderKL:
    """A KL autoencoder with random weights for RGB images and four latent channels.

    `widths` are channels per level, from full resolution down; each level has `blocks` residual blocks.
    """
    return AutoencoderKL(**_layout(3, 4, widths, blocks), norm_num_groups=groups)


def _config_from_shapes(shapes: Mapping[str, tuple[int, ...]], ldm: bool) -> dict:
    level, block = ("encoder.down.", "block") if ldm else ("encoder.down_blocks.", "resnets")
    levels = 1 + max(int(name.split(".")[2]) for name in shapes if name.startswith(level))
    blocks = 1 + max(int(name.split(".")[4]) for name in shapes if name.startswith(f"{level}0.{block}."))
    widths = [shapes[f"{level}{i}.{block}.{blocks - 1}.conv2.weight"][0] for i in range(levels)]
    layout = _layout(shapes["encoder.conv_in.weight"][1], shapes["encoder.conv_out.weight"][0] // 2, widths, blocks)
    return layout | {f"use_{name}": f"{name}.weight" in shapes for name in ("quant_conv", "post_quant_conv")}


def _layout(channels: int, latent_channels: int, widths: Sequence[int], blocks: int) -> dict:
    return dict(
        in_channels=channels,
        out_channels=channels,
        latent_channels=latent_channels,
        block_out_channels=tuple(widths),
        layers_per_block=blocks,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        scaling_factor=LATENT_SCALE,
    )


def image_latents(autoencoder: AutoencoderKL, pixels: Tensor, noise: Tensor | None) -> Tensor:
    """Image latents [B, C, H/8, W/8], scaled, in float32, of pixels [B, 3, H, W] in -1..1.

    With `noise` (standard normal, of the latents' shape) a sample of the posterior, as upstream draws it; with None
    its mean.
    """
    return latents_of_moments(
        autoencoder.encode(pixels.to(autoencoder.device, autoencoder.dtype)).latent_dist.parameters, noise
    )


def latents_of_moments(moments: Tensor, noise: Tensor | None) -> Tensor:
    """Image latents as from `image_latents`, given the encoder's output [B, 2C, H/8, W/8]: means and log-variances."""
    posterior = DiagonalGaussianDistribution(moments)
    latents = posterior.mean.float()
    if noise is not None:
        latents = latents + posterior.std.float() * noise.to(latents)
    return latents * LATENT_SCALE


def decode_latents(autoencoder: AutoencoderKL, latents: Tensor) -> Tensor:
    """Images [B, 3, 8H, 8W] in 0..1, in float32, of scaled latents [B, C, H, W]."""
    latents = (latents.float() / LATENT_SCALE).to(autoencoder.device, autoencoder.dtype)
    images = autoencoder.decode(latents).sample.float()
    return (0.5 * (images + 1)).clamp(0, 1)
