"""8-bit weights: the network's large matrices in ComfyUI's quantised checkpoint format, and as torchao tensors.

In such a file a layer's `weight` is float8 or int8, its `weight_scale` the float32 factor to multiply it with (one
number for float8, [rows, 1] for int8), and its `comfy_quant` the JSON text, as bytes, that names the format (ComfyUI:
`QUANTIZATION.md`, `comfy/ops.py`).
"""

import json
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ..model.names import native_name
from .mapping import TensorMap, TensorSource
from .weightfile import CheckpointError, WeightFile

KINDS = ("int8", "float8")
"""What `quantise_modules` can make of a loaded network."""
NEEDS_TORCHAO = "8-bit weights need torchao; install it: pip install flowinone[eightbit]"

FORMATS = {torch.float8_e4m3fn: "float8_e4m3fn", torch.int8: "int8_tensorwise"}
"""ComfyUI's names of the formats that are read and written here, by the dtype of the stored matrices."""

_WRITTEN: dict[torch.dtype, dict] = {
    # Without full_precision_matrix_mult ComfyUI also rounds the inputs to float8, without a scale; that doubles the
    # error.
    torch.float8_e4m3fn: {"format": "float8_e4m3fn", "full_precision_matrix_mult": True},
    torch.int8: {"format": "int8_tensorwise"},
}

_NETWORK = "velocity_network."
_EXTRAS = ("weight_scale", "comfy_quant")
# The metadata entry that older ComfyUI files have instead of comfy_quant tensors.
_METADATA = "_quantization_metadata"
_VALUES_AT_ONCE = 2**24


def takes_8_bits(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor, by this package's name, is stored in 8 bits: the velocity network's matrices, 99.7% of it.

    Time-dependent parameters, position tables and convolutions are small, and the prompt encoder decides where the
    flow starts. Both sides must be multiples of 16, as 8-bit matrix products on GPUs require.
    """
    return (
        name.startswith(_NETWORK)
        and name.endswith(".weight")
        and len(shape) == 2
        and not any(side % 16 for side in shape)
    )


def scale_of(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """The float32 scale to divide a matrix [R, C] by to fit the dtype: a scalar for float8, [R, 1] for int8."""
    if matrix.is_meta:  # only the shape matters
        return matrix.new_empty((len(matrix), 1) if dtype == torch.int8 else (), dtype=torch.float32)
    if dtype == torch.int8:
        low, high = torch.aminmax(matrix, dim=1, keepdim=True)
        return torch.maximum(-low, high).float().clamp(min=1e-30) / 127
    low, high = torch.aminmax(matrix)
    ratio = torch.maximum(-low, high).float().clamp(min=1e-30) / torch.finfo(dtype).max
    # Multiplying by a power of two is exact, whichever dtype a device multiplies in.
    return torch.exp2(torch.ceil(torch.log2(ratio)))


def quantised(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """A matrix [R, C] divided by its `scale_of`, in that 8-bit dtype."""
    return scaled(matrix, scale_of(matrix, dtype).reciprocal(), dtype)


def scaled(matrix: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
    """A matrix [R, C] times a factor, one number or [R, 1], rounded to the nearest value of `dtype`."""
    result = torch.empty(matrix.shape, dtype=dtype, device=matrix.device)
    if matrix.is_meta:
        return result
    # Some rows at a time: the largest matrix would take half a gigabyte in float32.
    count = max(1, _VALUES_AT_ONCE // matrix.shape[1])
    for target, rows, factors in zip(*(part.split(count) for part in (result, matrix, factor.expand(len(matrix), 1)))):
        product = rows.float() * factors
        target.copy_(product if dtype.is_floating_point else product.round())
    return result


def eight_bit_map(mapping: TensorMap, shapes: Mapping[str, Tensor], dtype: torch.dtype) -> TensorMap:
    """`mapping` of a network with large matrices in ComfyUI's 8-bit format and the rest in bfloat16.

    `shapes` are the tensors that `mapping` builds; meta tensors will do.
    """
    changed = {}
    for name, source in mapping.items():
        if not takes_8_bits(name, shapes[name].shape):
            changed[name] = _then(source, lambda tensor: tensor.to(torch.bfloat16))
            continue
        layer = name.removesuffix(".weight")
        changed[name] = _then(source, lambda matrix: quantised(matrix, dtype))
        changed[f"{layer}.weight_scale"] = _then(source, lambda matrix: scale_of(matrix, dtype))
        changed[f"{layer}.comfy_quant"] = _settings_source(_WRITTEN[dtype])
    return changed


def eight_bit_layers(file: WeightFile) -> dict[str, dict]:
    """A network file's 8-bit layers by their stored names, with ComfyUI's settings of each; empty for other files.

    Raises CheckpointError for formats that are not supported here, and for incomplete layers.
    """
    layers = _listed_layers(file)
    for name in file:
        if name.endswith(".comfy_quant"):
            text = file[name].to(torch.uint8).numpy().tobytes()
            layers[name.removesuffix(".comfy_quant")] = _parsed(file, name, text)
    for layer, settings in layers.items():
        _check_layer(file, layer, settings)
    return layers


def dequantised_map(
    mapping: TensorMap, file: WeightFile, layers: dict[str, dict], dtype: torch.dtype | None
) -> TensorMap:
    """`mapping` of the file with its 8-bit layers in `dtype`, or for None in the dtype of its other weights."""
    if not layers:
        return mapping
    if dtype is None:
        eight_bit = {f"{layer}.{leaf}" for layer in layers for leaf in ("weight", *_EXTRAS)}
        others = (file.dtype(name) for name in file if name not in eight_bit)
        dtype = next((other for other in others if other.is_floating_point), torch.bfloat16)

    def source(stored: str, plain: TensorSource) -> TensorSource:
        layer = stored.removesuffix(".weight")
        if layer not in layers:
            return plain
        return TensorSource((stored, f"{layer}.weight_scale"), lambda matrix, scale: scaled(matrix, scale, dtype))

    return {
        name: source(plain.names[0], plain) for name, plain in mapping.items() if not _is_extra(plain.names[0], layers)
    }


def stored_map(mapping: TensorMap, layers: dict[str, dict]) -> TensorMap:
    """`mapping` of a file with its 8-bit layers as ComfyUI loads them: each with a `comfy_quant` tensor."""
    kept = {}
    for name, source in mapping.items():
        layer = source.names[0].removesuffix(".weight")
        if layer in layers:
            kept[name.removesuffix(".weight") + ".comfy_quant"] = _settings_source(layers[layer])
        if not source.names[0].endswith(".comfy_quant"):
            kept[name] = source
    return kept


@torch.no_grad()
def quantise_modules(network: nn.Module, kind: str) -> int:
    """Replace a velocity network's large matrices by torchao's "int8" or "float8" tensors; return how many.

    The matrix between the stages stays as it is: torchao dequantises a matrix to multiply with it, and this one is
    ten times as large as any other, so that its dequantised copy would take more memory than 8 bits save. Products
    are in the dtype of their inputs. Raises ValueError for another kind and for a network that is quantised already,
    ImportError without torchao.
    """
    if kind not in KINDS:
        raise ValueError(f"8-bit weights are {' or '.join(KINDS)}, not {kind!r}")
    if is_quantised(network):
        raise ValueError("the network's weights are in 8 bits already; load it again to quantise it differently")
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
    """Whether `quantise_modules` has replaced matrices of the network."""
    return any(type(parameter).__module__.startswith("torchao.") for parameter in network.parameters())


def _then(source: TensorSource, step: Callable[[Tensor], Tensor]) -> TensorSource:
    return TensorSource(source.names, lambda *tensors: step(source.build(*tensors)))


def _settings_source(settings: dict) -> TensorSource:
    return TensorSource((), lambda: torch.tensor(list(json.dumps(settings).encode()), dtype=torch.uint8))


def _is_extra(stored: str, layers: dict[str, dict]) -> bool:
    layer, _, leaf = stored.rpartition(".")
    return leaf in _EXTRAS and layer in layers


def _listed_layers(file: WeightFile) -> dict[str, dict]:
    """The layers that the metadata list, as in ComfyUI's older quantised files."""
    if _METADATA not in file.metadata:
        return {}
    listed = _parsed(file, _METADATA, file.metadata[_METADATA]).get("layers")
    if not isinstance(listed, dict) or not all(isinstance(settings, dict) for settings in listed.values()):
        raise _unreadable(file, _METADATA)
    return {layer.removeprefix(file.prefix): settings for layer, settings in listed.items()}


def _parsed(file: WeightFile, name: str, text: str | bytes) -> dict:
    try:
        parsed = json.loads(text)
    except ValueError:
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
            f"{file.path} has weights quantised as {described} (found {layer}), which is not supported; expected "
            f"one of {', '.join(FORMATS.values())}, as `flowinone convert --dtype fp8` and `--dtype int8` write them"
        )
    weight, scale = f"{layer}.weight", f"{layer}.weight_scale"
    if not (native_name(weight) or "").startswith(_NETWORK):
        raise CheckpointError(
            f"{file.path} has 8-bit weights in {layer}; only the velocity network's can be read. "
            "Convert the published weights again"
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
            f"{file.path} declares {layer} as {stored} but stores {file.dtype(weight)} {shape} with scales {scales}; "
            "convert the published weights again"
        )
