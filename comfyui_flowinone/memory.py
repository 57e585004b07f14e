"""Batches that are larger than the device's memory."""

from collections.abc import Callable, Iterator

import comfy.model_management
import torch
from torch import Tensor


def in_parts(pixels: Tensor, patcher, device: torch.device, memory: float, encode: Callable) -> Iterator:
    """`encode` of as many pictures [B, 3, H, W] at a time as fit on the device, at `memory` bytes each."""
    count = max(1, int(patcher.get_free_memory(device) / memory))
    with comfy.model_management.cuda_device_context(device):
        for part in pixels.split(count):
            comfy.model_management.throw_exception_if_processing_interrupted()
            yield encode(part.to(device))
