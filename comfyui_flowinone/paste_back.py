"""Output images back in their photos: where the canvas is on the photo, and the blend there."""

from collections.abc import Callable

import comfy.utils
import torch
from torch import Tensor

from .composed_prompt import ComposedPrompt
from .images import resampled
from .paste_regions import Weights, box_size, in_pixels
from .photo_place import PhotoPlace, place_on


def paste_back(
    image: Tensor,
    prompt: ComposedPrompt,
    choose: Callable[[int, PhotoPlace, Tensor, Tensor], Weights | None],
    photo: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Blend each output image of IMAGE [B, h, w, C] into a copy of its photo.

    `choose(index, place, output, photo)` gives the weights of an output image [h, w, 3] on its photo [H, W, 3 or 4],
    None to take nothing of it. The photos are the prompt's, or `photo`, the same in another resolution.

    Returns the photos, IMAGE [B, H, W, 3 or 4], and the weights, MASK [B, H, W]. Raises ValueError for output images
    that are not square, and for inputs that do not belong together.
    """
    height, width = image.shape[1:3]
    if abs(height - width) > max(1, max(height, width) // 50):
        raise ValueError(
            f"image is {width} x {height} pixels; expected the whole square output image, as decoded or upscaled: "
            "set size of FlowInOne VAE Decode to answer"
        )
    prompt_rows = rows_for("prompt", len(prompt.prompts), len(image))
    if any(prompt.squarings[row] is None for row in prompt_rows):
        raise ValueError(
            "prompt shows no photo to put the output image into; connect one to image of its Compose Visual Prompt"
        )
    photos = prompt.photos if photo is None else photo
    photo_rows = prompt_rows if photo is None else rows_for("photo", len(photo), len(image))
    channels = max(3, photos.shape[-1])
    result = photos.new_empty(len(image), *photos.shape[1:3], channels)
    mask = torch.zeros(result.shape[:3], device=result.device)
    progress = comfy.utils.ProgressBar(len(image))
    for index, output in enumerate(image):
        result[index] = photos[photo_rows[index]]
        place = place_on(prompt.squarings[prompt_rows[index]], *reversed(result.shape[1:3]))
        output = output[..., :3].expand(-1, -1, 3)
        weights = choose(index, place, output, result[index])
        if weights is not None:
            _blend(result[index], mask[index], output, place, weights)
        progress.update(1)  # raises if the user has cancelled
    return result, mask


def rows_for(name: str, rows: int, count: int) -> list[int]:
    """Which row of an input belongs to each of `count` output images: the one of its index, or the only one.

    Raises ValueError, which calls the input `name`, for another number of rows.
    """
    if rows not in (1, count):
        raise ValueError(
            f"{name} has {rows} images for {count} output images in image; connect as many, or one for all"
        )
    return list(range(count)) if rows == count else [0] * count


def _blend(photo: Tensor, mask: Tensor, output: Tensor, place: PhotoPlace, weights: Weights) -> None:
    """Blend the output image into the photo, in place: weight 0 leaves the photo's bits, weight 1 is opaque output."""
    weight, box = weights
    left, top, right, bottom = box
    part = resampled(output, in_pixels(place.area(box), output), box_size(box))
    part = torch.from_numpy(part.clip(0, 1, out=part)).to(photo)
    weight = torch.from_numpy(weight).to(photo.device)
    mask[top:bottom, left:right] = weight
    weight = weight[..., None].to(photo.dtype)
    target = photo[top:bottom, left:right]
    target[..., :3].lerp_(part, weight)
    if photo.shape[-1] == 4:
        target[..., 3:].lerp_(torch.ones_like(weight), weight)
