"""Mini, the small trained model that comes with the package: toy scenes of coloured shapes, 128 pixels wide."""

from pathlib import Path

NETWORK, VISION, VAE = (Path(__file__).with_name(f"{part}.safetensors") for part in ("network", "vision", "vae"))
"""Its three parts, files as `FlowInOnePipeline.from_single_files` takes them."""

GUIDANCE_SCALE, STEPS = 2.0, 20
"""What it answers best with, by Euler's method. The demo, the workflows and the tests take these."""
