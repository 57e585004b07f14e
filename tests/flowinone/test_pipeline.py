"""The pipeline gives upstream's pictures, from files, saved folders, batches and seeds alike."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from devtools import tiny
from devtools.numerics import relative_error
from flowinone import FlowInOnePipeline
from flowinone.autoencoder import autoencoder_of_widths
from flowinone.weights.checkpoint import GROUPS


@pytest.fixture(scope="module")
def pipe(model_files):
    pipeline = FlowInOnePipeline.from_single_files(**model_files)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def prompts():
    return [
        Image.open(tiny.FIXTURES / "preprocess" / f"{name}.png").convert("RGB") for name in ("wide", "tall", "small")
    ]


def as_tensor(images):
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).float() / 255


@pytest.mark.parametrize(("route", "bypass"), [("dual", False), ("skip", True)])
def test_picture_to_picture_is_upstreams(pipe, prompts, upstream, route, bypass):
    reference = upstream("end_to_end_tiny")
    settings = dict(steps=4, guidance_scale=7.0, bypass=bypass, sample_posterior=False)
    latents = pipe(prompts[0], output_type="latent", **settings).images
    assert relative_error(latents, reference[f"latent/{route}"]) < 1e-4
    images = pipe(prompts[0], output_type="pt", **settings).images
    assert (images - reference[f"image/{route}"]).abs().max() < 2e-3


def test_source_and_image_latent_are_upstreams(pipe, prompts, upstream):
    reference = upstream("end_to_end_tiny")
    source, image_latent = pipe.encode(prompts[:1])
    assert relative_error(source, reference["source_latent"]) < 1e-4
    # Convolutions are added up in another order by another number of threads; by one it is 1.6e-4.
    assert relative_error(image_latent, reference["image_latent"]) < 3e-4


@pytest.mark.long
def test_a_batch_gives_what_its_members_give_alone_with_their_seeds(pipe, prompts):
    bypass = [False, True, False]
    together = pipe(prompts, steps=3, generator=5, bypass=bypass, output_type="pt").images
    for i, prompt in enumerate(prompts):
        alone = pipe(
            prompt, steps=3, generator=torch.Generator().manual_seed(5 + i), bypass=bypass[i], output_type="pt"
        )
        # Guidance 7 enlarges float32's rounding, which depends on the batch's size.
        assert (together[i] - alone.images[0]).abs().max() < 1e-3


def test_both_draws_follow_the_seed(pipe, prompts):
    def latents(seed):
        return pipe(prompts[0], steps=1, generator=seed, output_type="latent").images

    assert torch.equal(latents(1), latents(1))
    assert not torch.equal(latents(1), latents(2))
    noise = torch.ones(1, 4, 32, 32)
    source, image_latent = pipe.encode(prompts[:1])
    noisy_source, same_latent = pipe.encode(prompts[:1], source_noise=noise)
    same_source, noisy_latent = pipe.encode(prompts[:1], image_noise=noise)
    assert torch.equal(image_latent, same_latent) and not torch.equal(source, noisy_source)
    assert torch.equal(source, same_source) and not torch.equal(image_latent, noisy_latent)


def test_without_a_generator_torchs_own_seed_decides(pipe, prompts):
    def latents():
        torch.manual_seed(0)
        return pipe(prompts[0], steps=1, output_type="latent").images

    assert torch.equal(latents(), latents())


@pytest.mark.long
def test_output_types_show_one_picture(pipe, prompts):
    outputs = {kind: pipe(prompts[:2], steps=1, generator=0, output_type=kind).images for kind in ("pil", "np", "pt")}
    assert [image.size for image in outputs["pil"]] == [(256, 256)] * 2
    assert outputs["np"].shape == (2, 256, 256, 3)
    assert outputs["pt"].shape == (2, 3, 256, 256)
    assert np.array_equal(outputs["np"], outputs["pt"].permute(0, 2, 3, 1).numpy())
    assert (as_tensor(outputs["pil"]) - torch.from_numpy(outputs["np"])).abs().max() <= 0.5 / 255 + 1e-6
    as_tuple = pipe(prompts[:2], steps=1, generator=0, output_type="pt", return_dict=False)
    assert torch.equal(as_tuple[0], outputs["pt"])


def test_saved_folder_gives_the_same_picture(pipe, prompts, tmp_path):
    pipe.save_pretrained(tmp_path)
    again = FlowInOnePipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    settings = dict(steps=2, generator=3, output_type="pt")
    assert (pipe(prompts[0], **settings).images - again(prompts[0], **settings).images).abs().max() < 1e-4
    assert again.vae.config.scaling_factor == 0.2301


def test_saved_folder_keeps_head_counts(tmp_path, model_files):
    from safetensors.torch import load_file, save_file

    network = tmp_path / "four_heads.safetensors"
    save_file(
        load_file(model_files["checkpoint"]), network, {"flowinone.config": '{"coarse_heads": 4, "context_heads": 8}'}
    )
    pipe = FlowInOnePipeline.from_single_files(**(model_files | {"checkpoint": network}))
    assert pipe.model.velocity_network.config.coarse_heads == 4
    pipe.save_pretrained(tmp_path / "saved")
    again = FlowInOnePipeline.from_pretrained(tmp_path / "saved")
    assert again.model.velocity_network.coarse.blocks[0].self_attention.heads == 4


@pytest.fixture(scope="module")
def narrow_vae(tmp_path_factory):
    """A VAE with a sixteenth of the tiny one's operations: CPUs without float16 take minutes for the tiny one's."""
    file = tmp_path_factory.mktemp("narrow") / "vae.safetensors"
    shapes = autoencoder_of_widths((8, 8, 16, 16), blocks=1, groups=8).state_dict()
    weights = {key: tiny.weight(f"vae.{key}", tuple(tensor.shape)) for key, tensor in shapes.items()}
    save_file(weights, file, {GROUPS: "8"})
    return file


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bit_pipelines_give_nearly_the_same_picture(prompts, model_files, narrow_vae, dtype):
    files = model_files | ({"vae": narrow_vae} if dtype == torch.float16 else {})
    whole, half = (FlowInOnePipeline.from_single_files(**files, dtype=kind) for kind in (torch.float32, dtype))
    for pipeline in (whole, half):
        pipeline.set_progress_bar_config(disable=True)
    assert {module.dtype for module in half.components.values()} == {dtype}
    settings = dict(steps=2, guidance_scale=1, sample_posterior=False, output_type="pt")
    difference = half(prompts[0], **settings).images - whole(prompts[0], **settings).images
    # The random decoder amplifies rounding to single grey levels here and there; on average they agree.
    assert difference.abs().mean() < 0.02


def test_numbers_beyond_float16_are_said_to_be(prompts, model_files):
    half = FlowInOnePipeline.from_single_files(**model_files, dtype=torch.float16)
    half.set_progress_bar_config(disable=True)
    matrix = half.model.velocity_network.coarse.blocks[0].mlp.w0.weight
    matrix.data = torch.full_like(matrix, 6e4)
    with pytest.raises(FloatingPointError, match="float16 may be too narrow for these weights; load them in float32"):
        half(prompts[0], steps=1)


def test_every_step_is_reported(pipe, prompts):
    reports = []
    pipe(
        prompts[0],
        steps=3,
        output_type="latent",
        callback_on_step_end=lambda pipeline, done, total, denoised: reports.append(
            (pipeline, done, total, denoised.shape)
        ),
    )
    assert reports == [(pipe, done, 3, (1, 4, 32, 32)) for done in (1, 2, 3)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(image=[]), "image is an empty list"),
        (dict(image="prompt.png"), "image contains something that is not a Pillow image"),
        (dict(output_type="jpeg"), "output_type 'jpeg' is unknown"),
        (dict(bypass=[True, False]), "bypass has 2 entries for 1 images"),
        (dict(generator=[torch.Generator()] * 3), "generator has 3 entries for 1 images"),
        (dict(solver="leapfrog"), "solver 'leapfrog' is unknown"),
        (dict(steps=0), "steps is 0"),
    ],
)
def test_bad_arguments_are_named(pipe, prompts, arguments, message):
    with pytest.raises(ValueError, match=message):
        pipe(**(dict(image=prompts[0], steps=1) | arguments))


def test_any_whole_number_is_a_seed(pipe, prompts):
    def latents(generator):
        return pipe(prompts[0], steps=1, generator=generator, output_type="latent").images

    expected = latents(torch.Generator().manual_seed(2**63 + 1))
    assert torch.equal(latents(2**63 + 1), expected)
    assert torch.equal(latents([2**63 + 1]), expected)
    assert torch.equal(latents(np.uint64(2**63 + 1)), expected)


def test_offloaded_parts_are_on_the_device_while_they_work(pipe, prompts, monkeypatch):
    expected = pipe(prompts[0], steps=2, generator=3, output_type="latent").images
    places, worked = dict.fromkeys(pipe.components, "cpu"), []
    for name, part in pipe.components.items():
        # A CPU's number tells two places apart that are one.
        monkeypatch.setattr(part, "to", lambda device, name=name: places.__setitem__(name, str(device)))
        monkeypatch.setattr(pipe, "_offloaded_from", None)

    def watched(name, function):
        def run(*arguments, **settings):
            worked.append((name, {part for part, place in places.items() if place == "cpu:0"}))
            return function(*arguments, **settings)

        return run

    for part, method in (
        ("vision", "forward"),
        ("vae", "encode"),
        ("model", "encode_prompt"),
        ("model", "velocity"),
        ("vae", "decode"),
    ):
        module = pipe.components[part]
        monkeypatch.setattr(module, method, watched(part, getattr(module, method)))
    pipe.enable_model_cpu_offload(device="cpu", gpu_id=0)
    assert pipe(prompts[0], steps=2, generator=3, output_type="latent").images.equal(expected)
    pipe(prompts[0], steps=1, generator=3)
    assert [name for name, _ in worked] == [
        "vision",
        "vae",
        "model",
        "model",
        "model",
        "vision",
        "vae",
        "model",
        "model",
        "vae",
    ]
    assert all(there == {name} for name, there in worked)
    assert set(places.values()) == {"cpu"}


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
def test_offloading_without_an_accelerator_is_refused_in_words(pipe):
    with pytest.raises(ValueError, match="no accelerator was found to offload from"):
        pipe.enable_model_cpu_offload()


def test_layerwise_offloading_is_refused_in_words(pipe):
    with pytest.raises(ValueError, match="cannot be offloaded layer by layer"):
        pipe.enable_sequential_cpu_offload()
