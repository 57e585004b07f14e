"""Where ComfyUI keeps the model files."""

import os

import folder_paths

from ..flowinone import mini

BUNDLED_FONTS = "bundled"
MINI = "mini (bundled)"
NETWORKS, VISION_ENCODERS, AUTOENCODERS, FONTS = "flowinone", "clip_vision", "vae", "fonts"
_EXTENSIONS = {
    NETWORKS: {".safetensors", ".sft", ".pth", ".pt", ".ckpt", ".bin"},
    FONTS: {".ttf", ".otf"},
}


_MINI = {NETWORKS: mini.NETWORK, VISION_ENCODERS: mini.VISION, AUTOENCODERS: mini.VAE}


def register_folders() -> None:
    """Register `models/flowinone` and `models/fonts`, next to what extra_model_paths.yaml named under these keys."""
    for name, wanted in _EXTENSIONS.items():
        folder_paths.add_model_folder_path(name, os.path.join(folder_paths.models_dir, name), is_default=True)
        paths, extensions = folder_paths.folder_names_and_paths[name]
        folder_paths.folder_names_and_paths[name] = (paths, set(extensions) | wanted)


def files(folder: str) -> list[str]:
    """Files in a models folder, by the names that the loader's lists show; first the one that comes with the pack."""
    return [MINI] * (folder in _MINI) + folder_paths.get_filename_list(folder)


def path_of(folder: str, name: str) -> str:
    """The full path of a listed file. Raises FileNotFoundError that names folder and file."""
    if name == MINI:
        return str(_MINI[folder])
    return folder_paths.get_full_path_or_raise(folder, name)


def font_file(name: str | None) -> str | None:
    """The file of a listed font; None for the bundled ones. Raises FileNotFoundError that names the file."""
    return None if name in (None, BUNDLED_FONTS) else path_of(FONTS, name)
