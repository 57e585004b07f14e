"""FlowInOne: one flow-matching model that reads a visual prompt and answers with a picture (arXiv 2604.06757)."""

from importlib import import_module

_HOMES = {
    "FlowInOneConfig": ".config",
    "FlowInOneModel": ".model",
    "FlowInOnePipeline": ".pipeline",
    "FlowInOnePipelineOutput": ".pipeline",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str):
    if name == "__version__":
        return import_module("._version", __name__).version()
    # On first use: the pipeline needs diffusers, which ComfyUI does not install, and `import flowinone` needs no torch.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
