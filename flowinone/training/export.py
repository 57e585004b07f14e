"""Weight files that training runs write, and their metadata."""

import dataclasses
import json
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from ..model import FlowInOneModel
from ..model.names import upstream_name
from ..vision import VisionEncoder
from ..weights.checkpoint import CONFIG, VISION_HEADS
from .snapshots import SnapshotError, remedy, save_tensors


def write_weights(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Path:
    """Write safetensors atomically; the path. Raises SnapshotError if it cannot be written."""
    try:
        save_tensors(path, tensors, {"format": "pt"} | metadata)
    except (OSError, SafetensorError) as error:
        raise SnapshotError(
            f"{path} could not be written ({error}); {remedy(path.parent)}, then start again"
        ) from error
    return path


def write_network(path: Path, model: FlowInOneModel, extra: dict[str, Tensor]) -> Path:
    """Write a network and `extra` tensors, under the public names, which other programs can read as well.

    Raises as `write_weights`.
    """
    tensors = extra | {upstream_name(name): tensor for name, tensor in model.state_dict().items()}
    return write_weights(path, tensors, {CONFIG: json.dumps(dataclasses.asdict(model.config))})


def write_tower(path: Path, vision: VisionEncoder) -> Path:
    """Write a vision tower, with its head count, which no shape tells, as metadata. Raises as `write_weights`."""
    # By parameter: some versions' state dicts contain position indices as well.
    return write_weights(path, dict(vision.named_parameters()), {VISION_HEADS: str(vision.config.num_attention_heads)})
