"""From nothing to pictures: every task of FlowInOne in a real ComfyUI with this pack, answered by the bundled model.

Standard library only: it checks the options and prepares the environment, then runs demo_run.py in it.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# An embedded Python does not read PYTHONPATH.
sys.path.insert(0, str(ROOT))

from devtools.environment import SetupError, prepare, prepare_client, run_python, say  # noqa: E402
from flowinone import mini  # noqa: E402

RELEASED_STEPS, RELEASED_GUIDANCE = 50, 7.0
"""The paper's settings for the released weights."""
MODELS = {
    "flowinone": "the FlowInOne checkpoint",
    "clip_vision": "the vision encoder of Janus-Pro-1B",
    "vae": "the Stable Diffusion 1.x autoencoder",
}
"""The folders inside --models and what belongs into them."""


def main() -> int:
    """Run the demo; return the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parse_options()
    try:
        check_options(options)
        comfyui = prepare(tests=False)
        python = prepare_client(comfyui)
    except SetupError as problem:
        say(str(problem))
        return 1
    except KeyboardInterrupt:
        say("\nStopped.")
        return 130
    script = ROOT / "scripts" / "demo_run.py"
    return run_python(python, [str(script), json.dumps(vars(options), default=str)], comfyui)


def parse_options() -> argparse.Namespace:
    """The command line, with absolute paths and the model's own steps and guidance scale where none are given."""
    parser = argparse.ArgumentParser(
        prog="bash scripts/demo.sh",
        description="Start a real ComfyUI with this pack and answer a visual prompt of every task with mini, the "
        "bundled model, which draws toy scenes. Or answer a prompt of yours, or use the released weights for photos.",
        epilog="COMFYUI_PATH=/path/to/ComfyUI uses an existing ComfyUI and its Python; nothing is installed into it.",
    )
    parser.add_argument("--image", type=Path, help="answer this picture, a visual prompt, instead of one of each task")
    parser.add_argument(
        "--bypass", action="store_true", help="the picture is text on a plain canvas, not a photo to edit"
    )
    parser.add_argument(
        "--models", type=Path, help="use the released weights in this folder: flowinone/, clip_vision/ and vae/"
    )
    parser.add_argument("--serve", action="store_true", help="keep the server running for the browser, until Ctrl-C")
    parser.add_argument("--out", type=Path, default=ROOT / "demo", help="folder for the pictures (default: demo)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--steps", type=int, help=f"default: {mini.STEPS}, with --models {RELEASED_STEPS}")
    parser.add_argument(
        "--guidance", type=float, help=f"default: {mini.GUIDANCE_SCALE}, with --models {RELEASED_GUIDANCE}"
    )
    options = parser.parse_args()
    steps, guidance = (RELEASED_STEPS, RELEASED_GUIDANCE) if options.models else (mini.STEPS, mini.GUIDANCE_SCALE)
    options.steps = steps if options.steps is None else options.steps
    options.guidance = guidance if options.guidance is None else options.guidance
    for name in ("image", "models", "out"):
        path = getattr(options, name)
        setattr(options, name, path and path.expanduser().absolute())
    return options


def check_options(options: argparse.Namespace) -> None:
    """Raise SetupError for problems that show before anything is started."""
    if options.image is not None:
        try:
            with options.image.open("rb") as picture:
                picture.read(1)
        except OSError as error:
            raise SetupError(f"--image {options.image} cannot be read: {error.strerror}.") from None
    elif options.bypass:
        raise SetupError("--bypass describes the picture of --image; name one, or leave --bypass out.")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"--out {options.out} cannot be a folder for pictures: {error.strerror}.") from None
    if options.models is None:
        return
    missing = []
    for folder, what in MODELS.items():
        if not any(path.is_file() for path in (options.models / folder).rglob("*")):
            missing.append(f"  {options.models / folder}: {what}")
    if missing:
        raise SetupError("--models lacks files; put these where they belong:\n" + "\n".join(missing))


if __name__ == "__main__":
    sys.exit(main())
