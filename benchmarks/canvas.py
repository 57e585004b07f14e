"""Does the canvas stay smooth? Draws a long stroke with a pen on a full drawing and on an empty one, in ComfyUI's page.

    python devtools/environment.py benchmarks/canvas.py [--frames 240] [--json FILE]

The full drawing has 199 marks and 18,500 points, and room for the stroke. The page runs without a frame limit, so the
time from one frame to the next is what a frame costs; at 60 frames a second it may cost 16.7 ms. Headless, the CPU
draws everything. The ratio, measured in the same run, can be compared between machines. Nodes 2.0 puts a filter on
whole nodes, which takes the CPU most of a frame and a graphics card nothing; so it is measured without it as well.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from devtools import photos
from devtools.browser.chromium import browser_and_server
from devtools.browser.page import ComfyPage
from flowinone.prompts import Box, Doodle, ForceArrow, MarkerArrow, PhotoCanvas, Trajectory, VisualPrompt, Wind, dumps
from flowinone.prompts.spec import Stroke, point_count

FRAME = 1000 / 60
MOVES = 4  # of the pointer in a frame, as a pen reports them
UNLIMITED = ["--disable-frame-rate-limit", "--disable-gpu-vsync"]
RENDERERS = {
    "classic": (False, ""),
    "Nodes 2.0": (True, ""),
    "no filter": (True, "[data-node-id] { filter: none !important; }"),
}
ADD = """([drawing, picture]) => {
    const node = LiteGraph.createNode('FlowInOneCanvas');
    app.graph.add(node);
    Object.assign(app.canvas.ds, {scale: 1, offset: [-node.pos[0] + 150, -node.pos[1] + 100]});
    node.widgets.find(({name}) => name === 'picture').value = picture;
    node.widgets.find(({name}) => name === 'drawing').value = drawing;
    app.graph.setDirtyCanvas(true, true);
}"""
# Draws a spiral; resolves to the milliseconds from frame to frame, and those from letting go to the next frame.
DRAW = """async ([frames, moves]) => {
    const stage = document.querySelector('.fio canvas'), box = stage.getBoundingClientRect();
    const send = (kind, share) => {
        const turn = 14 * Math.PI * share, radius = (0.05 + 0.4 * share) * box.height;
        const middle = [box.left + box.width / 2, box.top + box.height / 2];
        const at = {clientX: middle[0] + radius * Math.cos(turn), clientY: middle[1] + radius * Math.sin(turn)};
        const held = kind === 'pointerup' ? 0 : 1;
        const pen = {bubbles: true, pointerId: 7, pointerType: 'pen', button: 0, buttons: held};
        stage.dispatchEvent(new PointerEvent(kind, {...pen, ...at}));
    };
    const frame = () => new Promise(requestAnimationFrame);
    const taken = [];
    let last = await frame();
    send('pointerdown', 0);
    for (let number = 0; number < frames; number++) {
        for (let move = 1; move <= moves; move++) send('pointermove', (number + move / moves) / frames);
        const now = await frame();
        taken.push(now - last);
        last = now;
    }
    const released = performance.now();
    send('pointerup', 1);
    await frame();
    await frame();
    return [taken.slice(1), performance.now() - released];
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=240, help="frames that the stroke takes. Default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    options = parser.parse_args()
    drawing = full_drawing()
    points = sum(map(point_count, drawing.marks))
    print(
        f"{len(drawing.marks)} marks, {points:,} points; {options.frames} frames, {MOVES} moves of the pointer in each"
    )
    report = {"marks": len(drawing.marks), "points": points, "frames": options.frames, "renderers": {}}
    print("renderer   drawing  median ms  95 % ms under 16.7 release ms  ratio")
    with browser_and_server(furnish, *UNLIMITED) as (chromium, server):
        for renderer, (vue, style) in RENDERERS.items():
            numbers = {}
            for kind, prompt in (("empty", VisualPrompt("doodle", PhotoCanvas())), ("full", drawing)):
                with ComfyPage(chromium, server.url, vue) as page:
                    if style:
                        page.page.add_style_tag(content=style)
                    numbers[kind] = measure(page, prompt, options.frames)
                row = numbers[kind]
                ratio = row["median"] / numbers["empty"]["median"]
                times = f"{row['median']:>9.1f} {row['most']:>8.1f} {row['smooth']:>10.0%} {row['release']:>10.0f}"
                print(f"{renderer:<10} {kind:<8} {times} {ratio:>6.1f}")
            report["renderers"][renderer] = numbers
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def furnish(base: Path) -> None:
    """Put a picture to draw on into ComfyUI's folder."""
    photos.save_photos(base / "input")


def measure(page: ComfyPage, prompt: VisualPrompt, frames: int) -> dict[str, float]:
    """Milliseconds per frame while a stroke is drawn: median, 95th percentile, and the share of frames below FRAME."""
    page.clear()
    page.page.evaluate(ADD, [dumps(prompt), "meadow.png"])
    page.page.locator(".fio [data-fio=doodle]").click()
    page.page.wait_for_timeout(4000)  # until the exact picture is there
    taken, release = page.page.evaluate(DRAW, [frames, MOVES])
    assert len(json.loads(page.graph()["nodes"][0]["widgets_values"][0])["marks"]) > len(prompt.marks), page.problems
    return {
        "median": float(np.median(taken)),
        "most": float(np.percentile(taken, 95)),
        "smooth": float(np.mean(np.array(taken) <= FRAME)),
        "release": release,
    }


def full_drawing() -> VisualPrompt:
    """As many marks and about as many points as a document may have, but for the stroke."""
    rng = np.random.default_rng(0)

    def line(count):
        steps = rng.normal(0, 0.012, (count, 2)).cumsum(0) + rng.uniform(0.2, 0.8, 2)
        return tuple(map(tuple, steps.clip(0, 1).round(4).tolist()))

    def place():
        return tuple(rng.uniform(0.1, 0.7, 2).round(3).tolist())

    marks = []
    for number in range(42):
        (left, top), (x, y) = place(), place()
        marks.append(Box((left, top, left + 0.2, top + 0.2), f"box {number}"))
        marks.append(MarkerArrow((x, y), (x + 0.2, y + 0.1)))
    for _ in range(20):
        marks.append(ForceArrow(place(), round(float(rng.uniform(0, 360)), 1)))
        marks.append(Wind(place(), round(float(rng.uniform(0, 360)), 1)))
        marks.append(Trajectory(line(100)))
    for _ in range(55):
        marks.append(Doodle(tuple(Stroke(line(60), width=6) for _ in range(5))))
    return VisualPrompt("doodle", PhotoCanvas(), tuple(marks))


if __name__ == "__main__":
    main()
