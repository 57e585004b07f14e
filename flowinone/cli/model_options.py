"""The options that choose weights, device and dtype, shared by subcommands that run the model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .argument_types import file_path

if TYPE_CHECKING:
    import torch

    from ..pipeline import FlowInOnePipeline

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Torch's names of the dtypes that options offer."""


def add_weights_arguments(command: argparse.ArgumentParser) -> None:
    weights = command.add_argument_group("weights")
    weights.add_argument(
        "--checkpoint",
        type=file_path,
        metavar="FILE",
        help="flowinone_256px.pth, or what `flowinone convert` made of it",
    )
    weights.add_argument("--vision", type=file_path, metavar="PATH", help="Janus-Pro-1B, a file or its folder")
    weights.add_argument("--vae", type=file_path, metavar="FILE", help="a Stable Diffusion 1.x VAE or checkpoint")
    weights.add_argument(
        "--model", type=file_path, metavar="FOLDER", help="instead of the three: a folder that save_pretrained wrote"
    )
    weights.add_argument(
        "--mini",
        action="store_true",
        help="instead of them: the small model that ships with the package; it draws toy scenes of coloured shapes, "
        "in seconds",
    )


def add_device_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps …")
    command.add_argument(
        "--dtype",
        choices=["auto", *DTYPES],
        default="auto",
        help="auto (default): 16 bit, or fp32 on a CPU without bf16 arithmetic",
    )


def pipeline_of(options: argparse.Namespace) -> FlowInOnePipeline:
    """The pipeline that the options ask for."""
    dtype = None if options.dtype == "auto" else DTYPES[options.dtype]
    sources = options.model, options.checkpoint, options.vision, options.vae
    return load_pipeline(*sources, options.device, dtype, options.mini)


def model_files(options: argparse.Namespace) -> dict[str, str | Path]:
    """The weights that the options ask for, by the option's name; mini's as the three files."""
    if options.mini:
        from .. import mini

        return {"checkpoint": mini.NETWORK, "vision": mini.VISION, "vae": mini.VAE}
    if options.model is not None:
        return {"model": options.model}
    return {"checkpoint": options.checkpoint, "vision": options.vision, "vae": options.vae}


def load_pipeline(
    model: str | None,
    checkpoint: str | None,
    vision: str | None,
    vae: str | None,
    device: str = "auto",
    dtype: str | None = None,
    mini: bool = False,
) -> FlowInOnePipeline:
    """The pipeline of a saved folder, of three weight files or of `mini`.

    `dtype` is torch's name of one; None chooses one that suits the device. Raises ValueError for missing or
    contradicting sources, an unavailable device, and files that are not what their option needs.
    """
    files = {"--checkpoint": checkpoint, "--vision": vision, "--vae": vae}
    missing = [option for option, value in files.items() if value is None]
    if mini and (model is not None or len(missing) < 3):
        raise ValueError("--mini takes the place of --checkpoint, --vision, --vae and --model; give one or the other")
    if model is not None and len(missing) < 3:
        raise ValueError("--model takes the place of --checkpoint, --vision and --vae; give one or the other")
    if not mini and model is None and missing:
        remedies = f"give {', '.join(missing)}, or --model with a saved pipeline's folder"
        if len(missing) == 3:
            remedies += ", or --mini for the small model that ships with flowinone"
        raise ValueError(f"weights are missing: {remedies}")

    import torch

    from ..pipeline import FlowInOnePipeline

    place = _device(device)
    chosen = getattr(torch, dtype) if dtype else _suitable_dtype(place)
    if mini:
        # Mini is so small that float32, which gives the same pictures on every CPU, costs nothing.
        return FlowInOnePipeline.mini(chosen if dtype or place.type != "cpu" else torch.float32, place)
    if model is None:
        return FlowInOnePipeline.from_single_files(checkpoint, vision, vae, dtype=chosen, device=place)
    if not Path(model, "model_index.json").is_file():
        raise ValueError(
            f"{model} is not a saved pipeline: it has no model_index.json; give a folder that save_pretrained wrote"
        )
    return FlowInOnePipeline.from_pretrained(model, dtype=chosen, local_files_only=True).to(place)


def _device(name: str) -> torch.device:
    import torch

    from ..hardware import accelerator

    if name == "auto":
        return accelerator() or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} is not available here: {str(error).splitlines()[0]}") from None
    return device


def _suitable_dtype(device: torch.device) -> torch.dtype:
    import torch

    from ..hardware import cpu_computes_in_bfloat16

    if device.type == "cpu":
        return torch.bfloat16 if cpu_computes_in_bfloat16() else torch.float32
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16
