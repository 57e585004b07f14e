"""Both views of a prompt image are upstream's to the byte, and any picture can be read."""

import numpy as np
import pytest
import torch
from PIL import Image

from devtools import tiny
from flowinone.preprocess import as_rgb, latent_view, to_pixels, vision_view

FOLDER = tiny.FIXTURES / "preprocess"


@pytest.mark.parametrize("source", ["wide", "tall", "small"])
@pytest.mark.parametrize(("view", "suffix"), [(vision_view, "janus384"), (latent_view, "vae256")])
def test_views_are_upstreams_to_the_byte(source, view, suffix):
    picture = as_rgb(Image.open(FOLDER / f"{source}.png"))
    expected = Image.open(FOLDER / f"{source}_{suffix}.png").convert("RGB")
    assert view(picture).tobytes() == expected.tobytes()


def test_pixels_run_from_minus_one_to_one(upstream):
    picture = vision_view(as_rgb(Image.open(FOLDER / "wide.png")))
    head = to_pixels([picture])[:, :, :8, :8]
    # The vision encoder's normalisation, (x / 255 - 0.5) / 0.5, is x / 127.5 - 1 up to one rounding.
    assert torch.allclose(head, upstream("end_to_end_tiny")["pixel_values_head"], atol=2e-7)


@pytest.mark.parametrize("size", [(1, 1), (1, 50_000), (300, 2), (4096, 4096)])
def test_extreme_shapes_have_views(size):
    picture = Image.new("RGB", size, "red")
    assert vision_view(picture).size == (384, 384)
    assert latent_view(picture).size == (256, 256)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "I;16", "I", "F", "LA", "RGBA", "PA", "RGBa"])
def test_every_mode_becomes_rgb(mode):
    grey = Image.linear_gradient("L")
    values = np.asarray(grey)
    picture = {
        "I;16": lambda: Image.fromarray(values.astype(np.uint16) * 257),
        "I": lambda: Image.fromarray(values.astype(np.int32) * 257),
        "F": lambda: Image.fromarray(values.astype(np.float32) / 255),
        "P": lambda: grey.convert("P"),
        "PA": lambda: grey.convert("P").convert("PA"),
        "RGBa": lambda: grey.convert("RGBA").convert("RGBa"),
    }.get(mode, lambda: grey.convert("RGB").convert(mode))()
    rgb = as_rgb(picture)
    assert (rgb.mode, rgb.size) == ("RGB", (256, 256))
    if mode != "1":
        # Dark above, bright below, as the gradient is; CMYK and YCbCr round a little.
        assert np.abs(np.asarray(rgb).astype(int).mean(-1) - values).max() <= 3


def test_transparent_pixels_become_white():
    picture = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert as_rgb(picture).getpixel((0, 0)) == (255, 255, 255)


def test_exif_orientation_is_applied(tmp_path):
    picture = Image.new("RGB", (40, 20), "blue")
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert as_rgb(Image.open(tmp_path / "turned.jpg")).size == (20, 40)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Tag data larger than file")
def test_damaged_exif_data_is_no_reason_to_refuse_a_picture(tmp_path):
    picture = Image.new("RGB", (40, 20), "blue")
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    content = bytearray((tmp_path / "turned.jpg").read_bytes())
    start = content.index(b"Exif")
    for place in range(start + 6, start + 30):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        (tmp_path / "damaged.jpg").write_bytes(damaged)
        assert as_rgb(Image.open(tmp_path / "damaged.jpg")).size in ((40, 20), (20, 40))
