"""LoRA files, and what they add to the network."""

import pytest
import torch
from safetensors.torch import save_file

from devtools import tiny
from flowinone.model import Condition, FlowInOneModel
from flowinone.training.adapters import adapter_tensors, add_adapters
from flowinone.training.run_config import LoraSettings
from flowinone.weights.lora import add_lora, read_lora
from flowinone.weights.weightfile import CheckpointError


@pytest.fixture
def network():
    model = FlowInOneModel.from_state_dict(tiny.network_weights())
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model.velocity_network


def answer(network):
    x = tiny.fixture_input("x", (2, 4, 32, 32))
    flags = torch.zeros(2, dtype=torch.bool)
    with torch.no_grad():
        return network(x, torch.tensor([0.2, 0.7]), Condition(x.flip(0), flags, flags))


def test_a_trained_adapter_is_the_same_in_the_weights(network, tmp_path):
    plain = answer(network)
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    settings = LoraSettings(rank=3, alpha=6)
    add_adapters(network, settings)
    for name, parameter in network.named_parameters():
        if "lora_B" in name:
            parameter.data = tiny.fixture_input(name, tuple(parameter.shape), 0.05)
    adapted = answer(network)
    assert (adapted - plain).abs().max() > 1e-3
    save_file(adapter_tensors(network, settings), tmp_path / "lora.safetensors")

    fresh = FlowInOneModel.from_state_dict(tiny.network_weights()).velocity_network
    for name, parameter in fresh.named_parameters():
        parameter.data = parameter.data.clone()
    tensors = read_lora(tmp_path / "lora.safetensors")
    assert add_lora(fresh, tensors) > 20
    torch.testing.assert_close(answer(fresh), adapted, atol=2e-5, rtol=1e-4)
    add_lora(fresh, tensors, -1.0)
    for name, parameter in fresh.named_parameters():
        torch.testing.assert_close(parameter, before[name], atol=1e-6, rtol=1e-6)


def test_only_the_adapter_learns(network):
    network.requires_grad_(False)
    add_adapters(network, LoraSettings(rank=2))
    learning = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert learning and all(".lora_" in name for name in learning)


def test_a_lora_of_another_network_changes_nothing(network, tmp_path):
    add_adapters(network, LoraSettings(rank=2))
    tensors = adapter_tensors(network, LoraSettings(rank=2))
    name = next(key for key in tensors if key.endswith("lora_B.weight"))
    tensors[name] = torch.zeros(7, 2)
    fresh = FlowInOneModel.from_state_dict(tiny.network_weights()).velocity_network
    before = answer(fresh)
    with pytest.raises(ValueError, match="trained for another"):
        add_lora(fresh, tensors)
    assert answer(fresh).equal(before)


def test_other_files_are_refused(tmp_path):
    save_file(tiny.network_weights(), tmp_path / "network.safetensors")
    with pytest.raises(CheckpointError, match="is not a LoRA for FlowInOne"):
        read_lora(tmp_path / "network.safetensors")
