"""The modules of a training run, made or loaded as its configuration says."""

import contextlib

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint as checkpointed

from ..autoencoder import autoencoder_from_state_dict
from ..config import FlowInOneConfig
from ..vision import VisionEncoder
from ..weights.checkpoint import open_autoencoder, open_network, open_vision
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
        with open_network(config.checkpoint) as network:
            model, training_tensors = network.load(torch.float32), network.training_tensors()
    vision = vision_tower_from_file(config.vision) if config.vision else new_vision_tower(config.tower)
    with open_autoencoder(config.vae) as autoencoder:
        vae = autoencoder_from_state_dict(autoencoder.tensors(torch.float32), **autoencoder.settings)
    features = None
    if config.contrastive_weight and config.mode == "finetune":
        features = TargetFeatures.from_checkpoint(training_tensors)
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


def vision_tower_from_file(path: str) -> VisionEncoder:
    """The vision tower of a file in float32; its tensors may be views of the file."""
    with open_vision(path) as tower:
        return VisionEncoder.from_state_dict(tower.tensors(torch.float32), **tower.settings)


def owned_tensors(module: nn.Module) -> nn.Module:
    """The module, with copies for parameters: a file may be mapped read-only, and modules must not share a tensor."""
    for parameter in module.parameters():
        parameter.data = parameter.data.clone()
    return module


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
