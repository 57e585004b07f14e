"""The part of the demo that talks to ComfyUI; scripts/demo.py runs it in the environment that it has prepared.

    python demo_run.py OPTIONS

OPTIONS is a JSON object with the options of demo.py.
"""

from __future__ import annotations

import io
import json
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

ROOT = Path(__file__).resolve().parent.parent
# An embedded Python does not read PYTHONPATH.
sys.path.insert(0, str(ROOT))

from PIL import Image  # noqa: E402

from devtools import FIXTURES, demo  # noqa: E402
from devtools.comfyui.client import (  # noqa: E402
    ComfyClient,
    ExecutionFailed,
    ExecutionInterrupted,
    PromptRejected,
)
from devtools.comfyui.server import ComfyServer, ServerError, port_is_free, prepared_host  # noqa: E402
from devtools.contact_sheet import contact_sheet, in_rows, prompt_and_answer  # noqa: E402
from devtools.environment import CACHE, say  # noqa: E402

PROMPT = FIXTURES / "prompts" / "text_box.png"
USUAL_PORT = 8188
# Loader input: its folder inside a models folder, what belongs there, and parts of the usual file names.
MODELS = {
    "checkpoint": ("flowinone", "the FlowInOne checkpoint", ("flowinone",)),
    "vision": ("clip_vision", "the vision encoder of Janus-Pro-1B", ("janus",)),
    "vae": ("vae", "the Stable Diffusion 1.x autoencoder", ("autoencoder_kl", "vae-ft", "sd-vae")),
}


class DemoError(Exception):
    """A problem that the user can fix; the message says how."""


def main() -> int:
    """Run the demo; return the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = SimpleNamespace(**json.loads(sys.argv[1]))
    for name in ("image", "models", "out"):
        path = getattr(options, name)
        setattr(options, name, path and Path(path))
    try:
        if options.models is None:
            say("Model: mini, bundled, for toy scenes. For photos use the released weights: --models FOLDER")
        say("Starting ComfyUI …")
        with server_with(options.models, options.serve) as server:
            client = server.client()
            try:
                loader = client.object_info("FlowInOneLoader").get("FlowInOneLoader")
                if loader is None:
                    raise DemoError(f"ComfyUI could not load this pack; {server.log} says why.")
                if options.models or options.image:
                    answer_picture(client, loader, options)
                else:
                    answer_tasks(client, options)
            except (URLError, ConnectionError) as error:
                raise DemoError(f"ComfyUI stopped answering ({error}). {end_of_log(server)}") from None
            finally:
                client.close()
            if options.serve:
                serve(server)
            else:
                say("The same in the browser: bash scripts/demo.sh --serve")
    except (DemoError, ServerError, PromptRejected, ExecutionFailed, ExecutionInterrupted) as problem:
        say(str(problem))
        return 1
    except KeyboardInterrupt:
        say("\nStopped.")
        return 130
    return 0


def server_with(models: Path | None, serve: bool) -> ComfyServer:
    """A server, not yet started, whose loaders list the files in `models`, if that is given."""
    base, arguments = CACHE / "demo", ()
    base.mkdir(parents=True, exist_ok=True)
    if models is not None:
        paths = base / "extra_model_paths.yaml"
        folders = {"base_path": str(models)} | {folder: folder for folder, _, _ in MODELS.values()}
        # JSON is YAML, and takes care of quoting a path with spaces or backslashes.
        paths.write_text(json.dumps({"flowinone_demo": folders}), encoding="utf-8")
        arguments = ("--extra-model-paths-config", str(paths))
    port = USUAL_PORT if serve and port_is_free(USUAL_PORT) else None
    return ComfyServer(*prepared_host(), base, port=port, arguments=arguments)


def answer_tasks(client: ComfyClient, options: SimpleNamespace) -> None:
    """Have mini answer a prompt of every task; save each picture, and a sheet of them all."""
    tasks, cells = demo.demo_tasks(), []
    for number, (task, title) in enumerate(tasks.items(), start=1):
        photo = demo.photo(task)
        graph = demo.task_graph(task, client.upload(photo) if photo else None, sampling(options))
        progress = ProgressLine(graph, f"{number} of {len(tasks)}, {title}")
        outputs = client.run(graph, progress, timeout=float("inf"))["outputs"]
        pair = []
        for node, file in (("prompt", f"{task}_prompt.png"), ("save", f"{task}.png")):
            ((_, content),) = client.images({"outputs": {node: outputs[node]}})
            (options.out / file).write_bytes(content)
            pair.append(Image.open(io.BytesIO(content)))
        cells.append(prompt_and_answer(title, *pair))
    heading = "FlowInOne mini in ComfyUI: toy scenes, a prompt of each task and its answer"
    sheet = options.out / "sheet.png"
    contact_sheet(list(in_rows(cells, 3)), gap=44, margin=40, heading=heading).save(sheet, optimize=True)
    say(f"Saved {sheet}, and each picture next to it.")


def answer_picture(client: ComfyClient, loader: dict, options: SimpleNamespace) -> None:
    """Answer one picture that is a whole prompt; raises as the client does."""
    files = demo.MINI
    if options.models is not None:
        files = {name: choose_model(loader, name, options.models) for name in MODELS}
        say("Models: " + ", ".join(f"{MODELS[name][0]}/{file}" for name, file in files.items()))
    picture = options.image or PROMPT
    say(f"Visual prompt: {picture}")
    graph = demo.picture_graph(client.upload(picture), options.bypass, files, sampling(options))
    ((_, content),) = client.images(client.run(graph, ProgressLine(graph), timeout=float("inf")))
    target = options.out / "answer.png"
    target.write_bytes(content)
    say(f"Saved {target}")


def sampling(options: SimpleNamespace) -> dict:
    """The sampler's inputs."""
    return dict(seed=options.seed, steps=options.steps, guidance_scale=options.guidance)


def choose_model(loader: dict, name: str, models: Path) -> str:
    """The file for a loader input: the first one inside `models` with a usual name, else the first one there."""
    folder, what, usual = MODELS[name]
    kind, settings = (*loader["input"]["required"][name], {})[:2]
    offered = kind if isinstance(kind, list) else settings["options"]
    fitting = [file for file in offered if (models / folder / file).is_file()]
    if not fitting:
        raise DemoError(f"The loader lists no file of {models / folder}; put {what} there.")
    return next((file for file in fitting for part in usual if part in file.lower()), fitting[0])


def serve(server: ComfyServer) -> None:
    """Keep the server running until Ctrl-C."""
    say(f"ComfyUI is running at {server.url}")
    say("Open it: Workflow > Browse templates > Extensions > flowinone, or drag a saved answer onto the page.")
    say("Ctrl-C stops it.")
    code = server.wait()
    raise DemoError(f"ComfyUI ended by itself (exit code {code}). {end_of_log(server)}")


def end_of_log(server: ComfyServer) -> str:
    """What to read when the server is gone."""
    return f"The end of {server.log}:\n{server.log_tail(20)}"


class ProgressLine:
    """Shows what the server is doing, after `what` it does it for.

    On a terminal that is one line with a progress bar; on a pipe it is a line for `what`, or without it for each node.
    """

    WIDTH = 30

    def __init__(self, prompt: dict, what: str = ""):
        self._titles = {node_id: node["_meta"]["title"] for node_id, node in prompt.items()}
        self._what, self._live = what, sys.stderr.isatty()

    def __call__(self, event: str, data: dict) -> None:
        if event == "execution_start" and self._what and not self._live:
            say(self._what)
        elif event == "executing" and (self._live or not self._what):
            self._show(self._titles.get(data["node"], ""))
        elif event == "progress" and self._live:
            filled = self.WIDTH * data["value"] // data["max"]
            bar = "#" * filled + "." * (self.WIDTH - filled)
            self._show(f"{self._titles.get(data['node'], '')} [{bar}] {data['value']}/{data['max']}")

    def _show(self, text: str) -> None:
        if self._live:
            line = ": ".join(filter(None, (text and self._what, text)))
            # The escape sequence clears what a longer line has left.
            print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)
        elif text:
            say(text)


if __name__ == "__main__":
    sys.exit(main())
