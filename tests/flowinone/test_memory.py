"""What the network needs beside its weights, counted tensor by tensor at the released model's size."""

import pytest
import torch

from flowinone.config import FlowInOneConfig
from flowinone.model import VelocityNetwork, activation_bytes
from tests.counting import PeakBytes


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_evaluation_takes_the_bytes_that_are_promised(dtype, batch):
    config = FlowInOneConfig()
    network = VelocityNetwork(config, dtype=dtype, device="meta").requires_grad_(False)
    latent = torch.empty(batch, *config.latent_shape, dtype=dtype, device="meta")
    flags = torch.empty(batch, dtype=torch.bool, device="meta")
    with PeakBytes() as counted:
        network(latent, torch.empty(batch, device="meta"), latent, flags, flags)
    promised = batch * activation_bytes(config, dtype)
    assert 0.97 * promised <= counted.peak <= promised


def test_counting_sees_what_lives_at_the_same_time():
    with PeakBytes() as counted:
        first = torch.zeros(1000)
        second = first + 1
        del first
        third = second * 2
        third.add_(1)
    assert counted.peak == 8000
