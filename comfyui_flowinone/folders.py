"""ComfyUI's model folders, with the files that ship with the pack."""

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
    """The names of a folder's files, as the nodes list them; first the file that ships with the pack, if any."""
    return [MINI] * (folder in _MINI) + folder_paths.get_filename_list(folder)


def path_of(folder: str, name: str) -> str:
    """The full path of a listed file. Raises FileNotFoundError, which names folder and file."""
    if name == MINI:
        return str(_MINI[folder])
    return folder_paths.get_full_path_or_raise(folder, name)


def font_file(name: str | None) -> str | None:
    """The path of a listed font; None for the bundled fonts. Raises FileNotFoundError, which names the file."""
    return None if name in (None, BUNDLED_FONTS) else path_of(FONTS, name)
