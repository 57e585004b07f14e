"""How long a visual prompt takes to draw, for each task, compared with only scaling and copying its photo.

    python benchmarks/render.py [--size 512] [--rounds 15] [--json FILE]

Prints medians; the ratio, measured in the same run, is what can be compared between machines.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from flowinone.prompts import tasks
from flowinone.prompts.render import render
from flowinone.prompts.spec import PhotoCanvas, VisualPrompt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="pixels of the canvas's side. Default: %(default)s")
    parser.add_argument("--rounds", type=int, default=15, help="times that each is drawn. Default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    options = parser.parse_args()
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (768, 1024, 3), dtype=np.uint8))
    plain = median_ms(
        lambda: photo.resize((options.size, options.size), Image.Resampling.BICUBIC).copy(), options.rounds
    )
    results = {}
    print(f"{options.size} px, Pillow {PIL.__version__}; scaling and copying the photo: {plain:.1f} ms")
    print(f"{'task':<16} {'ms':>7} {'ratio':>6}")
    for prompt in prompts():
        ground = photo if isinstance(prompt.canvas, PhotoCanvas) else None
        taken = median_ms(lambda: render(prompt, ground, options.size), options.rounds)  # noqa: B023
        results[prompt.task] = {"ms": round(taken, 3), "ratio": round(taken / plain, 3)}
        print(f"{prompt.task:<16} {taken:>7.1f} {taken / plain:>6.1f}")
    if options.json:
        report = {
            "size": options.size,
            "rounds": options.rounds,
            "pillow": PIL.__version__,
            "photo_ms": round(plain, 3),
            "tasks": results,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def prompts() -> list[VisualPrompt]:
    """A usual prompt of each task."""
    turns = np.linspace(0, 2 * np.pi, 200)
    ring = tuple(zip(0.5 + 0.3 * np.cos(turns), 0.4 + 0.2 * np.sin(turns)))
    return [
        tasks.class_to_image("arch"),
        tasks.text_to_image("tourists walking past an asian food stall"),
        tasks.text_in_image("Change the environment to a snowy winter wonderland"),
        tasks.text_box([((0.1, 0.2, 0.4, 0.6), "place a bench"), ((0.5, 0.3, 0.9, 0.9), "put a blue jay")]),
        tasks.visual_marker((0.9, 0.2), (0.5, 0.5)),
        tasks.doodle([ring, ((0.1, 0.1), (0.2, 0.3), (0.3, 0.1))]),
        tasks.point_force([((0.2, 0.4), 10), ((0.7, 0.3), 200)]),
        tasks.wind((0.3, 0.3), 15),
        tasks.trajectory([((0.1, 0.1), (0.4, 0.5), (0.6, 0.2), (0.9, 0.4))]),
    ]


def median_ms(work: Callable[[], object], rounds: int) -> float:
    """The median duration in milliseconds, after one run that fills caches."""
    work()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1000


if __name__ == "__main__":
    main()
