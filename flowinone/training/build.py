"""The modules of a training run, made or loaded as its configuration says."""

import contextlib

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint as checkpointed

from ..autoencoder import autoencoder_from_state_dict
from ..config import FlowInOneConfig
from ..model import FlowInOneModel
from ..model.names import TRAINING_ONLY
from ..vision import VisionEncoder
from ..weights import checkpoint
from ..weights.weightfile import open_weights
from .adapters import add_adapters
from .features import TargetFeatures
from .initialization import new_network, new_vision_tower
from .objective import Objective
from .run_config import ConfigError, TrainingConfig


def build_objective(config: TrainingConfig) -> Objective:
    """The objective with all its modules in float32 on the CPU; only the parameters to be trained require gradients.

    Raises ConfigError for settings that make no network, CheckpointError for files that aren't what they should be.
    """
    torch.manual_seed(config.seed)
    if config.mode == "scratch":
        try:
            shape = FlowInOneConfig(**config.network)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"network: {error}") from None
        model = new_network(shape)
    else:
        model = network_from_file(config.checkpoint)
    vision = vision_tower_from_file(config.vision) if config.vision else new_vision_tower(config.tower)
    tensors, settings = checkpoint.load_autoencoder(config.vae, torch.float32)
    vae = autoencoder_from_state_dict(tensors, **settings)
    features = None
    if config.contrastive_weight and config.mode == "finetune":
        features = TargetFeatures.from_checkpoint(training_only_tensors(config.checkpoint))
    objective = Objective(
        model, vision, vae, features, config.kl_weight, config.contrastive_weight, config.source_weight
    )

    owned_tensors(objective).requires_grad_(False).eval()
    if config.mode == "lora":
        add_adapters(model.velocity_network, config.lora)
    else:
        model.requires_grad_(True)
        model.prompt_encoder.requires_grad_(config.train_prompt)
        if features is not None:
            features.head.requires_grad_(True)
            features.temperature.requires_grad_(True)
    if config.train_vision:
        vision.requires_grad_(True)
    if config.gradient_checkpointing:
        checkpoint_activations(model.velocity_network)
    return objective


def network_from_file(path: str) -> FlowInOneModel:
    """The network of a file in float32; its tensors may be views of the file."""
    tensors, shape = checkpoint.load_network(path, torch.float32)
    return FlowInOneModel.from_state_dict(tensors, coarse_heads=shape.coarse_heads, context_heads=shape.context_heads)


def vision_tower_from_file(path: str) -> VisionEncoder:
    """The vision tower of a file in float32; its tensors may be views of the file."""
    tensors, settings = checkpoint.load_vision(path, torch.float32)
    return VisionEncoder.from_state_dict(tensors, **settings)


def owned_tensors(module: nn.Module) -> nn.Module:
    """The module, with copies for parameters: a file may be mapped read-only, and modules must not share a tensor."""
    for parameter in module.parameters():
        parameter.data = parameter.data.clone()
    return module


def training_only_tensors(path: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint that inference does not read, under their own names; none in a converted file."""
    file = open_weights(path)
    return {name: file[name] for name in file if name.startswith(TRAINING_ONLY)}


def checkpoint_activations(network: nn.Module) -> None:
    """Recompute every block's activations in the backward pass instead of keeping them."""
    for stage in (network.coarse, network.fine):
        for block in stage.blocks:
            block.forward = _CheckpointedForward(block.forward)


class _CheckpointedForward:
    """A block's forward. A class, not a closure, so that `copy.deepcopy` of the block copies it."""

    def __init__(self, forward):
        self.forward = forward

    def __call__(self, *arguments, **options):
        if not torch.is_grad_enabled():
            return self.forward(*arguments, **options)
        return checkpointed(self.forward, *arguments, use_reentrant=False, **options)


def math_attention_on_cpu(device: torch.device) -> contextlib.AbstractContextManager:
    """On CPUs, attention as plain matrix products: for sequences as short as small models' that is faster."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else contextlib.nullcontext()
