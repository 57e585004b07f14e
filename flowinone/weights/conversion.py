"""Converting weights: any file that `checkpoint` reads to one safetensors file, tensor by tensor."""

import contextlib
import dataclasses
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ..model.names import upstream_name
from .checkpoint import cast, checked_autoencoder, checked_network, checked_vision, outline, recognise
from .eightbit import FORMATS, eight_bit_recipe
from .layouts import Recipe, Source, janus_recipe
from .weightfile import DTYPE_CODES, CheckpointError, WeightFile, open_weights

_LICENSES = {
    "network": "Apache-2.0, arXiv 2604.06757, CSU-JPG/FlowInOne",
    "vision": "DeepSeek Model License, deepseek-ai/Janus-Pro-1B",
    "autoencoder": "see the source file's licence (Stable Diffusion: CreativeML Open RAIL-M)",
}


def convert(
    source: str | os.PathLike,
    target: str | os.PathLike,
    dtype: torch.dtype | None = None,
    to_upstream: bool = False,
    progress: Callable[[int, int], None] | None = None,
    overwrite: bool = False,
) -> None:
    """Write the part of FlowInOne that `source` holds as one safetensors file.

    A network comes out without its training-only tensors, Janus-Pro as vision tower and aligner under transformers'
    names, a VAE or Stable Diffusion checkpoint as the VAE alone. `to_upstream` gives the network CSU-JPG's names and
    the vision encoder DeepSeek's; a VAE keeps its own. Floating-point tensors are cast to `dtype` if one is given; of a network,
    `torch.float8_e4m3fn` and `torch.int8` mean ComfyUI's 8-bit format (see `eightbit`). Without one, 8-bit matrices get the
    dtype of their file's other weights.

    The metadata say what the file is and what it was first made from: a second conversion keeps the checksum and the
    licence that it finds. `progress` gets bytes done and in total; a source that is hashed counts like the target.
    Memory holds one tensor at a time. The target appears whole or not at all, and an earlier one stays until then.
    Raises CheckpointError for a source without such a part and for a target that cannot be written.
    """
    file, target = open_weights(source), Path(target)
    _check_target(file, target, overwrite)
    part, recipe, about = _plan(file, to_upstream, dtype)
    if dtype in FORMATS:
        dtype = None  # cast within the recipe
    tensors = {name: cast(tensor, dtype, "meta") for name, tensor in outline(file, recipe).items()}
    # Widest dtype first, as safetensors does it, keeps every tensor aligned.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values() if tensor.is_floating_point()}
    size = sum(tensor.nbytes for tensor in tensors.values())
    free = shutil.disk_usage(target.parent).free
    if size > free:
        raise CheckpointError(f"{target} needs {_gigabytes(size)} and its disk has {_gigabytes(free)} free; make room")

    earlier = {key: value for key, value in file.metadata.items() if key.startswith("flowinone.")}
    unhashed = [] if "flowinone.source_sha256" in earlier else file.files
    done, total = 0, size + sum(path.stat().st_size for path in unhashed)

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    metadata = {
        "flowinone.license": _LICENSES[part],
        "flowinone.source_sha256": ",".join(sha256_of(path, advance) for path in unhashed),
        **earlier,
        "format": "pt",
        "flowinone.kind": part,
        "flowinone.dtype": ",".join(sorted(dtypes)),
        **about,
    }
    with _replacing(target) as stream:
        stream.write(_header({name: tensors[name] for name in names}, metadata))
        for name in names:
            tensor = cast(recipe[name].build(*(file[stored] for stored in recipe[name].names)), dtype)
            # As bytes, since numpy has no bfloat16.
            stream.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
            advance(tensor.nbytes)


def _plan(file: WeightFile, to_upstream: bool, dtype: torch.dtype | None) -> tuple[str, Recipe, dict[str, str]]:
    """Which part of FlowInOne the file holds, how to make the target's tensors of it, and metadata of its own."""
    recognised = recognise(file)
    if recognised.part == "network":
        recipe, config = checked_network(file, torch.float32 if dtype in FORMATS else dtype)
        about = {"flowinone.config": json.dumps(dataclasses.asdict(config))}
        if dtype in FORMATS:
            if to_upstream:
                raise CheckpointError(
                    f"{file.path} can get the public implementation's names or 8-bit weights, not both; leave out one of them"
                )
            recipe = eight_bit_recipe(recipe, outline(file, recipe), dtype)
            about["flowinone.dtype"] = f"bfloat16,{str(dtype).removeprefix('torch.')}"
        if to_upstream:
            recipe = {upstream_name(name): source for name, source in recipe.items()}
        return "network", recipe, about
    if dtype in FORMATS and recognised.part is not None:
        raise CheckpointError(
            f"{file.path} is {recognised.what}, and 8-bit weights are for FlowInOne networks alone; ask for bf16 or fp16"
        )
    if recognised.part == "vision":
        recipe, _ = checked_vision(file)
        return "vision", _chained(janus_recipe(recipe), recipe) if to_upstream else recipe, {}
    if recognised.part == "autoencoder":
        return "autoencoder", checked_autoencoder(file)[0], {}
    raise CheckpointError(
        f"{file.path} is {recognised.what} (found {recognised.found}); "
        "expected a FlowInOne network, a Janus-Pro checkpoint or a Stable Diffusion 1.x VAE"
    )


def _chained(second: Recipe, first: Recipe) -> Recipe:
    """`second` on what `first` makes, as one recipe on stored names."""

    def chain(step: Source) -> Source:
        parts = [first[name] for name in step.names]

        def build(*tensors: Tensor) -> Tensor:
            rest = iter(tensors)
            return step.build(*(part.build(*islice(rest, len(part.names))) for part in parts))

        return Source(tuple(name for part in parts for name in part.names), build)

    return {name: chain(step) for name, step in second.items()}


def _check_target(file: WeightFile, target: Path, overwrite: bool) -> None:
    if target.suffix != ".safetensors":
        raise CheckpointError(f"{target} would be a safetensors file; give it a name that ends in .safetensors")
    if not target.parent.is_dir():
        raise CheckpointError(f"{target} cannot be written: there is no folder {target.parent}; make it first")
    if target.exists():
        if any(target.samefile(path) for path in file.files):
            raise CheckpointError(f"{target} is the source itself; give the result another name")
        if not overwrite:
            raise CheckpointError(f"{target} exists; give the result another name, or ask for it to be overwritten")


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"


def sha256_of(path: Path, advance: Callable[[int], None]) -> str:
    """The file's SHA-256; `advance` gets the number of bytes read."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            advance(len(block))
    return digest.hexdigest()


def _header(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file up to its first tensor's bytes; the tensors follow in the order given."""
    entries, offset = {"__metadata__": metadata}, 0
    for name, tensor in tensors.items():
        end = offset + tensor.nbytes
        if tensor.dtype not in DTYPE_CODES:
            raise CheckpointError(
                f"{name} is {tensor.dtype}, which safetensors files cannot hold; ask for another dtype"
            )
        entries[name] = {"dtype": DTYPE_CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the target's place when the block ends well, and is removed when it does not."""
    partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with open(partial, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
