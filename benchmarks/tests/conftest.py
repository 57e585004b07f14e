"""What the benchmarks' tests need of this process."""

from pathlib import Path

from devtools import testing

testing.prepare_process()


def pytest_collection_modifyitems(items):
    testing.mark(items, Path(__file__).parent)
