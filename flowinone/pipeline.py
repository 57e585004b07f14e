"""FlowInOne as a diffusers pipeline: prompt images in, images out."""

import dataclasses
import os
import warnings
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
from .model import Condition, FlowInOneModel
from .preprocess import as_rgb, latent_view, to_pixels, vision_view
from .sampling import OnStep, SamplerSettings, draw_noise, guided_velocity, integrate, source_latent
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
    """`images`: PIL images, or what `output_type` asked for."""

    images: list[Image.Image] | Tensor | np.ndarray


class FlowInOnePipeline(DiffusionPipeline):
    """Vision encoder, FlowInOne network and image autoencoder: visual prompts become images (arXiv 2604.06757)."""

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

        `checkpoint`: flowinone_256px, .pth or safetensors. `vision`: Janus-Pro-1B, a file or its folder; only the tower
        and the aligner are read. `vae`: a Stable Diffusion 1.x autoencoder or checkpoint. Without `dtype` each part
        keeps its file's, and 8-bit matrices get that of the others; without `device` they go to the CPU. Raises
        CheckpointError for a file that is not what its place needs.
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
        """The small bundled model: it draws toy scenes of coloured shapes, 128 pixels wide, in seconds.

        Without `dtype` it computes in float32 (its files are 16-bit to be small), without `device` on the CPU.
        """
        return cls.from_single_files(bundled.NETWORK, bundled.VISION, bundled.VAE, dtype or torch.float32, device)

    @torch.no_grad()
    def __call__(
        self,
        image: Image.Image | Sequence[Image.Image],
        steps: int | None = None,
        guidance_scale: float | None = None,
        bypass: bool | Sequence[bool] = False,
        solver: str | None = None,
        sample_posterior: bool = True,
        generator: torch.Generator | Sequence[torch.Generator] | int | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[["FlowInOnePipeline", int, int, Tensor], None] | None = None,
        preset: str | None = None,
        guidance_interval: tuple[float, float] | None = None,
        guidance_every: int | None = None,
    ) -> FlowInOnePipelineOutput | tuple:
        """Generate an image for each prompt image.

        Args:
            image: one prompt image or several, of any size and mode; both encoders see a square one whole.
            steps: solver steps; upstream uses 50. None for the preset's. The adaptive dopri5 ignores it.
            guidance_scale: None for the preset's, which is upstream's 7; 1 runs the conditional branch alone.
            bypass: turn the dual path off (class-to-image and text-to-image prompts), for all images or for each.
            solver: one of `flowinone.sampling.SOLVERS`, None for the preset's. "euler" is upstream's, with its own time
                grid, which breaks below about 5 steps.
            sample_posterior: sample the source and image latents from their distributions, as upstream does; False
                takes the means.
            generator: its initial seed s, or the number itself, gives image i the random stream s + i, on the CPU
                whatever the device: an image does not depend on its batch (except with dopri5, whose steps suit the
                whole batch). A list gives each image its own.
            output_type: "pil", "np" [B, H, W, 3] and "pt" [B, 3, H, W] in 0..1, or "latent" [B, 4, H/8, W/8] (scaled).
            callback_on_step_end: called with the pipeline, steps done, total steps and the predicted x1
                [B, 4, H/8, W/8] (scaled).
            preset: one of `flowinone.sampling.PRESETS`, for what is not given here: "reference" (the default) is
                upstream's, "balanced" and "fast" take fewer function evaluations.
            guidance_interval: the times, in 0..1, between which guidance is applied; None for the preset's.
            guidance_every: recompute guidance every n evaluations; None for the preset's.

        Raises ValueError for an empty list, an unknown solver, preset or output type, invalid sampler settings, or
        lists whose lengths do not match; FloatingPointError if the latents overflow the dtype.
        """
        images = [image] if isinstance(image, Image.Image) else list(image)
        if not images:
            raise ValueError("image is an empty list; give at least one prompt image")
        if not all(isinstance(one, Image.Image) for one in images):
            raise ValueError("image contains something that is not a Pillow image; open files with PIL.Image.open")
        settings = SamplerSettings.resolve(
            preset,
            solver=solver,
            steps=steps,
            guidance_scale=guidance_scale,
            guidance_interval=guidance_interval,
            guidance_every=guidance_every,
        )
        if settings.warning:
            warnings.warn(settings.warning, stacklevel=3)  # past no_grad's wrapper
        if output_type not in ("pil", "np", "pt", "latent"):
            raise ValueError(f"output_type {output_type!r} is unknown; choose pil, np, pt or latent")
        bypasses = [bypass] * len(images) if isinstance(bypass, (bool, np.bool_)) else list(bypass)
        if len(bypasses) != len(images):
            raise ValueError(f"bypass has {len(bypasses)} entries for {len(images)} images")
        seeds = _seeds(generator, len(images))

        noise = draw_noise(seeds, self.model.velocity_network.config.latent_shape) if sample_posterior else (None, None)
        source, image_latent = self.encode([as_rgb(one) for one in images], *noise)
        condition = Condition.prompt(image_latent, torch.tensor(bypasses, device=source.device))
        velocity = guided_velocity(self.model.velocity, condition, settings.guidance)
        with self.progress_bar(total=100 if settings.solver == "dopri5" else settings.steps) as progress:
            on_step = self._on_step(progress, callback_on_step_end)
            latents = integrate(velocity, source, settings.solver, settings.steps, on_step)
        if not latents.isfinite().all():
            # It is not known whether float16's range is enough for the released weights.
            dtype = str(self.model.dtype).removeprefix("torch.")
            raise FloatingPointError(
                f"the latents contain NaN or infinity: {dtype} may be too narrow for these weights; "
                "load them in float32"
            )

        results = latents if output_type == "latent" else self.decode(latents, output_type)
        self._place(None)
        return FlowInOnePipelineOutput(images=results) if return_dict else (results,)

    def quantize(self, kind: str = "int8") -> int:
        """Keep the network's large matrices in 8 bits by torchao, "int8" (the more accurate) or "float8"; returns their
        number.

        This halves bfloat16's memory. Call it after `load_lora` and before `to` moves the pipeline to a GPU.
        Raises ImportError without torchao, ValueError for another kind and for a second call.
        """
        return quantise_modules(self.model.velocity_network, kind)

    def save_pretrained(self, *arguments, **settings) -> None:
        """As in diffusers. Raises ValueError after `quantize`, whose tensors diffusers cannot write."""
        if is_quantised(self.model.velocity_network):
            raise ValueError(
                "a quantized pipeline cannot be saved; save it before quantize, "
                "or make an 8-bit file with `flowinone convert`"
            )
        super().save_pretrained(*arguments, **settings)

    def load_lora(self, path: str | os.PathLike, strength: float = 1.0) -> int:
        """Add a LoRA made by `flowinone train` to the network's weights; returns the number of matrices it changed.

        The same with the negative strength removes it. Raises CheckpointError for other files, ValueError for a LoRA of
        another network and after `quantize`.
        """
        if is_quantised(self.model.velocity_network):
            raise ValueError("a LoRA cannot be added to 8-bit weights; call load_lora before quantize")
        return add_lora(self.model.velocity_network, read_lora(path), strength)

    def enable_model_cpu_offload(self, gpu_id: int | None = None, device: torch.device | str | None = None) -> None:
        """Keep the parts in CPU memory and move each to the device only while it runs: tower, autoencoder, network,
        autoencoder.

        `device` defaults to the accelerator, `gpu_id` is its number. Raises ValueError if there is none.
        """
        if device is None:
            device = accelerator()
            if device is None:
                raise ValueError(
                    "no accelerator was found to offload from; on a CPU leave enable_model_cpu_offload out"
                )
        device = torch.device(device)
        self._offloaded_from = device if gpu_id is None else torch.device(device.type, gpu_id)
        self._place(None)

    def enable_sequential_cpu_offload(self, *arguments, **settings) -> None:
        """Not supported, raises ValueError: `enable_model_cpu_offload`, `quantize` and ComfyUI save GPU memory
        instead.
        """
        raise ValueError(
            "FlowInOnePipeline cannot be offloaded layer by layer; use bfloat16 weights with enable_model_cpu_offload "
            "or quantize, or the ComfyUI nodes, which load layers as they are needed"
        )

    def _place(self, working: str | None) -> None:
        """With offloading enabled, move the part of that name to the device and all others to the CPU."""
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
        """Source and image latents [B, 4, H/8, W/8], scaled, in float32, of RGB images; without noise their
        distributions' means.
        """
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
        """Images of scaled latents [B, 4, H/8, W/8], in the form that the call's `output_type` names (all but
        "latent").
        """
        self._place("vae")
        pictures = decode_latents(self.vae, latents)
        if output_type == "pt":
            return pictures
        arrays = pictures.permute(0, 2, 3, 1).cpu().numpy()
        if output_type == "np":
            return arrays
        return [Image.fromarray(array) for array in (arrays * 255).round().astype(np.uint8)]

    def _on_step(self, progress, callback) -> OnStep:
        def on_step(done: int, total: int, denoised: Tensor) -> None:
            progress.update(done - progress.n)
            if callback is not None:
                callback(self, done, total, denoised)

        return on_step


def _seeds(generator: torch.Generator | Sequence[torch.Generator] | int | None, batch: int) -> list[int]:
    if generator is None:
        generator = int(torch.randint(2**48, ()))
    if isinstance(generator, (torch.Generator, Integral)):
        return [(_seed(generator) + i) % 2**64 for i in range(batch)]
    if len(generator) != batch:
        raise ValueError(f"generator has {len(generator)} entries for {batch} images")
    return [_seed(item) for item in generator]


def _seed(generator: torch.Generator | int) -> int:
    return int(generator) if isinstance(generator, Integral) else generator.initial_seed()
