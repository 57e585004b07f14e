"""8-bit weights: the network's large matrices in ComfyUI's quantised checkpoint format, and in torchao's tensors.

In such a file a layer's `weight` is float8 or int8, its `weight_scale` in float32 what that is to be multiplied with (one number
for float8, [rows, 1] for int8), and its `comfy_quant` JSON in bytes that names the format (ComfyUI: `QUANTIZATION.md`, `comfy/ops.py`).
"""

import json

import torch
from torch import Tensor, nn

from ..model.names import native_name
from .layouts import Recipe, Source
from .weightfile import CheckpointError, WeightFile

KINDS = ("int8", "float8")
"""What `quantise_modules` makes."""
NEEDS_TORCHAO = "8-bit weights need torchao; install it: pip install flowinone[eightbit]"

FORMATS = {torch.float8_e4m3fn: "float8_e4m3fn", torch.int8: "int8_tensorwise"}
"""ComfyUI's names of what is read and written here, by the dtype that the matrices are stored in."""

_WRITTEN = {
    # ComfyUI would round the inputs of float8 products, too, without a scale; that doubles the error.
    torch.float8_e4m3fn: {"format": "float8_e4m3fn", "full_precision_matrix_mult": True},
    torch.int8: {"format": "int8_tensorwise"},
}

_NETWORK = "velocity_network."
_EXTRAS = ("weight_scale", "comfy_quant")
# ComfyUI's header entry in place of the comfy_quant tensors.
_METADATA = "_quantization_metadata"
_AT_ONCE = 2**24


def takes_8_bits(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor, by this package's name, is stored in 8 bits: the velocity network's matrices, 99.7% of it.

    What follows time, positions and convolutions are small, and the prompt encoder decides where the flow starts. Sides are
    multiples of 16 for the sake of the devices' 8-bit products.
    """
    return (
        name.startswith(_NETWORK)
        and name.endswith(".weight")
        and len(shape) == 2
        and not any(side % 16 for side in shape)
    )


def scale_of(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """What a matrix [R, C] is to be divided by to fit the dtype: one float32 number for float8, [R, 1] for int8."""
    if matrix.is_meta:  # the shape is all that is asked for
        return matrix.new_empty((len(matrix), 1) if dtype == torch.int8 else (), dtype=torch.float32)
    if dtype == torch.int8:
        low, high = torch.aminmax(matrix, dim=1, keepdim=True)
        return torch.maximum(-low, high).float().clamp(min=1e-30) / 127
    low, high = torch.aminmax(matrix)
    ratio = torch.maximum(-low, high).float().clamp(min=1e-30) / torch.finfo(dtype).max
    # A power of two loses nothing, whichever dtype a device multiplies in.
    return torch.exp2(torch.ceil(torch.log2(ratio)))


def quantised(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """A matrix [R, C] divided by its `scale_of`, in that 8-bit dtype."""
    return scaled(matrix, scale_of(matrix, dtype).reciprocal(), dtype)


def scaled(matrix: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
    """A matrix [R, C] times a factor, one number or [R, 1], in `dtype`; rounded to the nearest."""
    result = torch.empty(matrix.shape, dtype=dtype, device=matrix.device)
    if matrix.is_meta:
        return result
    # Some rows at a time, as the float32 of the largest matrix would be half a gigabyte.
    count = max(1, _AT_ONCE // matrix.shape[1])
    for target, rows, factors in zip(*(part.split(count) for part in (result, matrix, factor.expand(len(matrix), 1)))):
        product = rows.float() * factors
        target.copy_(product if dtype.is_floating_point else product.round())
    return result


def eight_bit_recipe(recipe: Recipe, tensors: dict[str, Tensor], dtype: torch.dtype) -> Recipe:
    """What `recipe` makes of a network (`tensors`: its outline), with large matrices in ComfyUI's 8-bit format and the rest in bfloat16."""
    changed = {}
    for name, source in recipe.items():
        if not takes_8_bits(name, tensors[name].shape):
            changed[name] = _then(source, lambda tensor: tensor.to(torch.bfloat16))
            continue
        layer = name.removesuffix(".weight")
        changed[name] = _then(source, lambda matrix: quantised(matrix, dtype))
        changed[f"{layer}.weight_scale"] = _then(source, lambda matrix: scale_of(matrix, dtype))
        changed[f"{layer}.comfy_quant"] = _settings_source(_WRITTEN[dtype])
    return changed


def eight_bit_layers(file: WeightFile) -> dict[str, dict]:
    """A network file's 8-bit layers, by their stored names, and ComfyUI's settings of each; none for other files.

    Raises CheckpointError for formats that are not read here, and for layers that are not whole.
    """
    layers = _listed_layers(file)
    for name in file:
        if name.endswith(".comfy_quant"):
            layers[name.removesuffix(".comfy_quant")] = _parsed(
                file, name, lambda name=name: bytes(file[name].tolist())
            )
    for layer, settings in layers.items():
        _check_layer(file, layer, settings)
    return layers


def dequantising(recipe: Recipe, file: WeightFile, layers: dict[str, dict], dtype: torch.dtype | None) -> Recipe:
    """The recipe for the file with its 8-bit layers in `dtype`, or in that of its other weights."""
    if not layers:
        return recipe
    if dtype is None:
        eight_bit = {f"{layer}.{leaf}" for layer in layers for leaf in ("weight", *_EXTRAS)}
        dtype = next(file.dtype(name) for name in file if name not in eight_bit and file.dtype(name).is_floating_point)

    def source(stored: str, plain: Source) -> Source:
        layer = stored.removesuffix(".weight")
        if layer not in layers:
            return plain
        return Source((stored, f"{layer}.weight_scale"), lambda matrix, scale: scaled(matrix, scale, dtype))

    return {
        name: source(plain.names[0], plain) for name, plain in recipe.items() if not _is_extra(plain.names[0], layers)
    }


def keeping(recipe: Recipe, layers: dict[str, dict]) -> Recipe:
    """The recipe for the file with its 8-bit layers as ComfyUI loads them, with their settings as tensors."""
    kept = {}
    for name, source in recipe.items():
        layer = source.names[0].removesuffix(".weight")
        if layer in layers:
            kept[name.removesuffix(".weight") + ".comfy_quant"] = _settings_source(layers[layer])
        if not source.names[0].endswith(".comfy_quant"):
            kept[name] = source
    return kept


@torch.no_grad()
def quantise_modules(network: nn.Module, kind: str) -> int:
    """Replace a velocity network's large matrices by torchao's 8-bit tensors, "int8" or "float8"; how many.

    Not the one between the stages: torchao makes a matrix whole again to multiply with it, and of that one, ten times as large as
    any other, 8 bits save less than this takes. They are multiplied in the dtype of their inputs. Raises ValueError for another kind and a network that has such already,
    ImportError without torchao.
    """
    if kind not in KINDS:
        raise ValueError(f"8-bit weights are {' or '.join(KINDS)}, not {kind!r}")
    if is_quantised(network):
        raise ValueError("the network's weights are in 8 bits already; load it anew for another kind")
    try:
        from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise ImportError(NEEDS_TORCHAO) from error
    chosen = {
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
        and takes_8_bits(f"{_NETWORK}{name}.weight", module.weight.shape)
        and module is not network.fine.upsample.projection
    }
    settings = Int8WeightOnlyConfig() if kind == "int8" else Float8WeightOnlyConfig()
    quantize_(network, settings, filter_fn=lambda module, name: name in chosen)
    return len(chosen)


def is_quantised(network: nn.Module) -> bool:
    """Whether `quantise_modules` has been here."""
    return any(type(parameter).__module__.startswith("torchao.") for parameter in network.parameters())


def _then(source: Source, step) -> Source:
    return Source(source.names, lambda *tensors: step(source.build(*tensors)))


def _settings_source(settings: dict) -> Source:
    return Source((), lambda: torch.tensor(list(json.dumps(settings).encode()), dtype=torch.uint8))


def _is_extra(stored: str, layers: dict[str, dict]) -> bool:
    layer, _, leaf = stored.rpartition(".")
    return leaf in _EXTRAS and layer in layers


def _listed_layers(file: WeightFile) -> dict[str, dict]:
    """The layers that the file's header lists, as ComfyUI's older quantised files have it."""
    if _METADATA not in file.metadata:
        return {}
    listed = _parsed(file, _METADATA, lambda: file.metadata[_METADATA]).get("layers")
    if not isinstance(listed, dict) or not all(isinstance(settings, dict) for settings in listed.values()):
        raise _unreadable(file, _METADATA)
    return {layer.removeprefix(file.prefix): settings for layer, settings in listed.items()}


def _parsed(file: WeightFile, name: str, content) -> dict:
    try:
        parsed = json.loads(content())
    except (ValueError, TypeError):
        parsed = None
    if not isinstance(parsed, dict):
        raise _unreadable(file, name)
    return parsed


def _unreadable(file: WeightFile, name: str) -> CheckpointError:
    return CheckpointError(f"{file.path} has an unreadable {name}; convert the published weights again")


def _check_layer(file: WeightFile, layer: str, settings: dict) -> None:
    stored = settings.get("format")
    described = f"{stored} with convrot" if '"convrot": true' in json.dumps(settings) else stored
    if described not in FORMATS.values():
        raise CheckpointError(
            f"{file.path} has weights quantised as {described} (found {layer}), which is not supported; expected one of "
            f"{', '.join(FORMATS.values())}, as `flowinone convert --dtype fp8` and `--dtype int8` write them"
        )
    weight, scale = f"{layer}.weight", f"{layer}.weight_scale"
    if not (native_name(weight) or "").startswith(_NETWORK):
        raise CheckpointError(
            f"{file.path} has 8-bit weights in {layer}; expected them in the velocity network alone, convert it again"
        )
    for name in (weight, scale):
        if name not in file:
            raise CheckpointError(f"{file.path} is quantised and lacks {name}; convert the published weights again")
    dtype = next(dtype for dtype, name in FORMATS.items() if name == stored)
    shape, scales = file.shape(weight), file.shape(scale)
    fitting = [()] if dtype != torch.int8 else [(), (shape[0], 1)]
    if (
        file.dtype(weight) != dtype
        or len(shape) != 2
        or scales not in [*fitting, (1,)]
        or not file.dtype(scale).is_floating_point
    ):
        raise CheckpointError(
            f"{file.path} says that {layer} is {stored}, and holds {file.dtype(weight)} {shape} with scales {scales}; "
            "convert the published weights again"
        )
