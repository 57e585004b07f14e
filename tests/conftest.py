"""Fixtures that tests of several folders use."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from devtools import testing, tiny

testing.prepare_process()


def pytest_collection_modifyitems(items):
    testing.mark(items, Path(__file__).parent)


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
