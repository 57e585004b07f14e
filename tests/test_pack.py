"""The pack's door, without a ComfyUI."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_importing_the_pack_imports_neither_torch_nor_its_own_parts():
    load = (
        "import importlib.util, sys; "
        "spec = importlib.util.spec_from_file_location('pack', sys.argv[1] + '/__init__.py', submodule_search_locations=[sys.argv[1]]); "
        "module = importlib.util.module_from_spec(spec); sys.modules['pack'] = module; spec.loader.exec_module(module); "
        "assert callable(module.comfy_entrypoint); "
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('torch', 'transformers', 'numpy') or name.startswith('pack.')))"
    )
    run = subprocess.run([sys.executable, "-c", load, str(ROOT)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
