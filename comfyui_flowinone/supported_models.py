"""What ComfyUI is told about FlowInOne: latents, dtypes and sampling."""

import comfy.supported_models_base
import torch

from .latent_format import FlowInOneLatent
from .model_base import FlowInOneBase


class UNetConfig(dict):
    """The network's constructor arguments. FreeU asks here for a U-Net's width before it patches anything."""

    def __missing__(self, key: str):
        if key == "model_channels":
            raise ValueError(
                "FreeU does not apply to FlowInOne: it scales the skip connections of Stable Diffusion's U-Net by "
                "their widths, and FlowInOne's transformer has a single width; remove the node"
            )
        raise KeyError(key)


class FlowInOneModelConfig(comfy.supported_models_base.BASE):
    unet_extra_config = {}
    latent_format = FlowInOneLatent
    sampling_settings = {"shift": 1.0, "multiplier": 1.0}
    # What ComfyUI may choose by itself. Nobody has seen whether float16's range is enough for the released weights.
    supported_inference_dtypes = [torch.bfloat16, torch.float32]

    def __init__(self, unet_config: dict):
        super().__init__(unet_config)
        self.unet_config = UNetConfig(self.unet_config)

    def inpaint_model(self) -> bool:
        return False

    def get_model(self, state_dict, prefix="", device=None) -> FlowInOneBase:
        # Of the tensors, not of the layers: some of ComfyUI's have no matrices before they are loaded.
        dtype = None if self.quant_config is not None else self.unet_config["dtype"]
        sizes = (tensor.nbytes if dtype is None else tensor.numel() * dtype.itemsize for tensor in state_dict.values())
        return FlowInOneBase(self, device, sum(sizes))
