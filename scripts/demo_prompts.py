"""Choose the demo's prompts: scenes of the examination, one for each task, whose right answers are known.

python scripts/demo_prompts.py                # writes them to tests/fixtures/mini
python scripts/demo_prompts.py --try 20       # tells which of the seeds 0 to 19 mini answers rightly, and what is wrong with the others
python scripts/scene_sheet.py --held-out --count 20 --enlarge 1 --out sheet.png    # shows these scenes

A prompt is NAME.json, the visual prompt as a document, and where it stands on a photo NAME.png, the photo. Training has seen
none of these scenes.
"""

import argparse
from pathlib import Path

from flowinone import mini
from flowinone.prompts import dumps
from flowinone.prompts.tasks import TASKS
from flowinone.toy import SCENE_TASKS, Example, example, judge

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "mini"
SEEDS = {
    "class_to_image": 2,
    "text_to_image": 3,
    "text_in_image": 0,
    "text_box": 3,
    "visual_marker": 7,
    "doodle": 1,
    "point_force": 1,
    "wind": 0,
    "trajectory": 45,
}
SIDE = 512
"""Pixels of a photo, and of a prompt as ComfyUI composes it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--try",
        dest="count",
        type=int,
        metavar="COUNT",
        help="answer so many seeds of each task with mini, and write nothing",
    )
    parser.add_argument("--task", nargs="+", choices=SCENE_TASKS, default=SCENE_TASKS, help="to try. Default: all")
    options = parser.parse_args()
    if options.count:
        try_seeds(options.task, options.count)
    else:
        write()


def demo_plan(task: str) -> Example:
    """A demo prompt with its correct answer."""
    return example(task, SEEDS[task], SIDE, held_out=True)


def write() -> None:
    FOLDER.mkdir(exist_ok=True)
    for task in SCENE_TASKS:
        planned = demo_plan(task)
        (FOLDER / f"{task}.json").write_text(dumps(planned.prompt) + "\n", encoding="utf-8", newline="\n")
        if planned.photo:
            planned.photo.save(FOLDER / f"{task}.png", optimize=True)
        print(f"{TASKS[task].title}, seed {SEEDS[task]}: {planned.words}")


def try_seeds(tasks: list[str], count: int) -> None:
    """Answer in the library as the demo does in ComfyUI."""
    from flowinone import FlowInOnePipeline

    pipeline = FlowInOnePipeline.mini()
    pipeline.set_progress_bar_config(disable=True)
    settings = dict(steps=mini.STEPS, guidance_scale=mini.GUIDANCE_SCALE, generator=0)
    for task in tasks:
        for seed in range(count):
            made = example(task, seed, held_out=True, prompt_size=SIDE)
            (answer,) = pipeline(made.input, bypass=made.prompt.bypass, **settings).images
            verdict = judge(made, answer)
            print(f"{task} {seed}: {'correct' if verdict.correct else '; '.join(verdict.reasons)}")


if __name__ == "__main__":
    main()
