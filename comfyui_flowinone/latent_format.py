"""FlowInOne's latents, as ComfyUI scales and previews them."""

import comfy.latent_formats

from ..flowinone.config import LATENT_SCALE
from ..flowinone.weights.checkpoint import Preview


class FlowInOneLatent(comfy.latent_formats.SD15):
    """Stable Diffusion's latents at FlowInOne's scale, or those of another autoencoder with its own `preview`."""

    def __init__(self, preview: Preview | None = None):
        stable_diffusion = comfy.latent_formats.SD15()
        super().__init__(scale_factor=LATENT_SCALE)
        # A TAESD would need the latents rescaled.
        self.taesd_decoder_name = None
        if preview is not None:
            self.latent_rgb_factors, self.latent_rgb_factors_bias = preview
            return
        # The factors were measured on latents at Stable Diffusion's scale.
        rescale = stable_diffusion.scale_factor / LATENT_SCALE
        self.latent_rgb_factors = [[rescale * factor for factor in row] for row in stable_diffusion.latent_rgb_factors]
