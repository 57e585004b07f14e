"""Training of a small image autoencoder of Stable Diffusion's kind: three halvings, four channels, a KL term.

Its latents come out as FlowInOne's sampler expects them, about 1 wide after the latent scale, and its file has the
names of Stable Diffusion's, so that every loader of those takes it.
"""

import dataclasses
import logging
import math
import re
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from ..autoencoder import autoencoder_of_widths
from ..checkpoint import GROUPS
from ..config import LATENT_SCALE
from . import snapshots
from .cache import PairCache
from .export import write_weights

log = logging.getLogger("flowinone.training")

STAGES = ((0.45, 4), (0.75, 2), (1.0, 1))
"""Until which share of the steps what part of a side is seen. Small pieces of many pictures teach colours first, which
whole pictures, whose grounds are alike, take long to."""


@dataclasses.dataclass(frozen=True)
class AutoencoderConfig:
    """`widths` are channels from full size down, each a multiple of the first.

    `groups` is how many groups of channels the norms take. Stable Diffusion's are 32, of four channels and more each. Fewer
    channels in a group cannot keep a flat picture's colour, which is why a narrow network needs fewer groups; no shape
    tells them, so they are in the file's metadata.
    """

    out: str
    widths: tuple[int, ...] = (32, 64, 128, 128)
    blocks: int = 1
    groups: int = 8
    seed: int = 0
    steps: int = 7000
    batch_size: int = 2
    learning_rate: float = 4e-4
    warmup: int = 100
    prompt_share: float = 0.35
    kl_weight: float = 2e-4
    edge_weight: float = 1.0
    ema: float = 0.998
    bf16: bool = True
    checkpoint_every: int = 250


def train_autoencoder(config: AutoencoderConfig, cache: PairCache) -> Path:
    """Train on the pictures of a cache, prompts and answers, from the last state if there is one; the file."""
    torch.manual_seed(config.seed)
    out = Path(config.out)
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    vae = fresh_autoencoder(config).to(device)
    average = {name: parameter.detach().clone() for name, parameter in vae.named_parameters()}
    optimizer = torch.optim.AdamW(vae.parameters(), lr=config.learning_rate, betas=(0.9, 0.999), weight_decay=1e-4)
    start = 0
    if found := snapshots.latest(out / "states"):
        tensors, state, facts = snapshots.load(found)
        vae.load_state_dict(tensors["weights"])
        average = {name: tensor.to(device) for name, tensor in tensors["average"].items()}
        optimizer.load_state_dict(state)
        start = facts["step"]
        log.info("going on from step %d", start)
    pictures = _Pictures(cache, config)
    began = time.monotonic()
    for step in range(start, config.steps):
        up = min(1.0, (step + 1) / config.warmup)
        share = max(step - config.warmup, 0) / max(config.steps - config.warmup, 1)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * up * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        torch.manual_seed(config.seed * 7919 + step)
        terms = autoencoder_loss(vae, pictures.batch(step).to(device), config)
        terms["loss"].backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        decay = min(config.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, parameter in vae.named_parameters():
                average[name].lerp_(parameter, 1 - decay)
        if (step + 1) % 100 == 0:
            each = (time.monotonic() - began) / (step + 1 - start)
            values = "  ".join(f"{name} {float(term.detach()):.4f}" for name, term in terms.items())
            log.info("step %d of %d  %s  %.2f s a step", step + 1, config.steps, values, each)
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
            tensors = {"weights": vae.state_dict(), "average": average}
            snapshots.save(out / "states", step + 1, tensors, optimizer.state_dict(), {"seed": config.seed}, 2)
    for name, parameter in vae.named_parameters():
        parameter.data.copy_(average[name])
    normalise(vae.eval(), torch.cat([pictures.batch(config.steps + number) for number in range(128)]).to(device))
    return write_weights(out / "vae.safetensors", ldm_tensors(vae), {GROUPS: str(config.groups)})


def fresh_autoencoder(config: AutoencoderConfig) -> AutoencoderKL:
    """An autoencoder with random weights that begins with signal.

    Convolutions keep their input's size, branches add little to it, and the latents' noise is small: with torch's own
    beginning nothing is learnt for hundreds of steps. Large offsets give the norms something besides the picture to
    measure, so that they let its colours through.
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
    """The loss and its terms for pixels [B, 3, H, W] in -1..1: absolute error of pixels and of their differences to
    their neighbours, which keeps edges sharp, and the latents' KL divergence from a standard normal, per value."""
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=config.bf16):
        posterior = vae.encode(pixels).latent_dist
        seen = vae.decode(posterior.sample()).sample
    difference = seen.float() - pixels
    edges = sum((difference.diff(dim=axis)).abs().mean() for axis in (2, 3))
    terms = {
        "error": difference.abs().mean(),
        "edges": config.edge_weight * edges,
        "kl": config.kl_weight * posterior.kl().mean() / math.prod(posterior.mean.shape[1:]),
    }
    return {"loss": sum(terms.values()), **terms}


@torch.no_grad()
def normalise(vae: AutoencoderKL, pixels: Tensor) -> None:
    """Give every latent channel mean 0 and, after the latent scale, deviation 1 on pixels [B, 3, H, W], and undo it
    before the decoder: pictures stay what they were."""
    means = torch.cat([vae.encode(part).latent_dist.mean for part in pixels.split(32)])
    mean, deviation = means.mean(dim=(0, 2, 3)), means.std(dim=(0, 2, 3))
    factor = 1 / (deviation * LATENT_SCALE)
    channels = len(mean)
    into, back = vae.quant_conv, vae.post_quant_conv
    back.bias.add_(back.weight.flatten(1) @ mean)
    back.weight.div_(factor[None, :, None, None])
    into.weight[:channels].mul_(factor[:, None, None, None])
    into.bias[:channels].sub_(mean).mul_(factor)
    # The other half are log-variances: they follow the scale, and their weights do not.
    into.bias[channels:].add_(2 * factor.log())


_LDM_NAMES = (
    (r"^(en|de)coder\.mid_block\.attentions\.0\.group_norm", r"\1coder.mid.attn_1.norm"),
    (r"^(en|de)coder\.mid_block\.attentions\.0\.to_out\.0", r"\1coder.mid.attn_1.proj_out"),
    (r"^(en|de)coder\.mid_block\.attentions\.0\.to_([qkv])", r"\1coder.mid.attn_1.\2"),
    (r"^(en|de)coder\.mid_block\.resnets\.0", r"\1coder.mid.block_1"),
    (r"^(en|de)coder\.mid_block\.resnets\.1", r"\1coder.mid.block_2"),
    (r"^encoder\.down_blocks\.(\d+)\.resnets\.(\d+)", r"encoder.down.\1.block.\2"),
    (r"^encoder\.down_blocks\.(\d+)\.downsamplers\.0", r"encoder.down.\1.downsample"),
    (r"^decoder\.up_blocks\.(\d+)\.resnets\.(\d+)", r"decoder.up.\1.block.\2"),
    (r"^decoder\.up_blocks\.(\d+)\.upsamplers\.0", r"decoder.up.\1.upsample"),
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
)


def ldm_tensors(vae: AutoencoderKL) -> dict[str, Tensor]:
    """The autoencoder's tensors under Stable Diffusion's names (reference: ldm's `model.py`)."""
    tensors = {}
    for name, tensor in vae.state_dict().items():
        for pattern, replacement in _LDM_NAMES:
            name = re.sub(pattern, replacement, name)
        if match := re.match(r"decoder\.up\.(\d+)", name):
            # ldm counts the decoder's levels as the encoder's: from full size down.
            level = len(vae.config.block_out_channels) - 1 - int(match[1])
            name = f"decoder.up.{level}{name[match.end() :]}"
        if ".attn_1." in name and tensor.ndim == 2:
            tensor = tensor[:, :, None, None]
        tensors[name] = tensor
    return tensors


class _Pictures:
    """Batches of pixels by number: prompts and answers of a cache, small pieces of them in the beginning."""

    def __init__(self, cache: PairCache, config: AutoencoderConfig):
        self.arrays, self.count, self.config = (cache["image"], cache["target"]), cache.count, config

    def batch(self, step: int) -> Tensor:
        """As many pixels as `batch_size` whole pictures, in pieces of the stage's size."""
        config = self.config
        random = np.random.default_rng((config.seed, step))
        part = next((part for end, part in STAGES if step < end * config.steps), 1)
        size = self.arrays[0].shape[1]
        side, count = size // part, config.batch_size * part**2
        places = zip(random.integers(self.count, size=count), random.random(count) >= config.prompt_share, random.integers(size - side + 1, size=(count, 2)))
        pieces = [self.arrays[int(answer)][number, top : top + side, left : left + side] for number, answer, (top, left) in places]
        return torch.from_numpy(np.stack(pieces)).permute(0, 3, 1, 2).float() / 127.5 - 1
