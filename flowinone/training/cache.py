"""A cache of pairs, loaded and encoded once for runs that see each of them many times.

It saves decoding or rendering pictures, and the frozen encoders' forward passes. It is a folder of memory-mapped
arrays, so that memory holds only what a run is reading.
"""

import copy
import hashlib
import json
import logging
import os
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from ..files import atomic_write
from ..preprocess import latent_view, vision_view
from ..vision import VisionEncoder
from .data import Mixture

log = logging.getLogger("flowinone.training")

_PICTURES = ("vision", "image", "target")
_CHUNK = 256
"""Pairs that are loaded, or encoded, at a time."""


class PairCache:
    """The first `count` pairs of a mixture, in a folder.

    The arrays are `vision` [N, S, S, 3], `image` and `target` [N, H, H, 3] uint8, and `bypass` [N] bool; `names` are
    the pairs' names. `encode` adds a frozen encoder's outputs. Existing arrays are reused.
    """

    def __init__(self, folder: str | os.PathLike, count: int, vision_size: int, image_size: int):
        self.folder, self.count = Path(folder), count
        self.shapes = {
            "vision": (count, vision_size, vision_size, 3),
            "image": (count, image_size, image_size, 3),
            "target": (count, image_size, image_size, 3),
            "bypass": (count,),
        }

    def fill(self, mixture: Mixture, workers: int = 1) -> None:
        """Load the pairs, in `workers` processes.

        Raises ValueError if the folder has pairs of other data, of another seed, size or number.
        """
        marker, described = self.folder / "names.json", self.folder / "drawn.json"
        facts = {"shapes": {name: list(shape) for name, shape in self.shapes.items()}, "pairs": mixture.description}
        if marker.is_file():
            there = json.loads(described.read_text(encoding="utf-8")) if described.is_file() else {}
            differing = [name for name, fact in facts.items() if there.get(name) != fact]
            if differing:
                raise ValueError(
                    f"{self.folder} was filled from other data ({', '.join(differing)} differ); "
                    "choose another folder as cache_folder, or delete it"
                )
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        described.write_text(json.dumps(facts), encoding="utf-8")
        for name, shape in self.shapes.items():
            np.lib.format.open_memmap(self._file(name), "w+", bool if name == "bypass" else np.uint8, shape)
        parts = [(self, mixture, start) for start in range(0, self.count, _CHUNK)]
        names, began = [], time.monotonic()
        with ProcessPoolExecutor(workers) as pool:
            for number, (drawn, broken) in enumerate(pool.map(_fill_chunk, parts)):
                names += drawn
                for met in broken:
                    mixture.report(met)
                if number % 20 == 0:
                    log.info("%d of %d pairs cached in %.0f s", len(names), self.count, time.monotonic() - began)
        with atomic_write(marker, "w") as file:
            json.dump(names, file)

    def encode(
        self, name: str, encoder: VisionEncoder | AutoencoderKL, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Add `{name}_encoded`, in float16: the tower's tokens or the autoencoder's moments of the pictures `name`.

        They are computed on `device` in `dtype`. Does nothing if the encoder's weights are those of the last time.
        """
        done, state = self.folder / f"{name}_encoded.done", _digest(encoder)
        if done.is_file() and done.read_text(encoding="utf-8") == state:
            return
        done.unlink(missing_ok=True)
        # A copy, so that the run's own encoder keeps its precision.
        encoder = copy.deepcopy(encoder).to(device, dtype, memory_format=torch.channels_last)
        run = (
            encoder
            if isinstance(encoder, VisionEncoder)
            else lambda pixels: encoder.encode(pixels).latent_dist.parameters
        )
        pictures, encoded = self[name], None
        for start in range(0, self.count, _CHUNK):
            # uint8 [B, H, W, 3] permuted to [B, 3, H, W] is channels_last already.
            pixels = torch.tensor(pictures[start : start + _CHUNK]).permute(0, 3, 1, 2).to(device)
            with torch.no_grad():
                part = torch.cat([run((chunk.float() / 127.5 - 1).to(dtype)) for chunk in pixels.split(32)])
            if encoded is None:
                encoded = np.lib.format.open_memmap(
                    self._file(f"{name}_encoded"), "w+", np.float16, (self.count, *part.shape[1:])
                )
            encoded[start : start + len(part)] = part.float().cpu().numpy()
            if start // _CHUNK % 20 == 0:
                log.info("%s: %d of %d encoded", name, start + len(part), self.count)
        encoded.flush()
        done.write_text(state, encoding="utf-8")

    def __getitem__(self, name: str) -> np.ndarray:
        """A memory-mapped array."""
        return np.load(self._file(name), mmap_mode="r")

    @property
    def names(self) -> list[str]:
        return json.loads((self.folder / "names.json").read_text(encoding="utf-8"))

    def batches(
        self,
        batch_size: int,
        seed: int,
        start: int,
        steps: int,
        encoded: Collection[str],
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[dict[str, Tensor]]:
        """Batches of the steps from `start` on, sampled with replacement by seed, step and rank alone.

        The pictures named in `encoded` are given as `{name}_encoded`.
        """
        names = [f"{name}_encoded" if name in encoded else name for name in _PICTURES]
        arrays = {name: self[name] for name in (*names, "bypass")}
        for step in range(start, start + steps):
            random = np.random.default_rng((seed, step, rank, world))
            chosen = np.sort(random.integers(self.count, size=batch_size))
            batch = {name: torch.from_numpy(array[chosen]) for name, array in arrays.items()}
            yield {
                name: tensor.permute(0, 3, 1, 2).contiguous() if name in _PICTURES else tensor
                for name, tensor in batch.items()
            }

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.npy"


def _digest(encoder: nn.Module) -> str:
    state = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        if name.startswith(("decoder.", "post_quant_conv.")):
            continue  # an autoencoder's decoder doesn't change its moments
        state.update(name.encode())
        state.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def _fill_chunk(work: tuple[PairCache, Mixture, int]) -> tuple[list[str], list[dict[str, str]]]:
    """Load a chunk of the pairs; their names, and the unusable pairs that were replaced, as reasons by name."""
    cache, mixture, start = work
    arrays = {name: np.load(cache._file(name), mmap_mode="r+") for name in cache.shapes}
    names, broken = [], []
    for number in range(start, min(start + _CHUNK, cache.count)):
        pair, met = mixture.draw(number)
        if met:
            broken.append(met)
        arrays["vision"][number] = vision_view(pair.input, cache.shapes["vision"][1])
        for name, picture in (("image", pair.input), ("target", pair.output)):
            arrays[name][number] = latent_view(picture, cache.shapes[name][1])
        arrays["bypass"][number] = pair.bypass
        names.append(pair.name)
    return names, broken
