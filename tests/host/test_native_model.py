"""The MODEL as ComfyUI's own model nodes use it: LoRA, merging, 8-bit storage, compilation, memory, Cancel and
previews.
"""

import io
import time

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from devtools.comfyui.client import Events, ExecutionFailed, ExecutionInterrupted
from devtools.comfyui.fixtures import LOADER
from devtools.comfyui.prompt import node
from flowinone.weights.checkpoint import open_network
from flowinone.weights.conversion import convert


@pytest.fixture
def checkpoint(server):
    """Write a changed network; the loader node that loads it."""

    def write(name, change):
        weights = open_network(server.base / "models" / "flowinone" / "flowinone_tiny.safetensors").tensors()
        changed = {key: change(key, tensor).contiguous() for key, tensor in weights.items()}
        save_file(changed, server.base / "models" / "flowinone" / name)
        return node("FlowInOneLoader", **(LOADER | {"checkpoint": name}))

    return write


TRAINED = (
    "coarse.blocks.0.self_attention.dense",
    "fine.upsample.projection",
    "coarse.skip_denses.0",
    "fine.output_layer.conv",
)


def low_rank(name, shape):
    generator = torch.Generator().manual_seed(len(name))
    down = torch.randn(2, *shape[1:], generator=generator) / 4
    up = torch.randn(shape[0], 2, *[1] * (len(shape) - 2), generator=generator) / 4
    return down, up


@pytest.mark.parametrize(
    "naming",
    [
        lambda layer, part: f"diffusion_model.{layer}.lora_{'A' if part == 'down' else 'B'}.weight",
        lambda layer, part: f"lora_unet_{layer.replace('.', '_')}.lora_{part}.weight",
    ],
    ids=["peft", "kohya"],
)
def test_a_lora_is_what_its_weights_add_to_the_checkpoint(server, answer, own, checkpoint, naming, request):
    file = f"{request.node.callspec.id}.safetensors"
    lora, deltas = {}, {}
    weights = open_network(server.base / "models" / "flowinone" / "flowinone_tiny.safetensors").tensors()
    for layer in TRAINED:
        key = f"velocity_network.{layer}.weight"
        down, up = low_rank(layer, weights[key].shape)
        lora |= {naming(layer, "down"): down, naming(layer, "up"): up}
        deltas[key] = (up.flatten(1) @ down.flatten(1)).view_as(weights[key])
    (server.base / "models" / "loras").mkdir(exist_ok=True)
    save_file(lora, server.base / "models" / "loras" / file)
    merged = checkpoint(f"with {file}", lambda key, tensor: tensor + 0.8 * deltas.get(key, 0))

    with_lora = {
        "plain": node("FlowInOneLoader", **LOADER),
        "load": merged,
        "lora": node("LoraLoaderModelOnly", model=["plain", 0], lora_name=file, strength_model=0.8),
    }
    expected = answer(nodes={"load": merged})
    assert np.abs(expected - answer()).mean() > 3
    guider = node("CFGGuider", model=["lora", 0], positive=["encode", 0], negative=["encode", 1], cfg=7.0)
    assert np.abs(answer(nodes=with_lora | {"guider": guider}) - expected).max() <= 1
    sampler = node(
        "FlowInOneSampler",
        model=["lora", 0],
        encoder=["load", 1],
        vae=["load", 2],
        image=["photo", 0],
        seed=0,
        steps=4,
        guidance_scale=7.0,
        solver="euler",
        bypass=False,
        sample_posterior=False,
    )
    assert np.abs(answer(nodes=with_lora | {"sample": sampler}) - expected).max() <= 1
    assert "lora key not loaded" not in server.log.read_text(encoding="utf-8")


def test_merged_models_are_the_mean_of_their_weights(answer, checkpoint):
    shifted = checkpoint("shifted.safetensors", lambda key, tensor: tensor * 1.2)
    between = checkpoint("between.safetensors", lambda key, tensor: tensor * 1.15)
    # The encoder comes from the unchanged checkpoint in both.
    base = node("FlowInOneLoader", **LOADER)
    merge = node("ModelMergeSimple", model1=["load", 0], model2=["shifted", 0], ratio=0.25)
    guider = node("CFGGuider", model=["merge", 0], positive=["encode", 0], negative=["encode", 1], cfg=7.0)
    merged = answer(nodes={"load": base, "shifted": shifted, "merge": merge, "guider": guider})

    guider = node("CFGGuider", model=["between", 0], positive=["encode", 0], negative=["encode", 1], cfg=7.0)
    assert np.abs(merged - answer(nodes={"between": between, "guider": guider})).max() <= 1
    assert np.abs(merged - answer()).mean() > 1


def test_a_compiled_model_answers_as_the_plain_one(answer):
    compiled = node("TorchCompileModel", model=["load", 0], backend="inductor")
    guider = node("CFGGuider", model=["compiled", 0], positive=["encode", 0], negative=["encode", 1], cfg=7.0)
    assert np.abs(answer(nodes={"compiled": compiled, "guider": guider}) - answer()).max() <= 2


def test_8_bit_weights_take_a_quarter_and_answer_nearly_the_same(client, answer):
    client.free()
    whole = answer()
    full = loaded_bytes(client, "FlowInOneBase")
    client.free()
    small = answer(nodes={"load": node("FlowInOneLoader", **(LOADER | {"dtype": "float8_e4m3fn"}))})
    assert loaded_bytes(client, "FlowInOneBase") < 0.4 * full
    assert 0 < np.abs(small - whole).mean() < 12


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float8_e4m3fn, 8), (torch.int8, 5)], ids=["fp8", "int8"])
def test_a_file_in_comfyuis_8_bit_format_is_recognised_by_itself(server, answer, own, dtype, bound):
    folder = server.base / "models" / "flowinone"
    name = f"tiny_{str(dtype).removeprefix('torch.')}.safetensors"
    convert(folder / "flowinone_tiny.safetensors", folder / name, dtype)
    small = {"load": node("FlowInOneLoader", **(LOADER | {"checkpoint": name, "dtype": "default"}))}
    whole = answer()
    for sampling_path in (answer, own):
        assert 0 < np.abs(sampling_path(nodes=small) - whole).mean() < bound


def test_a_damaged_8_bit_file_is_refused_in_the_loader(server, answer):
    folder = server.base / "models" / "flowinone"
    convert(folder / "flowinone_tiny.safetensors", folder / "damaged.safetensors", torch.int8, overwrite=True)
    tensors = load_file(folder / "damaged.safetensors")
    del tensors["velocity_network.fine.upsample.projection.weight_scale"]
    save_file(tensors, folder / "damaged.safetensors")
    with pytest.raises(
        ExecutionFailed,
        match="damaged.safetensors is quantised and lacks velocity_network.fine.upsample.projection.weight_scale",
    ):
        answer(nodes={"load": node("FlowInOneLoader", **(LOADER | {"checkpoint": "damaged.safetensors"}))})


def loaded_bytes(client, kind):
    (entry,) = [entry for entry in client.get("/inspector")["loaded"] if entry["kind"] == kind]
    return entry["bytes"]


def test_both_roads_share_one_set_of_weights_and_free_leaves_nothing(client, answer, own):
    client.free()
    answer(seed=11)
    own(seed=11)
    memory = client.get("/inspector")
    assert memory["existing"] == ["AutoencoderKL", "NativeVelocityNetwork", "PromptEncoder", "VisionEncoder"]
    assert len(memory["loaded"]) == 3

    client.free()
    deadline = time.monotonic() + 20
    while client.get("/inspector")["existing"] and time.monotonic() < deadline:
        time.sleep(0.2)
    memory = client.get("/inspector")
    assert (memory["loaded"], memory["existing"]) == ([], [])


class CancelAfterSteps:
    """An `on_event` that cancels the run; `time` is when."""

    def __init__(self, client, steps):
        self.client, self.steps, self.time = client, steps, None

    def __call__(self, kind, data):
        if self.time is None and kind == "progress" and data["value"] >= self.steps:
            self.time = time.monotonic()
            self.client.interrupt()


def test_runs_that_are_cancelled_leave_a_usable_model(client, answer, own):
    expected = answer(seed=21), own(seed=21)
    for sampling_path in (answer, own, answer, own):
        cancel = CancelAfterSteps(client, 3)
        with pytest.raises(ExecutionInterrupted):
            sampling_path(seed=22, steps=1000, on_event=cancel)
        # A step of the tiny model takes milliseconds; the rest of the thousand would take far longer than this.
        assert time.monotonic() - cancel.time < 10
    # Other settings first: what was cached before the interruption would prove nothing.
    assert answer(seed=23).std() > 5
    again = answer(seed=21, filename="again"), own(seed=21, filename="again")
    assert all(np.array_equal(first, second) for first, second in zip(expected, again))


@pytest.mark.parametrize("sampling_path", ["answer", "own"])
def test_previews_arrive_while_sampling_and_progress_counts_steps(request, sampling_path):
    events = Events()
    last = request.getfixturevalue(sampling_path)(seed=31, steps=6, on_event=events)
    previews = [
        np.asarray(Image.open(io.BytesIO(data["image"])).resize((256, 256)), float) for data in events.of("preview")
    ]
    assert len(previews) >= 2
    progress = [(data["value"], data["max"]) for data in events.of("progress") if data["max"] == 6]
    assert progress == sorted(progress) and progress[-1] == (6, 6)
    # The preview's colours were measured on Stable Diffusion's latents: near the picture's, not equal.
    assert abs(previews[-1].mean() - last.mean()) < 64
    assert previews[-1].std() > 2
