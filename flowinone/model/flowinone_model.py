"""Prompt encoder and velocity network together: everything a FlowInOne checkpoint holds that inference reads."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..config import FlowInOneConfig
from .condition import Condition
from .names import TRAINING_ONLY, native_name
from .prompt_encoder import PromptEncoder
from .velocity import VelocityNetwork


class FlowInOneModel(nn.Module):
    """The FlowInOne network (arXiv 2604.06757), the vision encoder and the image autoencoder apart.

    `operations` provides Linear and Conv2d; torch.nn by default.
    """

    def __init__(self, config: FlowInOneConfig, *, dtype=None, device=None, operations=nn):
        super().__init__()
        self.prompt_encoder = PromptEncoder(config, dtype=dtype, device=device, operations=operations)
        self.velocity_network = VelocityNetwork(config, dtype=dtype, device=device, operations=operations)

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Tensor], **overrides) -> "FlowInOneModel":
        """Build the network that `state_dict` describes and give it those very tensors (no copy; their dtype and device
        stay).

        Names may be the public checkpoint's or this package's. `overrides` are `FlowInOneConfig` fields, for the head
        counts that shapes cannot tell. Training-only tensors (`open_clip*`) are left out. Raises ValueError for
        missing, unknown or misshapen tensors, naming the first few.
        """
        native = native_tensors(state_dict)
        for name, tensor in native.items():
            if tensor.is_floating_point() and tensor.element_size() < 2:
                raise ValueError(
                    f"{name} is {tensor.dtype}, which torch cannot compute with; "
                    "load the file with dtype=torch.bfloat16"
                )
        config = FlowInOneConfig.from_shapes({name: tensor.shape for name, tensor in native.items()}, **overrides)
        model = cls.without_memory(config)
        check_tensors(model, native)
        model.load_state_dict(native, assign=True)
        return model.eval().requires_grad_(False)

    @classmethod
    def without_memory(cls, config: FlowInOneConfig) -> "FlowInOneModel":
        """The network on the meta device: names and shapes, no values."""
        return cls(config, device="meta")

    @property
    def config(self) -> FlowInOneConfig:
        return self.velocity_network.config

    @property
    def dtype(self) -> torch.dtype:
        return self.prompt_encoder.head.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.prompt_encoder.head.weight.device

    def encode_prompt(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance [B, C, H, W] of the source latent, in float32, from vision tokens [B, N, D].

        Raises ValueError if the tokens' count or width is not the one this checkpoint reads.
        """
        return self.prompt_encoder(tokens.to(self.device, self.dtype))

    def velocity(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Velocity [B, C, H, W], in x's dtype, of latents x [B, C, H, W] at times t [B] in 0..1 (0 source, 1 image).

        Raises ValueError for shapes that do not fit each other or this checkpoint.
        """
        # Called as a module, so that `velocity_network.compile()` takes effect.
        return self.velocity_network(*self._inputs(x, t, condition)).to(x.dtype)

    def both_velocities(self, x: Tensor, t: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """`velocity`, and the coarse velocity [B, C, H/2, W/2] that the training loss reads as well."""
        fine, coarse = self.velocity_network.both_velocities(*self._inputs(x, t, condition))
        return fine.to(x.dtype), coarse.to(x.dtype)

    def _inputs(self, x: Tensor, t: Tensor, condition: Condition) -> tuple[Tensor, Tensor, Condition]:
        """The same, checked, on this model's device and in its dtype."""
        batch = x.shape[0]
        expected = (batch, *self.velocity_network.config.latent_shape)
        for name, latent in (("x", x), ("image_latent", condition.image_latent)):
            if latent.shape != expected:
                raise ValueError(f"{name} has shape {tuple(latent.shape)}; expected {expected}")
        for name, vector in (("t", t), ("null", condition.null), ("bypass", condition.bypass)):
            if vector.shape != (batch,):
                raise ValueError(f"{name} has shape {tuple(vector.shape)}; expected ({batch},)")
        return x.to(self.device, self.dtype), t.to(self.device), condition.to(self.device, self.dtype)


def native_tensors(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inference tensors of a checkpoint under this package's names. Raises ValueError for names that are not
    FlowInOne's.
    """
    native, unknown = {}, []
    for name, tensor in state_dict.items():
        if name.startswith(TRAINING_ONLY):
            continue
        renamed = native_name(name)
        if renamed is None:
            unknown.append(name)
        else:
            native[renamed] = tensor
    if unknown:
        raise ValueError(
            f"{len(unknown)} tensors are no part of FlowInOne, the first {', '.join(unknown[:3])}; "
            "expected keys such as stages.0.* and context_encoder.*"
        )
    return native


def compare_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Names of the module's tensors that are `missing`, and of those given that are `unexpected` or `misshapen`."""
    expected = {name: tensor.shape for name, tensor in module.state_dict().items()}
    return {
        "missing": [name for name in expected if name not in tensors],
        "unexpected": [name for name in tensors if name not in expected],
        "misshapen": [name for name, shape in expected.items() if name in tensors and tensors[name].shape != shape],
    }


def check_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError, naming the first few, unless `tensors` are exactly the module's, with its shapes."""
    expected = module.state_dict()
    for complaint, names in compare_tensors(module, tensors).items():
        if names:
            if complaint == "misshapen":
                names = [
                    f"{name} is {tuple(tensors[name].shape)} instead of {tuple(expected[name].shape)}" for name in names
                ]
            raise ValueError(
                f"{len(names)} {complaint} tensors: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
            )
