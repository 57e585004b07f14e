"""Start a ComfyUI whose Python lacks a working torchvision or torchaudio.

    python launch.py <ComfyUI folder> [ComfyUI arguments ...]

ComfyUI imports both at start, for nodes that neither this pack nor its tests use. Where both import, this changes
nothing.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import runpy
import sys
import threading
from pathlib import Path


def accept_torchvision() -> None:
    """Let this process import a torchvision whose compiled part does not fit its torch."""
    sys.meta_path.insert(0, TorchvisionOperators())


class TorchvisionOperators(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports torchvision; if its compiled part does not fit this torch, declares the operators it asks for.

    A hook and not a trial import, because torch must not be imported before ComfyUI has set up its allocator.
    """

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "torchvision":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            self.real = spec.loader
            spec.loader = self
        return spec

    def create_module(self, spec):
        return self.real.create_module(spec)

    def exec_module(self, module):
        try:
            self.real.exec_module(module)
        except RuntimeError as error:
            if "operator torchvision::" not in str(error):
                raise
            declare_torchvision_operators()
            for name in [name for name in sys.modules if name.startswith("torchvision.")]:
                del sys.modules[name]
            self.real.exec_module(module)


def declare_torchvision_operators() -> None:
    """Declare, without an implementation, the operators that torchvision looks up while it is imported."""
    import torch

    # The library object takes its declarations along when it is collected.
    global library
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def end_with_parent() -> None:
    """End this process as soon as its standard input closes, which also happens when the parent is killed."""

    def watch():
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def prepare(comfyui: Path, arguments: list[str]) -> None:
    """Set up this process as if it had been started as ComfyUI's main.py with those arguments."""
    # ComfyUI's `nodes`, `utils` and `server` must be found before any module of the same name.
    sys.path[0] = str(comfyui)
    # Last in line: a torchaudio that is installed is found first.
    sys.path.append(str(Path(__file__).resolve().parent / "shims"))
    accept_torchvision()
    sys.argv = [str(comfyui / "main.py"), *arguments]
    os.chdir(comfyui)


def main() -> None:
    """Run ComfyUI's main.py as if it had been started directly."""
    prepare(Path(sys.argv[1]).resolve(), sys.argv[2:])
    end_with_parent()
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
