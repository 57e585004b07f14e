"""Mini in ComfyUI: the default, with every sampler and every node that takes answers, and with no other model's parts.

Nothing here looks at what its pictures show.
"""

import io
import json

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from devtools.comfyui.client import Events, ExecutionFailed
from devtools.comfyui.fixtures import LOADER, PHOTO
from devtools.comfyui.prompt import ksampler, node
from flowinone import FlowInOnePipeline
from flowinone.preprocess import latent_view

NAME = "mini (bundled)"
MINI = dict(checkpoint=NAME, vision=NAME, vae=NAME, dtype="float32")
LOAD = {"load": node("FlowInOneLoader", **MINI)}
SAMPLING = dict(
    model=["load", 0],
    encoder=["load", 1],
    vae=["load", 2],
    seed=0,
    steps=2,
    guidance_scale=3.0,
    solver="euler",
    sample_posterior=True,
)
COMPOSED = {
    "draw": node("FlowInOneDrawTrajectory", points="0.3,0.5 0.6,0.5", smooth=True, color="#ff2d2d", width=4.0),
    "compose": node(
        "FlowInOneCompose",
        image=["photo", 0],
        task="trajectory",
        instruction="",
        fit="crop",
        bypass="by task",
        size=256,
        font="bundled",
        **{"marks.marks0": ["draw", 0]},
    ),
    "sample": node("FlowInOneSampler", prompt=["compose", 0], bypass=False, **SAMPLING),
}


@pytest.fixture
def pictures(client):
    """Run nodes after mini and a photo; the pictures that each SaveImage saved."""
    photo = client.upload(PHOTO)

    def run(**nodes):
        history = client.run(LOAD | {"photo": node("LoadImage", image=photo), **nodes})
        return {
            name: [
                np.asarray(Image.open(io.BytesIO(content))).astype(int)
                for _, content in client.images({"outputs": {name: output}})
            ]
            for name, output in history["outputs"].items()
        }

    return run


@pytest.fixture(scope="module")
def library():
    pipeline = FlowInOnePipeline.mini()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_every_list_of_the_loader_begins_with_it_and_starts_there(client):
    inputs = client.object_info("FlowInOneLoader")["FlowInOneLoader"]["input"]["required"]
    for name, file in (("checkpoint", "flowinone_tiny"), ("vision", "janus_vision_tiny"), ("vae", "vae_tiny")):
        settings = inputs[name][1]
        assert settings["options"][0] == settings["default"] == NAME
        assert f"{file}.safetensors" in settings["options"][1:]
    assert inputs["vae"][1]["options"][-1] == "none"


def alike(one, other):
    """Whether two pictures are the same within rounding.

    Save Image truncates where the library rounds, which is half a level; guidance and the autoencoder multiply that at
    a shape's edge. Much more guidance than mini needs can turn a shape into another.
    """
    difference = np.abs(one - other)
    return difference.max() <= 8 and difference.mean() < 0.75


@pytest.mark.parametrize(
    "settings", [dict(cfg=3.0), dict(cfg=1.0, bypass=True), dict(sample_posterior=True, seed=5, steps=7, cfg=2.0)]
)
def test_both_roads_and_the_library_give_one_picture(answer, own, library, settings):
    native, ours = answer(nodes=LOAD, **settings), own(nodes=LOAD, **settings)
    assert native.shape == ours.shape == (128, 128, 3)
    assert alike(native, ours)

    chosen = dict(
        steps=settings.get("steps", 4), guidance_scale=settings.get("cfg", 7.0), bypass=settings.get("bypass", False)
    )
    (expected,) = library(
        Image.open(PHOTO),
        generator=settings.get("seed", 0),
        sample_posterior=settings.get("sample_posterior", False),
        **chosen,
    ).images
    assert alike(ours, np.asarray(expected).astype(int))


def test_the_stock_ksampler_answers_and_refines(answer):
    expected = answer(nodes=LOAD)
    assert np.abs(answer(nodes=LOAD | {"sample": ksampler()}) - expected).max() <= 2
    again = {"first": ksampler(), "sample": ksampler(latent_image=["first", 0], denoise=0.5)}
    assert 0 < np.abs(answer(nodes=LOAD | again) - expected).mean()
    large = {
        "large": node("EmptyLatentImage", width=256, height=256, batch_size=1),
        "sample": ksampler(latent_image=["large", 0]),
    }
    with pytest.raises(ExecutionFailed, match="for a refinement a latent of 128 x 128 pixels"):
        answer(nodes=LOAD | large)


def test_a_batch_is_answered_picture_by_picture(pictures):
    def saved(seed, image):
        sampler = node("FlowInOneSampler", image=image, bypass=False, **(SAMPLING | {"seed": seed}))
        return {
            f"batch {seed}": sampler,
            f"decode {seed}": node("FlowInOneVAEDecode", samples=[f"batch {seed}", 0], vae=["load", 2]),
            f"save {seed}": node("SaveImage", images=[f"decode {seed}", 0], filename_prefix="mini"),
        }

    twice = {"twice": node("RepeatImageBatch", image=["photo", 0], amount=2)}
    found = pictures(**twice, **saved(4, ["twice", 0]), **saved(5, ["photo", 0]))
    assert [picture.shape for picture in found["save 4"]] == [(128, 128, 3)] * 2
    assert np.abs(found["save 4"][1] - found["save 5"][0]).max() <= 1


def test_answers_come_back_at_the_photos_size_and_into_the_photo(pictures):
    found = pictures(
        **COMPOSED,
        decode=node("FlowInOneVAEDecode", samples=["sample", 0], vae=["load", 2]),
        large=node("FlowInOneVAEDecode", samples=["sample", 0], vae=["load", 2], prompt=["compose", 0], size="photo"),
        paste=node(
            "FlowInOnePasteBack",
            image=["decode", 0],
            prompt=["compose", 0],
            region="marks",
            grow=0.0,
            feather=0.0,
            threshold=0.1,
        ),
        mask=node("MaskToImage", mask=["paste", 1]),
        **{
            f"save {name}": node("SaveImage", images=[name, 0], filename_prefix=name)
            for name in ("photo", "decode", "large", "paste", "mask")
        },
    )
    (photo,), (small,), (large,), (pasted,), (mask,) = (
        found[f"save {name}"] for name in ("photo", "decode", "large", "paste", "mask")
    )
    assert small.shape == (128, 128, 3) and large.shape == pasted.shape == photo.shape == (340, 512, 3)
    # The canvas is the photo's middle; beside it the photo goes on.
    assert np.array_equal(large[:, :86], photo[:, :86])
    channels = [
        Image.fromarray(channel).resize((340, 340), Image.Resampling.BICUBIC) for channel in small.T.astype(np.float32)
    ]
    square = np.array(channels).T.clip(0, 255)
    # Both were cut to 8 bit, one of them before it was enlarged.
    assert np.abs(large[:, 86:426] - square).max() <= 3
    outside, inside = (mask == 0).all(axis=-1), (mask == 255).all(axis=-1)
    assert inside.mean() > 0.05 and outside.mean() > 0.5
    # A share of the answer below half a level is shown black.
    assert np.abs(pasted - photo)[outside].max() <= 1 and np.abs(pasted - large)[inside].max() <= 1


def test_what_128_pixels_cannot_show_of_a_photo_is_no_change(pictures, client, tmp_path):
    """The answer is the photo itself, small, and with a square in it."""
    answer = latent_view(Image.open(PHOTO).convert("RGB"), 128)
    answer.paste((10, 230, 20), (40, 50, 80, 90))
    answer.save(tmp_path / "answer.png")
    found = pictures(
        **COMPOSED,
        answer=node("LoadImage", image=client.upload(tmp_path / "answer.png")),
        paste=node(
            "FlowInOnePasteBack",
            image=["answer", 0],
            prompt=["compose", 0],
            region="changes",
            grow=0.0,
            feather=0.0,
            threshold=0.1,
        ),
        mask=node("MaskToImage", mask=["paste", 1]),
        save=node("SaveImage", images=["mask", 0], filename_prefix="mask"),
    )
    (mask,) = found["save"]
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in ((1, 2), (0, 2)))
    bounds = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    expected = [86 + 40 * 340 / 128, 50 * 340 / 128, 86 + 80 * 340 / 128, 90 * 340 / 128]
    # Differences are blurred by two and a half of the answer's pixels, and count as far as they can be seen.
    assert bounds == pytest.approx(expected, abs=5 * 340 / 128)


def test_motion_moves_at_its_size(pictures):
    motion = node(
        "FlowInOneMotion", prompt=["compose", 0], stages=2, start_from="last stage", include_photo=True, **SAMPLING
    )
    found = pictures(
        draw=COMPOSED["draw"],
        compose=COMPOSED["compose"],
        motion=motion,
        frames=node("SaveImage", images=["motion", 0], filename_prefix="frames"),
        prompts=node("SaveImage", images=["motion", 1], filename_prefix="prompts"),
    )
    assert [frame.shape for frame in found["frames"]] == [(128, 128, 3)] * 3
    assert [prompt.shape for prompt in found["prompts"]] == [(256, 256, 3)] * 2


@pytest.mark.parametrize("sampling_path", ["answer", "own"])
def test_previews_have_the_colours_that_the_networks_file_names(server, request, sampling_path):
    models = server.base / "models" / "flowinone"
    # Whatever the latents, red is at its most, green at its least and blue in the middle.
    preview = {"factors": [[0.0, 0.0, 0.0]] * 4, "bias": [1.0, -1.0, 0.0]}
    save_file(
        load_file(models / "flowinone_tiny.safetensors"),
        models / "previewed.safetensors",
        {"flowinone.preview": json.dumps(preview)},
    )
    load = {"load": node("FlowInOneLoader", **(LOADER | {"checkpoint": "previewed.safetensors"}))}
    events = Events()
    request.getfixturevalue(sampling_path)(nodes=load, seed=71, steps=6, on_event=events)
    shown = [np.asarray(Image.open(io.BytesIO(data["image"])).convert("RGB"), int) for data in events.of("preview")]
    assert len(shown) >= 2
    # JPEG, and 127 of 255 for the middle.
    assert all(np.abs(picture - (255, 0, 127)).max() <= 4 for picture in shown)


@pytest.mark.parametrize("sampling_path", ["answer", "own"])
def test_previews_and_progress_arrive(request, sampling_path):
    events = Events()
    request.getfixturevalue(sampling_path)(nodes=LOAD, seed=81, steps=6, on_event=events)
    assert len(events.of("preview")) >= 2
    progress = [(data["value"], data["max"]) for data in events.of("progress") if data["max"] == 6]
    assert progress == sorted(progress) and progress[-1] == (6, 6)


def test_a_graph_with_it_is_answered_from_the_cache_the_second_time(answer):
    answer(nodes=LOAD, seed=91)
    events = Events()
    answer(nodes=LOAD, seed=91, on_event=events)
    assert any({"load", "sample"} <= set(data["nodes"]) for data in events.of("execution_cached"))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (dict(checkpoint="flowinone_tiny.safetensors"), "vision encoder is mini .bundled. and vae is mini .bundled."),
        (
            dict(vision="janus_vision_tiny.safetensors"),
            "checkpoint is mini .bundled. and vision encoder is janus_vision_tiny.safetensors:",
        ),
        (dict(vae="vae_tiny.safetensors"), "checkpoint is mini .bundled. and vae is vae_tiny.safetensors:"),
        (
            dict(checkpoint="flowinone_tiny.safetensors", vision="janus_vision_tiny.safetensors"),
            "and vae is mini .bundled.:",
        ),
        (dict(checkpoint="flowinone_tiny.safetensors", vae="none"), "vision encoder is mini .bundled.:"),
    ],
)
def test_its_parts_and_other_files_do_not_mix(answer, changes, named):
    with pytest.raises(ExecutionFailed, match=f"{named}.*choose mini .bundled. for all three or for none of them"):
        answer(nodes={"load": node("FlowInOneLoader", **(MINI | changes))})


def test_its_vae_can_come_from_another_node(own):
    apart = {"load": node("FlowInOneLoader", **(MINI | {"vae": "none"})), "vae": LOAD["load"]}
    apart["sample"] = node("FlowInOneSampler", image=["photo", 0], bypass=False, **(SAMPLING | {"vae": ["vae", 2]}))
    apart["decode"] = node("VAEDecode", samples=["sample", 0], vae=["vae", 2])
    together = LOAD | {"sample": node("FlowInOneSampler", image=["photo", 0], bypass=False, **SAMPLING)}
    assert np.array_equal(own(nodes=apart), own(nodes=together))


def test_another_models_encoder_is_refused_on_both_roads(answer, own):
    both = LOAD | {"other": node("FlowInOneLoader", **LOADER)}
    guider = node("CFGGuider", model=["other", 0], positive=["encode", 0], negative=["encode", 1], cfg=7.0)
    sampler = node("FlowInOneSampler", image=["photo", 0], bypass=False, **(SAMPLING | {"model": ["other", 0]}))
    for sampling_path, nodes in ((answer, {"guider": guider}), (own, {"sample": sampler})):
        with pytest.raises(ExecutionFailed, match="connect model, encoder and vae of one Load FlowInOne"):
            sampling_path(nodes=both | nodes)


@pytest.mark.parametrize("dtype", ["default", "bfloat16", "float8_e4m3fn"])
def test_it_computes_in_every_dtype(own, dtype):
    whole, small = (
        own(cfg=1.0, nodes={"load": node("FlowInOneLoader", **(MINI | {"dtype": kind}))}) for kind in ("float32", dtype)
    )
    assert small.shape == whole.shape and np.abs(small - whole).mean() < 12
