"""The pack's entry point, without a ComfyUI."""

import subprocess
import sys

from devtools import ROOT

# Loads the pack under a made-up name, as ComfyUI does, and tells what that imported.
LOAD = """
import importlib.util, sys
folder = sys.argv[1]
place = dict(submodule_search_locations=[folder])
spec = importlib.util.spec_from_file_location("pack", folder + "/__init__.py", **place)
module = importlib.util.module_from_spec(spec)
sys.modules["pack"] = module
spec.loader.exec_module(module)
assert callable(module.comfy_entrypoint)
heavy = ("torch", "transformers", "numpy")
print(sorted(name for name in sys.modules if name.split(".")[0] in heavy or name.startswith("pack.")))
"""


def test_importing_the_pack_imports_neither_torch_nor_its_own_parts():
    run = subprocess.run([sys.executable, "-c", LOAD, str(ROOT)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
