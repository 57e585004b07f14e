"""FlowInOne's three weight files: each is opened once, identified and validated, and then read.

    with open_network(path) as network:
        model = network.load(torch.bfloat16, "cuda")

Opening reads names, shapes and metadata, no weights. Tensors are read when they are asked for: memory-mapped as
stored, or cast one by one. Leaving the `with` block lets go of the file; what was read stays valid.
"""

import functools
import json
import os
import re
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..config import FlowInOneConfig
from ..model import PromptEncoder
from ..model.flowinone_model import FlowInOneModel, compare_tensors
from ..model.names import TRAINING_ONLY, native_name, upstream_name
from .eightbit import dequantised_map, eight_bit_layers, stored_map
from .identify import identify
from .mapping import TensorMap, autoencoder_map, network_map, vision_map
from .weightfile import CheckpointError, WeightFile, open_weights

# What shapes can't tell is in a safetensors file's metadata, under these keys. `flowinone convert` keeps them.
CONFIG = "flowinone.config"
"""Of a network: `FlowInOneConfig`'s fields as JSON. Without it the head counts are the released model's."""
VISION_HEADS = "flowinone.vision_heads"
"""Of a vision tower: its number of attention heads, if that is not Janus-Pro's 16."""
GROUPS = "flowinone.norm_groups"
"""Of a VAE: the number of groups in its GroupNorms, if that is not Stable Diffusion's 32."""
PREVIEW = "flowinone.preview"
"""Of a network whose latents are not those of Stable Diffusion's VAE: how ComfyUI previews them, as JSON `factors` and
`bias`; see `Preview`."""

Preview = tuple[list[list[float]], list[float]]
"""Factors [4, 3] and bias [3] from scaled latents to RGB in -1..1."""


def open_network(
    path: str | os.PathLike, build: Callable[[FlowInOneConfig], FlowInOneModel] = FlowInOneModel.without_memory
) -> "NetworkFile":
    """Open a FlowInOne network; see `NetworkFile`. Raises CheckpointError if the file is not exactly that."""
    return NetworkFile(open_weights(path), build)


def open_vision(path: str | os.PathLike) -> "VisionFile":
    """Open any Janus-Pro file for its vision tower and aligner. Raises CheckpointError for any other file."""
    return VisionFile(open_weights(path))


def open_autoencoder(path: str | os.PathLike) -> "AutoencoderFile":
    """Open a Stable Diffusion VAE or a whole checkpoint for its VAE.

    Raises CheckpointError for other autoencoders. SDXL's VAE alone has the same names and shapes as Stable Diffusion
    1.x's and cannot be told apart; an SDXL checkpoint can.
    """
    return AutoencoderFile(open_weights(path))


_AnyFile = TypeVar("_AnyFile", bound="_ModelFile")


class _ModelFile:
    """A validated weight file; subclasses say of which part, and validate."""

    part: str
    mapping: TensorMap
    """Where each of the part's tensors comes from."""

    def __init__(self, file: WeightFile):
        self.file = file
        self.identity = identify(file)
        if self.identity.part != self.part:
            raise CheckpointError(
                f"{file.path} is {self.identity.what} (found {self.identity.found}); {_expected(self.part)}"
            )

    def __enter__(self: _AnyFile) -> _AnyFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()

    def tensors(self, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """The part's tensors by this package's names.

        With `dtype` floating-point tensors are cast one by one. Without it, on the CPU, they stay memory-mapped.
        """
        return read_tensors(self.file, self.mapping, dtype, device)


class NetworkFile(_ModelFile):
    """FlowInOne's network in a file: its `config`, its ComfyUI `preview`, and the tensors that inference reads.

    The file was validated against `model`, which is still on the meta device; `load` gives that same model the file's
    tensors. `build` makes it, and can choose a subclass of `FlowInOneModel`.
    """

    part = "network"

    def __init__(
        self, file: WeightFile, build: Callable[[FlowInOneConfig], FlowInOneModel] = FlowInOneModel.without_memory
    ):
        super().__init__(file)
        foreign = [name for name in file if native_name(name) is None and not name.startswith(TRAINING_ONLY)]
        if foreign:
            raise _foreign(file, foreign)
        self.mapping = network_map(file)
        self.eight_bit_layers = eight_bit_layers(file)
        shapes = meta_tensors(file, self.dequantised(torch.float32))
        heads = _head_counts(file)
        try:
            self.config = FlowInOneConfig.from_shapes({name: tensor.shape for name, tensor in shapes.items()}, **heads)
        except (ValueError, IndexError) as error:
            raise CheckpointError(f"{file.path} cannot be used: {error}") from error
        self.model = build(self.config)
        self._check(compare_tensors(self.model, shapes))

    def _check(self, differences: dict[str, list[str]]) -> None:
        # The message names tensors as the user's own file does.
        upstream = any(upstream_name(name) == name for name in self.file)
        missing, unexpected, misshapen = (
            [(upstream_name(name) or name) if upstream else name for name in differences[kind]]
            for kind in ("missing", "unexpected", "misshapen")
        )
        if missing:
            raise CheckpointError(f"{self.file.path} lacks {_listed(missing)}; download it again")
        if unexpected:
            raise _foreign(self.file, unexpected)
        if misshapen:
            raise CheckpointError(
                f"{self.file.path} has {_listed(misshapen)}, whose shapes do not fit the rest of the network; "
                "download it again"
            )

    def dequantised(self, dtype: torch.dtype | None) -> TensorMap:
        """`mapping` with 8-bit matrices in `dtype`, or for None in the dtype of the file's other weights."""
        return dequantised_map(self.mapping, self.file, self.eight_bit_layers, dtype)

    def tensors(self, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """The network's tensors by this package's names, as `load` gives them to `model`."""
        return read_tensors(self.file, self.dequantised(dtype), dtype, device)

    def stored_tensors(self, part: str) -> dict[str, Tensor]:
        """The tensors of a submodule of `model` by their names in it, memory-mapped as they are stored.

        8-bit matrices are as ComfyUI loads them, each with its `weight_scale` and `comfy_quant`.
        """
        mapping = _of_part(stored_map(self.mapping, self.eight_bit_layers), part)
        return _names_in(part, read_tensors(self.file, mapping, None, "cpu"))

    def load(self, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> FlowInOneModel:
        """`model` with the file's tensors, in evaluation mode and without gradients.

        With `dtype` floating-point tensors are cast one by one. Without it, on the CPU, they stay memory-mapped.
        8-bit matrices are dequantised to `dtype`, or to the dtype of the file's other weights. Raises CheckpointError
        for unscaled float8 weights where no `dtype` is given, since torch cannot compute with them.
        """
        self._fill(self.model, self.tensors(dtype, device))
        return self.model

    def load_prompt_encoder(self, dtype: torch.dtype | None = None) -> PromptEncoder:
        """`model.prompt_encoder` alone, as `load` gives it; no other tensor is read."""
        mapping = _of_part(self.dequantised(dtype), "prompt_encoder")
        tensors = _names_in("prompt_encoder", read_tensors(self.file, mapping, dtype, "cpu"))
        self._fill(self.model.prompt_encoder, tensors)
        return self.model.prompt_encoder

    def _fill(self, module: nn.Module, tensors: dict[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and tensor.element_size() < 2:
                raise CheckpointError(
                    f"{self.file.path} stores {name} as {tensor.dtype}, which torch cannot compute with; "
                    "load it with dtype=torch.bfloat16"
                )
        module.load_state_dict(tensors, assign=True)
        module.eval().requires_grad_(False)

    def training_tensors(self) -> dict[str, Tensor]:
        """The tensors that inference does not read, under the public checkpoint's names; none in a converted file."""
        return {name: self.file[name] for name in self.file if name.startswith(TRAINING_ONLY)}

    @functools.cached_property
    def preview(self) -> Preview | None:
        """How ComfyUI previews the network's latents; None if the file does not say.

        Raises CheckpointError for metadata that are not numbers of the right shape.
        """
        stored = self.file.metadata.get(PREVIEW)
        if stored is None:
            return None
        try:
            preview = json.loads(stored)
            factors, bias = [list(map(float, row)) for row in preview["factors"]], list(map(float, preview["bias"]))
        except (ValueError, KeyError, TypeError):
            raise _unreadable(self.file, PREVIEW) from None
        if [len(row) for row in (*factors, bias)] != [3] * 5:
            raise _unreadable(self.file, PREVIEW)
        return factors, bias


class VisionFile(_ModelFile):
    """Janus-Pro's vision tower and aligner in a file, under transformers' names.

    `settings` are what `VisionEncoder.from_state_dict` needs besides the tensors.
    """

    part = "vision"

    def __init__(self, file: WeightFile):
        super().__init__(file)
        self.mapping = vision_map(file)
        layer = "vision_model.encoder.layers"
        needed = [
            "vision_model.embeddings.patch_embedding.weight",
            "vision_model.embeddings.position_embedding.weight",
            "vision_model.post_layernorm.weight",
            f"{layer}.0.mlp.fc1.weight",
            "aligner.fc1.weight",
            "aligner.hidden_layers.0.weight",
        ]
        # All layers have the same tensors.
        in_layers = [name.split(".", 4)[3:] for name in self.mapping if name.startswith(f"{layer}.")]
        count = 1 + max((int(number) for number, _ in in_layers), default=-1)
        leaves = sorted({leaf for _, leaf in in_layers})
        needed += [f"{layer}.{number}.{leaf}" for number in range(count) for leaf in leaves]
        missing = [name for name in dict.fromkeys(needed) if name not in self.mapping]
        if missing:
            raise CheckpointError(f"{file.path} lacks {_listed(missing)} (transformers' names); {_expected(self.part)}")
        width = file.shape(self.mapping[needed[0]].names[0])[0]
        self.settings = _divisor(file, VISION_HEADS, "num_attention_heads", [width])


class AutoencoderFile(_ModelFile):
    """A Stable Diffusion VAE in a file, in ldm's or diffusers' layout.

    `settings` are what `autoencoder_from_state_dict` needs besides the tensors.
    """

    part = "autoencoder"

    def __init__(self, file: WeightFile):
        super().__init__(file)
        self.mapping = autoencoder_map(file)
        if not self.mapping:
            raise CheckpointError(
                f"{file.path} is {self.identity.what} (found {self.identity.found}) without its VAE; "
                f"{_expected(self.part)}"
            )
        latent_input = self.mapping.get("decoder.conv_in.weight")
        channels = file.shape(latent_input.names[0])[1] if latent_input else 4
        if channels != 4:
            family = " (as in Flux and Stable Diffusion 3)" if channels == 16 else ""
            raise CheckpointError(
                f"{file.path} is a VAE with {channels} latent channels{family}; expected Stable Diffusion 1.x's with 4"
            )
        convolutions = [f"{half}.conv_{end}" for half in ("encoder", "decoder") for end in ("in", "out")]
        needed = [f"{module}.weight" for module in (*convolutions, "quant_conv", "post_quant_conv")]
        missing = [name for name in needed if name not in self.mapping]
        if missing:
            raise CheckpointError(f"{file.path} lacks {_listed(missing)}; {_expected(self.part)}")
        halvings = sum(bool(re.search(r"^encoder\.down.*\.downsample.*\.weight$", name)) for name in self.mapping)
        if halvings != 3:
            raise CheckpointError(
                f"{file.path} is a VAE of {2**halvings} pixels per latent; expected Stable Diffusion 1.x's with 8"
            )
        norms = [source for name, source in self.mapping.items() if re.search(r"norm\w*\.weight$", name)]
        widths = [file.shape(source.names[0])[0] for source in norms]
        self.settings = _divisor(file, GROUPS, "norm_num_groups", widths)


def cast(tensor: Tensor, dtype: torch.dtype | None, device: torch.device | str = "cpu") -> Tensor:
    """The tensor on `device`, in `dtype` if one is given and the tensor is floating-point."""
    return tensor.to(device, dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype)


def read_tensors(
    file: WeightFile, mapping: TensorMap, dtype: torch.dtype | None, device: torch.device | str
) -> dict[str, Tensor]:
    """What the mapping builds from the file, cast and moved one by one."""
    return {
        name: cast(source.build(*(file[stored] for stored in source.names)), dtype, device)
        for name, source in mapping.items()
    }


def meta_tensors(file: WeightFile, mapping: TensorMap) -> dict[str, Tensor]:
    """What the mapping builds from the file as meta tensors: shapes and dtypes; nothing is read."""
    return {
        name: source.build(*(torch.empty(file.shape(n), dtype=file.dtype(n), device="meta") for n in source.names))
        for name, source in mapping.items()
    }


def _of_part(mapping: TensorMap, part: str) -> TensorMap:
    return {name: source for name, source in mapping.items() if name.startswith(f"{part}.")}


def _names_in(part: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}."): tensor for name, tensor in tensors.items()}


_EXPECTED = {
    "network": "the FlowInOne keys stages.* (upstream) or velocity_network.* (converted)",
    "vision": "Janus-Pro's keys vision_model.* and aligner.*",
    "autoencoder": "a Stable Diffusion 1.x VAE's keys encoder.* and decoder.*, or a checkpoint's first_stage_model.*",
}


def _expected(part: str) -> str:
    return f"expected {_EXPECTED[part]}"


def _foreign(file: WeightFile, names: list[str]) -> CheckpointError:
    return CheckpointError(f"{file.path} has {_listed(names)}, not part of FlowInOne; {_expected('network')}")


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


def _divisor(file: WeightFile, key: str, setting: str, widths: list[int]) -> dict[str, int]:
    """The setting, if the metadata have it under `key`: a number that divides each of the layer widths."""
    stored = file.metadata.get(key)
    if stored is None:
        return {}
    if not re.fullmatch("[1-9][0-9]*", stored):
        raise _unreadable(file, key)
    uneven = [width for width in widths if width % int(stored)]
    if uneven:
        raise CheckpointError(f"{file.path} cannot be used: {key}={stored} does not divide a layer's width {uneven[0]}")
    return {setting: int(stored)}


def _unreadable(file: WeightFile, key: str) -> CheckpointError:
    return CheckpointError(f"{file.path} has unreadable {key} metadata; convert it again")
