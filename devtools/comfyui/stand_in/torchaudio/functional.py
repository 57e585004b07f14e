"""Stands in for torchaudio.functional: importable, with nothing in it."""
