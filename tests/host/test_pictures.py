"""The pictures that the pack makes inside ComfyUI are upstream's, and the library's."""

import io

import numpy as np
import pytest
from PIL import Image

from devtools import tiny
from devtools.comfyui.client import ExecutionFailed
from devtools.comfyui.prompt import inputs_of, node_id

PROMPTS = sorted((tiny.FIXTURES / "prompts").glob("*.png"))


def picture(client, workflow):
    ((_, content),) = client.images(client.run(workflow))
    return np.asarray(Image.open(io.BytesIO(content)))


def as_bytes(image):
    """A tensor [3, H, W] in 0..1 as an 8-bit picture [H, W, 3]."""
    return image.permute(1, 2, 0).numpy() * 255


@pytest.mark.parametrize(("route", "bypass"), [("dual", False), ("skip", True)])
def test_the_graph_gives_upstreams_picture(client, workflow, upstream, route, bypass):
    inputs_of(workflow, "LoadImage")["image"] = client.upload(tiny.FIXTURES / "preprocess" / "wide.png")
    inputs_of(workflow, "FlowInOneSampler").update(bypass=bypass, sample_posterior=False)
    expected = as_bytes(upstream("end_to_end_tiny")[f"image/{route}"][0])
    # SaveImage cuts to 8 bit, which takes up to one level; 2e-3 of the range is half a level.
    assert np.abs(picture(client, workflow) - expected).max() <= 1.5


def test_the_same_seed_gives_the_same_picture_as_the_pipeline(client, workflow, model_files):
    from flowinone import FlowInOnePipeline

    inputs_of(workflow, "FlowInOneSampler").update(seed=11, solver="heun", guidance_scale=3.0, steps=3)
    pipe = FlowInOnePipeline.from_single_files(**model_files)
    pipe.set_progress_bar_config(disable=True)
    prompt = Image.open(PROMPTS[0])
    images = pipe(prompt, steps=3, solver="heun", guidance_scale=3.0, generator=11, output_type="pt").images
    assert np.abs(picture(client, workflow) - as_bytes(images[0])).max() <= 1.5


def test_the_stock_vae_decode_gives_the_same_picture(client, workflow):
    ours = picture(client, workflow)
    workflow[node_id(workflow, "FlowInOneVAEDecode")]["class_type"] = "VAEDecode"
    assert np.array_equal(picture(client, workflow), ours)


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda path: path.stem)
def test_every_kind_of_visual_prompt_runs(client, workflow, prompt):
    inputs_of(workflow, "LoadImage")["image"] = client.upload(prompt)
    inputs_of(workflow, "FlowInOneSampler")["bypass"] = prompt.stem in ("class_to_image", "text_to_image")
    answer = picture(client, workflow)
    assert answer.shape == (256, 256, 3)
    assert answer.std() > 5


def test_a_batch_is_answered_like_its_pictures_with_the_following_seeds(client, workflow):
    sampler = inputs_of(workflow, "FlowInOneSampler")
    load = workflow[node_id(workflow, "LoadImage")]
    workflow["second"] = {"class_type": "LoadImage", "inputs": {"image": client.upload(PROMPTS[1])}}
    workflow["batch"] = {
        "class_type": "ImageBatch",
        "inputs": {"image1": sampler["image"], "image2": ["second", 0]},
    }
    sampler.update(image=["batch", 0], seed=20)
    together = [np.asarray(Image.open(io.BytesIO(content))) for _, content in client.images(client.run(workflow))]
    assert len(together) == 2

    del workflow["batch"], workflow["second"]
    load["inputs"]["image"] = client.upload(PROMPTS[1])
    sampler.update(image=[node_id(workflow, "LoadImage"), 0], seed=21)
    assert np.abs(picture(client, workflow).astype(int) - together[1]).max() <= 1


@pytest.mark.parametrize(
    ("node", "change", "message"),
    [
        ("FlowInOneLoader", {"checkpoint": "vae_as_network.safetensors"}, "vae_as_network.safetensors is a VAE"),
        ("FlowInOneLoader", {"vae": "none"}, "no VAE: choose a file as vae in Load FlowInOne"),
    ],
)
def test_a_wrong_choice_is_explained(server, client, workflow, node, change, message):
    models = server.base / "models"
    (models / "flowinone" / "vae_as_network.safetensors").write_bytes(
        (models / "vae" / "vae_tiny.safetensors").read_bytes()
    )
    inputs_of(workflow, node).update(change)
    with pytest.raises(ExecutionFailed) as failure:
        client.run(workflow)
    assert message in failure.value.details["exception_message"]


def test_networks_of_extra_model_paths_are_listed_and_used(client, workflow):
    expected = picture(client, workflow)
    inputs_of(workflow, "FlowInOneLoader")["checkpoint"] = "flowinone_elsewhere.safetensors"
    assert np.array_equal(picture(client, workflow), expected)


def test_bfloat16_weights_give_nearly_the_same_picture(client, workflow):
    sampler = inputs_of(workflow, "FlowInOneSampler")
    sampler.update(sample_posterior=False, guidance_scale=1.0)
    exact = picture(client, workflow).astype(int)
    inputs_of(workflow, "FlowInOneLoader")["dtype"] = "bfloat16"
    # The random decoder amplifies rounding here and there; on average the pictures agree.
    assert 0 < np.abs(picture(client, workflow) - exact).mean() < 5
