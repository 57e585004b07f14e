"""The image autoencoder is upstream's, from ldm's and diffusers' names, with FlowInOne's latent scale."""

import pytest
import torch

from devtools import tiny
from devtools.numerics import relative_error
from flowinone.autoencoder import autoencoder_from_state_dict, autoencoder_of_widths, decode_latents, image_latents
from flowinone.config import LATENT_SCALE
from flowinone.weights.mapping import autoencoder_map


@pytest.fixture(scope="module")
def autoencoder():
    return autoencoder_from_state_dict(tiny.autoencoder_weights())


def test_moments_and_pictures_are_upstreams(autoencoder, upstream):
    reference = upstream("vae_tiny")
    image = tiny.fixture_input("image", (1, 3, 64, 64), 0.5)
    moments = autoencoder.encode(image).latent_dist.parameters
    assert relative_error(moments, reference["moments"]) < 1e-4
    # The fixture's picture is what the scaled latent decodes to, before it is brought to 0..1.
    decoded = decode_latents(autoencoder, tiny.fixture_input("latent", (1, 4, 8, 8)))
    assert (decoded - (0.5 * (reference["decoded"] + 1)).clamp(0, 1)).abs().max() < 1e-4


def test_image_latents_are_the_posteriors_mean_or_a_sample(autoencoder, upstream):
    image = tiny.fixture_input("image", (1, 3, 64, 64), 0.5)
    mean, logvar = upstream("vae_tiny")["moments"].chunk(2, dim=1)
    assert relative_error(image_latents(autoencoder, image, None), LATENT_SCALE * mean) < 1e-4
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    sample = LATENT_SCALE * (mean + torch.exp(logvar / 2) * noise)
    assert relative_error(image_latents(autoencoder, image, noise), sample) < 1e-4


def test_diffusers_names_are_read_as_well(autoencoder):
    again = autoencoder_from_state_dict(autoencoder.state_dict())
    image = tiny.fixture_input("image", (1, 3, 64, 64), 0.5)
    assert torch.equal(image_latents(again, image, None), image_latents(autoencoder, image, None))


def test_the_attention_names_of_older_diffusers_files_are_read(autoencoder):
    new = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    stored = {}
    for name, tensor in autoencoder.state_dict().items():
        for today, before in new.items():
            name = name.replace(f".attentions.0.{today}.", f".attentions.0.{before}.")
        stored[name] = tensor
    assert any("proj_attn" in name for name in stored)
    mapping = autoencoder_map(stored)
    again = autoencoder_from_state_dict({name: stored[source.names[0]] for name, source in mapping.items()})
    image = tiny.fixture_input("image", (1, 3, 64, 64), 0.5)
    assert torch.equal(image_latents(again, image, None), image_latents(autoencoder, image, None))


def test_the_number_of_groups_is_the_callers_where_given():
    torch.manual_seed(0)
    narrow = autoencoder_of_widths((32, 64), blocks=1, groups=8).eval().requires_grad_(False)
    image = tiny.fixture_input("image", (1, 3, 64, 64), 0.5)
    same, other = (
        autoencoder_from_state_dict(narrow.state_dict(), **groups) for groups in ({"norm_num_groups": 8}, {})
    )
    assert torch.equal(image_latents(same, image, None), image_latents(narrow, image, None))
    assert relative_error(image_latents(other, image, None), image_latents(narrow, image, None)) > 0.01


def test_what_is_no_autoencoder_is_refused():
    with pytest.raises(ValueError, match="not a KL autoencoder"):
        autoencoder_from_state_dict({"decoder.conv_in.weight": torch.zeros(1)})
    weights = tiny.autoencoder_weights()
    del weights["decoder.conv_out.bias"]
    with pytest.raises(ValueError, match=r"1 missing tensors: decoder\.conv_out\.bias"):
        autoencoder_from_state_dict(weights)
