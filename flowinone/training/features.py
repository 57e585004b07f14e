"""Features of target pictures for the contrastive term: a SigLIP tower and a head.

The published checkpoint contains them as `open_clip*`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SiglipVisionConfig, SiglipVisionModel

from ..model.flowinone_model import check_tensors
from ..model.renaming import Renaming

_TRUNK = "open_clip.visual.trunk."
# open_clip's (timm's) names, then transformers'; fused matrices are split below.
_SIGLIP = Renaming("""
patch_embed.proj.*       embeddings.patch_embedding.*
blocks.#.norm1.*         encoder.layers.#.layer_norm1.*
blocks.#.attn.proj.*     encoder.layers.#.self_attn.out_proj.*
blocks.#.norm2.*         encoder.layers.#.layer_norm2.*
blocks.#.mlp.*           encoder.layers.#.mlp.*
norm.*                   post_layernorm.*
attn_pool.proj.*         head.attention.out_proj.*
attn_pool.norm.*         head.layernorm.*
attn_pool.mlp.*          head.mlp.*
""")


class TargetFeatures(nn.Module):
    """Pixels [B, 3, H, W] in -1..1 -> features [B, C * h * w], and the temperature of the contrastive term."""

    def __init__(self, tower: SiglipVisionModel, head: nn.Module, temperature: Tensor):
        super().__init__()
        self.tower, self.head = tower, head
        self.temperature = nn.Parameter(temperature)

    @classmethod
    def from_checkpoint(cls, tensors: Mapping[str, Tensor]) -> "TargetFeatures":
        """From the published `open_clip.*` and `open_clip_output.*`. Raises ValueError if they don't fit."""
        trunk = {name.removeprefix(_TRUNK): tensor for name, tensor in tensors.items() if name.startswith(_TRUNK)}
        tower = _tower(trunk)
        head = OutputHead(
            *tensors["open_clip_output.fc1.weight"].shape[::-1], tensors["open_clip_output.fc2.weight"].shape[0]
        )
        head.load_state_dict(
            {
                name.removeprefix("open_clip_output."): tensor
                for name, tensor in tensors.items()
                if name.startswith("open_clip_output.")
            }
        )
        return cls(tower, head, tensors["open_clip.logit_scale"].float().clone())

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        side = self.tower.config.image_size
        with torch.no_grad():
            seen = (
                F.interpolate(pixels, (side, side), mode="bicubic", antialias=True)
                if pixels.shape[-1] != side
                else pixels
            )
            pooled = self.tower(pixel_values=seen).pooler_output
        return self.head(pooled), self.temperature

    def checkpoint(self) -> dict[str, Tensor]:
        """The tensors that training changes, under the checkpoint's names; the tower is frozen."""
        head = {f"open_clip_output.{name}": tensor for name, tensor in self.head.state_dict().items()}
        return head | {"open_clip.logit_scale": self.temperature.detach()}


class OutputHead(nn.Module):
    """Two linear layers with a norm between them: from a picture's features to the size of its latent."""

    def __init__(self, width_in: int, hidden: int, width_out: int):
        super().__init__()
        self.fc1 = nn.Linear(width_in, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.fc2 = nn.Linear(hidden, width_out)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc2(self.norm(F.gelu(self.fc1(features))))


def _tower(trunk: dict[str, Tensor]) -> SiglipVisionModel:
    try:
        patches, positions = trunk["patch_embed.proj.weight"], trunk["pos_embed"]
    except KeyError as error:
        raise ValueError(
            f"the checkpoint has no {_TRUNK}{error.args[0]}, which the contrastive term needs; "
            "train the published file, or set contrastive_weight to 0"
        ) from None
    width, _, patch, _ = patches.shape
    layers = 1 + max(int(name.split(".")[1]) for name in trunk if name.startswith("blocks."))
    config = SiglipVisionConfig(
        hidden_size=width,
        intermediate_size=trunk["blocks.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=layers,
        num_attention_heads=16,
        image_size=round(positions.shape[1] ** 0.5) * patch,
        patch_size=patch,
        hidden_act="gelu",
    )
    tower = SiglipVisionModel(config).eval().requires_grad_(False)
    renamed = {}
    for name, tensor in trunk.items():
        if plain := _SIGLIP.forward(name):
            renamed[plain] = tensor
        elif ".attn.qkv." in name:
            layer, leaf = name.split(".")[1], name.rsplit(".", 1)[1]
            for part, third in zip("qkv", tensor.chunk(3)):
                renamed[f"encoder.layers.{layer}.self_attn.{part}_proj.{leaf}"] = third
    renamed["embeddings.position_embedding.weight"] = positions[0]
    renamed["head.probe"] = trunk["attn_pool.latent"]
    for leaf in ("weight", "bias"):
        renamed[f"head.attention.in_proj_{leaf}"] = torch.cat(
            [trunk[f"attn_pool.q.{leaf}"], trunk[f"attn_pool.kv.{leaf}"]]
        )
    prefix = "vision_model." if any(name.startswith("vision_model.") for name in tower.state_dict()) else ""
    renamed = {prefix + name: tensor for name, tensor in renamed.items()}
    check_tensors(tower, renamed)
    tower.load_state_dict(renamed)
    return tower
