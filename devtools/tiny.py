"""Tiny FlowInOne models whose weights are derived from their names: the fixtures were computed with them.

They have the released model's structure and are untrained: their pictures are noise. `python -m devtools.tiny FOLDER`
writes them as files.
"""

import json
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

FIXTURES = Path(__file__).resolve().parents[1] / "tests" / "fixtures"


def uniform(key: str, count: int) -> np.ndarray:
    """`count` float64 values in -0.5..0.5: the splitmix64 stream from key's CRC-32, the same bits on every machine."""
    start = zlib.crc32(key.encode()) << 20
    with np.errstate(over="ignore"):
        state = (np.arange(count, dtype=np.uint64) + np.uint64(start + 1)) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
        state ^= state >> np.uint64(31)
    return (state >> np.uint64(40)) / 2**24 - 0.5


def weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """The float32 tensor called `key`: matrices keep variance, scales are near 1, biases small."""
    leaf = key.rsplit(".", 1)[-1]
    values = uniform(key, int(np.prod(shape))) * np.sqrt(12)
    if leaf in ("nodecay_weight", "nodecay_bias"):
        values = 0.3 * values
    elif leaf in ("param0", "param1", "g") or (leaf == "weight" and len(shape) == 1):
        values = 1 + 0.2 * values
    elif leaf in ("tensor_true", "tensor_false"):
        values = (-1.0 if leaf == "tensor_true" else 1.0) + 0.1 * values
    elif len(shape) <= 1:
        values = 0.05 * values
    else:
        values = values / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(values.reshape(shape).astype(np.float32))


def fixture_input(name: str, shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
    """The input of that name that a fixture was computed from."""
    values = uniform(f"input:{name}", int(np.prod(shape))) * np.sqrt(12) * scale
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def manifest(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's tensors as upstream has them."""
    listing = json.loads((FIXTURES / f"{name}.manifest.json").read_text(encoding="utf-8"))
    return {key: tuple(shape) for key, shape in listing.items()}


def state_dict(name: str, prefix: str = "") -> dict[str, Tensor]:
    """A tiny model's weights under upstream's names. `prefix` is prepended to the names that the values derive from."""
    return {key: weight(prefix + key, shape) for key, shape in manifest(name).items()}


def network_weights() -> dict[str, Tensor]:
    return state_dict("flowinone_tiny")


def vision_weights() -> dict[str, Tensor]:
    return state_dict("janus_vision_tiny")


def autoencoder_weights() -> dict[str, Tensor]:
    return state_dict("vae_tiny", prefix="vae.")


def upscaler_weights() -> dict[str, Tensor]:
    """Real-ESRGAN's compact network for four times the size, all of zeros: it repeats pixels and adds nothing."""
    shapes = {
        "body.0.weight": (1, 3, 3, 3),
        "body.0.bias": (1,),
        "body.1.weight": (1,),
        "body.2.weight": (48, 1, 3, 3),
        "body.2.bias": (48,),
    }
    return {key: torch.zeros(shape) for key, shape in shapes.items()}


def write_models(folder: Path) -> dict[str, Path]:
    """Write the three tiny models into `folder`, laid out as ComfyUI's models folder; returns paths by loader input."""
    files = {
        "checkpoint": (Path(folder, "flowinone", "flowinone_tiny.safetensors"), network_weights),
        "vision": (Path(folder, "clip_vision", "janus_vision_tiny.safetensors"), vision_weights),
        "vae": (Path(folder, "vae", "vae_tiny.safetensors"), autoencoder_weights),
    }
    for path, weights in files.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(weights(), path)
    return {kind: path for kind, (path, _) in files.items()}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m devtools.tiny FOLDER")
    for written in write_models(Path(sys.argv[1])).values():
        print(written)
