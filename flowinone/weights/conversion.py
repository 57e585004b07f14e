"""`flowinone convert`: any file that `checkpoint` opens to one safetensors file, tensor by tensor.

`safetensors.torch.save_file` would need all tensors in memory; this writer holds one at a time.
"""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from ..files import atomic_write
from ..model.names import upstream_name
from .checkpoint import AutoencoderFile, NetworkFile, VisionFile, cast, meta_tensors
from .eightbit import FORMATS, eight_bit_map
from .identify import identify
from .mapping import TensorMap, TensorSource, janus_map
from .safetensors_header import DTYPE_CODES, encode_header
from .weightfile import CheckpointError, open_weights, resolve_files

ModelFile = NetworkFile | VisionFile | AutoencoderFile

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
    """Write the part of FlowInOne that the file `source` holds as one safetensors file.

    A network loses its training-only tensors, Janus-Pro becomes vision tower and aligner under transformers' names, a
    VAE or Stable Diffusion checkpoint the VAE alone. `to_upstream` gives the network CSU-JPG's names and the vision
    encoder DeepSeek's; a VAE keeps its own. Floating-point tensors are cast to `dtype` if one is given. For a
    network, `torch.float8_e4m3fn` and `torch.int8` mean ComfyUI's 8-bit format (see `eightbit`). Without `dtype`,
    8-bit matrices get the dtype of their file's other weights.

    The metadata say what the file is and what it was first made from: a second conversion keeps the checksum and
    licence it finds. `progress` gets the bytes done and the total; hashing the source counts as well as writing the
    target. Memory holds one tensor at a time. The target is written atomically, and an earlier one stays until then.
    Raises CheckpointError for a source without such a part and for a target that cannot be written.
    """
    target = Path(target)
    _check_target(resolve_files(source), target, overwrite)
    with open_model_file(source) as opened:
        write_converted(opened, target, dtype, to_upstream, progress)


def open_model_file(path: str | os.PathLike) -> ModelFile:
    """Open and validate a file of whichever part of FlowInOne it holds. Raises CheckpointError for any other file."""
    file = open_weights(path)
    found = identify(file)
    for kind in (NetworkFile, VisionFile, AutoencoderFile):
        if found.part == kind.part:
            return kind(file)
    raise CheckpointError(
        f"{file.path} is {found.what} (found {found.found}); "
        "expected a FlowInOne network, a Janus-Pro checkpoint or a Stable Diffusion 1.x VAE"
    )


def write_converted(
    opened: ModelFile,
    target: Path,
    dtype: torch.dtype | None = None,
    to_upstream: bool = False,
    progress: Callable[[int, int], None] | None = None,
    source_sha256: str | None = None,
) -> None:
    """What `convert` does with a file that is open. `source_sha256` is the file's checksum if it is known."""
    file = opened.file
    mapping, facts = _conversion(opened, to_upstream, dtype)
    if dtype in FORMATS:
        dtype = None  # the mapping casts
    tensors = {name: cast(tensor, dtype, "meta") for name, tensor in meta_tensors(file, mapping).items()}
    # Widest dtype first, as in safetensors' own files, keeps every tensor aligned.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values() if tensor.is_floating_point()}
    size = sum(tensor.nbytes for tensor in tensors.values())
    free = shutil.disk_usage(target.parent).free
    if size > free:
        raise CheckpointError(f"{target} needs {byte_size(size)} and its disk has {byte_size(free)} free; make room")

    earlier = {key: value for key, value in file.metadata.items() if key.startswith("flowinone.")}
    unhashed: Sequence[Path] = () if source_sha256 or "flowinone.source_sha256" in earlier else file.files
    done, total = 0, size + sum(path.stat().st_size for path in unhashed)

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    metadata = {
        "flowinone.license": _LICENSES[opened.part],
        "flowinone.source_sha256": source_sha256 or ",".join(sha256_of(path, advance) for path in unhashed),
        **earlier,
        "format": "pt",
        "flowinone.kind": opened.part,
        "flowinone.dtype": ",".join(sorted(dtypes)),
        **facts,
    }
    header = _header({name: tensors[name] for name in names}, metadata)
    with atomic_write(target, sync=True) as stream:
        stream.write(header)
        for name in names:
            tensor = cast(mapping[name].build(*(file[stored] for stored in mapping[name].names)), dtype)
            # As bytes, since numpy has no bfloat16.
            stream.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
            advance(tensor.nbytes)


def _conversion(opened: ModelFile, to_upstream: bool, dtype: torch.dtype | None) -> tuple[TensorMap, dict[str, str]]:
    """How the target's tensors are built from the file's, and the metadata that follow from it."""
    if isinstance(opened, NetworkFile):
        mapping = opened.dequantised(torch.float32 if dtype in FORMATS else dtype)
        facts = {"flowinone.config": json.dumps(dataclasses.asdict(opened.config))}
        if dtype in FORMATS:
            if to_upstream:
                raise CheckpointError(
                    f"{opened.file.path} can get the public implementation's names or 8-bit weights, not both; "
                    "leave out one of them"
                )
            mapping = eight_bit_map(mapping, meta_tensors(opened.file, mapping), dtype)
            facts["flowinone.dtype"] = f"bfloat16,{str(dtype).removeprefix('torch.')}"
        if to_upstream:
            mapping = {upstream_name(name) or name: source for name, source in mapping.items()}
        return mapping, facts
    if dtype in FORMATS:
        raise CheckpointError(
            f"{opened.file.path} is {opened.identity.what}, and 8-bit weights are for FlowInOne networks alone; "
            "ask for bf16 or fp16"
        )
    if isinstance(opened, VisionFile) and to_upstream:
        return _chained(janus_map(opened.mapping), opened.mapping), {}
    return opened.mapping, {}


def _chained(second: TensorMap, first: TensorMap) -> TensorMap:
    """`second` applied to what `first` builds, as one map from stored names."""

    def chain(step: TensorSource) -> TensorSource:
        sources = [first[name] for name in step.names]

        def build(*tensors: Tensor) -> Tensor:
            rest = iter(tensors)
            return step.build(*(source.build(*islice(rest, len(source.names))) for source in sources))

        return TensorSource(tuple(name for source in sources for name in source.names), build)

    return {name: chain(step) for name, step in second.items()}


def _check_target(sources: Iterable[Path], target: Path, overwrite: bool) -> None:
    if target.suffix != ".safetensors":
        raise CheckpointError(f"{target} would be a safetensors file; give it a name that ends in .safetensors")
    if not target.parent.is_dir():
        raise CheckpointError(f"{target} cannot be written: there is no folder {target.parent}; create it first")
    if target.exists():
        if any(target.samefile(path) for path in sources):
            raise CheckpointError(f"{target} is the source itself; give the result another name")
        if not overwrite:
            raise CheckpointError(f"{target} exists; give the result another name, or ask for it to be overwritten")


def byte_size(count: int) -> str:
    """A number of bytes to read: GB, MB or kB, whichever needs few digits."""
    unit, name = next((pair for pair in ((1e9, "GB"), (1e6, "MB")) if count >= pair[0]), (1e3, "kB"))
    return f"{count / unit:.1f} {name}" if count < 100 * unit else f"{count / unit:,.0f} {name}"


def sha256_of(path: Path, advance: Callable[[int], None]) -> str:
    """The file's SHA-256; `advance` gets the number of bytes read since its last call."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            advance(len(block))
    return digest.hexdigest()


def _header(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The header of a file with these tensors, in this order."""
    entries, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + tensor.nbytes
        if tensor.dtype not in DTYPE_CODES:
            raise CheckpointError(
                f"{name} is {tensor.dtype}, which safetensors files cannot hold; ask for another dtype"
            )
        entries[name] = {"dtype": DTYPE_CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    return encode_header(entries, metadata)
