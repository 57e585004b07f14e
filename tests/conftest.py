"""Fixtures that more than one room's tests use."""

import signal
import sys

import pytest
from safetensors.torch import load_file

from devtools import tiny
from devtools.comfyui.launch import TorchvisionOperators

# transformers imports torchvision where it finds one, and the one that ComfyUI needs here may not fit this torch.
sys.meta_path.insert(0, TorchvisionOperators())
# Programs that a shell starts in the background ignore Ctrl-C, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def upstream():
    """The tensors that the public implementation gave, by fixture file."""
    return lambda name: load_file(tiny.FIXTURES / f"{name}.safetensors")


@pytest.fixture(scope="session")
def model_files(tmp_path_factory):
    """The three tiny models as files, by the pipeline's argument names."""
    return tiny.write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def network():
    from flowinone import FlowInOneModel

    return FlowInOneModel.from_state_dict(tiny.network_weights())
