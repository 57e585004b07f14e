"""An empty torchaudio for environments without one: ComfyUI imports it at start, and only its audio nodes call it."""

from . import functional, transforms

__all__ = ["functional", "transforms"]
