"""Mini, the small trained model that ships with the package: toy scenes of coloured shapes, 128 pixels wide."""

from pathlib import Path

NETWORK, VISION, VAE = (Path(__file__).with_name(f"{part}.safetensors") for part in ("network", "vision", "vae"))
"""The files of its three parts, for `FlowInOnePipeline.from_single_files`."""

GUIDANCE_SCALE, STEPS = 2.0, 20
"""Mini's best settings, for Euler's method. The command, the demo, the workflows and the tests use them."""
