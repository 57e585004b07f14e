"""The header of a safetensors file, written by hand: eight bytes of length, JSON, then the tensors' bytes.

safetensors' own writer needs all tensors in memory at once. Conversion writes one tensor at a time, and a download
copies the bytes of some tensors of a remote file without ever seeing them as tensors.
"""

import json
from collections.abc import Mapping
from typing import Any

import torch

MAX_HEADER_BYTES = 100_000_000
"""The largest header that safetensors itself accepts."""

DTYPE_CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""How the header spells each dtype."""

DTYPES = {code: dtype for dtype, code in DTYPE_CODES.items()}
"""The dtype of each spelling."""


def encode_header(entries: Mapping[str, Mapping[str, Any]], metadata: Mapping[str, str]) -> bytes:
    """The bytes before the first tensor. `entries` give each tensor's `dtype` code, `shape` and `data_offsets`."""
    text = json.dumps({"__metadata__": metadata, **entries}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
