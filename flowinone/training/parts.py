"""The models of a training run, made or loaded as its configuration says."""

import contextlib
import math
import re

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint as recomputed
from transformers.models.janus.configuration_janus import JanusVisionConfig

from ..autoencoder import autoencoder_from_state_dict
from ..config import FlowInOneConfig
from ..model import FlowInOneModel
from ..model.coarse import GatedCrossAttention
from ..model.layers import Positions
from ..vision import VisionEncoder
from ..weights.checkpoint import open_autoencoder, open_network, open_vision
from ..weights.lora import PREFIX
from .config import ConfigError, LoraSettings, TrainingConfig
from .features import TargetFeatures
from .objective import Objective


def build(config: TrainingConfig) -> Objective:
    """The objective with every part in float32 on the CPU; what is to be trained asks for gradients, nothing else does.

    Raises ConfigError for settings that make no network, CheckpointError for files that are not what they should be.
    """
    torch.manual_seed(config.seed)
    if config.mode == "scratch":
        try:
            shape = FlowInOneConfig(**config.network)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"network: {error}") from None
        model = fresh_network(shape)
    else:
        with open_network(config.checkpoint) as network:
            model, training_tensors = network.load(torch.float32), network.training_tensors()
    vision = stored_tower(config.vision) if config.vision else fresh_tower(config.tower)
    with open_autoencoder(config.vae) as autoencoder:
        vae = autoencoder_from_state_dict(autoencoder.tensors(torch.float32), **autoencoder.settings)
    features = None
    if config.contrastive_weight and config.mode == "finetune":
        features = TargetFeatures.from_checkpoint(training_tensors)
    objective = Objective(
        model, vision, vae, features, config.kl_weight, config.contrastive_weight, config.source_weight
    )

    own_tensors(objective).requires_grad_(False).eval()
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
        recompute(model.velocity_network)
    return objective


def stored_tower(path: str) -> VisionEncoder:
    """The vision tower of a file in float32; its tensors may be the file's."""
    with open_vision(path) as tower:
        return VisionEncoder.from_state_dict(tower.tensors(torch.float32), **tower.settings)


def own_tensors(module: nn.Module) -> nn.Module:
    """The module, made fit to be trained: tensors of a file may be mapped read-only, and two parts must not share one."""
    for parameter in module.parameters():
        parameter.data = parameter.data.clone()
    return module


def fresh_network(config: FlowInOneConfig) -> FlowInOneModel:
    """A network with random weights: torch's own, but for two things that let it find places early.

    Tables of positions begin as waves, alike for the latent and the image latent, and cross-attention's queries and keys are the
    same maps, so that every place looks at its own in the prompt image first.
    """
    model = FlowInOneModel(config)
    for name, module in model.named_modules():
        if isinstance(module, Positions):
            module.table.data = _waves(module.size, module.table.shape[1])
        elif isinstance(module, GatedCrossAttention):
            module.query.weight.data.mul_(1.5)
            module.key_value.weight.data[: config.coarse_width] = module.query.weight.data
    return model


def _waves(size: int, width: int) -> Tensor:
    """Sines and cosines [size², width] of a square's columns and rows at several wavelengths."""
    count = -(-width // 4)
    angles = torch.arange(size)[:, None] * math.pi / size * torch.logspace(0, 1, count, base=size)
    line = torch.cat([angles.sin(), angles.cos()], dim=1)  # [size, width / 2]
    places = torch.cat([line.repeat(size, 1), line.repeat_interleave(size, dim=0)], dim=1)
    return places[:, :width].contiguous()


def fresh_tower(fields: dict) -> VisionEncoder:
    """A vision tower of that shape (`JanusVisionConfig` fields) with random weights that keep their input's size.

    Those of transformers suit widths of a thousand channels: a narrow tower would begin almost blind.
    """
    vision = VisionEncoder(JanusVisionConfig(**fields))
    for module in vision.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
    nn.init.normal_(vision.vision_model.embeddings.position_embedding.weight, std=0.2)
    return vision


def add_adapters(network: nn.Module, settings: LoraSettings) -> None:
    """Put low-rank updates, and nothing else that learns, beside the matrices that the settings name."""
    from peft import LoraConfig, inject_adapter_in_model

    names = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and re.fullmatch(settings.layers, name)
    ]
    if not names:
        raise ConfigError(
            f"lora.layers is {settings.layers!r}, which fits no matrix; names are such as coarse.blocks.0.mlp.w0"
        )
    adapters = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=names
    )
    inject_adapter_in_model(adapters, network)


def adapter_tensors(network: nn.Module, settings: LoraSettings) -> dict[str, Tensor]:
    """The low-rank updates as `flowinone.weights.lora` and ComfyUI read them."""
    tensors = {}
    for name, parameter in network.named_parameters():
        if match := re.fullmatch(r"(.+)\.lora_([AB])\.default\.weight", name):
            tensors[f"{PREFIX}{match[1]}.lora_{match[2]}.weight"] = parameter.detach().cpu().contiguous()
            tensors[f"{PREFIX}{match[1]}.alpha"] = torch.tensor(float(settings.alpha))
    return tensors


def recompute(network: nn.Module) -> None:
    """Let every block's inner results be computed again for its gradients instead of being kept."""
    for stage in (network.coarse, network.fine):
        for block in stage.blocks:
            block.forward = _Recomputed(block.forward)


class _Recomputed:
    """A block's forward, kept out of its modules so that a copy of the block is one."""

    def __init__(self, forward):
        self.plain = forward

    def __call__(self, *arguments):
        if not torch.is_grad_enabled():
            return self.plain(*arguments)
        return recomputed(self.plain, *arguments, use_reentrant=False)


def quick_attention(device: torch.device) -> contextlib.AbstractContextManager:
    """Attention by plain products where that is quicker: on CPUs, for sequences as short as small models'."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else contextlib.nullcontext()


class MovingAverage:
    """An exponential moving average of what learns, by name, in float32; warmed up, so that early steps are forgotten soon."""

    def __init__(self, objective: nn.Module, decay: float):
        self.decay = decay
        self.values = {name: p.detach().float().clone() for name, p in objective.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, objective: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        learning = {name: p for name, p in objective.named_parameters() if name in self.values}
        torch._foreach_lerp_(list(self.values.values()), [learning[name].float() for name in self.values], 1 - decay)

    def swapped(self, objective: nn.Module) -> "_Swapped":
        """Within a `with` block the objective has the averages for weights."""
        return _Swapped(objective, self.values)


class _Swapped:
    def __init__(self, objective: nn.Module, values: dict[str, Tensor]):
        self.learning = {name: p for name, p in objective.named_parameters() if name in values}
        self.values = values

    def __enter__(self) -> None:
        self.kept = {name: p.data for name, p in self.learning.items()}
        for name, parameter in self.learning.items():
            parameter.data = self.values[name].to(parameter)

    def __exit__(self, *exception) -> None:
        for name, parameter in self.learning.items():
            parameter.data = self.kept[name]
