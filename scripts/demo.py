"""From nothing to a first picture: run the visual-prompt workflow in a real ComfyUI with this pack.

Standard library only: it prepares the environment and starts the server, all else happens over HTTP.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

ROOT = Path(__file__).resolve().parent.parent
# An embedded Python adds neither the script's folder nor PYTHONPATH by itself.
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "host")]

from comfyui.client import ComfyClient, ExecutionFailed, ExecutionInterrupted, PromptRejected  # noqa: E402
from comfyui.prompt import inputs_of  # noqa: E402
from comfyui.server import ComfyServer, ServerError, port_is_free  # noqa: E402
from environment import CACHE, ComfyUI, SetupError, prepare, say  # noqa: E402

WORKFLOW = ROOT / "workflows" / "api" / "Visual prompt to image.json"
PROMPT = ROOT / "tests" / "fixtures" / "prompts" / "text_box.png"
TINY = ROOT / "tests" / "tiny.py"
USUAL_PORT = 8188

# Loader input: its folder below a models folder, what belongs there, and how the usual files are called.
MODELS = {
    "checkpoint": ("flowinone", "the FlowInOne checkpoint", ("flowinone",)),
    "vision": ("clip_vision", "the vision encoder of Janus-Pro-1B", ("janus",)),
    "vae": ("vae", "the Stable Diffusion 1.x autoencoder", ("autoencoder_kl", "vae-ft", "sd-vae")),
}


class DemoError(Exception):
    """Something the user can put right; the message says what."""


def main() -> int:
    """Run the demo; return the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parse_options()
    try:
        check_options(options)
        comfyui = prepare(tests=False)
        models = options.models or write_tiny_models(comfyui, CACHE / "demo" / "tiny_models")
        say("Starting ComfyUI …")
        with server_with(comfyui, models, options.serve) as server:
            client = server.client()
            try:
                make_picture(client, models, options)
            except (URLError, ConnectionError) as error:
                raise DemoError(f"ComfyUI stopped answering ({error}). {end_of_log(server)}") from None
            finally:
                client.close()
            if options.serve:
                serve(server)
            else:
                say("The same graph in the browser: bash scripts/demo.sh --serve")
    except (DemoError, SetupError, ServerError, PromptRejected, ExecutionFailed, ExecutionInterrupted) as problem:
        say(str(problem))
        return 1
    except KeyboardInterrupt:
        say("\nStopped.")
        return 130
    return 0


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="bash scripts/demo.sh",
        description="Start a real ComfyUI with this pack, run a visual prompt through it and save the picture.",
        epilog="COMFYUI_PATH=/path/to/ComfyUI uses an existing ComfyUI and its Python; nothing is installed into it.",
    )
    parser.add_argument(
        "--image", type=Path, default=PROMPT, help="the visual prompt, a picture (default: one of the pack's own)"
    )
    parser.add_argument("--models", type=Path, help="a models folder with flowinone/, clip_vision/ and vae/ in it")
    parser.add_argument("--serve", action="store_true", help="keep the server up for the browser, until Ctrl-C")
    parser.add_argument("--out", type=Path, default=ROOT / "demo" / "answer.png", help="default: demo/answer.png")
    parser.add_argument("--seed", type=int, help="default: the workflow's")
    parser.add_argument("--steps", type=int, help="default: the workflow's")
    return parser.parse_args()


def check_options(options: argparse.Namespace) -> None:
    """Raise DemoError for what can be known to fail before anything is started."""
    try:
        with options.image.open("rb") as picture:
            picture.read(1)
    except OSError as error:
        raise DemoError(f"--image {options.image} cannot be read: {error.strerror}.") from None
    if options.out.is_dir():
        raise DemoError(f"--out {options.out} is a folder; name a .png file in it.")
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DemoError(f"--out {options.out} cannot be written: {error.strerror}.") from None
    if options.models is None:
        return
    missing = []
    for folder, what, _ in MODELS.values():
        if not any(path.is_file() for path in (options.models / folder).rglob("*")):
            missing.append(f"  {options.models / folder}: {what}")
    if missing:
        raise DemoError("--models lacks files; put these where they belong:\n" + "\n".join(missing))


def write_tiny_models(comfyui: ComfyUI, folder: Path) -> Path:
    """Make a tiny untrained model with ComfyUI's own Python and return its models folder."""
    say("No --models given: making a tiny model whose weights are untrained, so the picture will be noise.")
    run = (
        "import runpy, sys; root, script, folder = sys.argv[1:]; sys.path.insert(0, root); "
        "sys.argv = [script, folder]; runpy.run_path(script, run_name='__main__')"
    )
    made = subprocess.run(
        [comfyui.python, "-c", run, ROOT, TINY, folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if made.returncode != 0:
        raise DemoError(f"{TINY} failed with {comfyui.python}:\n{made.stdout.strip()}")
    return folder


def server_with(comfyui: ComfyUI, models: Path, serve: bool) -> ComfyServer:
    """A server, not yet started, that lists the files of `models` in its loaders."""
    base = CACHE / "demo"
    base.mkdir(parents=True, exist_ok=True)
    paths = base / "extra_model_paths.yaml"
    folders = {"base_path": str(models.resolve())} | {folder: folder for folder, _, _ in MODELS.values()}
    # JSON is YAML, and takes care of quoting a path with spaces or backslashes.
    paths.write_text(json.dumps({"flowinone_demo": folders}), encoding="utf-8")
    return ComfyServer(
        comfyui.folder,
        comfyui.python,
        base,
        port=USUAL_PORT if serve and port_is_free(USUAL_PORT) else None,
        arguments=("--extra-model-paths-config", str(paths)),
    )


def make_picture(client: ComfyClient, models: Path, options: argparse.Namespace) -> None:
    """Run the workflow and save its picture; raises as the client does."""
    loader = client.object_info("FlowInOneLoader").get("FlowInOneLoader")
    if loader is None:
        raise DemoError(f"ComfyUI could not load this pack; {CACHE / 'demo' / 'comfyui.log'} says why.")
    chosen = {name: choose_model(loader, name, models) for name in MODELS}
    say("Models: " + ", ".join(f"{MODELS[name][0]}/{file}" for name, file in chosen.items()))

    prompt = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    inputs_of(prompt, "LoadImage")["image"] = client.upload(options.image)
    inputs_of(prompt, "FlowInOneLoader").update(chosen)
    given = {"seed": options.seed, "steps": options.steps}
    inputs_of(prompt, "FlowInOneSampler").update({name: value for name, value in given.items() if value is not None})

    say(f"Visual prompt: {options.image}")
    pictures = client.images(client.run(prompt, ProgressLine(prompt), timeout=float("inf")))
    if not pictures:
        raise DemoError(f"{WORKFLOW.name} ran, but saved no picture.")
    options.out.write_bytes(pictures[0][1])
    say(f"Saved {options.out}")


def choose_model(loader: dict, name: str, models: Path) -> str:
    """The file for a loader input: the first with a usual name, else the first at all, of those inside `models`."""
    folder, what, usual = MODELS[name]
    kind, settings = (*loader["input"]["required"][name], {})[:2]
    offered = kind if isinstance(kind, list) else settings["options"]
    fitting = [file for file in offered if (models / folder / file).is_file()]
    if not fitting:
        raise DemoError(f"The loader lists no file of {models / folder}; put {what} there.")
    return next((file for file in fitting for part in usual if part in file.lower()), fitting[0])


def serve(server: ComfyServer) -> None:
    """Keep the server up until Ctrl-C."""
    say(f"ComfyUI is up at {server.url}")
    say("Open it: Workflow > Browse templates > Extensions > flowinone, or drag the saved picture onto the page.")
    say("Ctrl-C stops it.")
    code = server.wait()
    raise DemoError(f"ComfyUI ended by itself (exit code {code}). {end_of_log(server)}")


def end_of_log(server: ComfyServer) -> str:
    """What to read when the server is gone."""
    return f"The end of {server.log}:\n{server.log_tail(20)}"


class ProgressLine:
    """Shows on one line what the server is doing; on a pipe, one line for each node."""

    WIDTH = 30

    def __init__(self, prompt: dict):
        self._titles = {
            node_id: node.get("_meta", {}).get("title", node["class_type"]) for node_id, node in prompt.items()
        }
        self._live = sys.stderr.isatty()

    def __call__(self, event: str, data: dict) -> None:
        if event == "executing":
            self._show(self._titles.get(data["node"], ""), end="" if self._live else "\n")
        elif event == "progress" and self._live:
            filled = self.WIDTH * data["value"] // data["max"]
            bar = "#" * filled + "." * (self.WIDTH - filled)
            self._show(f"{self._titles.get(data['node'], '')} [{bar}] {data['value']}/{data['max']}", end="")

    def _show(self, text: str, end: str) -> None:
        if text or self._live:
            # The escape sequence clears what a longer line has left.
            print(f"\r{text}\x1b[K" if self._live else text, end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
