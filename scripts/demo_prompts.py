"""Write the demo's prompts, or look for scenes that mini answers correctly.

python -m scripts.demo_prompts             # writes the scenes of devtools/demo.py to tests/fixtures/mini
python -m scripts.demo_prompts --try 20    # says which of seeds 0 to 19 mini answers correctly, and what else is wrong
python -m scripts.scene_sheet --held-out --count 20 --enlarge 1 --out sheet.png    # shows these scenes
"""

import argparse

from devtools.demo import PROMPTS, SEEDS, SIDE, demo_example, demo_tasks
from flowinone import mini
from flowinone.prompts import dumps
from flowinone.toy import SCENE_TASKS, example, judge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--try",
        dest="count",
        type=int,
        metavar="COUNT",
        help="answer this many seeds of each task with mini, and write nothing",
    )
    parser.add_argument("--task", nargs="+", choices=SCENE_TASKS, default=SCENE_TASKS, help="to try. Default: all")
    options = parser.parse_args()
    if options.count:
        try_seeds(options.task, options.count)
    else:
        write()


def write() -> None:
    PROMPTS.mkdir(exist_ok=True)
    for task, title in demo_tasks().items():
        planned = demo_example(task)
        (PROMPTS / f"{task}.json").write_text(dumps(planned.prompt) + "\n", encoding="utf-8", newline="\n")
        if planned.photo:
            planned.photo.save(PROMPTS / f"{task}.png", optimize=True)
        print(f"{title}, seed {SEEDS[task]}: {planned.words}")


def try_seeds(tasks: list[str], count: int) -> None:
    """Answer held-out scenes in the library, with the demo's settings."""
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
