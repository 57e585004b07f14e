"""From nothing to pictures: every task of FlowInOne in a real ComfyUI with this pack, answered by the model that comes with it.

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
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

from demo_graph import MINI, TASKS, photo, picture_graph, task_graph, title  # noqa: E402

from devtools.comfyui.client import ComfyClient, ExecutionFailed, ExecutionInterrupted, PromptRejected  # noqa: E402
from devtools.comfyui.server import ComfyServer, ServerError, port_is_free  # noqa: E402
from devtools.environment import CACHE, ComfyUI, SetupError, prepare, say  # noqa: E402
from flowinone import mini  # noqa: E402

PROMPT = ROOT / "tests" / "fixtures" / "prompts" / "text_box.png"
SHEET = ROOT / "scripts" / "demo_sheet.py"
USUAL_PORT = 8188
RELEASED = dict(steps=50, guidance_scale=7.0)
"""How the authors sample."""

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
        if options.models is None:
            say(
                "Model: mini, which comes with the pack and draws toy scenes. For photographs: --models, with the released weights."
            )
        say("Starting ComfyUI …")
        with server_with(comfyui, options.models, options.serve) as server:
            client = server.client()
            try:
                loader = client.object_info("FlowInOneLoader").get("FlowInOneLoader")
                if loader is None:
                    raise DemoError(f"ComfyUI could not load this pack; {server.log} says why.")
                if options.models or options.image:
                    answer_picture(client, loader, options)
                else:
                    answer_tasks(client, comfyui, options)
            except (URLError, ConnectionError) as error:
                raise DemoError(f"ComfyUI stopped answering ({error}). {end_of_log(server)}") from None
            finally:
                client.close()
            if options.serve:
                serve(server)
            else:
                say("The same in the browser: bash scripts/demo.sh --serve")
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
        description="Start a real ComfyUI with this pack and answer a visual prompt of every task with mini, the model that comes with "
        "the pack and draws toy scenes; or one prompt of yours, or with the released weights, which draw photographs.",
        epilog="COMFYUI_PATH=/path/to/ComfyUI uses an existing ComfyUI and its Python; nothing is installed into it.",
    )
    parser.add_argument(
        "--image", type=Path, help="a visual prompt of your own, a picture, to answer in place of those of all tasks"
    )
    parser.add_argument(
        "--bypass", action="store_true", help="that picture asks for a new one: it is words on a plain ground"
    )
    parser.add_argument(
        "--models", type=Path, help="a models folder with flowinone/, clip_vision/ and vae/ in it: the released weights"
    )
    parser.add_argument("--serve", action="store_true", help="keep the server up for the browser, until Ctrl-C")
    parser.add_argument("--out", type=Path, default=ROOT / "demo", help="folder of the pictures (default: demo)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--steps", type=int, help=f"default: {mini.STEPS}, with --models {RELEASED['steps']}")
    parser.add_argument(
        "--guidance", type=float, help=f"default: {mini.GUIDANCE_SCALE}, with --models {RELEASED['guidance_scale']}"
    )
    return parser.parse_args()


def check_options(options: argparse.Namespace) -> None:
    """Raise DemoError for what can be known to fail before anything is started."""
    if options.image is not None:
        try:
            with options.image.open("rb") as picture:
                picture.read(1)
        except OSError as error:
            raise DemoError(f"--image {options.image} cannot be read: {error.strerror}.") from None
    elif options.bypass:
        raise DemoError("--bypass says what --image is; name a picture, or leave it out.")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DemoError(f"--out {options.out} cannot be a folder for pictures: {error.strerror}.") from None
    if options.models is None:
        return
    missing = []
    for folder, what, _ in MODELS.values():
        if not any(path.is_file() for path in (options.models / folder).rglob("*")):
            missing.append(f"  {options.models / folder}: {what}")
    if missing:
        raise DemoError("--models lacks files; put these where they belong:\n" + "\n".join(missing))


def server_with(comfyui: ComfyUI, models: Path | None, serve: bool) -> ComfyServer:
    """A server, not yet started, that lists the files of `models`, if that is given, in its loaders."""
    base, arguments = CACHE / "demo", ()
    base.mkdir(parents=True, exist_ok=True)
    if models is not None:
        paths = base / "extra_model_paths.yaml"
        folders = {"base_path": str(models.resolve())} | {folder: folder for folder, _, _ in MODELS.values()}
        # JSON is YAML, and takes care of quoting a path with spaces or backslashes.
        paths.write_text(json.dumps({"flowinone_demo": folders}), encoding="utf-8")
        arguments = ("--extra-model-paths-config", str(paths))
    port = USUAL_PORT if serve and port_is_free(USUAL_PORT) else None
    return ComfyServer(comfyui.folder, comfyui.python, base, port=port, arguments=arguments)


def answer_tasks(client: ComfyClient, comfyui: ComfyUI, options: argparse.Namespace) -> None:
    """A prompt of every task, answered by mini; each picture for itself, and a sheet of them all."""
    rows = []
    for number, task in enumerate(TASKS, start=1):
        ground = photo(task)
        graph = task_graph(task, client.upload(ground) if ground else None, sampling(options))
        progress = ProgressLine(graph, f"{number} of {len(TASKS)}, {title(task)}")
        outputs = client.run(graph, progress, timeout=float("inf"))["outputs"]
        rows.append([title(task)])
        for node, file in (("prompt", f"{task}_prompt.png"), ("save", f"{task}.png")):
            ((_, content),) = client.images({"outputs": {node: outputs[node]}})
            (options.out / file).write_bytes(content)
            rows[-1].append(str(options.out / file))
    heading = "FlowInOne mini in ComfyUI: toy scenes, a prompt of each task and its answer"
    sheet = options.out / "sheet.png"
    laid = subprocess.run(
        [comfyui.python, SHEET, sheet, heading, *(part for row in rows for part in row)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if laid.returncode != 0:
        raise DemoError(f"{SHEET.name} failed with {comfyui.python}:\n{laid.stdout.strip()}")
    say(f"Saved {sheet}, and each picture beside it.")


def answer_picture(client: ComfyClient, loader: dict, options: argparse.Namespace) -> None:
    """One picture that is a whole prompt, and its answer; raises as the client does."""
    files = MINI
    if options.models is not None:
        files = {name: choose_model(loader, name, options.models) for name in MODELS}
        say("Models: " + ", ".join(f"{MODELS[name][0]}/{file}" for name, file in files.items()))
    picture = options.image or PROMPT
    say(f"Visual prompt: {picture}")
    graph = picture_graph(client.upload(picture), options.bypass, files, sampling(options))
    ((_, content),) = client.images(client.run(graph, ProgressLine(graph), timeout=float("inf")))
    target = options.out / "answer.png"
    target.write_bytes(content)
    say(f"Saved {target}")


def sampling(options: argparse.Namespace) -> dict:
    """Seed, steps and guidance for the sampler: the given ones, else those that suit the model."""
    usual = RELEASED if options.models else dict(steps=mini.STEPS, guidance_scale=mini.GUIDANCE_SCALE)
    given = dict(steps=options.steps, guidance_scale=options.guidance)
    return dict(seed=options.seed) | {
        name: value if given[name] is None else given[name] for name, value in usual.items()
    }


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
    say("Open it: Workflow > Browse templates > Extensions > flowinone, or drag a saved answer onto the page.")
    say("Ctrl-C stops it.")
    code = server.wait()
    raise DemoError(f"ComfyUI ended by itself (exit code {code}). {end_of_log(server)}")


def end_of_log(server: ComfyServer) -> str:
    """What to read when the server is gone."""
    return f"The end of {server.log}:\n{server.log_tail(20)}"


class ProgressLine:
    """Shows on one line what the server is doing, after what it does it for; on a pipe that alone, or a line for each node."""

    WIDTH = 30

    def __init__(self, prompt: dict, what: str = ""):
        self._titles = {node_id: node["_meta"]["title"] for node_id, node in prompt.items()}
        self._what, self._live = what, sys.stderr.isatty()

    def __call__(self, event: str, data: dict) -> None:
        if event == "execution_start" and self._what and not self._live:
            self._print(self._what)
        elif event == "executing" and (self._live or not self._what):
            self._show(self._titles.get(data["node"], ""))
        elif event == "progress" and self._live:
            filled = self.WIDTH * data["value"] // data["max"]
            bar = "#" * filled + "." * (self.WIDTH - filled)
            self._show(f"{self._titles.get(data['node'], '')} [{bar}] {data['value']}/{data['max']}")

    def _show(self, text: str) -> None:
        if self._live:
            # The escape sequence clears what a longer line has left.
            print(
                f"\r{': '.join(filter(None, (text and self._what, text)))}\x1b[K", end="", file=sys.stderr, flush=True
            )
        elif text:
            self._print(text)

    @staticmethod
    def _print(line: str) -> None:
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
