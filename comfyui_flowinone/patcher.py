"""Loading FlowInOne as a MODEL: the network behind ComfyUI's model patcher."""

import comfy.float
import comfy.lora
import comfy.model_management
import comfy.model_patcher
import comfy.utils
import torch
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import Tensor

from ..flowinone.config import FlowInOneConfig
from ..flowinone.hardware import cpu_computes_in_bfloat16
from ..flowinone.weights.checkpoint import NetworkFile, Preview, open_network
from .latent_format import FlowInOneLatent
from .samplers import start_at_source
from .supported_models import FlowInOneModelConfig
from .vision import load_encoder


def load_model(path: str, dtype: torch.dtype | None, disable_dynamic: bool = False):
    """MODEL of a FlowInOne checkpoint; see `native_model`. Raises CheckpointError for any other file."""
    with open_network(path) as network:
        tensors = network.stored_tensors("velocity_network")
    return _model(network, tensors, dtype, disable_dynamic)


def load_model_and_encoder(network_path: str, vision_path: str, dtype: torch.dtype | None):
    """`load_model` and the encoder (`vision.load_encoder`); each file is opened once.

    Raises CheckpointError for files that are not what their inputs need, ImportError if transformers is too old.
    """
    with open_network(network_path) as network:
        encoder = load_encoder(network, vision_path, dtype)
        tensors = network.stored_tensors("velocity_network")
    return _model(network, tensors, dtype), encoder


def _model(network: NetworkFile, tensors: dict[str, Tensor], dtype: torch.dtype | None, disable_dynamic: bool = False):
    # The file is closed by now, so that nothing else holds a weight that `native_model` has copied and dropped.
    model = native_model(tensors, network.config, dtype, disable_dynamic, network.preview)
    # How ComfyUI makes a second, independent copy: for torch.compile, hooks and further GPUs.
    model.cached_patcher_init = (load_model, (str(network.file.path), dtype))
    return model


def native_model(
    tensors: dict[str, Tensor],
    config: FlowInOneConfig,
    dtype: torch.dtype | None,
    disable_dynamic: bool = False,
    preview: Preview | None = None,
):
    """ComfyUI's MODEL around the velocity network with these tensors (`coarse.*`, `fine.*`).

    Weights are kept in `dtype`; None lets ComfyUI choose for the device. 8-bit matrices, with their `weight_scale` and
    `comfy_quant`, stay as they are; `dtype` is then that of the other weights and of the computation. `disable_dynamic`
    asks for the patcher that holds whole weights instead of paging them. `tensors` is emptied on the way.
    """
    device = comfy.model_management.get_torch_device()
    offload_device = comfy.model_management.unet_offload_device()
    model_config = FlowInOneModelConfig({"network": config})
    model_config.latent_format = FlowInOneLatent(preview)
    if dtype is None:
        dtype = comfy.model_management.unet_dtype(
            model_params=sum(tensor.numel() for tensor in tensors.values()),
            supported_dtypes=model_config.supported_inference_dtypes,
        )
    manual_cast = comfy.model_management.unet_manual_cast(dtype, device, model_config.supported_inference_dtypes)
    if dtype == torch.bfloat16 and device.type == "cpu" and cpu_computes_in_bfloat16():
        # ComfyUI assumes that no CPU does, and would cast all weights to float32 in each evaluation.
        manual_cast = None
    model_config.quant_config = comfy.utils.detect_layer_quantization(tensors, "")
    if model_config.quant_config is not None:
        dtype = manual_cast = manual_cast or dtype
    model_config.set_inference_dtype(dtype, manual_cast)
    model = model_config.get_model(tensors, device=offload_device)
    patcher_class = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = patcher_class(model, load_device=device, offload_device=offload_device)
    patcher.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "flowinone", start_at_source)
    patcher.add_callback_with_key(CallbacksMP.ON_LOAD, "flowinone", patch_bare_parameters)
    model.load_model_weights(tensors, assign=patcher.is_dynamic())
    return patcher


def patch_bare_parameters(patcher, device: torch.device, *_) -> None:
    """ON_LOAD callback: apply weight patches to parameters outside of ComfyUI's own layers, too.

    Where memory is short, and always where weights are paged, ComfyUI patches its own layers as they are fetched and
    forgets the others: merged models would be merged by half.
    """
    for key, patches in patcher.patches.items():
        owner, _, _ = key.rpartition(".")
        if hasattr(comfy.utils.get_attr(patcher.model, owner), "comfy_cast_weights"):
            continue
        if key not in patcher.backup:
            patcher.patch_weight_to_device(key, device)
            continue
        # From the stored values again, rounded as ComfyUI rounds: the same where it has patched them already.
        stored = patcher.backup[key].weight
        weight = comfy.model_management.cast_to_device(
            stored, device, comfy.model_management.lora_compute_dtype(device), copy=True
        )
        patched = comfy.lora.calculate_weight(patches, weight, key)
        rounded = comfy.float.stochastic_rounding(patched, stored.dtype, seed=comfy.utils.string_to_seed(key))
        comfy.utils.set_attr_param(patcher.model, key, rounded)
