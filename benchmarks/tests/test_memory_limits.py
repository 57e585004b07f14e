"""The memory that the released model needs to make a picture, counted tensor by tensor."""

import pytest
import torch

from benchmarks import costs
from benchmarks.methods import METHODS
from benchmarks.shapes import SIZES, meta_pipeline


@pytest.mark.parametrize(("kind", "gigabytes"), [(None, 4.0), ("int8", 2.6), ("float8", 2.6)])
@pytest.mark.long
def test_a_picture_is_made_within(kind, gigabytes):
    pipeline = meta_pipeline(SIZES["full"], torch.bfloat16)
    if kind is not None:
        pytest.importorskip("torchao", reason="needs torchao: pip install flowinone[eightbit]")
        pipeline.quantize(kind)
    weights = costs.weight_bytes(pipeline)
    assert weights > 0.8e9 * gigabytes
    assert weights + costs.counted_peak(pipeline, METHODS["own"]) <= 1e9 * gigabytes
