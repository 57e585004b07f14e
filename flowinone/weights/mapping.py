"""How the tensors of each known layout become this package's, and back.

A tensor map says, for every tensor wanted, which stored tensors it is built from and how. It is made from names
alone, so that a file can be converted tensor by tensor, and shapes are known before anything is read (`build` works
on meta tensors too).
"""

import dataclasses
import re
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ..model.names import TRAINING_ONLY, native_name, upstream_name
from ..model.renaming import Renaming


def _same(tensor: Tensor) -> Tensor:
    return tensor


@dataclasses.dataclass(frozen=True)
class TensorSource:
    """The stored tensors that one tensor is built from, and the function that builds it."""

    names: tuple[str, ...]
    build: Callable[..., Tensor] = _same


TensorMap = dict[str, TensorSource]
"""Where each tensor, by its name in this package, comes from."""


def network_map(names: Iterable[str], to_upstream: bool = False) -> TensorMap:
    """FlowInOne's network under this package's names, or under the public checkpoint's. Other tensors are left out."""
    rename = upstream_name if to_upstream else native_name
    wanted = {name: rename(name) for name in names if not name.startswith(TRAINING_ONLY)}
    return {renamed: TensorSource((name,)) for name, renamed in wanted.items() if renamed is not None}


# DeepSeek's names, then transformers'. Fused queries, keys and values, the position table and the aligner's later
# layers need more than a new name; the functions below build them.
_JANUS = Renaming("""
vision_model.vision_tower.patch_embed.proj.*    vision_model.embeddings.patch_embedding.*
vision_model.vision_tower.blocks.#.norm1.*      vision_model.encoder.layers.#.layer_norm1.*
vision_model.vision_tower.blocks.#.attn.proj.*  vision_model.encoder.layers.#.self_attn.projection_layer.*
vision_model.vision_tower.blocks.#.norm2.*      vision_model.encoder.layers.#.layer_norm2.*
vision_model.vision_tower.blocks.#.mlp.*        vision_model.encoder.layers.#.mlp.*
vision_model.vision_tower.norm.*                vision_model.post_layernorm.*
aligner.layers.0.*                              aligner.fc1.*
""")
_POSITIONS = ("vision_model.vision_tower.pos_embed", "vision_model.embeddings.position_embedding.weight")
_FUSED = re.compile(r"vision_model\.vision_tower\.blocks\.(\d+)\.attn\.qkv\.(\w+)")
_SEPARATE = re.compile(r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(\w+)")
_JANUS_ALIGNER = re.compile(r"aligner\.layers\.(\d+)\.(\w+)")
_ALIGNER = re.compile(r"aligner\.hidden_layers\.(\d+)\.(\w+)")


def vision_map(names: Iterable[str]) -> TensorMap:
    """Janus-Pro's vision tower and aligner under transformers' names, from DeepSeek's layout or from transformers'.

    The language model, the generation head and the tower's pooling head are left out.
    """
    mapping = {}
    for name in names:
        plain = name.removeprefix("model.")
        if _JANUS.backward(plain) or _SEPARATE.fullmatch(plain) or _ALIGNER.fullmatch(plain) or plain == _POSITIONS[1]:
            mapping[plain] = TensorSource((name,))
        elif renamed := _JANUS.forward(name):
            mapping[renamed] = TensorSource((name,))
        elif name == _POSITIONS[0]:
            mapping[_POSITIONS[1]] = TensorSource((name,), lambda table: table.squeeze(0))
        elif match := _FUSED.fullmatch(name):
            for third, part in enumerate("qkv"):
                target = f"vision_model.encoder.layers.{match[1]}.self_attn.{part}_proj.{match[2]}"
                mapping[target] = TensorSource((name,), lambda fused, third=third: fused.chunk(3)[third])
        elif match := _JANUS_ALIGNER.fullmatch(name):
            # DeepSeek counts the activations between the linear layers, transformers does not.
            mapping[f"aligner.hidden_layers.{int(match[1]) // 2 - 1}.{match[2]}"] = TensorSource((name,))
    return mapping


def janus_map(names: Iterable[str]) -> TensorMap:
    """The inverse of `vision_map`: DeepSeek's layout of the vision tower and aligner, from transformers' names."""
    mapping: TensorMap = {}
    separate: dict[str, dict[str, str]] = {}
    for name in names:
        if renamed := _JANUS.backward(name):
            mapping[renamed] = TensorSource((name,))
        elif name == _POSITIONS[1]:
            mapping[_POSITIONS[0]] = TensorSource((name,), lambda table: table.unsqueeze(0))
        elif match := _SEPARATE.fullmatch(name):
            target = f"vision_model.vision_tower.blocks.{match[1]}.attn.qkv.{match[3]}"
            separate.setdefault(target, {})[match[2]] = name
        elif match := _ALIGNER.fullmatch(name):
            mapping[f"aligner.layers.{2 * int(match[1]) + 2}.{match[2]}"] = TensorSource((name,))
    for target, parts in separate.items():
        mapping[target] = TensorSource(tuple(parts[part] for part in "qkv"), lambda *thirds: torch.cat(thirds))
    return mapping


_AUTOENCODER = re.compile(r"(?:first_stage_model\.|vae\.)?((?:encoder|decoder|quant_conv|post_quant_conv)\..+)")
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def autoencoder_map(names: Iterable[str]) -> TensorMap:
    """A KL autoencoder's tensors in their own layout (ldm's or diffusers'), without a wrapping prefix.

    The names that diffusers gave attention layers until 2023 become today's.
    """
    mapping = {}
    for name in names:
        if match := _AUTOENCODER.fullmatch(name):
            plain = re.sub(
                r"(?<=\.attentions\.0\.)(query|key|value|proj_attn)(?=\.)", lambda m: _OLD_ATTENTION[m[1]], match[1]
            )
            mapping[plain] = TensorSource((name,))
    return mapping
