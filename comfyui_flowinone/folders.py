"""Where ComfyUI keeps the model files."""

import os

import folder_paths

NETWORKS, VISION_ENCODERS, AUTOENCODERS = "flowinone", "clip_vision", "vae"
_EXTENSIONS = {".safetensors", ".sft", ".pth", ".pt", ".ckpt", ".bin"}


def register_folders() -> None:
    """Make `models/flowinone` known, beside whatever extra_model_paths.yaml named under that key."""
    folder_paths.add_model_folder_path(NETWORKS, os.path.join(folder_paths.models_dir, "flowinone"), is_default=True)
    paths, extensions = folder_paths.folder_names_and_paths[NETWORKS]
    folder_paths.folder_names_and_paths[NETWORKS] = (paths, set(extensions) | _EXTENSIONS)


def files(folder: str) -> list[str]:
    """Weights files in a models folder, by the names that the loader's lists show."""
    return folder_paths.get_filename_list(folder)


def path_of(folder: str, name: str) -> str:
    """The full path of a listed file. Raises FileNotFoundError that names folder and file."""
    return folder_paths.get_full_path_or_raise(folder, name)
