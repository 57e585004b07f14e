"""A sheet of toy scenes: each prompt next to its correct answer, a row for each task.

python -m scripts.scene_sheet --out sheet.png
python -m scripts.scene_sheet --out sheet.png --task text_in_image visual_marker --count 12 --held-out
python -m scripts.scene_sheet --out sheet.png --prompt-size 256 --enlarge 2
"""

import argparse
from pathlib import Path

from PIL import Image

from devtools.contact_sheet import contact_sheet
from flowinone.toy import SCENE_TASKS, example


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the sheet")
    parser.add_argument("--task", nargs="+", choices=SCENE_TASKS, default=SCENE_TASKS, help="Default: all")
    parser.add_argument("--count", type=int, default=4, help="pairs in a row. Default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="the first. Default: %(default)s")
    parser.add_argument("--size", type=int, default=128, help="pixels of an answer's side. Default: %(default)s")
    parser.add_argument("--prompt-size", type=int, metavar="PIXELS", help="of a prompt's side. Default: the size")
    parser.add_argument("--enlarge", type=int, default=2, help="factor, without smoothing. Default: %(default)s")
    parser.add_argument("--held-out", action="store_true", help="show scenes that training never sees")
    options = parser.parse_args()
    rows = [
        [
            picture.resize((picture.width * options.enlarge,) * 2, Image.Resampling.NEAREST)
            for seed in range(options.seed, options.seed + options.count)
            for made in [example(task, seed, options.size, options.held_out, options.prompt_size)]
            for picture in (made.input, made.output)
        ]
        for task in options.task
    ]
    contact_sheet(rows, gap=4).save(options.out)


if __name__ == "__main__":
    main()
