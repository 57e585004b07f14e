"""FlowInOne's velocity network as one of ComfyUI's own models (MODEL)."""

from collections.abc import Callable

import comfy.conds
import comfy.float
import comfy.latent_formats
import comfy.lora
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.supported_models_base
import comfy.utils
import torch
from torch import Tensor

from ..flowinone.config import LATENT_SCALE, FlowInOneConfig
from ..flowinone.hardware import cpu_computes_in_bfloat16
from ..flowinone.model import VelocityNetwork, activation_bytes
from ..flowinone.sampling import upstream_time
from .stock_samplers import start_at_source

Preview = tuple[list[list[float]], list[float]]
"""Factors [4, 3] and bias [3] from scaled latents to colours in -1..1; see `flowinone.weights.checkpoint.NetworkFile.preview`."""


class FlowInOneLatent(comfy.latent_formats.SD15):
    """Stable Diffusion's latents at FlowInOne's scale, or those of another autoencoder with a `preview` of its own."""

    def __init__(self, preview: Preview | None = None):
        stable_diffusion = comfy.latent_formats.SD15()
        super().__init__(scale_factor=LATENT_SCALE)
        # A TAESD would need the latents rescaled.
        self.taesd_decoder_name = None
        if preview is not None:
            self.latent_rgb_factors, self.latent_rgb_factors_bias = preview
            return
        # The preview's factors were measured on latents scaled for Stable Diffusion.
        rescale = stable_diffusion.scale_factor / LATENT_SCALE
        self.latent_rgb_factors = [[rescale * factor for factor in row] for row in stable_diffusion.latent_rgb_factors]


class NativeVelocityNetwork(VelocityNetwork):
    """The velocity network as ComfyUI calls diffusion models: with sigma = 1 - t, and the velocity towards the source."""

    def __init__(self, network: FlowInOneConfig, dtype=None, device=None, operations=torch.nn):
        super().__init__(network, dtype=dtype, device=device, operations=operations)
        self.dtype = dtype
        if dtype.itemsize == 1:
            # 8 bits are for matrices. What follows time, and the tables of positions, is small and adds up.
            for module in self.modules():
                if not hasattr(module, "comfy_cast_weights"):
                    for parameter in module.parameters(recurse=False):
                        parameter.data = parameter.data.to(torch.bfloat16)

    def forward(
        self,
        x: Tensor,
        sigma: Tensor,
        image_latent: Tensor,
        null: Tensor,
        bypass: Tensor,
        dual: bool | None = None,
        upstream_step: float | None = None,
        **_,
    ) -> Tensor:
        """The velocity towards the source; with `upstream_step`, a uniform grid's, at the time that upstream's Euler takes for sigma."""
        t, speed = 1 - sigma, 1.0
        if upstream_step is not None:
            t, speed = upstream_time(t, upstream_step)
        return -speed * super().forward(x, t, image_latent, null.bool(), bypass.bool(), dual)

    def velocity(
        self, x: Tensor, t: Tensor, image_latent: Tensor, null: Tensor, bypass: Tensor, dual: bool | None = None
    ) -> Tensor:
        """`flowinone.FlowInOneModel.velocity`'s counterpart for the pack's own sampler."""
        return super().forward(x, t, image_latent, null, bypass, dual)


class FlowInOneBase(comfy.model_base.BaseModel):
    def __init__(self, model_config, device, weight_bytes: int):
        super().__init__(
            model_config, model_type=comfy.model_base.ModelType.FLOW, device=device, unet_model=NativeVelocityNetwork
        )
        self.weight_bytes = weight_bytes
        dtype = self.get_dtype_inference()
        self.activation_bytes = activation_bytes(self.diffusion_model.config, dtype)
        largest = self.diffusion_model.fine.upsample.projection
        self.largest_matrix_bytes = largest.in_features * largest.out_features * dtype.itemsize

    def extra_conds(self, **kwargs) -> dict:
        conds = super().extra_conds(**kwargs)
        for name in ("image_latent", "null", "bypass"):
            conds[name] = comfy.conds.CONDRegular(kwargs[f"flowinone_{name}"])
        conds["dual"] = comfy.conds.CONDConstant(not kwargs["flowinone_bypass"].all())
        conds["upstream_grid"] = comfy.conds.CONDConstant(kwargs["flowinone_upstream_grid"])
        return conds

    def apply_model(
        self, x, t, *args, transformer_options: dict, image_latent, null, bypass, upstream_grid: bool, **conds
    ) -> Tensor:
        if upstream_grid:
            sigmas = transformer_options["sample_sigmas"]
            conds["upstream_step"] = float(sigmas[0] - sigmas[1])
        apply = super().apply_model

        def denoised(x, t, image_latent, null, bypass):
            prompt = dict(image_latent=image_latent, null=null, bypass=bypass)
            return apply(x, t, *args, transformer_options=transformer_options, **prompt, **conds)

        count = self.samples_at_once(self.current_patcher or comfy.model_management, x.device)
        return in_parts(denoised, count, x, t, image_latent, null, bypass)

    def samples_at_once(self, memory, device: torch.device) -> int:
        """How many samples find room in the device's free memory, beside the largest matrix, which may have to be fetched or cast.

        `memory` tells what is free: the model's patcher, which knows what other models would give up, or ComfyUI's model_management.
        """
        room = memory.get_free_memory(device) - self.largest_matrix_bytes
        return max(1, int(room / self.activation_bytes))

    def memory_required(self, input_shape, cond_shapes=None) -> int:
        """Bytes beside the weights for that many samples, or for as many as the device can hold: of larger batches, part after part is answered."""
        total = comfy.model_management.get_total_memory(comfy.model_management.get_torch_device())
        most = max(1, int((total - self.weight_bytes) * 0.8 / self.activation_bytes))
        return min(input_shape[0], most) * self.activation_bytes


def in_parts(velocity: Callable[..., Tensor], count: int, *tensors: Tensor) -> Tensor:
    """`velocity` of tensors [B, ...], for at most `count` samples at a time."""
    return torch.cat([velocity(*part) for part in zip(*(tensor.split(count) for tensor in tensors))])


class FlowInOneModelConfig(comfy.supported_models_base.BASE):
    unet_extra_config = {}
    latent_format = FlowInOneLatent
    sampling_settings = {"shift": 1.0, "multiplier": 1.0}
    # What ComfyUI may choose by itself. Nobody has seen whether float16's range is enough for the released weights.
    supported_inference_dtypes = [torch.bfloat16, torch.float32]

    def inpaint_model(self) -> bool:
        return False

    def get_model(self, state_dict, prefix="", device=None) -> FlowInOneBase:
        # Of the tensors, not of the layers: some of ComfyUI's have no matrices before they are loaded.
        dtype = None if self.quant_config is not None else self.unet_config["dtype"]
        sizes = (tensor.nbytes if dtype is None else tensor.numel() * dtype.itemsize for tensor in state_dict.values())
        return FlowInOneBase(self, device, sum(sizes))


def patch_bare_parameters(patcher, device: torch.device, *_) -> None:
    """What follows every loading: patches of parameters outside of ComfyUI's own layers count, too.

    Where memory is short, and always where weights are paged, ComfyUI patches its own layers as they come and forgets the
    others, so that merged models would be merged by half.
    """
    for key, patches in patcher.patches.items():
        owner, _, _ = key.rpartition(".")
        if hasattr(comfy.utils.get_attr(patcher.model, owner), "comfy_cast_weights"):
            continue
        if key not in patcher.backup:
            patcher.patch_weight_to_device(key, device)
            continue
        # From the stored values again, and rounded as ComfyUI rounds: the same where it has patched them.
        stored = patcher.backup[key].weight
        weight = comfy.model_management.cast_to_device(
            stored, device, comfy.model_management.lora_compute_dtype(device), copy=True
        )
        patched = comfy.lora.calculate_weight(patches, weight, key)
        rounded = comfy.float.stochastic_rounding(patched, stored.dtype, seed=comfy.utils.string_to_seed(key))
        comfy.utils.set_attr_param(patcher.model, key, rounded)


def native_model(
    tensors: dict[str, Tensor],
    config: FlowInOneConfig,
    dtype: torch.dtype | None,
    disable_dynamic: bool = False,
    preview: Preview | None = None,
):
    """ComfyUI's MODEL around the velocity network with these tensors (`coarse.*`, `fine.*`).

    Weights are kept in `dtype`; None lets ComfyUI choose for the device. 8-bit matrices, with their `weight_scale` and
    `comfy_quant`, stay as they are, and `dtype` is the others' and what is computed in. `disable_dynamic` asks for the patcher that holds
    whole weights instead of paging them. `tensors` is emptied on the way.
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
        # ComfyUI takes every CPU for one that does not, and would make float32 of all weights at each evaluation.
        manual_cast = None
    model_config.quant_config = comfy.utils.detect_layer_quantization(tensors, "")
    if model_config.quant_config is not None:
        dtype = manual_cast = manual_cast or dtype
    model_config.set_inference_dtype(dtype, manual_cast)
    model = model_config.get_model(tensors, device=offload_device)
    patcher_class = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = patcher_class(model, load_device=device, offload_device=offload_device)
    patcher.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, "flowinone", start_at_source)
    patcher.add_callback_with_key(comfy.patcher_extension.CallbacksMP.ON_LOAD, "flowinone", patch_bare_parameters)
    model.load_model_weights(tensors, assign=patcher.is_dynamic())
    return patcher
