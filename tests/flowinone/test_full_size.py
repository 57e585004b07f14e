"""The released model's real size, with weights made up: 7 GB on disk, 10 GB of memory, minutes. Run with `-m slow`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from devtools import tiny
from flowinone.model import Condition
from flowinone.weights.checkpoint import open_network

pytestmark = pytest.mark.slow

# Converts in a process of its own and prints the most anonymous memory, in MB, that it had: mapped file pages do not
# count.
CONVERT = """
import re, sys, torch
from pathlib import Path
from flowinone.weights.conversion import convert

status, most = Path("/proc/self/status"), 0

def watch(done, total):
    global most
    most = max(most, int(re.search(r"RssAnon:\\s+(\\d+) kB", status.read_text())[1]))

watch(0, 0)
before = most
convert(sys.argv[1], sys.argv[2], torch.bfloat16, progress=watch)
print((most - before) // 1024)
"""


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A state dict with the released file's names, shapes and dtype, saved as the released file is."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in tiny.manifest("flowinone_256px").items():
        fan_in = max(1, int(torch.tensor(shape[1:]).prod()))
        tensors[name] = torch.randn(shape, generator=generator) / fan_in**0.5
    path = tmp_path_factory.mktemp("released") / "flowinone_256px.pth"
    torch.save(tensors, path)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def converted(released):
    return released.with_name("flowinone_256px_bf16.safetensors")


def test_the_made_up_file_is_as_large_as_the_released_one(released):
    # The rest of the 6,829,752,381 bytes is names and padding.
    assert abs(released.stat().st_size - 6_829_752_381) < 2_000_000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux' memory accounting")
def test_conversion_needs_little_more_memory_than_the_largest_tensor(released, converted):
    environment = os.environ | {"PYTHONPATH": str(tiny.FIXTURES.parents[1])}
    run = subprocess.run(
        [sys.executable, "-c", CONVERT, str(released), str(converted)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    largest = 2048 * 67584 * 4 / 2**20  # the upsampling product's matrix, 528 MB, and its bfloat16 copy, half of it
    print(f"peak anonymous memory: {run.stdout.strip()} MB, largest tensor {largest:.0f} MB")
    assert int(run.stdout) < 2 * largest
    assert abs(converted.stat().st_size - 2 * 1_370_173_880) < 1_000_000


def test_one_guided_step_of_the_converted_network_is_finite_and_moves(converted):
    model = open_network(converted).load()
    assert model.dtype == torch.bfloat16
    generator = torch.Generator().manual_seed(1)
    mean, logvar = model.encode_prompt(torch.randn(1, 576, 2048, generator=generator))
    assert mean.isfinite().all() and logvar.isfinite().all()
    x = mean.repeat(2, 1, 1, 1)
    image_latent = torch.randn(x.shape, generator=generator)
    condition = Condition(image_latent, torch.tensor([False, True]), torch.tensor([False, False]))
    velocity = model.velocity(x, torch.full((2,), 0.5), condition)
    assert velocity.isfinite().all()
    assert not torch.equal(velocity[0], velocity[1])
