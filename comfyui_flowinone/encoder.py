"""From prompt pictures to the latents a FlowInOne flow starts from and looks at."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import comfy.model_management
import comfy.model_patcher
import torch
from PIL import Image
from torch import Tensor, nn

from ..flowinone.config import LATENT_SCALE, FlowInOneConfig
from ..flowinone.model import PromptEncoder
from ..flowinone.preprocess import latent_view, to_pixels, vision_view
from ..flowinone.sampling import source_latent

if TYPE_CHECKING:
    from ..flowinone.vision import VisionEncoder  # transformers takes seconds to import

_ACTIVATIONS_PER_PICTURE = 150 * 1024**2
"""Bytes; generous for 24 layers over 576 tokens of width 1024, of which one layer is alive at a time."""


class _Reader(nn.Module):
    """Normalised pixels -> mean and log-variance of the source latent: the vision encoder, then the prompt encoder."""

    # Not the vision encoder itself goes behind the patcher: the patcher sets `device` on its module, which transformers forbids.
    def __init__(self, vision: "VisionEncoder", prompt_encoder: PromptEncoder):
        super().__init__()
        self.vision = vision
        self.prompt_encoder = prompt_encoder

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.prompt_encoder(self.vision(pixels))


class FlowInOneEncoder:
    """Vision tower and prompt encoder behind a patcher of ComfyUI's, so that they leave the GPU when others need it."""

    def __init__(self, vision: "VisionEncoder", prompt_encoder: PromptEncoder):
        self.config: FlowInOneConfig = prompt_encoder.config
        self.image_size = vision.image_size
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            _Reader(vision, prompt_encoder),
            load_device=comfy.model_management.text_encoder_device(),
            offload_device=comfy.model_management.text_encoder_offload_device(),
        )

    def source_latents(self, pictures: list[Image.Image], noise: Tensor | None) -> Tensor:
        """Where the flow starts for each RGB picture: [B, C, H, W] in float32, scaled; without noise the distribution's mean."""
        # Loaded whole: transformers' layers cannot compute with weights that stay behind on the CPU.
        comfy.model_management.load_models_gpu(
            [self.patcher], memory_required=_ACTIVATIONS_PER_PICTURE, force_full_load=True
        )
        pixels = to_pixels([vision_view(picture, self.image_size) for picture in pictures])
        parts = _in_parts(pixels, self.patcher, self.patcher.load_device, _ACTIVATIONS_PER_PICTURE, self.patcher.model)
        mean, logvar = (torch.cat(part) for part in zip(*parts))
        return source_latent(mean, logvar, noise)


def image_latents(vae, pictures: list[Image.Image], latent_size: int, noise: Tensor | None) -> Tensor:
    """The RGB pictures through a VAE that `require_kl_f8` lets pass: [B, 4, H, W] in float32, scaled.

    A posterior sample, or without noise its mean.
    """
    pixels = to_pixels([latent_view(picture, latent_size * 8) for picture in pictures])
    memory = vae.memory_used_encode(pixels.shape, vae.vae_dtype)
    comfy.model_management.load_models_gpu([vae.patcher], memory_required=memory)
    autoencoder = vae.first_stage_model

    # VAE.encode returns the mean alone; upstream draws from the posterior, for which the variance is needed too.
    def encode(part: Tensor) -> Tensor:
        return autoencoder.quant_conv(autoencoder.encoder(part.to(vae.vae_dtype))).float()

    mean, logvar = torch.cat(list(_in_parts(pixels, vae.patcher, vae.device, memory, encode))).chunk(2, dim=1)
    return LATENT_SCALE * source_latent(mean, logvar.clamp(-30, 20), noise)


def _in_parts(pixels: Tensor, patcher, device: torch.device, memory: float, encode: Callable) -> Iterator:
    """`encode` of as many pictures [B, 3, H, W] at a time as find room on the device, at `memory` bytes each."""
    count = max(1, int(patcher.get_free_memory(device) / memory))
    with comfy.model_management.cuda_device_context(device):
        for part in pixels.split(count):
            comfy.model_management.throw_exception_if_processing_interrupted()
            yield encode(part.to(device))


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
            f"this VAE makes latents of {channels} channels and {ratio} pixels each, or is no KL autoencoder; FlowInOne needs a Stable Diffusion 1.x VAE (4 channels, 8 pixels a latent)"
        )


def vision_dtype(dtype: torch.dtype | None, device: torch.device) -> torch.dtype:
    """The dtype both encoders run in: float32 or float16 if the user says so, else float16 where the device is made for it.

    So upstream runs the vision tower; bfloat16 would put ten times the error into where the flow starts, and saves nothing.
    """
    if dtype in (torch.float32, torch.float16):
        return dtype
    return (
        torch.float16 if comfy.model_management.should_use_fp16(device, prioritize_performance=False) else torch.float32
    )
