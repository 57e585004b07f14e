"""Attention inside ComfyUI: core's attention functions, and the attention patches that nodes put on a MODEL."""

import comfy.ldm.modules.attention as core
import torch
from torch import Tensor

PATCHES = ("patches", "patches_replace")


def optimized_attention(query: Tensor, key: Tensor, value: Tensor, heads: int, transformer_options: dict) -> Tensor:
    """Core's attention for this machine, which honours `optimized_attention_override`: [B, N, D] x [B, M, D] -> [B, N,
    D].
    """
    attention = core.optimized_attention
    if attention is core.attention_sub_quad and query.device.type == "cpu":
        # Core's choice for CPUs saves memory on large pictures. On 257 tokens PyTorch's own is 1.7 times as fast.
        attention = core.attention_pytorch
    return attention(query, key, value, heads, transformer_options=transformer_options)


class PatchableAttention:
    """One attention layer of the coarse stage, with the patches that nodes set for it on a MODEL.

    Nodes address layers as in Stable Diffusion's U-Net: `name` is attn1 for self-attention and attn2 for the dual
    path's cross-attention; `block` is ("input", i), ("middle", 0) or ("output", i). Patches are called as there, with
    tensors [B, N, D] and a dictionary of options. They are given the image's tokens alone, row by row, since most of
    them rearrange these as a picture; the indicator token in front of them is put back by its exact share of the
    attention.
    """

    def __init__(self, name: str, block: tuple[str, int], number: int, total_blocks: int, grid: int):
        self.name, self.block = name, block
        self.place = {"block": block, "block_index": number, "total_blocks": total_blocks}
        self.grid = grid

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, heads: int, transformer_options: dict | None = None
    ) -> Tensor:
        """Query [B, 1 + N, D], key and value [B, 1 + M, D], each with the indicator token first -> [B, 1 + N, D]."""
        transformer_options = transformer_options or {}
        patches = transformer_options.get("patches", {})
        before = patches.get(f"{self.name}_patch", ())
        after = patches.get(f"{self.name}_output_patch", ())
        replacement = self.replacement(transformer_options)
        options = transformer_options | self.place
        if not (before or after or replacement):
            return optimized_attention(query, key, value, heads, options)

        batch, _, width = query.shape
        extra_options = {name: given for name, given in options.items() if name not in PATCHES} | {
            "n_heads": heads,
            "dim_head": width // heads,
            "attn_precision": None,
            # A U-Net's is its latent's shape: that of the finest grid of tokens.
            "original_shape": [batch, width, self.grid, self.grid],
        }
        indicator = optimized_attention(query[:, :1], key, value, heads, options)
        indicator_key, indicator_value = key[:, :1], value[:, :1]
        query, key, value = query[:, 1:], key[:, 1:], value[:, 1:]
        for patch in before:
            query, key, value = patch(query, key, value, extra_options)
        if query.shape[0] != batch:
            # HyperTile makes a batch of its tiles, and leaves it to the attention to cut keys and values likewise.
            tiles = query.shape[0] // batch
            key, value = (part.reshape(query.shape[0], -1, width) for part in (key, value))
            indicator_key, indicator_value = (
                part.repeat_interleave(tiles, dim=0) for part in (indicator_key, indicator_value)
            )
        share = _share(query, key, indicator_key, heads)
        if replacement is not None:
            image = replacement(query, key, value, extra_options)
        else:
            image = optimized_attention(query, key, value, heads, options)
        image = image + (share * (indicator_value - image).unflatten(-1, (heads, -1))).flatten(-2)
        for patch in after:
            image = patch(image, extra_options)
        return torch.cat([indicator, image], dim=1)

    def replacement(self, transformer_options: dict):
        """What a node puts in the place of this layer's attention, or None."""
        replacements = transformer_options.get("patches_replace", {}).get(self.name, {})
        # The third number counts the transformers in a U-Net's block, of which there is one here.
        return replacements.get((*self.block, 0), replacements.get(self.block))


def _share(query: Tensor, key: Tensor, indicator_key: Tensor, heads: int) -> Tensor:
    """The part of each query's attention that the indicator token takes: [B, N, heads, 1], from [B, N, D], [B, M, D],
    [B, 1, D].
    """
    query, key, indicator_key = (
        part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key, indicator_key)
    )
    scaled = query * query.shape[-1] ** -0.5
    others = (scaled @ key.transpose(-1, -2)).float().logsumexp(dim=-1, keepdim=True)
    indicator = (scaled @ indicator_key.transpose(-1, -2)).float()
    return torch.sigmoid(indicator - others).transpose(1, 2).to(query.dtype)
