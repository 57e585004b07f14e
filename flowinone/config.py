"""The network's configuration, inferred from a checkpoint's tensor shapes."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

LATENT_SCALE = 0.23010
"""FlowInOne's latents are the autoencoder's times this (upstream: `scale_factor` in `configs`); Stable Diffusion's are
times 0.18215."""


@dataclasses.dataclass(frozen=True)
class FlowInOneConfig:
    """Sizes of a FlowInOne network; the defaults are `flowinone_256px`. Widths are in channels, sizes in latent pixels.

    Raises ValueError for head counts that do not divide the widths, and a patch size that does not divide the latent
    size.
    """

    token_count: int = 576
    token_width: int = 2048
    context_length: int = 77
    context_width: int = 768
    context_layers: int = 11
    context_heads: int = 8
    context_mlp_width: int = 1024
    reduced_widths: Sequence[int] = (384, 192, 96)
    latent_channels: int = 4
    latent_size: int = 32
    patch_size: int = 2
    coarse_width: int = 1024
    coarse_heads: int = 16
    coarse_blocks: int = 65
    coarse_mlp_width: int = 2048
    gate_width: int = 256
    fine_width: int = 512
    fine_blocks: int = 33
    fine_mlp_width: int = 1024
    fine_kernel: int = 7

    def __post_init__(self):
        object.__setattr__(self, "reduced_widths", tuple(self.reduced_widths))
        for name in ("context_heads", "coarse_heads", "patch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        context_widths = (self.context_width, *self.reduced_widths[:-1])
        for width in context_widths:
            if width % self.context_heads:
                raise ValueError(
                    f"context_heads={self.context_heads} does not divide the prompt encoder's width {width}"
                )
        if self.coarse_width % self.coarse_heads:
            raise ValueError(
                f"coarse_heads={self.coarse_heads} does not divide the coarse stage's width {self.coarse_width}"
            )
        if self.latent_size % self.patch_size:
            raise ValueError(f"patch_size={self.patch_size} does not divide latent_size={self.latent_size}")

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one latent."""
        return self.latent_channels, self.latent_size, self.latent_size

    @property
    def coarse_size(self) -> int:
        """Side of the coarse stage's token grid."""
        return self.latent_size // self.patch_size

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, Sequence[int]], **overrides) -> "FlowInOneConfig":
        """Infer the configuration from tensor shapes under this package's names.

        Shapes do not tell the head counts: they are the released model's (16 coarse, 8 in the prompt encoder) unless
        `overrides`, which are fields, give them. Raises ValueError for missing tensors, naming the first few, for
        tensors of the wrong number of dimensions and for a position table that is not square.
        """
        needed = {
            "compressor": "prompt_encoder.token_compressor.weight",
            "adapter": "prompt_encoder.adapter.weight",
            "context_ff": "prompt_encoder.layers.0.feed_forward.0.weight",
            "coarse_in": "velocity_network.coarse.input_layer.projection.weight",
            "coarse_mlp": "velocity_network.coarse.blocks.0.mlp.w0.weight",
            "gate": "velocity_network.coarse.blocks.0.cross_attention.gate.0.weight",
            "fine_in": "velocity_network.fine.input_layer.projection.weight",
            "fine_table": "velocity_network.fine.input_layer.positions.table",
            "fine_mlp": "velocity_network.fine.blocks.0.mlp.w0.weight",
            "fine_conv": "velocity_network.fine.blocks.0.depthwise_conv.weight",
        }
        missing = [name for name in needed.values() if name not in shapes]
        if missing:
            raise ValueError(
                f"not a complete FlowInOne network: {', '.join(missing[:3])} "
                f"{'is' if len(missing) == 1 else 'are'} missing"
            )
        shape = {short: tuple(shapes[name]) for short, name in needed.items()}
        for short, name in needed.items():
            dimensions = 4 if short in ("coarse_in", "fine_in", "fine_conv") else 2
            if len(shape[short]) != dimensions:
                raise ValueError(f"{name} has shape {shape[short]}; expected {dimensions} dimensions")

        latent_size = math.isqrt(shape["fine_table"][0])
        if latent_size**2 != shape["fine_table"][0]:
            raise ValueError(f"{needed['fine_table']} has {shape['fine_table'][0]} rows, which is not a square grid")
        reductions = _count_layers(shapes, "prompt_encoder.reduction_layers.#.reduction.weight")
        inferred: dict[str, Any] = dict(
            token_count=shape["compressor"][1],
            token_width=shape["adapter"][1],
            context_length=shape["compressor"][0],
            context_width=shape["adapter"][0],
            context_layers=_count_layers(shapes, "prompt_encoder.layers.#.attention.query.weight"),
            context_mlp_width=shape["context_ff"][0],
            reduced_widths=tuple(
                shapes[f"prompt_encoder.reduction_layers.{i}.reduction.weight"][0] for i in range(reductions)
            ),
            latent_channels=shape["coarse_in"][1],
            latent_size=latent_size,
            patch_size=shape["coarse_in"][2],
            coarse_width=shape["coarse_in"][0],
            coarse_blocks=_count_layers(shapes, "velocity_network.coarse.blocks.#.mlp.w0.weight"),
            coarse_mlp_width=shape["coarse_mlp"][0],
            gate_width=shape["gate"][0],
            fine_width=shape["fine_in"][0],
            fine_blocks=_count_layers(shapes, "velocity_network.fine.blocks.#.mlp.w0.weight"),
            fine_mlp_width=shape["fine_mlp"][0],
            fine_kernel=shape["fine_conv"][2],
        )
        return cls(**(inferred | overrides))


def _count_layers(shapes: Mapping[str, Sequence[int]], pattern: str) -> int:
    number = 0
    while pattern.replace("#", str(number)) in shapes:
        number += 1
    return number
