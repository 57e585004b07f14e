"""What ComfyUI's memory management does to the MODEL where memory is short; see inside.py, which looks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.host.comfyui.server import server_environment


@pytest.fixture(scope="module")
def found(server):
    script = Path(__file__).parent / "inside.py"
    python = os.environ.get("FLOWINONE_COMFYUI_PYTHON", sys.executable)
    command = [python, script, server.comfyui, server.base / "models"]
    finished = subprocess.run(command, env=server_environment(), capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return json.loads(finished.stdout.splitlines()[-1])


def test_every_matrix_can_stay_behind_and_come_layer_by_layer_lora_included(found):
    low = found["low_vram"]
    assert low["streamed"] == low["matrices"] > 50
    assert low["patch"] > 0.01
    assert low["difference"] < 1e-5
    assert low["left_behind"] < 1e-6


def test_comfyuis_switch_for_8_bit_weights_spares_what_follows_time(found):
    flag = found["eight_bit_flag"]
    assert flag["dtypes"] == ["torch.bfloat16", "torch.float8_e4m3fn"]
    assert 0 < flag["relative difference"] < 0.15


@pytest.mark.parametrize("road", ["own", "native"])
def test_a_batch_larger_than_the_free_memory_is_answered_in_parts(found, road):
    # Five pictures, two branches, two steps; room for three samples. Tiny sums differ by the matrix sizes alone.
    assert found["parts"][road]["largest"] == 3
    assert found["parts"][road]["samples"] == 20
    assert found["parts"][road]["difference"] < 1e-4


def test_both_roads_give_the_same_latents(found):
    # Two steps at guidance 3 on latents of size 3.
    assert found["parts"]["roads"] < 3e-5


def test_no_more_memory_is_asked_for_than_the_card_has(found):
    assert found["promises"] == {"1": 1, "4": 4, "1000": 8}


def test_the_model_gives_way_to_another(found):
    assert found["offloading"] == {"before": 1, "after": 0}
