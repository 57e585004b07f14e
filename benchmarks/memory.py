"""Does memory stay flat? Queues prompts with changing inputs in a real ComfyUI and watches what its process holds.

    python devtools/environment.py benchmarks/memory.py

Pictures of changing sizes, batches of one to three, both samplers, and other seeds, steps, guidance scales and
solvers, on the tests' tiny model. Prints a table and exits with 1 if the last quarter of the prompts holds over 5 %
more memory than the second.
"""

import argparse
import random
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from devtools.comfyui import fixtures
from devtools.comfyui.client import ComfyClient
from devtools.comfyui.prompt import node
from devtools.comfyui.server import prepared_host
from devtools.tiny import write_models

SOLVERS = ["euler", "euler_uniform", "midpoint", "heun", "rk4", "adams_bashforth2"]
SAMPLERS = ["euler", "heun", "dpmpp_2m", "res_multistep", "uni_pc"]
ALLOWED = 1.05


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--every", type=int, default=10, help="prompts between two readings (default: 10)")
    options = parser.parse_args()
    comfyui = prepared_host()
    if comfyui is None:
        raise SystemExit("This needs a ComfyUI; run it as python devtools/environment.py benchmarks/memory.py")
    with tempfile.TemporaryDirectory() as base:
        models = write_models(Path(base, "models"))
        with fixtures.inspected_server(*comfyui, Path(base)) as server:
            client = server.client()
            readings = list(measure(client, Path(base), options.prompts, options.every, models))
    quarter = len(readings) // 4
    early, late = (statistics.median(part) for part in (readings[quarter : 2 * quarter], readings[-quarter:]))
    print(f"last quarter : second quarter = {late / early:.3f} (at most {ALLOWED})")
    return 0 if late / early <= ALLOWED else 1


def measure(client: ComfyClient, base: Path, prompts: int, every: int, models: dict[str, Path]):
    """Run that many prompts; yields the server's resident megabytes after every `every` of them."""
    choose = random.Random(0)
    print("prompts  resident MB  models loaded  network parts alive")
    for number in range(1, prompts + 1):
        width, height = choose.randrange(200, 1400), choose.randrange(200, 1400)
        picture = base / "picture.png"
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (height, width, 3), np.uint8)).save(picture)
        client.run(prompt(choose, client.upload(picture), models))
        if number % every == 0:
            memory = client.get("/inspector")
            counts = f"{len(memory['loaded']):13}  {len(memory['existing']):19}"
            print(f"{number:7}  {memory['resident'] / 1e6:11.1f}  {counts}")
            yield memory["resident"]


def prompt(choose: random.Random, picture: str, models: dict[str, Path]) -> dict:
    """A graph with the pack's sampler or ComfyUI's, with settings by chance."""
    files = {name: path.name for name, path in models.items()}
    seed, steps, guidance = choose.randrange(2**32), choose.randrange(1, 6), choose.choice([1.0, 3.0, 7.0])
    shared = dict(
        encoder=["load", 1],
        vae=["load", 2],
        image=["batch", 0],
        seed=seed,
        bypass=choose.random() < 0.5,
        sample_posterior=True,
    )
    graph = {
        "load": node("FlowInOneLoader", **files, dtype="default"),
        "photo": node("LoadImage", image=picture),
        "batch": node("RepeatImageBatch", image=["photo", 0], amount=choose.randrange(1, 4)),
        "decode": node("FlowInOneVAEDecode", samples=["sample", 0], vae=["load", 2]),
        "save": node("PreviewImage", images=["decode", 0]),
    }
    if choose.random() < 0.5:
        settings = dict(steps=steps, guidance_scale=guidance, solver=choose.choice(SOLVERS))
        return graph | {"sample": node("FlowInOneSampler", model=["load", 0], **shared, **settings)}
    return graph | {
        "encode": node("FlowInOneEncode", **shared, time_grid="uniform"),
        "sample": node(
            "KSampler",
            model=["load", 0],
            positive=["encode", 0],
            negative=["encode", 1],
            latent_image=["encode", 3],
            seed=seed,
            steps=steps,
            cfg=guidance,
            sampler_name=choose.choice(SAMPLERS),
            scheduler="simple",
            denoise=1.0,
        ),
    }


if __name__ == "__main__":
    sys.exit(main())
