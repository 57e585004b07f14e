"""FlowInOne as one of ComfyUI's models: the velocity network as its diffusion model, and the BaseModel around it."""

import comfy.conds
import comfy.model_base
import comfy.model_management
import torch
from comfy.patcher_extension import WrapperExecutor, WrappersMP, get_all_wrappers
from torch import Tensor

from ..flowinone.config import FlowInOneConfig
from ..flowinone.model import Condition, VelocityNetwork, activation_bytes
from ..flowinone.model.coarse import CoarseBlock, CoarseStage
from ..flowinone.sampling import upstream_time
from .attention import PatchableAttention
from .model_patches import require_known_blocks, require_no_radiance_options

NETWORK_TIME = "flowinone_time"
"""In `transformer_options`: the time that the network is evaluated at, where a FlowInOne solver brings its own time
grid.
"""


def network_time(sigma: Tensor, transformer_options: dict, upstream_grid: bool) -> tuple[float | None, float]:
    """The time of the evaluation that a sampler asks for at sigma [B], and the factor on the velocity there.

    A FlowInOne solver says itself at which time. With ComfyUI's samplers it is None, for 1 - sigma, or with
    `upstream_grid` the time at which upstream's Euler evaluates in its place (`flowinone.sampling.upstream_time`).
    """
    time = transformer_options.get(NETWORK_TIME)
    if time is not None or not upstream_grid:
        return time, 1.0
    sigmas = transformer_options["sample_sigmas"]
    return upstream_time(1 - float(sigma[0]), float(sigmas[0] - sigmas[1]))


class PatchableBlock(CoarseBlock):
    """A block of the coarse stage that nodes can replace or skip (`patches_replace["dit"]`) or follow up
    (`patches["double_block"]`).

    There is one kind of block, so that it answers to the names of both: ("double_block", i) and ("single_block", i).
    """

    def forward(
        self, x: Tensor, times, image_tokens: Tensor | None, bypass: Tensor, transformer_options: dict
    ) -> Tensor:
        number = transformer_options.get("block_index")
        replacements = transformer_options.get("patches_replace", {}).get("dit", {})
        replacement = replacements.get(("double_block", number), replacements.get(("single_block", number)))

        def original(args: dict) -> dict:
            return {
                "img": super(PatchableBlock, self).forward(
                    args["img"], times, image_tokens, bypass, args["transformer_options"]
                )
            }

        given = {"img": x, "txt": image_tokens, "transformer_options": transformer_options}
        out = original(given) if replacement is None else replacement(given, {"original_block": original})
        for patch in transformer_options.get("patches", {}).get("double_block", ()):
            out = patch({"img": out["img"], "x": x, "block_index": number, "transformer_options": transformer_options})
        return out["img"]


class PatchableStage(CoarseStage):
    block_class = PatchableBlock


class NativeVelocityNetwork(VelocityNetwork):
    """The velocity network as a ComfyUI diffusion model: takes sigma = 1 - t, gives the velocity towards the source."""

    coarse_class = PatchableStage

    def __init__(self, network: FlowInOneConfig, dtype=None, device=None, operations=torch.nn):
        super().__init__(network, dtype=dtype, device=device, operations=operations)
        self.dtype = dtype
        # Read by nodes that expect a diffusion model to have it.
        self.in_channels = network.latent_channels
        self.block_names = unet_names(network.coarse_blocks)
        for number, (block, name) in enumerate(zip(self.coarse.blocks, self.block_names, strict=True)):
            place = (name, number, network.coarse_blocks, network.coarse_size)
            block.self_attention.attention = PatchableAttention("attn1", *place)
            block.cross_attention.attention = PatchableAttention("attn2", *place)
        if dtype.itemsize == 1:
            # 8 bits are for matrices. What follows time, and the tables of positions, is small and adds up.
            for module in self.modules():
                if not hasattr(module, "comfy_cast_weights"):
                    for parameter in module.parameters(recurse=False):
                        parameter.data = parameter.data.to(torch.bfloat16)

    def __getattr__(self, name: str):
        if name == "q_token_length":
            raise AttributeError(
                "TripoSplat Sampling Preview does not apply to FlowInOne: it shows Gaussian splats, and this MODEL "
                "makes pictures; remove the node, ComfyUI's usual previews work"
            )
        return super().__getattr__(name)

    def forward(
        self, x: Tensor, sigma: Tensor, context=None, control=None, transformer_options: dict | None = None, **conds
    ) -> Tensor:
        """The velocity towards the source [B, C, H, W], in `DIFFUSION_MODEL` wrappers; see `velocity_to_source`."""
        transformer_options = transformer_options or {}
        wrappers = get_all_wrappers(WrappersMP.DIFFUSION_MODEL, transformer_options)
        executor = WrapperExecutor.new_class_executor(self.velocity_to_source, self, wrappers)
        return executor.execute(x, sigma, transformer_options, **conds)

    def velocity_to_source(
        self,
        x: Tensor,
        sigma: Tensor,
        transformer_options: dict,
        *,
        image_latent: Tensor,
        null: Tensor,
        bypass: Tensor,
        dual: bool,
        speed: float,
        samples_at_once: int,
        **_,
    ) -> Tensor:
        """Of x [B, C, H, W] at the time 1 - sigma [B], times `speed`, for `samples_at_once` at a time.

        Raises ValueError for latents that a node has cut to another size, and for patches of blocks that there are not.
        """
        if tuple(x.shape[1:]) != self.config.latent_shape:
            raise ValueError(
                f"the network was given latents of shape {tuple(x.shape[1:])} and takes {self.config.latent_shape} "
                "alone; remove the node that cuts them, such as context windows over a dimension other than 0, the "
                "batch"
            )
        require_known_blocks(transformer_options, self.block_names)

        def velocity(x: Tensor, t: Tensor, image_latent: Tensor, null: Tensor, bypass: Tensor) -> Tensor:
            condition = Condition(image_latent, null.bool(), bypass.bool(), dual)
            return super(NativeVelocityNetwork, self).forward(x, t, condition, transformer_options)

        branches = len(transformer_options.get("cond_or_uncond", [0]))
        patched = any(transformer_options.get(kind) for kind in ("patches", "patches_replace"))
        together = branches if patched and samples_at_once >= branches else 1
        return -speed * in_parts(velocity, samples_at_once, together, x, 1 - sigma, image_latent, null, bypass)


def unet_names(blocks: int) -> list[tuple[str, int]]:
    """The names of a U's blocks as a U-Net's have them: ("input", i), in an odd number of blocks ("middle", 0),
    ("output", i).
    """
    half = blocks // 2
    middle = [("middle", 0)] * (blocks % 2)
    return [*(("input", i) for i in range(half)), *middle, *(("output", i) for i in range(half))]


def in_parts(velocity, count: int, branches: int, *tensors: Tensor) -> Tensor:
    """`velocity` of tensors [branches · B, ...], for at most `count` entries at a time, and all branches of a sample in
    one part.
    """
    if tensors[0].shape[0] <= count:
        return velocity(*tensors)
    samples = [tensor.unflatten(0, (branches, -1)).split(count // branches, dim=1) for tensor in tensors]
    parts = [
        velocity(*(tensor.flatten(0, 1) for tensor in part)).unflatten(0, (branches, -1)) for part in zip(*samples)
    ]
    return torch.cat(parts, dim=1).flatten(0, 1)


class FlowInOneBase(comfy.model_base.BaseModel):
    """ComfyUI's BaseModel of the velocity network. `weight_bytes` is what its weights take on the device."""

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

    def process_timestep(self, timestep: Tensor, time: float | None = None, **_) -> Tensor:
        """The sigma [B] of the time at which the network is evaluated."""
        if time is not None:
            return torch.full_like(timestep, 1 - time)
        # Some nodes, such as ModelSamplingSD3, multiply sigma for models whose time runs to 1000.
        return timestep / getattr(self.model_sampling, "multiplier", 1.0)

    def apply_model(
        self, x: Tensor, t: Tensor, *args, transformer_options: dict, upstream_grid: bool, **conds
    ) -> Tensor:
        require_no_radiance_options(transformer_options)
        # Here and not in the network: torch.compile would take what stands in transformer_options for constants.
        conds["time"], conds["speed"] = network_time(t, transformer_options, upstream_grid)
        room = self.samples_at_once(self.current_patcher or comfy.model_management, x.device)
        # Not more than there are: torch.compile would compile anew for every number.
        conds["samples_at_once"] = min(room, x.shape[0])
        return super().apply_model(x, t, *args, transformer_options=transformer_options, **conds)

    def samples_at_once(self, memory, device: torch.device) -> int:
        """How many samples fit in the device's free memory, next to the largest matrix, which may have to be fetched or
        cast.

        `memory` says what is free: the model's patcher, which knows what other models would give up, or
        model_management.
        """
        room = memory.get_free_memory(device) - self.largest_matrix_bytes
        return max(1, int(room / self.activation_bytes))

    def memory_required(self, input_shape, cond_shapes=None) -> int:
        """Bytes on top of the weights for that many samples, or as many as the device can hold: larger batches run in
        parts.
        """
        total = comfy.model_management.get_total_memory(comfy.model_management.get_torch_device())
        most = max(1, int((total - self.weight_bytes) * 0.8 / self.activation_bytes))
        return min(input_shape[0], most) * self.activation_bytes
