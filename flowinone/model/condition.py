"""What the velocity network is conditioned on."""

import dataclasses

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Condition:
    """The conditioning of a batch, from the pipeline down to every block.

    `image_latent` [B, C, H, W] is the prompt image through the autoencoder, scaled. `null` [B] bool selects the
    unconditional branch, `bypass` [B] bool turns the dual path off, sample by sample. `dual` says whether any sample
    takes the dual path. It is derived from `bypass` once, here: reading it from a GPU in every evaluation would stall
    the device. Pass it where it is known.
    """

    image_latent: Tensor
    null: Tensor
    bypass: Tensor
    dual: bool | None = None

    def __post_init__(self):
        if self.dual is None:
            object.__setattr__(self, "dual", not bool(self.bypass.all()))

    @classmethod
    def prompt(cls, image_latent: Tensor, bypass: Tensor) -> "Condition":
        """The conditional branch: no sample is null. `bypass` [B] bool."""
        return cls(image_latent, torch.zeros_like(bypass, dtype=torch.bool), bypass)

    def with_null(self) -> "Condition":
        """This batch and its unconditional counterpart, [2B, ...]: both guidance branches in one forward pass."""
        return Condition(
            torch.cat([self.image_latent] * 2),
            torch.cat([self.null, torch.ones_like(self.null)]),
            torch.cat([self.bypass] * 2),
            self.dual,
        )

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Condition":
        """On `device`, the image latent in `dtype`, the flags as bool."""
        null, bypass = self.null.to(device, torch.bool), self.bypass.to(device, torch.bool)
        return Condition(self.image_latent.to(device, dtype), null, bypass, self.dual)
