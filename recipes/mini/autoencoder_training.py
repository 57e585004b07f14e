"""Training of a small KL autoencoder like Stable Diffusion's: 8 times smaller, four channels.

Its latents have unit variance after the latent scale, as FlowInOne's sampler expects, and its file uses Stable
Diffusion's names, so that every loader of those takes it.
"""

import math
import re
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from pydantic.dataclasses import dataclass
from torch import Tensor

from flowinone.autoencoder import autoencoder_from_state_dict, autoencoder_of_widths, latents_of_moments
from flowinone.config import LATENT_SCALE
from flowinone.hardware import accelerator
from flowinone.model.renaming import Renaming
from flowinone.training.cache import PairCache
from flowinone.training.export import write_weights
from flowinone.training.run_config import FORBID_UNKNOWN, OptimizerName
from flowinone.weights.checkpoint import GROUPS, open_autoencoder
from recipes.mini.fitting import fit

CROP_SCHEDULE = ((0.45, 4), (0.75, 2), (1.0, 1))
"""Until which share of the steps crops have 1/4, 1/2 and all of a picture's side. Small crops of many pictures teach
colours sooner than whole pictures, whose backgrounds are alike."""


@dataclass(frozen=True, config=FORBID_UNKNOWN)
class AutoencoderConfig:
    """`widths` are channels from full resolution down, each a multiple of the first.

    `groups` is the number of groups of the group norms. Stable Diffusion has 32, of at least four channels each. A
    group of fewer channels cannot keep a flat picture's colour, so that a narrow network needs fewer groups. No tensor
    shape tells the number, so the file's metadata does.
    """

    out: str
    widths: tuple[int, ...] = (32, 64, 128, 128)
    blocks: int = 1
    groups: int = 8
    seed: int = 0
    steps: int = 7000
    batch_size: int = 2
    optimizer: OptimizerName = "adamw"
    learning_rate: float = 4e-4
    warmup: int = 100
    prompt_share: float = 0.35
    kl_weight: float = 2e-4
    edge_weight: float = 1.0
    ema: float = 0.998
    bf16: bool = True
    checkpoint_every: int = 250


def train_autoencoder(config: AutoencoderConfig, cache: PairCache) -> Path:
    """Train on a cache's prompts and targets, from the last snapshot if there is one; the file."""
    torch.manual_seed(config.seed)
    device = accelerator() or torch.device("cpu")
    vae = fresh_autoencoder(config).to(device)
    crops = _Crops(cache, config)

    def loss_at(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        terms = autoencoder_loss(vae, crops.batch(step).to(device), config)
        return terms.pop("loss"), terms

    fit(vae, loss_at, config.steps, config, betas=(0.9, 0.999), weight_decay=1e-4)
    normalise(vae.eval(), torch.cat([crops.batch(config.steps + number) for number in range(128)]).to(device))
    return write_weights(Path(config.out) / "vae.safetensors", ldm_tensors(vae), {GROUPS: str(config.groups)})


@dataclass(frozen=True, config=FORBID_UNKNOWN)
class DecoderConfig:
    """Fine-tuning of the decoder of `vae`, a file; the latents stay the same.

    It trains on targets alone, which are all it has to decode, with noise of up to `noise` standard deviations on their
    latents, since a sampler's latents are never exact.
    """

    out: str
    vae: str
    seed: int = 0
    steps: int = 5000
    batch_size: int = 2
    optimizer: OptimizerName = "adamw"
    learning_rate: float = 4e-4
    warmup: int = 100
    noise: float = 0.2
    edge_weight: float = 1.0
    ema: float = 0.998
    bf16: bool = True
    checkpoint_every: int = 500


def train_decoder(config: DecoderConfig, cache: PairCache) -> Path:
    """Train on a cache's targets and `target_encoded`, from the last snapshot if there is one; the file."""
    device = accelerator() or torch.device("cpu")
    file = open_autoencoder(config.vae)
    vae = autoencoder_from_state_dict(file.tensors(torch.float32), **file.settings)
    for parameter in vae.parameters():
        parameter.data = parameter.data.clone()
    vae.to(device).train()
    for part in (vae.decoder, vae.post_quant_conv):
        part.requires_grad_(True)
    pictures, moments = cache["target"], cache["target_encoded"]

    def loss_at(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        random = np.random.default_rng((config.seed, step))
        chosen = np.sort(random.integers(cache.count, size=config.batch_size))
        pixels = torch.from_numpy(pictures[chosen]).permute(0, 3, 1, 2).to(device).float() / 127.5 - 1
        known = torch.from_numpy(moments[chosen]).to(device).float()
        latents = latents_of_moments(known, torch.randn_like(known.chunk(2, dim=1)[0]))
        latents = latents + config.noise * torch.rand(len(latents), 1, 1, 1, device=device) * torch.randn_like(latents)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
            seen = vae.decode(latents / LATENT_SCALE).sample
        terms = picture_errors(seen.float() - pixels, config.edge_weight)
        return sum(terms.values()), terms

    fit(vae, loss_at, config.steps, config, betas=(0.9, 0.999), weight_decay=1e-4)
    groups = vae.config.norm_num_groups
    return write_weights(Path(config.out) / "vae.safetensors", ldm_tensors(vae), {GROUPS: str(groups)})


def fresh_autoencoder(config: AutoencoderConfig) -> AutoencoderKL:
    """An autoencoder whose random weights pass the signal on.

    Convolutions keep the variance of their input, residual branches are small, and so is the latents' noise: torch's
    own initialisation learns nothing for hundreds of steps. Large biases dominate the norms' statistics, so that the
    norms keep a picture's colours.
    """
    vae = autoencoder_of_widths(config.widths, config.blocks, config.groups)
    with torch.no_grad():
        for name, module in vae.named_modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                if name.endswith("conv2"):
                    module.weight.mul_(0.1)
                elif not name.endswith(("conv_out", "quant_conv", "conv_shortcut")):
                    torch.nn.init.normal_(module.bias, std=1.5)
        channels = vae.config.latent_channels
        vae.quant_conv.weight[channels:].mul_(0.01)
        vae.quant_conv.bias[channels:] = -6
    return vae


def autoencoder_loss(vae: AutoencoderKL, pixels: Tensor, config: AutoencoderConfig) -> dict[str, Tensor]:
    """The loss and its terms for pixels [B, 3, H, W] in -1..1.

    The terms are the absolute errors of pixels and of their gradients, which keep edges sharp, and the latents' KL
    divergence from a standard normal, per value.
    """
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=config.bf16):
        posterior = vae.encode(pixels).latent_dist
        seen = vae.decode(posterior.sample()).sample
    terms = picture_errors(seen.float() - pixels, config.edge_weight)
    terms["kl"] = config.kl_weight * posterior.kl().mean() / math.prod(posterior.mean.shape[1:])
    return {"loss": sum(terms.values()), **terms}


def picture_errors(difference: Tensor, edge_weight: float) -> dict[str, Tensor]:
    """The reconstruction terms of a difference of pictures [B, 3, H, W]."""
    edges = sum((difference.diff(dim=axis)).abs().mean() for axis in (2, 3))
    return {"error": difference.abs().mean(), "edges": edge_weight * edges}


@torch.no_grad()
def normalise(vae: AutoencoderKL, pixels: Tensor) -> None:
    """Give every latent channel mean 0 and, after the latent scale, standard deviation 1 on pixels [B, 3, H, W].

    The decoder's input layer undoes it, so that reconstructions don't change.
    """
    means = torch.cat([vae.encode(part).latent_dist.mean for part in pixels.split(32)])
    mean, deviation = means.mean(dim=(0, 2, 3)), means.std(dim=(0, 2, 3))
    factor = 1 / (deviation * LATENT_SCALE)
    channels = len(mean)
    into, back = vae.quant_conv, vae.post_quant_conv
    back.bias.add_(back.weight.flatten(1) @ mean)
    back.weight.div_(factor[None, :, None, None])
    into.weight[:channels].mul_(factor[:, None, None, None])
    into.bias[:channels].sub_(mean).mul_(factor)
    # The other half are log-variances, which the scale shifts.
    into.bias[channels:].add_(2 * factor.log())


_LDM_NAMES = Renaming("""
    encoder.down_blocks.#.resnets.#.conv_shortcut.*  encoder.down.#.block.#.nin_shortcut.*
    encoder.down_blocks.#.resnets.#.*                encoder.down.#.block.#.*
    encoder.down_blocks.#.downsamplers.0.*           encoder.down.#.downsample.*
    decoder.up_blocks.#.resnets.#.conv_shortcut.*    decoder.up.#.block.#.nin_shortcut.*
    decoder.up_blocks.#.resnets.#.*                  decoder.up.#.block.#.*
    decoder.up_blocks.#.upsamplers.0.*               decoder.up.#.upsample.*
    *.mid_block.resnets.0.*                          *.mid.block_1.*
    *.mid_block.resnets.1.*                          *.mid.block_2.*
    *.mid_block.attentions.0.group_norm.*            *.mid.attn_1.norm.*
    *.mid_block.attentions.0.to_out.0.*              *.mid.attn_1.proj_out.*
    *.mid_block.attentions.0.to_q.*                  *.mid.attn_1.q.*
    *.mid_block.attentions.0.to_k.*                  *.mid.attn_1.k.*
    *.mid_block.attentions.0.to_v.*                  *.mid.attn_1.v.*
    *.conv_norm_out.*                                *.norm_out.*
""")


def ldm_tensors(vae: AutoencoderKL) -> dict[str, Tensor]:
    """The autoencoder's tensors under Stable Diffusion's names (reference: ldm's `model.py`)."""
    tensors = {}
    for name, tensor in vae.state_dict().items():
        name = _LDM_NAMES.forward(name) or name
        if match := re.match(r"decoder\.up\.(\d+)", name):
            # ldm numbers the decoder's levels like the encoder's: from full resolution down.
            level = len(vae.config.block_out_channels) - 1 - int(match[1])
            name = f"decoder.up.{level}{name[match.end() :]}"
        if ".attn_1." in name and tensor.ndim == 2:
            tensor = tensor[:, :, None, None]
        tensors[name] = tensor
    return tensors


class _Crops:
    """Batches of pixels by step: crops of a cache's prompts and targets."""

    def __init__(self, cache: PairCache, config: AutoencoderConfig):
        self.arrays, self.count, self.config = (cache["image"], cache["target"]), cache.count, config

    def batch(self, step: int) -> Tensor:
        """As many pixels as `batch_size` whole pictures, in crops of the step's size."""
        config = self.config
        random = np.random.default_rng((config.seed, step))
        part = next((part for end, part in CROP_SCHEDULE if step < end * config.steps), 1)
        size = self.arrays[0].shape[1]
        side, count = size // part, config.batch_size * part**2
        corners = zip(
            random.integers(self.count, size=count),
            random.random(count) >= config.prompt_share,
            random.integers(size - side + 1, size=(count, 2)),
        )
        crops = [
            self.arrays[int(target)][number, top : top + side, left : left + side]
            for number, target, (top, left) in corners
        ]
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1
