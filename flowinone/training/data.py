"""What a training run sees at which step: pairs of several sources, drawn by weight and made batches of.

All follows from the seed and a running number, so that a run goes on at any step as if it had never stopped.
Nothing is flipped or cropped at random: pictures carry text, and places have a meaning.
"""

import bisect
import itertools
import logging
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..preprocess import latent_view, vision_view
from .pairs import BrokenPair, Pair, PairSource
from .sources import open_source

__all__ = ["BrokenPair", "Mixture", "Pair", "PairSource", "TrainingPictures", "loader", "on_device", "open_source"]

logger = logging.getLogger("flowinone.training")

_PATIENCE = 100
"""Broken pairs in a row after which something else is wrong, such as a disk that is gone."""


class Mixture:
    """Pairs by number: which source, by weight, and which of its pairs follow from seed and number alone.

    `broken` counts, by name, how often a pair was drawn that cannot be used; another of its source takes its place.
    `description` tells one mixture from another, as JSON can hold it.
    """

    def __init__(self, sources: Sequence[tuple[PairSource, float]], seed: int):
        if not sources:
            raise ValueError("there are no sources to draw pairs from; name at least one")
        for source, weight in sources:
            if not 0 < weight < float("inf"):
                raise ValueError(f"the weight of {source.name} is {weight}; expected a number more than 0")
            if not len(source):
                raise ValueError(f"{source.name} holds no pairs")
        self.sources = tuple(source for source, _ in sources)
        self.description = [[source.name, len(source), weight] for source, weight in sources] + [seed]
        self.seed = seed
        self.broken: Counter[str] = Counter()
        sums = list(itertools.accumulate(weight for _, weight in sources))
        self._ends = [end / sums[-1] for end in sums[:-1]]

    def pair(self, number: int) -> Pair:
        """`draw`, with a line in the log for each broken pair that is new."""
        pair, broken = self.draw(number)
        self.report(broken)
        return pair

    def draw(self, number: int) -> tuple[Pair, dict[str, str]]:
        """The pair of a number, and what was wrong with those drawn before it, by name.

        Raises ValueError if one broken pair follows another, without end.
        """
        # Neighbouring keys of Philox share nothing, and its raw bits are the same in every version of numpy.
        random = np.random.Philox(key=np.array([self.seed % 2**64, number], dtype=np.uint64))
        source = self.sources[bisect.bisect_right(self._ends, (random.random_raw() >> 11) / 2**53)]
        broken = {}
        for _ in range(_PATIENCE):
            try:
                return source.pair(int(random.random_raw()) * len(source) >> 64), broken
            except BrokenPair as error:
                broken[error.name] = error.reason
        name, reason = broken.popitem()
        raise ValueError(f"{_PATIENCE} pairs of {source.name} in a row are broken, one of them {name}: {reason}")

    def report(self, broken: Mapping[str, str]) -> None:
        """Count broken pairs, and log each when it is new."""
        for name, reason in broken.items():
            if name not in self.broken:
                logger.warning("%s is left out: %s", name, reason)
            self.broken[name] += 1


class TrainingPictures(Dataset):
    """Batches of the steps from `start` on, `steps` of them, for process `rank` of `world`; sizes are squares' sides.

    A batch has `vision` [B, 3, vision_size, vision_size], `image` and `target` [B, 3, image_size, image_size] as uint8,
    `bypass` [B] bool, the `names` of its pairs, and `broken`, the reasons by name of those that could not be used.
    `on_device` makes pixels of it.
    """

    def __init__(
        self,
        mixture: Mixture,
        batch_size: int,
        vision_size: int,
        image_size: int,
        steps: int,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ):
        self.mixture = mixture
        self.batch_size, self.vision_size, self.image_size = batch_size, vision_size, image_size
        self.steps, self.start, self.rank, self.world = steps, start, rank, world

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self.steps:
            raise IndexError(index)
        first = ((self.start + index) * self.world + self.rank) * self.batch_size
        pairs, broken = [], {}
        for number in range(first, first + self.batch_size):
            pair, met = self.mixture.draw(number)
            pairs.append(pair)
            broken |= met
        return {
            "vision": _stacked([vision_view(pair.input, self.vision_size) for pair in pairs]),
            "image": _stacked([latent_view(pair.input, self.image_size) for pair in pairs]),
            "target": _stacked([latent_view(pair.output, self.image_size) for pair in pairs]),
            "bypass": torch.tensor([pair.bypass for pair in pairs]),
            "names": [pair.name for pair in pairs],
            "broken": broken,
        }


def _stacked(pictures: list[Image.Image]) -> Tensor:
    arrays = np.stack([np.asarray(picture) for picture in pictures])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).contiguous()


def on_device(batch: Mapping[str, Any], device: torch.device | str) -> dict[str, Tensor]:
    """A batch's tensors on a device, its pictures, which are bytes, as float32 in -1..1, as `preprocess.to_pixels` makes them.

    Bytes travel, from the loader's processes to this one and on to the device: they are a quarter of what floats are.
    """
    tensors = {name: value.to(device, non_blocking=True) for name, value in batch.items() if isinstance(value, Tensor)}
    return {
        name: tensor.float() / 127.5 - 1 if tensor.dtype == torch.uint8 else tensor for name, tensor in tensors.items()
    }


def loader(pictures: TrainingPictures, workers: int = 0) -> DataLoader:
    """The batches in order, made by that many processes (0: this one), always the same ones.

    Broken pairs are counted and logged here, not in the processes that met them.
    """
    return _Loader(
        pictures,
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_leave_stopping_to_the_main_process,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        # Its own, so that making a loader changes nobody's random numbers.
        generator=torch.Generator(),
    )


class _Loader(DataLoader):
    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in super().__iter__():
            self.dataset.mixture.report(batch["broken"])
            yield batch


def _as_it_is(batch: dict[str, Any]) -> dict[str, Any]:
    return batch


def _leave_stopping_to_the_main_process(worker: int) -> None:
    # Ctrl-C reaches every process of a terminal, and the main one may want to finish its step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
