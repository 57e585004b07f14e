"""The vision encoder: Janus-Pro's SigLIP tower and aligner, as transformers ships them, without the language model."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.janus.configuration_janus import JanusVisionConfig
from transformers.models.janus.modeling_janus import JanusVisionAlignerMLP, JanusVisionModel

from .model.flowinone_model import check_tensors


class VisionEncoder(PreTrainedModel):
    """Normalised pixels [B, 3, 384, 384] -> tokens [B, 576, 2048]."""

    config_class = JanusVisionConfig
    main_input_name = "pixel_values"
    _supports_sdpa = True
    _no_split_modules = ["JanusVisionEncoderLayer"]

    def __init__(self, config: JanusVisionConfig):
        super().__init__(config)
        self.vision_model = JanusVisionModel(config)
        self.aligner = JanusVisionAlignerMLP(config)
        self.post_init()

    def forward(self, pixel_values: Tensor) -> Tensor:
        features = self.vision_model(pixel_values.to(self.device, self.dtype)).last_hidden_state
        return self.aligner(features)

    @property
    def image_size(self) -> int:
        """Side, in pixels, of the square images the tower takes."""
        return self.config.image_size

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Tensor], **overrides) -> "VisionEncoder":
        """Build the tower and aligner that `state_dict` (transformers' names) describes, with those very tensors.

        `overrides` are `JanusVisionConfig` fields; shapes do not tell the head count (16).
        Raises ValueError for missing, unexpected or misshapen tensors, naming the first few.
        """
        config = _config_from_shapes({name: tuple(tensor.shape) for name, tensor in state_dict.items()}, **overrides)
        with torch.device("meta"):
            encoder = cls(config)
        check_tensors(encoder, state_dict)
        encoder.load_state_dict(state_dict, assign=True)
        # No file stores this buffer, so it is still on the meta device.
        embeddings = encoder.vision_model.embeddings
        device = embeddings.position_embedding.weight.device
        embeddings.position_ids = torch.arange(embeddings.num_positions, device=device).expand(1, -1)
        return encoder.eval().requires_grad_(False)


def _config_from_shapes(shapes: Mapping[str, tuple[int, ...]], **overrides) -> JanusVisionConfig:
    needed = (
        "vision_model.embeddings.patch_embedding.weight",
        "vision_model.embeddings.position_embedding.weight",
        "vision_model.encoder.layers.0.mlp.fc1.weight",
        "aligner.fc1.weight",
    )
    missing = [name for name in needed if name not in shapes]
    if missing:
        raise ValueError(f"not a Janus-Pro vision tower with its aligner: {', '.join(missing)} missing")
    patches, positions, hidden, aligner = (shapes[name] for name in needed)
    layers = {name.split(".")[3] for name in shapes if name.startswith("vision_model.encoder.layers.")}
    aligner_layers = {name.split(".")[2] for name in shapes if name.startswith("aligner.hidden_layers.")}
    inferred = dict(
        hidden_size=patches[0],
        num_channels=patches[1],
        patch_size=patches[2],
        image_size=math.isqrt(positions[0]) * patches[2],
        num_image_tokens=positions[0],
        num_hidden_layers=len(layers),
        mlp_ratio=hidden[0] / hidden[1],
        projection_dim=aligner[0],
        depth=1 + len(aligner_layers),
    )
    return JanusVisionConfig(**(inferred | overrides))
