"""An empty torchaudio.transforms."""
