"""One real ComfyUI server with this pack and a tiny model, for all tests of this folder."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.host.comfyui.client import ComfyClient
from tests.host.comfyui.prompt import inputs_of
from tests.host.comfyui.server import ComfyServer

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
    with ComfyServer(comfyui, python, base, arguments=("--extra-model-paths-config", str(paths))) as running:
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
