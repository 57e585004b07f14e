"""What the stock samplers need of a FlowInOne prompt: CONDITIONING for both branches, and NOISE that is the source latent."""

import torch
from torch import Tensor


class SourceNoise:
    """ComfyUI's NOISE that is no noise: where the flow starts for each prompt, [B, C, H, W], scaled."""

    def __init__(self, source: Tensor, seed: int):
        self.source = source.cpu()
        self.seed = seed

    def generate_noise(self, latent: dict) -> Tensor:
        """The source latents. Raises ValueError for a LATENT of another batch or size, which they cannot fill."""
        if latent["samples"].shape != self.source.shape:
            raise ValueError(
                f"latent_image has shape {tuple(latent['samples'].shape)} and the prompts need {tuple(self.source.shape)}: "
                "connect the latent output of FlowInOne Encode"
            )
        return self.source


def conditioning(source: Tensor, image_latent: Tensor, bypass: list[bool], null: bool, upstream_grid: bool) -> list:
    """CONDITIONING of the prompt's branch, or with `null` the unconditional one; see `FlowInOneBase.extra_conds`."""
    batch = len(bypass)
    return [
        [
            None,
            {
                "flowinone_source": source.cpu(),
                "flowinone_image_latent": image_latent.cpu(),
                # ComfyUI casts every conditioning tensor that is not integer to the compute dtype.
                "flowinone_null": torch.full((batch,), int(null), dtype=torch.long),
                "flowinone_bypass": torch.tensor(bypass, dtype=torch.long),
                "flowinone_upstream_grid": upstream_grid,
            },
        ]
    ]
