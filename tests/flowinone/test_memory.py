"""The memory that the network needs in addition to its weights, counted tensor by tensor at several sizes."""

import pytest
import torch

from devtools.peak_memory import PeakBytes
from flowinone.config import FlowInOneConfig
from flowinone.model import Condition, VelocityNetwork, activation_bytes

# Where a coarse block, the norm of a row and a fine block ask for most, in this order.
NETWORKS = {
    "released": FlowInOneConfig(),
    "few tokens": FlowInOneConfig(
        latent_size=8,
        coarse_width=128,
        coarse_heads=4,
        coarse_mlp_width=64,
        coarse_blocks=33,
        fine_width=32,
        fine_blocks=3,
        fine_mlp_width=32,
    ),
    "small": FlowInOneConfig(
        latent_size=16,
        coarse_width=128,
        coarse_heads=4,
        coarse_mlp_width=256,
        coarse_blocks=7,
        fine_width=96,
        fine_blocks=5,
        fine_mlp_width=192,
    ),
}


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("proportions", NETWORKS)
def test_an_evaluation_takes_the_bytes_that_are_promised(proportions, dtype, batch):
    config = NETWORKS[proportions]
    network = VelocityNetwork(config, dtype=dtype, device="meta").requires_grad_(False)
    latent = torch.empty(batch, *config.latent_shape, dtype=dtype, device="meta")
    flags = torch.empty(batch, dtype=torch.bool, device="meta")
    with torch.no_grad(), PeakBytes() as counted:
        network(latent, torch.empty(batch, device="meta"), Condition(latent, flags, flags, dual=True))
    promised = batch * activation_bytes(config, dtype)
    # Times and flags are too small to count, and so are the vectors, joined, in float32, behind time-dependent values.
    vectors = sum(vector.numel() for parameter in network.time_dependent for vector in parameter.parameters())
    assert 0.97 * promised <= counted.peak <= promised + 64 * batch + vectors * (4 + dtype.itemsize)


def test_counting_sees_what_lives_at_the_same_time():
    with PeakBytes() as counted:
        first = torch.zeros(1000)
        second = first + 1
        del first
        third = second * 2
        third.add_(1)
    assert counted.peak == 8000
