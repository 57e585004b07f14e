"""Stands in for torchaudio where it is not installed: ComfyUI imports it at start, only its audio nodes call it."""

from . import functional, transforms

__all__ = ["functional", "transforms"]
