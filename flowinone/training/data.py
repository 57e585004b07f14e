"""Batches of training pairs: several sources, sampled by weight.

Everything follows from a seed and a running number, so that a run resumes at any step as if it had never stopped.
There is no augmentation: pictures contain text, and positions have a meaning.
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

logger = logging.getLogger("flowinone.training")

_MOST_BROKEN = 100
"""Broken pairs in a row after which something else must be wrong, such as a missing disk."""


class Mixture:
    """Sources, sampled by weight: a pair follows from the seed and its number alone.

    A pair that cannot be used is replaced by another of its source; `broken` counts such draws by name.
    `description` identifies the mixture, and is JSON-compatible.
    """

    def __init__(self, sources: Sequence[tuple[PairSource, float]], seed: int):
        if not sources:
            raise ValueError("there are no sources of pairs; name at least one")
        for source, weight in sources:
            if not 0 < weight < float("inf"):
                raise ValueError(f"the weight of {source.name} is {weight}; expected a number greater than 0")
            if not len(source):
                raise ValueError(f"{source.name} holds no pairs")
        self.sources = tuple(source for source, _ in sources)
        self.description = [[source.name, len(source), weight] for source, weight in sources] + [seed]
        self.seed = seed
        self.broken: Counter[str] = Counter()
        sums = list(itertools.accumulate(weight for _, weight in sources))
        self._ends = [end / sums[-1] for end in sums[:-1]]

    def pair(self, number: int) -> Pair:
        """The pair of `draw`; newly found broken pairs are logged."""
        pair, broken = self.draw(number)
        self.report(broken)
        return pair

    def draw(self, number: int) -> tuple[Pair, dict[str, str]]:
        """The pair of a number, and the broken pairs that it replaces: reasons by name.

        Raises ValueError if too many pairs in a row are broken.
        """
        # Philox streams of neighbouring keys are independent, and its raw bits are the same in every version of numpy.
        random = np.random.Philox(key=np.array([self.seed % 2**64, number], dtype=np.uint64))
        source = self.sources[bisect.bisect_right(self._ends, (random.random_raw() >> 11) / 2**53)]
        broken = {}
        for _ in range(_MOST_BROKEN):
            try:
                return source.pair(int(random.random_raw()) * len(source) >> 64), broken
            except BrokenPair as error:
                broken[error.name] = error.reason
        name, reason = broken.popitem()
        raise ValueError(f"{_MOST_BROKEN} pairs of {source.name} in a row are broken, one of them {name}: {reason}")

    def report(self, broken: Mapping[str, str]) -> None:
        """Count broken pairs, and log those that are new."""
        for name, reason in broken.items():
            if name not in self.broken:
                logger.warning("%s is left out: %s", name, reason)
            self.broken[name] += 1


class BatchDataset(Dataset):
    """Batches number `start` to `start + steps` of process `rank` of `world`; sizes are sides in pixels.

    A batch has `vision` [B, 3, vision_size, vision_size], `image` and `target` [B, 3, image_size, image_size] as uint8,
    `bypass` [B] bool, the `names` of its pairs, and `broken`, the reasons by name of those that could not be used.
    `to_device` converts it to pixels.
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


def to_device(batch: Mapping[str, Any], device: torch.device | str) -> dict[str, Tensor]:
    """A batch's tensors on a device; uint8 pictures become float32 in -1..1, as with `preprocess.to_pixels`.

    They are transferred as uint8, a quarter of the bytes.
    """
    tensors = {name: value.to(device, non_blocking=True) for name, value in batch.items() if isinstance(value, Tensor)}
    return {
        name: tensor.float() / 127.5 - 1 if tensor.dtype == torch.uint8 else tensor for name, tensor in tensors.items()
    }


def batch_loader(batches: BatchDataset, workers: int = 0) -> DataLoader:
    """The batches in order, made by `workers` processes (0: this one).

    Broken pairs are counted and logged in this process, whichever met them.
    """
    return _Loader(
        batches,
        batch_size=None,
        num_workers=workers,
        collate_fn=_identity,
        worker_init_fn=_ignore_interrupts,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        # Its own, so that a loader leaves the global random state alone.
        generator=torch.Generator(),
    )


class _Loader(DataLoader):
    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in super().__iter__():
            self.dataset.mixture.report(batch["broken"])
            yield batch


def _identity(batch: dict[str, Any]) -> dict[str, Any]:
    return batch


def _ignore_interrupts(worker: int) -> None:
    # Ctrl-C reaches every process of a terminal, and the main one finishes its step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
