"""`flowinone download`: the model files, from the Hugging Face Hub to where ComfyUI looks for them."""

import argparse
import sys
from pathlib import Path

from .argument_types import file_path

DESCRIPTION = (
    "Download FlowInOne's checkpoint, the vision tower of Janus-Pro-1B and a VAE from the Hugging Face Hub, convert "
    "them and place them where ComfyUI looks for them. Run the same command again to resume an interrupted download. "
    "HF_TOKEN, HF_ENDPOINT and the proxy variables are respected."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    place = command.add_mutually_exclusive_group(required=True)
    place.add_argument(
        "--comfyui", type=file_path, metavar="PATH", help="ComfyUI's folder; the files go into its models folder"
    )
    place.add_argument(
        "--to", type=file_path, metavar="FOLDER", help="a folder for all files, to use them without ComfyUI"
    )
    command.add_argument(
        "--only", choices=["network", "vision", "vae"], action="append", help="only this one of the three; repeatable"
    )
    command.add_argument(
        "--dtype",
        choices=["bf16", "fp16", "fp32", "none"],
        default="bf16",
        help="dtype of the network (default: bf16); none: as published",
    )
    command.add_argument(
        "--keep-original", action="store_true", help="keep the published checkpoint next to the converted one"
    )
    command.add_argument("--dry-run", action="store_true", help="list what would be downloaded, and stop")
    command.add_argument("--overwrite", action="store_true", help="download files again that exist")


def run(options: argparse.Namespace) -> int:
    try:
        from tqdm import tqdm

        from ..weights.conversion import byte_size
        from ..weights.download import PARTS, check_disk_space, comfyui_folders, plan_downloads, run_download
    except ImportError as error:
        needed = 'huggingface_hub 1.0 and the packages of the library extra: pip install ".[library,download]"'
        raise ImportError(f"{error}; downloading needs {needed}") from error

    def log(line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    def progress_bar(title: str, done: int, total: int) -> tqdm:
        return tqdm(desc=title, initial=done, total=total, unit="B", unit_scale=True)

    if options.to is not None:
        targets = {part.kind: Path(options.to) for part in PARTS}
    else:
        targets = comfyui_folders(Path(options.comfyui))
    kinds = options.only or [part.kind for part in PARTS]
    dtype = None if options.dtype == "none" else options.dtype
    downloads = plan_downloads(targets, kinds, dtype, options.keep_original, options.overwrite, log)
    for download in downloads:
        print(download, flush=True)
    if options.dry_run:
        print(f"to download: {byte_size(sum(download.size - download.present for download in downloads))}")
        return 0
    check_disk_space(downloads)
    try:
        for download in downloads:
            run_download(download, progress_bar, log)
    except KeyboardInterrupt:
        log("the download so far is kept: run the same command again to resume")
        raise
    for download in downloads:
        print(f"placed: {download.target}")
    return 0
