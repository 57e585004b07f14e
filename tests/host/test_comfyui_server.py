"""The pack inside a real ComfyUI server, used the way people use it: over HTTP and WebSocket."""

import io
import time

import pytest
from PIL import Image

from devtools.comfyui.client import Events, ExecutionFailed, ExecutionInterrupted
from devtools.comfyui.prompt import inputs_of, node_id


def test_the_server_offers_the_nodes_of_the_pack(server, client):
    offered = client.object_info()

    assert {"FlowInOneLoader", "FlowInOneSampler", "FlowInOneVAEDecode"} <= offered.keys()
    assert "IMPORT FAILED" not in server.log.read_text(encoding="utf-8")


def test_a_visual_prompt_becomes_a_picture(client, workflow):
    events = Events()
    history = client.run(workflow, events)

    assert history["status"]["status_str"] == "success"
    assert events.of("execution_success")
    ((name, content),) = client.images(history)
    picture = Image.open(io.BytesIO(content))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (256, 256))


def test_progress_counts_up_to_the_number_of_steps(client, workflow):
    # A seed of its own: a cached run has no progress.
    inputs_of(workflow, "FlowInOneSampler").update(seed=1, steps=6)
    events = Events()
    client.run(workflow, events)

    sampler = node_id(workflow, "FlowInOneSampler")
    progress = [(data["value"], data["max"]) for data in events.of("progress") if data["node"] == sampler]
    assert progress == sorted(progress)
    assert progress[-1] == (6, 6)


def test_a_truncated_checkpoint_fails_with_its_name(server, client, workflow):
    folder = server.base / "models" / "flowinone"
    whole = (folder / "flowinone_tiny.safetensors").read_bytes()
    (folder / "half_a_download.safetensors").write_bytes(whole[: len(whole) // 2])
    inputs_of(workflow, "FlowInOneLoader")["checkpoint"] = "half_a_download.safetensors"

    with pytest.raises(ExecutionFailed) as failure:
        client.run(workflow)

    assert failure.value.details["node_type"] == "FlowInOneLoader"
    assert "half_a_download.safetensors" in failure.value.details["exception_message"]


def test_cancel_ends_a_long_run_and_the_next_one_succeeds(client, workflow):
    inputs_of(workflow, "FlowInOneSampler").update(seed=2, steps=1000)
    prompt_id = client.queue(workflow)
    cancelled_at = []

    def cancel_once_sampling(kind, data):
        if kind == "progress" and not cancelled_at:
            cancelled_at.append(time.monotonic())
            client.interrupt(prompt_id)

    with pytest.raises(ExecutionInterrupted):
        client.wait(prompt_id, cancel_once_sampling)
    # A step of the tiny model takes milliseconds; the rest of the thousand would take far longer than this.
    assert time.monotonic() - cancelled_at[0] < 5

    inputs_of(workflow, "FlowInOneSampler")["steps"] = 4
    assert client.run(workflow)["status"]["status_str"] == "success"


def test_the_same_prompt_again_is_answered_from_the_cache(client, workflow):
    inputs_of(workflow, "FlowInOneSampler")["seed"] = 3
    client.run(workflow)
    events = Events()
    client.run(workflow, events)

    (cached,) = events.of("execution_cached")
    assert node_id(workflow, "FlowInOneSampler") in cached["nodes"]


def test_the_server_goes_on_after_its_models_were_unloaded(client, workflow):
    client.run(workflow)
    client.free()
    inputs_of(workflow, "FlowInOneSampler")["seed"] = 4

    assert client.run(workflow)["status"]["status_str"] == "success"
