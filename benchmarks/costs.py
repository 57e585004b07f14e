"""What a picture has to cost: arithmetic and bytes, derived from the sizes alone, and the memory that an engine
takes.
"""

import torch
from PIL import Image

from benchmarks.measuring import dtype_name
from benchmarks.methods import Guided, Method, steps_from
from devtools.peak_memory import PeakBytes
from flowinone.config import FlowInOneConfig
from flowinone.model import FlowInOneModel
from flowinone.pipeline import FlowInOnePipeline
from flowinone.sampling import draw_noise
from flowinone.weights.eightbit import KINDS


def computing(dtype: str) -> torch.dtype:
    """What is computed in where weights are kept in `dtype`: 16 bits for 8."""
    return torch.bfloat16 if dtype in KINDS else getattr(torch, dtype)


def pass_flops(config: FlowInOneConfig, dual: bool = True) -> int:
    """Operations (a multiply-add is two) in the Linear and convolution layers of one pass: one sample, one guidance
    branch.

    `dual` includes the dual path. `attention_flops` come on top; the published 738.6 and 580.9 GFLOP do not include
    them.
    """
    width, fine = config.coarse_width, config.fine_width
    cells, pixels = config.coarse_size**2, config.latent_size**2
    tokens = cells + 1

    block = _linear(tokens, width, 4 * width) + 3 * _linear(tokens, width, config.coarse_mlp_width)
    if dual:
        block += _linear(tokens, width, 4 * width)
        block += _linear(tokens, 2 * width, config.gate_width) + _linear(tokens, config.gate_width, 1)
    embedding = _linear(cells, config.latent_channels * config.patch_size**2, width)
    coarse = config.coarse_blocks * block + (1 + dual) * embedding
    coarse += config.coarse_blocks // 2 * _linear(tokens, 2 * width, width)

    block = _linear(pixels, config.fine_kernel**2, fine) + 3 * _linear(pixels, fine, config.fine_mlp_width)
    upsampling = _linear(cells, (config.coarse_blocks + 1) * width, fine * config.patch_size**2)
    head = _linear(pixels, 3 * 3 * fine, config.latent_channels)
    stage = _linear(pixels, config.latent_channels, fine) + config.fine_blocks * block + head
    stage += config.fine_blocks // 2 * _linear(pixels, 2 * fine, fine)
    return coarse + upsampling + stage


def attention_flops(config: FlowInOneConfig, dual: bool = True) -> int:
    """Operations in the attentions' own two products, scores and their sums of values, of one pass."""
    tokens = config.coarse_size**2 + 1
    return config.coarse_blocks * (1 + dual) * 2 * _linear(tokens, tokens, config.coarse_width)


def _linear(rows: int, inner: int, outer: int) -> int:
    return 2 * rows * inner * outer


def network_facts(model: FlowInOneModel, read: dict[str, int]) -> dict:
    """What follows from the network's size: values, operations of one pass, and the bytes of weights that it reads, by
    dtype.
    """
    config = model.velocity_network.config
    return {
        "values": value_count(model),
        "flop_per_pass": pass_flops(config),
        "flop_per_pass_bypassed": pass_flops(config, dual=False),
        "attention_flop_per_pass": attention_flops(config),
        "weight_bytes_per_pass": read,
    }


def value_count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def weight_bytes(pipeline: FlowInOnePipeline) -> int:
    """Bytes of all three parts' weights, as they are stored."""
    return sum(map(stored_bytes, (pipeline.model, pipeline.vision, pipeline.vae)))


def stored_bytes(module: torch.nn.Module) -> int:
    """Bytes of its parameters."""
    return sum(map(_tensor_bytes, module.parameters()))


def _tensor_bytes(tensor: torch.Tensor) -> int:
    # Of torchao's 8-bit tensors `nbytes` tells what they would be in 16 bits.
    if not hasattr(tensor, "__tensor_flatten__"):
        return tensor.nbytes
    names, _ = tensor.__tensor_flatten__()
    return sum(getattr(tensor, name).nbytes for name in names)


def prompt_pictures(batch: int) -> list[Image.Image]:
    """Pictures of a usual size to encode; what is on them costs no time."""
    return [Image.effect_noise((512, 512), 64).convert("RGB") for _ in range(batch)]


def encode(pipeline: FlowInOnePipeline, pictures: list[Image.Image]):
    """Source and image latents, as the pipeline draws them."""
    noise = draw_noise(range(len(pictures)), pipeline.model.velocity_network.config.latent_shape)
    return pipeline.encode(pictures, *noise)


def answer(pipeline: FlowInOnePipeline, guided: Guided, pictures: list[Image.Image], count: int):
    """The answers [B, 3, H, W] to prompt pictures, after `count` steps."""
    source, image_latent = encode(pipeline, pictures)
    bypass = torch.zeros(len(pictures), dtype=torch.bool, device=source.device)
    return pipeline.decode(steps_from(guided(image_latent, bypass), source, count), "pt")


@torch.no_grad()
def counted_peak(pipeline: FlowInOnePipeline, method: Method) -> int:
    """Peak bytes of sampling one image, beyond the weights, counted tensor by tensor; the pipeline is on the meta
    device.
    """
    guided = method(pipeline)
    with PeakBytes() as counted:
        answer(pipeline, guided, prompt_pictures(1), 1)
    return counted.peak


def floor_seconds(flops: float, read: float, floor: dict, dtype: str) -> float:
    """What `flops` operations in `dtype` and reading `read` bytes take at the machine's measured rates, whichever is
    longer.
    """
    return max(flops / floor["matrix_flop_per_s"][dtype_name(computing(dtype))], read / floor["copy_byte_per_s"])
