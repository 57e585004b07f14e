"""What kind of model a weight file holds, told from its keys."""

import dataclasses
import re

from .weightfile import WeightFile


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a weight file is, the part of FlowInOne it can serve as (None if it can't), and the keys that told."""

    what: str
    part: str | None
    found: str


# What the file is, which part it serves as, and how a key of such files begins. The first row that matches any key
# decides.
_KINDS = (
    ("a LoRA", None, r"(.*[._])?lora_(up|down|A|B)\."),
    ("a FlowInOne network", "network", r"(stages|context_encoder|velocity_network|prompt_encoder)\."),
    ("a Janus-Pro vision encoder", "vision", r"vision_model\.vision_tower\.|(model\.)?aligner\.(layers|fc1)\."),
    ("an SDXL checkpoint", None, r"conditioner\.embedders\."),
    ("a Flux checkpoint", None, r"((model\.)?diffusion_model\.)?double_blocks\."),
    ("a Stable Diffusion 3 checkpoint", None, r"((model\.)?diffusion_model\.)?joint_blocks\."),
    ("a Stable Diffusion checkpoint", "autoencoder", r"((model\.)?diffusion_model\.)?input_blocks\."),
    ("a diffusion model's checkpoint", None, r"(model\.)?diffusion_model\."),
    ("a TAESD preview autoencoder", None, r"taesd_(en|de)coder\.|((en|de)coder\.layers\.)?\d+\.(?=conv\.\d|weight)"),
    ("a VAE", "autoencoder", r"(first_stage_model\.|vae\.)?(encoder|decoder)\.conv_(in|out)\."),
    ("a CLIP or SigLIP vision model", None, r"(vision_model|visual)\."),
    ("a diffusers UNet", None, r"(down|up)_blocks\."),
    ("a text encoder", None, r"text_model\.|(encoder|shared)\.(block|weight)"),
    ("a language model", None, r"((language_)?model\.)*(layers\.\d|embed_tokens)"),
)


def identify(file: WeightFile) -> Identity:
    """What the file's keys say it is; "an unknown model" if they match no known kind."""
    for what, part, keys in _KINDS:
        pattern = re.compile(keys)
        for name in file:
            if match := pattern.match(name):
                return Identity(what, part, f"{file.prefix}{match[0]}*")
    names = [file.prefix + name for name in file]
    return Identity("an unknown model", None, ", ".join(names[:3]) + (" …" if len(names) > 3 else ""))
