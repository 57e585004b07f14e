"""One ComfyUI server with this pack, mini and a tiny model, for all tests in this folder."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from devtools import FIXTURES, ROOT, environment
from devtools.comfyui import fixtures
from devtools.comfyui.client import ComfyClient
from devtools.comfyui.fixtures import LOADER, PHOTO
from devtools.comfyui.prompt import inputs_of, node, node_id
from devtools.comfyui.server import prepared_host


@pytest.fixture(scope="session")
def host():
    """The folder of a ComfyUI and the Python that runs it."""
    return prepared_host() or pytest.skip(
        "needs a ComfyUI: run bash scripts/test.sh, or set FLOWINONE_COMFYUI to its folder"
    )


@pytest.fixture(scope="session")
def server(host, tmp_path_factory):
    """A running server; its base folder is in the session's temporary folder."""
    base, elsewhere = tmp_path_factory.mktemp("comfyui"), tmp_path_factory.mktemp("more models")
    with fixtures.tiny_server(*host, base, elsewhere) as running:
        yield running


@pytest.fixture
def client(server):
    """A client of the server with a WebSocket of its own."""
    client: ComfyClient = server.client()
    yield client
    client.close()


@pytest.fixture
def workflow(client):
    """A shipped workflow as an API prompt, ready to queue: with a fixture picture, the tiny model and four steps."""
    prompt = json.loads((ROOT / "workflows" / "api" / "Visual prompt to image.json").read_text(encoding="utf-8"))
    picture = next(iter(sorted((FIXTURES / "prompts").glob("*.png"))))
    canvas = node_id(prompt, "FlowInOneCanvas")
    prompt[canvas] = node("LoadImage", image=client.upload(picture))
    inputs_of(prompt, "FlowInOneLoader").update(LOADER, dtype="default")
    sampler = inputs_of(prompt, "FlowInOneSampler")
    sampler.update(image=[canvas, 0], seed=0, steps=4, guidance_scale=7.0)
    del sampler["prompt"]
    return prompt


@pytest.fixture(scope="module")
def browser():
    """A Chromium without a window. For one module: meanwhile nothing else in this process can use asyncio."""
    pytest.importorskip("playwright", reason="needs playwright: run bash scripts/test.sh")
    program = environment.find_browser(Path(sys.executable))
    if program is None:
        pytest.skip(
            "needs a browser, and none was found or could be fetched: install Chromium, Chrome or Edge, or name one: "
            "FLOWINONE_BROWSER=/path/to/chrome"
        )
    from devtools.browser.chromium import launched

    with launched(program) as browser:
        yield browser


@pytest.fixture
def answer(client):
    """Run a graph with ComfyUI's own sampling nodes; returns the decoded picture."""
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
