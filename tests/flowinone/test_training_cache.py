"""The cache of training pairs."""

import numpy as np
import pytest
from PIL import Image

from flowinone.toy import SceneSource
from flowinone.training.cache import PairCache
from flowinone.training.data import BatchDataset, Mixture
from flowinone.training.sources import open_source

COUNT = 40


@pytest.fixture(scope="module")
def scenes():
    return Mixture([(SceneSource(size=64, prompt_size=64), 1)], seed=3)


@pytest.fixture(scope="module")
def cache(scenes, tmp_path_factory):
    made = PairCache(tmp_path_factory.mktemp("cache"), COUNT, 64, 64)
    made.fill(scenes)
    return made


def test_a_cache_holds_the_pairs_of_its_mixture_and_loads_them_once(cache, scenes):
    pictures = BatchDataset(scenes, COUNT, 64, 64, steps=1)[0]
    for name in ("vision", "image", "target"):
        assert np.array_equal(cache[name], pictures[name].permute(0, 2, 3, 1))
    assert cache["bypass"].tolist() == pictures["bypass"].tolist()
    assert cache.names == pictures["names"]
    before = (cache.folder / "vision.npy").stat().st_mtime_ns
    cache.fill(scenes)
    assert (cache.folder / "vision.npy").stat().st_mtime_ns == before


def test_a_cache_of_other_pairs_is_refused(cache, scenes):
    for other in (PairCache(cache.folder, COUNT + 1, 64, 64), PairCache(cache.folder, COUNT, 64, 32)):
        with pytest.raises(ValueError, match=r"filled from other data \(shapes differ\)"):
            other.fill(scenes)
    (source,) = scenes.sources
    for mixture in (Mixture([(source, 1)], seed=4), Mixture([(SceneSource(["wind"], 0, 64, 64), 1)], seed=3)):
        with pytest.raises(ValueError, match=r"filled from other data \(pairs differ\)"):
            cache.fill(mixture)


def test_a_cache_counts_the_pairs_that_it_leaves_out(tmp_path, caplog):
    for side in ("input", "output"):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (64, 64)).save(tmp_path / "pairs" / side / f"{number}.png")
    (tmp_path / "pairs" / "output" / "1.png").write_bytes(b"no picture")
    mixture = Mixture([(open_source(tmp_path / "pairs"), 1)], seed=0)
    PairCache(tmp_path / "cache", 20, 64, 64).fill(mixture)
    ((name, times),) = mixture.broken.items()
    assert name.endswith("1.png") and times > 1
    assert caplog.text.count("is left out") == 1
