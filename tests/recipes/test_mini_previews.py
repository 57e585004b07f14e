"""The preview factors in the metadata of mini's network."""

import torch
from torch.nn import functional as F

from recipes.mini.checkpoint_edits import preview_factors


def previewed(latents, preview):
    """Colours 0..1 [B, 3, H, W] as ComfyUI makes them of latents."""
    factors, bias = torch.tensor(preview["factors"]), torch.tensor(preview["bias"])
    return (F.linear(latents.movedim(1, -1), factors.T, bias).movedim(-1, 1) + 1) / 2


def test_previews_have_the_pictures_colours_where_those_follow_from_the_latents():
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(3, 4, 6, 6, generator=generator)
    expected = {"factors": torch.randn(4, 3, generator=generator).tolist(), "bias": [0.2, -0.1, 0.4]}
    # Within the eight pixels of a latent, colours may differ.
    detail = torch.randn(3, 3, 48, 48, generator=generator)
    detail -= F.interpolate(F.avg_pool2d(detail, 8), scale_factor=8)
    found = preview_factors(latents, F.interpolate(previewed(latents, expected), scale_factor=8) + detail)
    for name, values in expected.items():
        assert torch.allclose(torch.tensor(found[name]), torch.tensor(values), atol=1e-4)


def test_previews_are_the_nearest_where_colours_do_not_follow_from_the_latents():
    generator = torch.Generator().manual_seed(1)
    latents, pictures = torch.randn(2, 4, 5, 5, generator=generator), torch.rand(2, 3, 40, 40, generator=generator)
    best = preview_factors(latents, pictures)

    def error(preview):
        return float((previewed(latents, preview) - F.avg_pool2d(pictures, 8)).square().sum())

    for name in ("factors", "bias"):
        for step in (0.01, -0.01):
            assert error(best) < error(best | {name: (torch.tensor(best[name]) + step).tolist()})
