"""Loading FlowInOne's three parts from weights files: what a file is, whether it is whole, and its tensors."""

import dataclasses
import json
import os
import re

import torch
from torch import Tensor

from ..config import FlowInOneConfig
from ..model.flowinone_model import FlowInOneModel, compare_tensors
from ..model.names import TRAINING_ONLY, native_name, upstream_name
from .eightbit import dequantising, eight_bit_layers, keeping
from .layouts import Recipe, autoencoder_recipe, network_recipe, vision_recipe
from .weightfile import CheckpointError, WeightFile, open_weights

# What shapes do not tell is in a safetensors file's metadata, under these keys; `flowinone convert` keeps them.
CONFIG = "flowinone.config"
"""Of a network: `FlowInOneConfig`'s fields as JSON. Without it the head counts are the released ones."""
VISION_HEADS = "flowinone.vision_heads"
"""Of a vision tower: how many heads its attention has, where they are not Janus-Pro's 16."""
GROUPS = "flowinone.norm_groups"
"""Of a VAE: how many groups of channels its norms take, where they are not Stable Diffusion's 32."""
PREVIEW = "flowinone.preview"
"""Of a network whose latents are not of Stable Diffusion's VAE: how ComfyUI previews them, as JSON; see `load_preview`."""


def load_network(
    path: str | os.PathLike, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> tuple[dict[str, Tensor], FlowInOneConfig]:
    """FlowInOne's network under this package's names, and its configuration; training-only tensors are not read.

    Head counts come from the file's metadata, as they do for the two other parts: all loaders give the tensors and what they lack.
    With `dtype` floating-point tensors are cast one by one. Without, on the CPU, the result stays memory-mapped.
    8-bit matrices come out in `dtype`, or in that of the file's other weights.
    Raises CheckpointError if the file is not exactly such a network.
    """
    file = open_weights(path)
    recipe, config = checked_network(file, dtype)
    return _read(file, recipe, dtype, device), config


def load_stored_network(path: str | os.PathLike) -> tuple[dict[str, Tensor], FlowInOneConfig]:
    """`load_network` with all tensors as they are stored: 8-bit matrices as ComfyUI loads them, each with `weight_scale` and `comfy_quant`."""
    file = open_weights(path)
    _, config = checked_network(file)
    return _read(file, keeping(network_recipe(file), eight_bit_layers(file)), None, "cpu"), config


def load_vision(
    path: str | os.PathLike, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Janus-Pro's vision tower and aligner under transformers' names, out of any Janus-Pro file; see `load_network`.

    With them the settings for `VisionEncoder.from_state_dict`.
    """
    file = open_weights(path)
    recipe, settings = checked_vision(file)
    return _read(file, recipe, dtype, device), settings


def load_autoencoder(
    path: str | os.PathLike, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """A Stable Diffusion VAE under its own (ldm's or diffusers') names, out of a VAE file or a whole checkpoint.

    With its tensors the settings for `autoencoder_from_state_dict`.
    Raises CheckpointError for other autoencoders, an SDXL checkpoint's among them, which has the same tensors but other
    latents. See `load_network`.
    """
    file = open_weights(path)
    recipe, settings = checked_autoencoder(file)
    return _read(file, recipe, dtype, device), settings


def load_preview(path: str | os.PathLike) -> tuple[list[list[float]], list[float]] | None:
    """Factors [4, 3] and bias [3] that take a network's scaled latents to colours in -1..1; None if its file has none.

    Raises CheckpointError for metadata that are no such numbers.
    """
    file = open_weights(path)
    stored = file.metadata.get(PREVIEW)
    if stored is None:
        return None
    try:
        preview = json.loads(stored)
        factors, bias = [list(map(float, row)) for row in preview["factors"]], list(map(float, preview["bias"]))
    except (ValueError, KeyError, TypeError):
        raise _unreadable(file, PREVIEW) from None
    if [len(row) for row in (*factors, bias)] != [3] * 5:
        raise _unreadable(file, PREVIEW)
    return factors, bias


def cast(tensor: Tensor, dtype: torch.dtype | None, device: torch.device | str = "cpu") -> Tensor:
    """The tensor on `device`; in `dtype` if one is given and the tensor is floating-point."""
    return tensor.to(device, dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype)


def outline(file: WeightFile, recipe: Recipe) -> dict[str, Tensor]:
    """What the recipe makes of the file, as meta tensors: shapes and dtypes, nothing read."""
    return {
        name: source.build(*(torch.empty(file.shape(n), dtype=file.dtype(n), device="meta") for n in source.names))
        for name, source in recipe.items()
    }


def _read(file: WeightFile, recipe: Recipe, dtype: torch.dtype | None, device: torch.device | str) -> dict[str, Tensor]:
    return {
        name: cast(source.build(*(file[stored] for stored in source.names)), dtype, device)
        for name, source in recipe.items()
    }


@dataclasses.dataclass(frozen=True)
class Recognised:
    """What a weights file is, the part of FlowInOne it can serve as (None for none), and the keys that gave it away."""

    what: str
    part: str | None
    found: str


_EXPECTED = {
    "network": "the FlowInOne keys stages.* (upstream) or velocity_network.* (converted)",
    "vision": "Janus-Pro's keys vision_model.* and aligner.*",
    "autoencoder": "a Stable Diffusion 1.x VAE's keys encoder.* and decoder.*, or a checkpoint's first_stage_model.*",
}

# What it is, which part it serves as, and how a key of such files begins; the first row that fits any key decides.
_KINDS = (
    ("a LoRA", None, r"(.*[._])?lora_(up|down|A|B)\."),
    ("a FlowInOne network", "network", r"(stages|context_encoder|velocity_network|prompt_encoder)\."),
    ("a Janus-Pro vision encoder", "vision", r"vision_model\.vision_tower\.|(model\.)?aligner\.(layers|fc1)\."),
    ("an SDXL checkpoint", None, r"conditioner\.embedders\."),
    ("a Flux checkpoint", None, r"((model\.)?diffusion_model\.)?double_blocks\."),
    ("a Stable Diffusion 3 checkpoint", None, r"((model\.)?diffusion_model\.)?joint_blocks\."),
    ("a Stable Diffusion checkpoint", "autoencoder", r"((model\.)?diffusion_model\.)?input_blocks\."),
    ("a diffusion model's checkpoint", None, r"(model\.)?diffusion_model\."),
    ("a TAESD preview autoencoder", None, r"taesd_(en|de)coder\.|((en|de)coder\.layers\.)?\d+\.(?=conv\.\d|weight)"),
    ("a VAE", "autoencoder", r"(first_stage_model\.|vae\.)?(encoder|decoder)\.conv_(in|out)\."),
    ("a CLIP or SigLIP vision model", None, r"(vision_model|visual)\."),
    ("a diffusers UNet", None, r"(down|up)_blocks\."),
    ("a text encoder", None, r"text_model\.|(encoder|shared)\.(block|weight)"),
    ("a language model", None, r"((language_)?model\.)*(layers\.\d|embed_tokens)"),
)


def recognise(file: WeightFile) -> Recognised:
    """What the file's keys say it is; files of no known kind are recognised as such."""
    for what, part, keys in _KINDS:
        pattern = re.compile(keys)
        for name in file:
            if match := pattern.match(name):
                return Recognised(what, part, f"{file.prefix}{match[0]}*")
    names = [file.prefix + name for name in file]
    return Recognised("no weights known here", None, ", ".join(names[:3]) + (" …" if len(names) > 3 else ""))


def checked_network(file: WeightFile, dtype: torch.dtype | None = None) -> tuple[Recipe, FlowInOneConfig]:
    """The recipe for a FlowInOne network, and its configuration; CheckpointError unless the file is exactly such.

    8-bit matrices come out in `dtype`, or in that of the file's other weights.
    """
    _expect(file, "network")
    foreign = [name for name in file if native_name(name) is None and not name.startswith(TRAINING_ONLY)]
    if foreign:
        raise _foreign(file, foreign)
    recipe = dequantising(network_recipe(file), file, eight_bit_layers(file), dtype)
    tensors, heads = outline(file, recipe), _head_counts(file)
    try:
        config = FlowInOneConfig.from_shapes({name: tensor.shape for name, tensor in tensors.items()}, **heads)
    except (ValueError, IndexError) as error:
        raise CheckpointError(f"{file.path} cannot be used: {error}") from error
    differences = compare_tensors(FlowInOneModel(config, device="meta"), tensors)
    # A complaint names tensors as the user's own file does.
    upstream = any(upstream_name(name) == name for name in file)
    missing, unexpected, misshapen = (
        [upstream_name(name) if upstream else name for name in differences[kind]]
        for kind in ("missing", "unexpected", "misshapen")
    )
    if missing:
        raise CheckpointError(f"{file.path} lacks {_listed(missing)}; download it again")
    if unexpected:
        raise _foreign(file, unexpected)
    if misshapen:
        raise CheckpointError(f"{file.path} holds {_listed(misshapen)}, in shapes that do not fit the other tensors'")
    return recipe, config


def checked_vision(file: WeightFile) -> tuple[Recipe, dict[str, int]]:
    """The recipe for Janus-Pro's vision tower and aligner, and settings; CheckpointError if it is another file or lacks tensors."""
    _expect(file, "vision")
    recipe = vision_recipe(file)
    layer = "vision_model.encoder.layers"
    whole = [
        "vision_model.embeddings.patch_embedding.weight",
        "vision_model.embeddings.position_embedding.weight",
        "vision_model.post_layernorm.weight",
        f"{layer}.0.mlp.fc1.weight",
        "aligner.fc1.weight",
        "aligner.hidden_layers.0.weight",
    ]
    # Layers are alike: what one of them has, all have.
    in_layers = [name.split(".", 4)[3:] for name in recipe if name.startswith(f"{layer}.")]
    count = 1 + max((int(number) for number, _ in in_layers), default=-1)
    whole += [f"{layer}.{number}.{leaf}" for number in range(count) for leaf in sorted({leaf for _, leaf in in_layers})]
    missing = [name for name in dict.fromkeys(whole) if name not in recipe]
    if missing:
        raise CheckpointError(f"{file.path} lacks {_listed(missing)} (transformers' names); {_expected('vision')}")
    width = file.shape(recipe["vision_model.embeddings.patch_embedding.weight"].names[0])[0]
    return recipe, _count(file, VISION_HEADS, "num_attention_heads", [width])


def checked_autoencoder(file: WeightFile) -> tuple[Recipe, dict[str, int]]:
    """The recipe for a Stable Diffusion VAE, and settings; CheckpointError if the file has none, another one, or lacks its ends.

    SDXL's has the same names and shapes and cannot be told apart.
    """
    recognised = _expect(file, "autoencoder")
    recipe = autoencoder_recipe(file)
    if not recipe:
        raise CheckpointError(
            f"{file.path} is {recognised.what} (found {recognised.found}) without its VAE; {_expected('autoencoder')}"
        )
    latent_input = recipe.get("decoder.conv_in.weight")
    channels = file.shape(latent_input.names[0])[1] if latent_input else 4
    if channels != 4:
        family = " (Flux and Stable Diffusion 3 have such)" if channels == 16 else ""
        raise CheckpointError(
            f"{file.path} is a VAE with {channels} latent channels{family}; expected Stable Diffusion 1.x's with 4"
        )
    ends = [f"{half}.conv_{end}" for half in ("encoder", "decoder") for end in ("in", "out")]
    missing = [
        f"{module}.weight" for module in (*ends, "quant_conv", "post_quant_conv") if f"{module}.weight" not in recipe
    ]
    if missing:
        raise CheckpointError(f"{file.path} lacks {_listed(missing)}; {_expected('autoencoder')}")
    downsamplers = [name for name in recipe if re.search(r"^encoder\.down.*\.downsample.*\.weight$", name)]
    if len(downsamplers) != 3:
        raise CheckpointError(
            f"{file.path} is a VAE of {2 ** len(downsamplers)} pixels a latent; expected Stable Diffusion 1.x's with 8"
        )
    widths = [file.shape(source.names[0])[0] for name, source in recipe.items() if re.search(r"norm\w*\.weight$", name)]
    return recipe, _count(file, GROUPS, "norm_num_groups", widths)


def _expect(file: WeightFile, part: str) -> Recognised:
    recognised = recognise(file)
    if recognised.part != part:
        raise CheckpointError(f"{file.path} is {recognised.what} (found {recognised.found}); {_expected(part)}")
    return recognised


def _foreign(file: WeightFile, names: list[str]) -> CheckpointError:
    return CheckpointError(f"{file.path} holds {_listed(names)}, no part of FlowInOne; {_expected('network')}")


def _expected(part: str) -> str:
    return f"expected {_EXPECTED[part]}"


def _listed(names: list[str]) -> str:
    if len(names) == 1:
        return f"1 tensor, {names[0]}"
    return f"{len(names)} tensors, the first: {', '.join(names[:3])}"


def _head_counts(file: WeightFile) -> dict[str, int]:
    stored = file.metadata.get(CONFIG)
    if stored is None:
        return {}
    try:
        config = json.loads(stored)
        return {name: int(config[name]) for name in ("coarse_heads", "context_heads")}
    except (ValueError, KeyError, TypeError):
        raise _unreadable(file, CONFIG) from None


def _count(file: WeightFile, key: str, name: str, widths: list[int]) -> dict[str, int]:
    """The setting `name`, if the file's metadata have it under `key`: into how many parts layers of those widths are cut."""
    stored = file.metadata.get(key)
    if stored is None:
        return {}
    if not re.fullmatch("[1-9][0-9]*", stored):
        raise _unreadable(file, key)
    uneven = [width for width in widths if width % int(stored)]
    if uneven:
        raise CheckpointError(f"{file.path} cannot be used: {key}={stored} does not divide a layer's width {uneven[0]}")
    return {name: int(stored)}


def _unreadable(file: WeightFile, key: str) -> CheckpointError:
    return CheckpointError(f"{file.path} has unreadable {key} metadata; convert it again")
