"""One real ComfyUI server with this pack and a tiny model, for all tests of this folder."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from scripts import environment
from tests.host.comfyui.client import ComfyClient
from tests.host.comfyui.prompt import inputs_of
from tests.host.comfyui.server import PACK_NAME, ComfyServer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A running server; its base folder lies in the session's temporary folder."""
    comfyui = os.environ.get("FLOWINONE_COMFYUI")
    if not comfyui:
        pytest.skip("needs a ComfyUI: run bash scripts/test.sh, or set FLOWINONE_COMFYUI to its folder")
    from tests.tiny import write_models

    base = tmp_path_factory.mktemp("comfyui")
    tiny = write_models(base / "models")
    # A second place for networks, made known the way users do it.
    elsewhere = tmp_path_factory.mktemp("more models")
    shutil.copy(tiny["checkpoint"], elsewhere / "flowinone_elsewhere.safetensors")
    paths = base / "extra_model_paths.yaml"
    paths.write_text(json.dumps({"tests": {"base_path": str(elsewhere), "flowinone": "."}}), encoding="utf-8")
    python = os.environ.get("FLOWINONE_COMFYUI_PYTHON", sys.executable)
    shutil.copytree(Path(__file__).parent / "inspector", base / "custom_nodes" / "inspector")
    arguments = ("--extra-model-paths-config", str(paths), "--whitelist-custom-nodes", PACK_NAME, "inspector", "--preview-method", "latent2rgb")
    with ComfyServer(comfyui, python, base, arguments=arguments) as running:
        yield running


@pytest.fixture
def client(server):
    """A client of the server with a WebSocket of its own."""
    client: ComfyClient = server.client()
    yield client
    client.close()


@pytest.fixture
def workflow(client):
    """The shipped workflow as an API prompt, ready to queue: a fixture picture, the tiny model and four steps."""
    prompt = json.loads((ROOT / "workflows" / "api" / "Visual prompt to image.json").read_text(encoding="utf-8"))
    picture = next(iter(sorted((ROOT / "tests" / "fixtures" / "prompts").glob("*.png"))))
    inputs_of(prompt, "LoadImage")["image"] = client.upload(picture)
    inputs_of(prompt, "FlowInOneLoader").update(
        checkpoint="flowinone_tiny.safetensors", vision="janus_vision_tiny.safetensors", vae="vae_tiny.safetensors"
    )
    inputs_of(prompt, "FlowInOneSampler").update(seed=0, steps=4)
    return prompt


@pytest.fixture(scope="module")
def browser():
    """A Chromium without a window. For a module only: nothing else in this process can use asyncio meanwhile."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: run bash scripts/test.sh")
    program = environment.find_browser(Path(sys.executable))
    if program is None:
        pytest.skip(
            "needs a browser, and none was found or could be fetched: install Chromium, Chrome or Edge, or name one: "
            "FLOWINONE_BROWSER=/path/to/chrome"
        )
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, **environment.BROWSER_OPTIONS)
        yield browser
        browser.close()
