"""One real ComfyUI server with this pack, mini and a tiny model, for all tests of this folder."""

import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from devtools import environment
from devtools.comfyui.client import ComfyClient
from devtools.comfyui.prompt import inputs_of, node, node_id
from devtools.comfyui.server import PACK_NAME, ComfyServer

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "tests" / "fixtures" / "preprocess" / "wide.png"
# What stands in for files of others that workflows need: by node and input.
TINY = {
    "UpscaleModelLoader": {"model_name": "upscale_tiny.safetensors"},
    "UNETLoader": {"unet_name": "detector_tiny.safetensors"},
}
# The tiny untrained model that the fixtures' numbers are of.
LOADER = {
    "checkpoint": "flowinone_tiny.safetensors",
    "vision": "janus_vision_tiny.safetensors",
    "vae": "vae_tiny.safetensors",
    "dtype": "float32",
}


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A running server; its base folder lies in the session's temporary folder."""
    comfyui = os.environ.get("FLOWINONE_COMFYUI")
    if not comfyui:
        pytest.skip("needs a ComfyUI: run bash scripts/test.sh, or set FLOWINONE_COMFYUI to its folder")
    from safetensors.torch import save_file

    from devtools.tiny import upscaler_weights, write_models

    base = tmp_path_factory.mktemp("comfyui")
    tiny = write_models(base / "models")
    upscaler = base / "models" / "upscale_models" / TINY["UpscaleModelLoader"]["model_name"]
    upscaler.parent.mkdir()
    save_file(upscaler_weights(), upscaler)
    # The folder of the workflow for folders.
    (base / "input" / "photos").mkdir(parents=True)
    for photo in (PHOTO, PHOTO.with_name("tall.png")):
        shutil.copy(photo, base / "input" / "photos")
    # A second place for networks, made known the way users do it.
    elsewhere = tmp_path_factory.mktemp("more models")
    shutil.copy(tiny["checkpoint"], elsewhere / "flowinone_elsewhere.safetensors")
    paths = base / "extra_model_paths.yaml"
    paths.write_text(json.dumps({"tests": {"base_path": str(elsewhere), "flowinone": "."}}), encoding="utf-8")
    python = os.environ.get("FLOWINONE_COMFYUI_PYTHON", sys.executable)
    shutil.copytree(Path(__file__).parent / "inspector", base / "custom_nodes" / "inspector")
    arguments = (
        "--extra-model-paths-config",
        str(paths),
        "--whitelist-custom-nodes",
        PACK_NAME,
        "inspector",
        "--preview-method",
        "latent2rgb",
    )
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
    """The shipped workflow as an API prompt, ready to queue: a fixture picture for the canvas, the tiny model and four steps."""
    prompt = json.loads((ROOT / "workflows" / "api" / "Visual prompt to image.json").read_text(encoding="utf-8"))
    picture = next(iter(sorted((ROOT / "tests" / "fixtures" / "prompts").glob("*.png"))))
    canvas = node_id(prompt, "FlowInOneCanvas")
    prompt[canvas] = node("LoadImage", image=client.upload(picture))
    inputs_of(prompt, "FlowInOneLoader").update(LOADER, dtype="default")
    sampler = inputs_of(prompt, "FlowInOneSampler")
    sampler.update(image=[canvas, 0], seed=0, steps=4, guidance_scale=7.0)
    del sampler["prompt"]
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


@pytest.fixture
def answer(client):
    """Run a graph of ComfyUI's own sampling nodes; the decoded picture."""
    photo = client.upload(PHOTO)

    def run(steps=4, cfg=7.0, sampler="euler", nodes=None, on_event=None, filename="native", **encode):
        settings = dict(seed=0, bypass=False, sample_posterior=False, time_grid="the authors'") | encode
        graph = {
            "photo": node("LoadImage", image=photo),
            "load": node("FlowInOneLoader", **LOADER),
            "encode": node("FlowInOneEncode", encoder=["load", 1], vae=["load", 2], image=["photo", 0], **settings),
            "guider": node("CFGGuider", model=["load", 0], positive=["encode", 0], negative=["encode", 1], cfg=cfg),
            "sampler": node("KSamplerSelect", sampler_name=sampler),
            "sigmas": node("BasicScheduler", model=["load", 0], scheduler="simple", steps=steps, denoise=1.0),
            "sample": node(
                "SamplerCustomAdvanced",
                noise=["encode", 2],
                guider=["guider", 0],
                sampler=["sampler", 0],
                sigmas=["sigmas", 0],
                latent_image=["encode", 3],
            ),
            "decode": node("VAEDecode", samples=["sample", 0], vae=["load", 2]),
            "save": node("SaveImage", images=["decode", 0], filename_prefix=filename),
            **(nodes or {}),
        }
        ((_, content),) = client.images(client.run(graph, on_event))
        return np.asarray(Image.open(io.BytesIO(content))).astype(float)

    return run


@pytest.fixture
def own(client, answer):
    """The same by FlowInOne Sampler."""

    def run(steps=4, cfg=7.0, solver="euler", nodes=None, on_event=None, filename="own", **settings):
        chosen = dict(seed=0, bypass=False, sample_posterior=False) | settings
        sampler = node(
            "FlowInOneSampler",
            model=["load", 0],
            encoder=["load", 1],
            vae=["load", 2],
            image=["photo", 0],
            steps=steps,
            guidance_scale=cfg,
            solver=solver,
            **chosen,
        )
        return answer(nodes={"sample": sampler, **(nodes or {})}, on_event=on_event, filename=filename)

    return run
