"""A LoRA that was trained on mini changes its pictures as trained, in the pipeline and in ComfyUI alike."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from devtools.comfyui.prompt import node
from devtools.demo import MINI, picture_graph
from flowinone import FlowInOnePipeline, mini
from flowinone.cli import main
from flowinone.toy import example

TASK, PAIRS, PROMPT_SIDE = "point_force", 12, 256
SETTINGS = dict(steps=mini.STEPS, guidance_scale=mini.GUIDANCE_SCALE)
SEED = 5


def at_night(picture):
    """What is trained: all answers are dark."""
    return picture.point(lambda level: round(0.35 * level))


def scene(number):
    return example(TASK, number, prompt_size=PROMPT_SIDE)


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    """The file that `flowinone train` makes of a handful of pairs."""
    folder = tmp_path_factory.mktemp("lora")
    for side in ("input", "output"):
        (folder / "pairs" / side).mkdir(parents=True)
    for number in range(PAIRS):
        made = scene(number)
        made.input.save(folder / "pairs" / "input" / f"{number}.png")
        at_night(made.output).save(folder / "pairs" / "output" / f"{number}.png")
    run = {
        "out": str(folder / "run"),
        "data": [str(folder / "pairs")],
        "mode": "lora",
        "checkpoint": str(mini.NETWORK),
        "vision": str(mini.VISION),
        "vae": str(mini.VAE),
        "steps": 60,
        "batch_size": 4,
        "learning_rate": 2e-3,
        "warmup": 5,
        "ema": 0,
        "cache": PAIRS,
        "workers": 0,
        "contrastive_weight": 0,
        "checkpoint_every": 1000,
    }
    (folder / "run.yaml").write_text(json.dumps(run), encoding="utf-8")
    assert main(["train", str(folder / "run.yaml")]) == 0
    return folder / "run" / "lora.safetensors"


@pytest.fixture(scope="module")
def unseen():
    """A prompt that the LoRA was not trained on."""
    return scene(PAIRS)


@pytest.fixture(scope="module")
def plain_and_changed(lora, unseen):
    """The pipeline's answers without the LoRA and with it, [128, 128, 3] in levels."""
    pipeline = FlowInOnePipeline.mini()
    pipeline.set_progress_bar_config(disable=True)
    answers = []
    for strength in (None, 1.0):
        if strength:
            pipeline.load_lora(lora, strength)
        (answer,) = pipeline(unseen.input, generator=SEED, **SETTINGS).images
        answers.append(np.asarray(answer).astype(int))
    return answers


@pytest.mark.long
def test_the_picture_changes_as_trained(plain_and_changed, unseen):
    taught = np.asarray(at_night(unseen.output)).astype(int)
    plain, changed = (np.abs(answer - taught).mean() for answer in plain_and_changed)
    assert changed < plain / 4


def test_comfyui_and_the_pipeline_change_it_the_same_way(server, client, lora, unseen, plain_and_changed, tmp_path):
    (server.base / "models" / "loras").mkdir(exist_ok=True)
    shutil.copy(lora, server.base / "models" / "loras" / "night.safetensors")
    unseen.input.save(tmp_path / "prompt.png")
    graph = picture_graph(client.upload(tmp_path / "prompt.png"), False, MINI, SETTINGS | {"seed": SEED})
    graph["load"]["inputs"]["dtype"] = "float32"
    graph["lora"] = node("LoraLoaderModelOnly", model=["load", 0], lora_name="night.safetensors", strength_model=1.0)
    answers = []
    for source in ("load", "lora"):
        graph["sample"]["inputs"]["model"] = [source, 0]
        ((_, content),) = client.images(client.run(graph))
        answers.append(np.asarray(Image.open(io.BytesIO(content))).astype(int))
    assert np.abs(answers[1] - answers[0]).mean() > 10
    for answer, expected in zip(answers, plain_and_changed):
        assert np.abs(answer - expected).max() <= 3
