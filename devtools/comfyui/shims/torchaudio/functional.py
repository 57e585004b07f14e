"""An empty torchaudio.functional."""
