"""FlowInOne: one flow-matching model that reads a visual prompt and answers with a picture (arXiv 2604.06757)."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import FlowInOneConfig
    from .model import FlowInOneModel
    from .pipeline import FlowInOnePipeline, FlowInOnePipelineOutput

    __version__: str

__all__ = ["FlowInOneConfig", "FlowInOneModel", "FlowInOnePipeline", "FlowInOnePipelineOutput", "__version__"]

_HOMES = {
    "FlowInOneConfig": ".config",
    "FlowInOneModel": ".model",
    "FlowInOnePipeline": ".pipeline",
    "FlowInOnePipelineOutput": ".pipeline",
}


def __getattr__(name: str):
    if name == "__version__":
        return import_module("._version", __name__).version()
    # On first use: the pipeline needs diffusers, which ComfyUI does not install, and `import flowinone` needs no torch.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
