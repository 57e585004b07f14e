"""Stands in for torchaudio.transforms: importable, with nothing in it."""
