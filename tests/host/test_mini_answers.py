"""What mini answers in ComfyUI: the right thing, to a prompt of every task that training has not seen."""

import io

import pytest
from PIL import Image

from devtools.demo import PROMPTS, demo_example, demo_tasks, photo, task_graph
from flowinone import mini
from flowinone.prompts import dumps
from flowinone.toy import SCENE_TASKS, judge

TASKS = tuple(demo_tasks())


def test_the_demo_has_a_prompt_of_every_task():
    assert TASKS == SCENE_TASKS
    assert {path.stem for path in PROMPTS.iterdir()} == set(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_its_prompts_are_the_chosen_scenes(task):
    planned = demo_example(task)
    assert (PROMPTS / f"{task}.json").read_text(encoding="utf-8") == dumps(planned.prompt) + "\n"
    assert (planned.photo is None) == (photo(task) is None)
    if planned.photo:
        assert Image.open(photo(task)).tobytes() == planned.photo.tobytes()


@pytest.mark.parametrize("task", TASKS)
def test_mini_answers_rightly(client, task):
    ground = photo(task)
    sampling = dict(seed=0, steps=mini.STEPS, guidance_scale=mini.GUIDANCE_SCALE)
    outputs = client.run(task_graph(task, client.upload(ground) if ground else None, sampling))["outputs"]
    ((_, content),) = client.images({"outputs": {"save": outputs["save"]}})
    assert judge(demo_example(task), Image.open(io.BytesIO(content))).reasons == ()
