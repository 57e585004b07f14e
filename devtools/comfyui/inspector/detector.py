"""A detector for the tests: an untrained RT-DETR."""

import os

import comfy.ops
import folder_paths
import torch
from comfy.ldm.rt_detr.rtdetr_v4 import COCO_CLASSES, RTv4
from safetensors.torch import save_file

THING = "vase"
BOX = (0.25, 0.375, 0.25, 0.5)  # x, y, width and height, as fractions of the picture


def write_detector() -> None:
    """Write models/diffusion_models/detector_tiny.safetensors, which sees a THING in the BOX of every picture."""
    network = RTv4(enc_h=8, device="cpu", dtype=torch.float16, operations=comfy.ops.disable_weight_init)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for name, tensor in weights.items():
        if name.endswith(("weight", "bias", "mean")):
            tensor.zero_()  # the network changes neither its anchors nor its class biases
    x, y, width, height = BOX
    weights["decoder.anchors"][:] = torch.tensor([x + width / 2, y + height / 2, width, height]).logit()
    weights["decoder.dec_score_head.5.bias"][COCO_CLASSES.index(THING)] = 3
    (folder, *_) = folder_paths.get_folder_paths("diffusion_models")
    os.makedirs(folder, exist_ok=True)
    save_file(weights, os.path.join(folder, "detector_tiny.safetensors"))
