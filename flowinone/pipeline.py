"""FlowInOne as a diffusers pipeline: prompt images in, pictures out."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from numbers import Integral

import numpy as np
import torch
from diffusers import AutoencoderKL, ConfigMixin, DiffusionPipeline, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from . import mini as bundled
from .autoencoder import autoencoder_from_state_dict, decode_latents, image_latents
from .config import FlowInOneConfig
from .hardware import accelerator
from .model import FlowInOneModel
from .preprocess import as_rgb, latent_view, to_pixels, vision_view
from .sampling import Guidance, OnStep, check_solver, draw_noise, guided_velocity, integrate, source_latent
from .sampling import preset as chosen_preset
from .vision import VisionEncoder
from .weights.checkpoint import open_autoencoder, open_network, open_vision
from .weights.eightbit import is_quantised, quantise_modules
from .weights.lora import add_lora, read_lora


class FlowInOneNetwork(ModelMixin, FlowInOneModel, ConfigMixin):
    """`FlowInOneModel` that diffusers can save and load."""

    config = ConfigMixin.config

    @register_to_config
    def __init__(self, network: dict):
        FlowInOneModel.__init__(self, FlowInOneConfig(**network))

    @classmethod
    def without_memory(cls, config: FlowInOneConfig) -> "FlowInOneNetwork":
        with torch.device("meta"):
            return cls(network=dataclasses.asdict(config))


@dataclasses.dataclass
class FlowInOnePipelineOutput(BaseOutput):
    """`images`: PIL pictures, or what `output_type` asked for."""

    images: list[Image.Image] | Tensor | np.ndarray


class FlowInOnePipeline(DiffusionPipeline):
    """Vision encoder, FlowInOne network and image autoencoder: visual prompts become pictures (arXiv 2604.06757)."""

    def __init__(self, model: FlowInOneNetwork, vision: VisionEncoder, vae: AutoencoderKL):
        super().__init__()
        self.register_modules(model=model, vision=vision, vae=vae)
        self._offloaded_from: torch.device | None = None

    @classmethod
    def from_single_files(
        cls,
        checkpoint: str | os.PathLike,
        vision: str | os.PathLike,
        vae: str | os.PathLike,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> "FlowInOnePipeline":
        """Load the three parts from weights files as they are published, or as `flowinone convert` writes them.

        `checkpoint`: flowinone_256px, .pth or safetensors. `vision`: Janus-Pro-1B, a file or its folder; only the tower and the
        aligner are read. `vae`: a Stable Diffusion 1.x autoencoder or checkpoint. Without `dtype` each part keeps its file's,
        and 8-bit matrices get that of the others; without `device` they go to the CPU. Raises CheckpointError for a file that is not
        what its place needs.
        """
        device = torch.device("cpu" if device is None else device)
        # All three are validated before the first tensor is read.
        with (
            open_network(checkpoint, FlowInOneNetwork.without_memory) as network,
            open_vision(vision) as tower,
            open_autoencoder(vae) as autoencoder,
        ):
            return cls(
                model=network.load(dtype, device),
                vision=VisionEncoder.from_state_dict(tower.tensors(dtype, device), **tower.settings),
                vae=autoencoder_from_state_dict(autoencoder.tensors(dtype, device), **autoencoder.settings),
            )

    @classmethod
    def mini(cls, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> "FlowInOnePipeline":
        """The small model that comes with the package: it draws toy scenes of coloured shapes, 128 pixels wide, in seconds.

        Without `dtype` it computes in float32 (its files are in 16 bit to be small), without `device` on the CPU.
        """
        return cls.from_single_files(bundled.NETWORK, bundled.VISION, bundled.VAE, dtype or torch.float32, device)

    @torch.no_grad()
    def __call__(
        self,
        image: Image.Image | Sequence[Image.Image],
        steps: int | None = None,
        guidance_scale: float = 7.0,
        bypass: bool | Sequence[bool] = False,
        solver: str | None = None,
        sample_posterior: bool = True,
        generator: torch.Generator | Sequence[torch.Generator] | int | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[["FlowInOnePipeline", int, int, Tensor], None] | None = None,
        preset: str = "reference",
        guidance_interval: tuple[float, float] | None = None,
        guidance_every: int | None = None,
    ) -> FlowInOnePipelineOutput | tuple:
        """Answer each prompt image with a picture.

        Args:
            image: one prompt picture or several, any size and mode; square ones are seen alike by both encoders.
            steps: solver steps; upstream's default is 50. The adaptive dopri5 ignores it. None for the preset's.
            guidance_scale: 7 upstream; 1 runs the prompt's branch alone.
            bypass: turn the dual path off (class- and text-to-image prompts), for all pictures or for each.
            solver: one of `flowinone.sampling.SOLVERS`; "euler" is upstream's, with its own time grid. None for the preset's.
            sample_posterior: draw the source and image latents from their distributions as upstream does; False takes the means.
            generator: its initial seed s (or the number itself) gives picture i the stream s + i, drawn on the CPU whatever the
                device, so that a picture does not depend on the batch it is made in (but for dopri5, whose steps suit the whole
                batch); a list gives each picture its own.
            output_type: "pil", "np" [B, H, W, 3] and "pt" [B, 3, H, W] in 0..1, or "latent" [B, 4, H/8, W/8] (scaled).
            callback_on_step_end: called with pipeline, steps done, steps in all and the present guess of the latents.
            preset: one of `flowinone.sampling.PRESETS`, for what is not given: "reference" is upstream's way, "balanced" and
                "fast" take fewer runs of the network.
            guidance_interval: the times, in 0..1, at which guidance is computed; None for the preset's.
            guidance_every: at every how many evaluations of these it is computed anew; None for the preset's.

        Raises ValueError for no picture, an unknown solver, preset or output type, an interval that is none, or lists whose
        lengths do not fit; FloatingPointError where numbers grew beyond the dtype.
        """
        pictures = [image] if isinstance(image, Image.Image) else list(image)
        if not pictures:
            raise ValueError("image is an empty list; give at least one prompt picture")
        if not all(isinstance(picture, Image.Image) for picture in pictures):
            raise ValueError("image holds something else than Pillow pictures; open files with PIL.Image.open")
        chosen = chosen_preset(preset)
        solver, steps = solver or chosen.solver, chosen.steps if steps is None else steps
        guidance = Guidance(
            guidance_scale,
            guidance_interval or chosen.interval,
            chosen.every if guidance_every is None else guidance_every,
        )
        check_solver(solver, steps)
        if output_type not in ("pil", "np", "pt", "latent"):
            raise ValueError(f"output_type {output_type!r} is unknown; choose pil, np, pt or latent")
        bypasses = [bypass] * len(pictures) if isinstance(bypass, (bool, np.bool_)) else list(bypass)
        if len(bypasses) != len(pictures):
            raise ValueError(f"bypass has {len(bypasses)} entries for {len(pictures)} pictures")
        seeds = _seeds(generator, len(pictures))

        config = self.model.velocity_network.config
        noise = draw_noise(seeds, config.latent_shape) if sample_posterior else (None, None)
        source, image_latent = self.encode([as_rgb(picture) for picture in pictures], *noise)

        dual = not all(bypasses)
        velocity = guided_velocity(
            lambda x, t, latent, null, bypass: self.model.velocity(x, t, latent, null=null, bypass=bypass, dual=dual),
            image_latent,
            torch.tensor(bypasses, device=source.device),
            guidance,
        )
        with self.progress_bar(total=100 if solver == "dopri5" else steps) as progress:
            latents = integrate(velocity, source, solver, steps, self._on_step(progress, callback_on_step_end))
        if not latents.isfinite().all():
            # Nobody has seen whether float16's range is enough for the released weights.
            dtype = str(self.model.dtype).removeprefix("torch.")
            raise FloatingPointError(
                f"the latents are no numbers any more: {dtype} may be too narrow for these weights; load them in float32"
            )

        images = latents if output_type == "latent" else self.decode(latents, output_type)
        self._place(None)
        return FlowInOnePipelineOutput(images=images) if return_dict else (images,)

    def quantize(self, kind: str = "int8") -> int:
        """Keep the network's large matrices in 8 bits, "int8" or "float8", by torchao; how many. int8 is the more exact.

        Half of bfloat16's memory: do it before `to` moves the pipeline to a GPU, and after `load_lora`.
        Raises ImportError without torchao, ValueError for another kind and the second time.
        """
        return quantise_modules(self.model.velocity_network, kind)

    def save_pretrained(self, *arguments, **settings) -> None:
        """diffusers' own. Raises ValueError after `quantize`, whose tensors it cannot write."""
        if is_quantised(self.model.velocity_network):
            raise ValueError(
                "a pipeline cannot be saved after quantize; save it before, or make an 8-bit file with `flowinone convert`"
            )
        super().save_pretrained(*arguments, **settings)

    def load_lora(self, path: str | os.PathLike, strength: float = 1.0) -> int:
        """Add a LoRA of `flowinone train` to the network's weights; how many matrices it changed. The negative strength takes it away.

        Raises CheckpointError for other files, ValueError for a LoRA of another network and after `quantize`.
        """
        if is_quantised(self.model.velocity_network):
            raise ValueError("a LoRA cannot be added to 8-bit weights; call load_lora before quantize")
        return add_lora(self.model.velocity_network, read_lora(path), strength)

    def enable_model_cpu_offload(self, gpu_id: int | None = None, device: torch.device | str | None = None) -> None:
        """Keep the parts in the CPU's memory, and on the device only the one that works: tower, autoencoder, network, autoencoder.

        `device` is the accelerator there is, or its number `gpu_id`. Raises ValueError where there is none.
        """
        if device is None:
            device = accelerator()
            if device is None:
                raise ValueError("there is no accelerator to offload from; leave enable_model_cpu_offload out on a CPU")
        device = torch.device(device)
        self._offloaded_from = device if gpu_id is None else torch.device(device.type, gpu_id)
        self._place(None)

    def enable_sequential_cpu_offload(self, *arguments, **settings) -> None:
        """Not supported: raises ValueError. For little GPU memory there are `enable_model_cpu_offload`, `quantize` and ComfyUI."""
        raise ValueError(
            "FlowInOnePipeline cannot be offloaded layer by layer; use bfloat16 weights with enable_model_cpu_offload or quantize, or the ComfyUI nodes, "
            "which fetch layers as they need them"
        )

    def _place(self, working: str | None) -> None:
        """With offloading, have the part of that name on the device and all others off it."""
        if self._offloaded_from is None:
            return
        for name, part in self.components.items():
            if name != working:
                part.to("cpu")
        if working is not None:
            self.components[working].to(self._offloaded_from)

    def encode(
        self, pictures: Sequence[Image.Image], source_noise: Tensor | None = None, image_noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Source and image latents [B, 4, H/8, W/8], in float32, of RGB pictures; without noise their distributions' means."""
        config = self.model.velocity_network.config
        image_size = config.latent_size * 2 ** (len(self.vae.config.block_out_channels) - 1)
        seen = to_pixels([vision_view(picture, self.vision.image_size) for picture in pictures])
        self._place("vision")
        tokens = self.vision(seen)
        cropped = to_pixels([latent_view(picture, image_size) for picture in pictures])
        self._place("vae")
        latents = image_latents(self.vae, cropped, image_noise)
        self._place("model")
        mean, logvar = self.model.encode_prompt(tokens)
        return source_latent(mean, logvar, source_noise), latents.to(mean.device)

    def decode(self, latents: Tensor, output_type: str = "pil") -> list[Image.Image] | Tensor | np.ndarray:
        """Pictures of scaled latents [B, 4, H/8, W/8], as `output_type` of the call has them."""
        self._place("vae")
        pictures = decode_latents(self.vae, latents)
        if output_type == "pt":
            return pictures
        arrays = pictures.permute(0, 2, 3, 1).cpu().numpy()
        if output_type == "np":
            return arrays
        return [Image.fromarray(array) for array in (arrays * 255).round().astype(np.uint8)]

    def _on_step(self, progress, callback) -> OnStep:
        def on_step(done: int, total: int, guess: Tensor) -> None:
            progress.update(done - progress.n)
            if callback is not None:
                callback(self, done, total, guess)

        return on_step


def _seeds(generator: torch.Generator | Sequence[torch.Generator] | int | None, batch: int) -> list[int]:
    if generator is None:
        generator = int(torch.randint(2**48, ()))
    if isinstance(generator, (torch.Generator, Integral)):
        return [(_seed(generator) + i) % 2**64 for i in range(batch)]
    if len(generator) != batch:
        raise ValueError(f"generator has {len(generator)} entries for {batch} pictures")
    return [_seed(item) for item in generator]


def _seed(generator: torch.Generator | int) -> int:
    return int(generator) if isinstance(generator, Integral) else generator.initial_seed()
