"""A ComfyUI server with this pack and tiny models, and the files that graphs for it name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors.torch import save_file

from devtools import FIXTURES, tiny
from devtools.comfyui.server import PACK_NAME, ComfyServer

PHOTO = FIXTURES / "preprocess" / "wide.png"
LOADER = {
    "checkpoint": "flowinone_tiny.safetensors",
    "vision": "janus_vision_tiny.safetensors",
    "vae": "vae_tiny.safetensors",
    "dtype": "float32",
}
"""Inputs of Load FlowInOne for the tiny untrained model that the fixtures were computed with."""
TINY = {
    "UpscaleModelLoader": {"model_name": "upscale_tiny.safetensors"},
    "UNETLoader": {"unet_name": "detector_tiny.safetensors"},
}
"""Substitutes for other models that shipped workflows load, by node and input."""
PHOTO_FOLDER = "photos"
"""A folder of photos below the server's input folder."""
INSPECTOR = Path(__file__).parent / "inspector"


def inspected_server(comfyui: Path, python: Path, base: Path, arguments: tuple[str, ...] = ()) -> ComfyServer:
    """A server, not yet started, with this pack and the inspector pack in `base`."""
    shutil.copytree(INSPECTOR, base / "custom_nodes" / INSPECTOR.name)
    packs = ("--whitelist-custom-nodes", PACK_NAME, INSPECTOR.name)
    return ComfyServer(comfyui, python, base, arguments=(*packs, *arguments))


def tiny_server(comfyui: Path, python: Path, base: Path, elsewhere: Path) -> ComfyServer:
    """A server, not yet started, with the tiny models and photos in `base`, and another checkpoint in `elsewhere`."""
    models = tiny.write_models(base / "models")
    upscaler = base / "models" / "upscale_models" / TINY["UpscaleModelLoader"]["model_name"]
    upscaler.parent.mkdir()
    save_file(tiny.upscaler_weights(), upscaler)
    photos = base / "input" / PHOTO_FOLDER
    photos.mkdir(parents=True)
    for photo in (PHOTO, PHOTO.with_name("tall.png")):
        shutil.copy(photo, photos)
    # A second folder of models, configured the way users do it.
    shutil.copy(models["checkpoint"], elsewhere / "flowinone_elsewhere.safetensors")
    paths = base / "extra_model_paths.yaml"
    paths.write_text(json.dumps({"tests": {"base_path": str(elsewhere), "flowinone": "."}}), encoding="utf-8")
    arguments = ("--extra-model-paths-config", str(paths), "--preview-method", "latent2rgb")
    return inspected_server(comfyui, python, base, arguments)
