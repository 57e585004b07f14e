"""A sheet of made-up training scenes: each prompt beside its right answer, a row for each task.

python scripts/scene_sheet.py --out sheet.png
python scripts/scene_sheet.py --out sheet.png --task text_in_image visual_marker --count 12 --held-out
python scripts/scene_sheet.py --out sheet.png --prompt-size 256 --enlarge 2
"""

import argparse
from pathlib import Path

from PIL import Image

from flowinone.toy import SCENE_TASKS, example

GAP = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the sheet")
    parser.add_argument("--task", nargs="+", choices=SCENE_TASKS, default=SCENE_TASKS, help="Default: all")
    parser.add_argument("--count", type=int, default=4, help="pairs in a row. Default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="the first. Default: %(default)s")
    parser.add_argument("--size", type=int, default=128, help="pixels of an answer's side. Default: %(default)s")
    parser.add_argument("--prompt-size", type=int, metavar="PIXELS", help="of a prompt's side. Default: the size")
    parser.add_argument("--enlarge", type=int, default=2, help="times, without smoothing. Default: %(default)s")
    parser.add_argument("--held-out", action="store_true", help="show the examination's scenes")
    options = parser.parse_args()
    rows = [
        [
            picture
            for seed in range(options.seed, options.seed + options.count)
            for made in [example(task, seed, options.size, options.held_out, options.prompt_size)]
            for picture in (made.input, made.output)
        ]
        for task in options.task
    ]
    side = max(options.prompt_size or 0, options.size) * options.enlarge + GAP
    paper = Image.new("RGB", (len(rows[0]) * side + GAP, len(rows) * side + GAP), "white")
    for down, row in enumerate(rows):
        for across, picture in enumerate(row):
            large = picture.resize((picture.width * options.enlarge,) * 2, Image.Resampling.NEAREST)
            paper.paste(large, (GAP + across * side, GAP + down * side))
    paper.save(options.out)


if __name__ == "__main__":
    main()
