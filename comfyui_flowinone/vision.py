"""Where the flow starts: prompt images through Janus-Pro's vision tower and FlowInOne's prompt encoder."""

from typing import TYPE_CHECKING

import comfy.model_management
import comfy.model_patcher
import torch
from PIL import Image
from torch import Tensor, nn

from ..flowinone.config import FlowInOneConfig
from ..flowinone.model import PromptEncoder
from ..flowinone.preprocess import to_pixels, vision_view
from ..flowinone.sampling import source_latent
from ..flowinone.weights.checkpoint import NetworkFile, open_vision
from .memory import in_parts

if TYPE_CHECKING:
    from ..flowinone.vision import VisionEncoder  # transformers takes seconds to import

_ACTIVATIONS_PER_PICTURE = 150 * 1024**2
"""Bytes; generous for 24 layers over 576 tokens of width 1024, of which one layer is alive at a time."""


class _PromptReader(nn.Module):
    """Normalised pixels -> mean and log-variance of the source latent: the vision encoder, then the prompt encoder."""

    # The patcher sets `device` on its module, which transformers forbids on the vision encoder itself.
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
            _PromptReader(vision, prompt_encoder),
            load_device=comfy.model_management.text_encoder_device(),
            offload_device=comfy.model_management.text_encoder_offload_device(),
        )

    def source_latents(self, pictures: list[Image.Image], noise: Tensor | None) -> Tensor:
        """Where the flow starts for each RGB picture: [B, C, H, W] in float32, scaled; without noise the distribution's
        mean.
        """
        # Loaded whole: transformers' layers cannot compute with weights that stay behind on the CPU.
        comfy.model_management.load_models_gpu(
            [self.patcher], memory_required=_ACTIVATIONS_PER_PICTURE, force_full_load=True
        )
        pixels = to_pixels([vision_view(picture, self.image_size) for picture in pictures])
        parts = in_parts(pixels, self.patcher, self.patcher.load_device, _ACTIVATIONS_PER_PICTURE, self.patcher.model)
        mean, logvar = (torch.cat(part) for part in zip(*parts))
        return source_latent(mean, logvar, noise)


def load_encoder(network: NetworkFile, vision_path: str, dtype: torch.dtype | None) -> FlowInOneEncoder:
    """The encoder made of a FlowInOne checkpoint's prompt encoder and a Janus-Pro file's vision tower.

    Raises CheckpointError for a vision file of another kind, and ImportError where transformers is too old.
    """
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


def vision_dtype(dtype: torch.dtype | None, device: torch.device) -> torch.dtype:
    """The dtype of both encoders: float32 or float16 if the user chose one, else float16 where the device is fast with
    it.

    Upstream runs the vision tower in float16 too. bfloat16 would put ten times the error into the source latent and
    saves nothing.
    """
    if dtype in (torch.float32, torch.float16):
        return dtype
    return (
        torch.float16 if comfy.model_management.should_use_fp16(device, prioritize_performance=False) else torch.float32
    )
