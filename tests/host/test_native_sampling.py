"""ComfyUI's own samplers behind FlowInOne Encode."""

import io

import numpy as np
import pytest
from PIL import Image

from tests import tiny
from tests.host.comfyui.client import ExecutionFailed

LOADER = dict(
    checkpoint="flowinone_tiny.safetensors", vision="janus_vision_tiny.safetensors", vae="vae_tiny.safetensors", dtype="float32"
)  # fmt: skip


def node(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}


@pytest.fixture
def answer(client):
    """Run a graph of ComfyUI's own sampling nodes; the decoded picture."""
    photo = client.upload(tiny.FIXTURES / "preprocess" / "wide.png")

    def run(steps=4, cfg=7.0, sampler="euler", nodes=None, **encode):
        settings = dict(seed=0, bypass=False, sample_posterior=False, time_grid="the authors'") | encode
        graph = {
            "photo": node("LoadImage", image=photo),
            "load": node("FlowInOneLoader", **LOADER),
            "encode": node("FlowInOneEncode", encoder=["load", 1], vae=["load", 2], image=["photo", 0], **settings),
            "guider": node("CFGGuider", model=["load", 0], positive=["encode", 0], negative=["encode", 1], cfg=cfg),
            "sampler": node("KSamplerSelect", sampler_name=sampler),
            "sigmas": node("BasicScheduler", model=["load", 0], scheduler="simple", steps=steps, denoise=1.0),
            "sample": node(
                "SamplerCustomAdvanced", noise=["encode", 2], guider=["guider", 0], sampler=["sampler", 0],
                sigmas=["sigmas", 0], latent_image=["encode", 3],
            ),
            "decode": node("VAEDecode", samples=["sample", 0], vae=["load", 2]),
            "save": node("SaveImage", images=["decode", 0], filename_prefix="native"),
            **(nodes or {}),
        }  # fmt: skip
        ((_, content),) = client.images(client.run(graph))
        return np.asarray(Image.open(io.BytesIO(content))).astype(float)

    return run


@pytest.fixture
def own(client, answer):
    """The same by FlowInOne Sampler."""

    def run(steps=4, cfg=7.0, solver="euler", **settings):
        chosen = dict(seed=0, bypass=False, sample_posterior=False) | settings
        sampler = node(
            "FlowInOneSampler", model=["load", 0], encoder=["load", 1], vae=["load", 2], image=["photo", 0],
            steps=steps, guidance_scale=cfg, solver=solver, **chosen,
        )  # fmt: skip
        return answer(nodes={"sample": sampler})

    return run


@pytest.mark.parametrize(("route", "bypass"), [("dual", False), ("skip", True)])
def test_euler_and_simple_give_upstreams_picture(answer, upstream, route, bypass):
    expected = upstream("end_to_end_tiny")[f"image/{route}"][0].permute(1, 2, 0).numpy() * 255
    # SaveImage cuts to 8 bit, which takes up to one level; 2e-3 of the range is half a level.
    assert np.abs(answer(bypass=bypass) - expected).max() <= 1.5


@pytest.mark.parametrize("steps", [1, 7])
def test_euler_and_simple_are_the_packs_own_sampler(answer, own, steps):
    settings = dict(steps=steps, sample_posterior=True, seed=5, cfg=3.0)
    assert np.abs(answer(**settings) - own(**settings)).max() <= 1


def test_the_uniform_grid_is_plain_euler_and_heun(answer, own):
    assert np.abs(answer(time_grid="uniform") - own(solver="euler_uniform")).max() <= 1
    # ComfyUI's Heun takes a plain Euler step at the end, where ours has one more evaluation.
    difference = np.abs(answer(time_grid="uniform", sampler="heun", steps=12) - own(solver="heun", steps=12))
    assert difference.mean() < 3


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "res_multistep", "uni_pc"])
def test_other_deterministic_samplers_run(answer, sampler):
    assert answer(sampler=sampler, time_grid="uniform", steps=8).std() > 5


def test_a_flow_in_two_parts_is_the_flow_in_one(answer):
    whole = answer(steps=6)
    split = {
        "halves": node("SplitSigmas", sigmas=["sigmas", 0], step=2),
        "first": node(
            "SamplerCustomAdvanced", noise=["encode", 2], guider=["guider", 0], sampler=["sampler", 0],
            sigmas=["halves", 0], latent_image=["encode", 3],
        ),
        "silence": node("DisableNoise"),
        "sample": node(
            "SamplerCustomAdvanced", noise=["silence", 0], guider=["guider", 0], sampler=["sampler", 0],
            sigmas=["halves", 1], latent_image=["first", 0],
        ),
    }  # fmt: skip
    assert np.abs(answer(steps=6, nodes=split) - whole).max() <= 1


def test_random_noise_and_other_latents_are_refused_with_the_remedy(answer):
    stock = node(
        "KSampler", model=["load", 0], positive=["encode", 0], negative=["encode", 1], latent_image=["encode", 3],
        seed=0, steps=4, cfg=7.0, sampler_name="euler", scheduler="simple", denoise=1.0,
    )  # fmt: skip
    with pytest.raises(ExecutionFailed, match="does not start from random noise: use SamplerCustomAdvanced"):
        answer(nodes={"sample": stock})
    large = {
        "large": node("EmptyLatentImage", width=512, height=512, batch_size=1),
        "sample": node(
            "SamplerCustomAdvanced", noise=["encode", 2], guider=["guider", 0], sampler=["sampler", 0],
            sigmas=["sigmas", 0], latent_image=["large", 0],
        ),
    }  # fmt: skip
    with pytest.raises(ExecutionFailed, match="connect the latent output of FlowInOne Encode"):
        answer(nodes=large)
