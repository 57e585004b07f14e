"""Take the pictures of the nodes' help pages: each node in a small graph in ComfyUI's page, and what it draws.

    python devtools/environment.py scripts/help_pictures.py                     # all, after nodes have changed
    python devtools/environment.py scripts/help_pictures.py FlowInOneDrawBox    # some

They are written next to the pages, to comfyui_flowinone/web/docs/NODE: graph_en.webp and graph_zh.webp, and for the
nodes in RESULTS result.webp. A new node gets a graph in GRAPHS. The Chinese pictures need a font with Chinese
characters.
"""

import argparse
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw

from devtools import HELP_PAGES, photos, tiny
from devtools.browser.chromium import browser_and_server
from devtools.browser.page import ComfyPage
from devtools.browser.screenshots import graph_picture, sharp_page, show_graph
from devtools.comfyui import fixtures
from devtools.comfyui.client import ComfyClient
from devtools.comfyui.prompt import node
from devtools.contact_sheet import contact_sheet, resized, save_within
from flowinone.prompts import dumps, tasks

LARGEST = 120_000  # bytes
WIDTH, GAP = 704, 12  # pixels of a result, and between the pictures that it is made of

RELEASED = {
    "checkpoint": "flowinone/flowinone_256px.pth",
    "vision": "clip_vision/janus_pro_1b.safetensors",
    "vae": "vae/vae-ft-mse-840000-ema-pruned.safetensors",
}
FILES = {name: Path(file).name for name, file in RELEASED.items()}

# A node: its type, its left, top, width and height in the graph, and its widgets' values. Without a width it is
# collapsed, without a height as high as it needs to be. A link: "from.output to.input".
Node = tuple[str, tuple, dict]
Graph = tuple[dict[str, Node], list[str]]

TULIP = (
    "0.53,0.49 0.51,0.42 0.53,0.33\n"
    "0.53,0.33 0.46,0.30 0.45,0.18 0.50,0.23 0.53,0.16 0.56,0.23 0.61,0.18 0.60,0.30 0.53,0.33\n"
    "0.52,0.45 0.57,0.42 0.61,0.34 0.55,0.37 0.52,0.45"
)
BOX = dict(x=0.45, y=0.58, box_width=0.38, box_height=0.23, label="place a bench")
MARKER = dict(tip_x=0.56, tip_y=0.48, start_x=0.19, start_y=0.23, color="#ff40be")
PUSH = dict(x=0.25, y=0.44, angle=18, strength=1.2, color="#3cdeec")
WIND = dict(kind="wind", x=0.25, y=0.29, angle=0, strength=1.2)
PATH = dict(points="0.27,0.56 0.27,0.43 0.33,0.27 0.49,0.19 0.69,0.18 0.83,0.16", color="#3060e2")
DOODLE = dict(strokes=TULIP, smooth=True)
BALL = dict(x=0.5, y=0.48, box_width=0.32, box_height=0.32, label="put a red ball")
DRAWN = tasks.text_box([((0.45, 0.58, 0.83, 0.81), "place a bench")])
WORDS = dict(text="Change the environment to a snowy winter wonderland", face="sans", bold=True)


def drawn_by(kind: str, height: int | None, photo: str, task: str, **settings) -> Graph:
    """A Draw node on its way to a Compose node that shows what it drew."""
    return (
        {
            "photo": ("LoadImage", (0, 0), {"image": f"{photo}.png"}),
            "draw": (kind, (0, 40, 230, height), settings),
            "compose": ("FlowInOneCompose", (272, 0, 272, 520), {"task": task}),
        },
        ["photo.IMAGE compose.image", "draw.marks compose.marks.marks0"],
    )


GRAPHS: dict[str, Graph] = {
    "FlowInOneLoader": (
        {
            "load": ("FlowInOneLoader", (0, 0, 330), FILES),
            "sampler": ("FlowInOneSampler", (370, 20), {}),
        },
        ["load.MODEL sampler.model", "load.encoder sampler.encoder", "load.VAE sampler.vae"],
    ),
    "FlowInOneTextPrompt": (
        {
            "write": ("FlowInOneTextPrompt", (0, 0, 280, 640), {}),
            "sampler": ("FlowInOneSampler", (316, 20), {}),
        },
        ["write.prompt sampler.prompt"],
    ),
    "FlowInOneDrawBox": drawn_by("FlowInOneDrawBox", None, "meadow", "text_box", **BOX),
    "FlowInOneDrawMarker": drawn_by("FlowInOneDrawMarker", None, "sea", "visual_marker", **MARKER),
    "FlowInOneDrawDoodle": drawn_by("FlowInOneDrawDoodle", 340, "room", "doodle", **DOODLE),
    "FlowInOneDrawForce": drawn_by("FlowInOneDrawForce", None, "ground", "point_force", **PUSH),
    "FlowInOneDrawTrajectory": drawn_by("FlowInOneDrawTrajectory", 230, "floor", "trajectory", **PATH),
    "FlowInOneDrawInstruction": drawn_by("FlowInOneDrawInstruction", 270, "lake", "text_in_image", **WORDS),
    "FlowInOneCompose": (
        {
            "photo": ("LoadImage", (0, 0, 210, 300), {"image": "meadow.png"}),
            "draw": ("FlowInOneDrawBox", (0, 350), BOX),
            "compose": ("FlowInOneCompose", (252, 0, 300, 550), {"task": "text_box"}),
        },
        ["photo.IMAGE compose.image", "draw.marks compose.marks.marks0"],
    ),
    "FlowInOneCanvas": (
        {
            "canvas": ("FlowInOneCanvas", (0, 0, 440, 710), {"picture": "meadow.png", "drawing": dumps(DRAWN)}),
            "sampler": ("FlowInOneSampler", (476, 20), {}),
        },
        ["canvas.prompt sampler.prompt"],
    ),
    "FlowInOneSampler": (
        {
            "load": ("FlowInOneLoader", (0, 0), FILES),
            "compose": ("FlowInOneCompose", (0, 50), {}),
            "sampler": ("FlowInOneSampler", (240, 0, 230), {"seed": 7}),
            "decode": ("FlowInOneVAEDecode", (500, 20), {}),
        },
        [
            *("load.MODEL sampler.model", "load.encoder sampler.encoder", "load.VAE sampler.vae"),
            *("compose.prompt sampler.prompt", "sampler.LATENT decode.samples", "load.VAE decode.vae"),
        ],
    ),
    "FlowInOneEncode": (
        {
            "load": ("FlowInOneLoader", (0, 0), FILES),
            "compose": ("FlowInOneCompose", (0, 50), {}),
            "encode": ("FlowInOneEncode", (0, 110, 240), {"seed": 7}),
            "guider": ("CFGGuider", (276, 0, 180), {"cfg": 7}),
            "euler": ("KSamplerSelect", (276, 160, 180), {"sampler_name": "euler"}),
            "sigmas": ("BasicScheduler", (276, 260, 180), {"scheduler": "simple", "steps": 50, "denoise": 1}),
            "sample": ("SamplerCustomAdvanced", (492, 0, 230), {}),
        },
        [
            *("load.encoder encode.encoder", "load.VAE encode.vae", "compose.prompt encode.prompt"),
            *("load.MODEL guider.model", "encode.positive guider.positive", "encode.negative guider.negative"),
            *("load.MODEL sigmas.model", "encode.NOISE sample.noise", "guider.GUIDER sample.guider"),
            *("euler.SAMPLER sample.sampler", "sigmas.SIGMAS sample.sigmas", "encode.LATENT sample.latent_image"),
        ],
    ),
    "FlowInOneSolver": (
        {
            "load": ("FlowInOneLoader", (0, 0), FILES),
            "encode": ("FlowInOneEncode", (0, 50), {}),
            "solver": ("FlowInOneSolver", (240, 0, 220), {}),
            "guider": ("FlowInOneGuider", (240, 180), {}),
            "sample": ("SamplerCustomAdvanced", (500, 0, 230), {}),
        },
        [
            *(
                "load.encoder encode.encoder",
                "load.VAE encode.vae",
                "load.MODEL solver.model",
                "load.MODEL guider.model",
            ),
            *("encode.positive guider.positive", "encode.negative guider.negative", "encode.NOISE sample.noise"),
            *("guider.GUIDER sample.guider", "solver.SAMPLER sample.sampler", "solver.SIGMAS sample.sigmas"),
            "encode.LATENT sample.latent_image",
        ],
    ),
    "FlowInOneGuider": (
        {
            "load": ("FlowInOneLoader", (0, 0), FILES),
            "encode": ("FlowInOneEncode", (0, 50), {}),
            "guider": ("FlowInOneGuider", (240, 0, 220), {}),
            "solver": ("FlowInOneSolver", (240, 260), {}),
            "sample": ("SamplerCustomAdvanced", (500, 0, 230), {}),
        },
        [
            *(
                "load.encoder encode.encoder",
                "load.VAE encode.vae",
                "load.MODEL guider.model",
                "load.MODEL solver.model",
            ),
            *("encode.positive guider.positive", "encode.negative guider.negative", "encode.NOISE sample.noise"),
            *("guider.GUIDER sample.guider", "solver.SAMPLER sample.sampler", "solver.SIGMAS sample.sigmas"),
            "encode.LATENT sample.latent_image",
        ],
    ),
    "FlowInOneVAEDecode": (
        {
            "sampler": ("FlowInOneSampler", (0, 0), {}),
            "load": ("FlowInOneLoader", (0, 50), FILES),
            "compose": ("FlowInOneCompose", (0, 100), {}),
            "decode": ("FlowInOneVAEDecode", (240, 0, 220), {"size": "photo"}),
            "save": ("SaveImage", (490, 20), {}),
        },
        [
            "sampler.LATENT decode.samples",
            "load.VAE decode.vae",
            "compose.prompt decode.prompt",
            "decode.IMAGE save.images",
        ],
    ),
    "FlowInOnePasteBack": (
        {
            "decode": ("FlowInOneVAEDecode", (0, 0), {}),
            "compose": ("FlowInOneCompose", (0, 50), {}),
            "paste": ("FlowInOnePasteBack", (240, 0, 220), {}),
            "save": ("SaveImage", (490, 20), {}),
        },
        ["decode.IMAGE paste.image", "compose.prompt paste.prompt", "paste.IMAGE save.images"],
    ),
    "FlowInOneMotion": (
        {
            "load": ("FlowInOneLoader", (0, 0), FILES),
            "compose": ("FlowInOneCompose", (0, 50), {}),
            "motion": ("FlowInOneMotion", (240, 0, 250), {"stages": 4, "seed": 7}),
            "video": ("CreateVideo", (520, 0), {}),
            "save": ("SaveImage", (520, 50), {}),
        },
        [
            *("load.MODEL motion.model", "load.encoder motion.encoder", "load.VAE motion.vae"),
            *("compose.prompt motion.prompt", "motion.frames video.images", "motion.frames save.images"),
        ],
    ),
}
PROMPTS = {"FlowInOneCompose", "FlowInOneTextPrompt"}

BUILD = """([nodes, links]) => {
    const made = {};
    for (const [name, [type, [left, top, width, height], values]] of Object.entries(nodes)) {
        const node = made[name] = LiteGraph.createNode(type);
        app.graph.add(node);
        node.pos = [left, top];
        for (const [widget, value] of Object.entries(values)) {
            const found = node.widgets.find(({name}) => name === widget);
            found.value = value;
            found.callback?.(value);
        }
        if (width) node.setSize([width, height || node.computeSize()[1]]);
        else {
            node.size = [200, node.size[1]];  // collapsed it is as wide as its title, and no wider than this
            node.collapse();
        }
    }
    for (const link of links) {
        const [[from, output], [to, ...input]] = link.split(' ').map((end) => end.split('.'));
        const named = (slots, wanted) => slots.findIndex(({name}) => name === wanted);
        made[from].connect(named(made[from].outputs, output), made[to], named(made[to].inputs, input.join('.')));
    }
    return Object.fromEntries(Object.entries(made).map(([name, {id}]) => [name, id]));
}"""


def main() -> None:
    names = parse_options().names
    with browser_and_server(furnish) as (browser, server):
        drawing = Drawing(server.client())
        for name in names:
            if name in RESULTS:
                save(as_wide_as_the_page(RESULTS[name](drawing)), name, "result")
        for language in ("en", "zh"):
            with sharp_page(browser, server.url, language) as page:
                for name in names:
                    save(taken(page, *GRAPHS[name]), name, f"graph_{language}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NODE", help="nodes, by id. Default: all")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in GRAPHS]
    if unknown:
        parser.error(f"there is no graph for {unknown[0]}; there are those of {', '.join(GRAPHS)}")
    options.names = options.names or list(GRAPHS)
    return options


def furnish(base: Path) -> None:
    """Give ComfyUI's folder the photos, the tiny models, and empty files with the released models' names."""
    tiny.write_models(base / "models")
    for file in RELEASED.values():
        (base / "models" / file).touch()
    folder = base / "input"
    photos.save_photos(folder)

    # A photo with a hole, which Load Image gives as a mask.
    gap, hole = Image.open(folder / "lake.png"), Image.new("L", (photos.SIZE, photos.SIZE), 255)
    ImageDraw.Draw(hole).ellipse((290, 180, 420, 340), fill=0)
    gap.putalpha(hole)
    gap.save(folder / "gap.png")

    # A photo that is not square, and in place of an answer its middle square with a painted ball and shifted colours.
    left, top, right, bottom = 0, 120, 512, 440
    Image.open(folder / "meadow.png").crop((left, top, right, bottom)).save(folder / "wide.png")
    side = bottom - top
    middle = (right - side) // 2
    meadow = photos.meadow()
    x, y = (BALL[start] + BALL[length] / 2 for start, length in (("x", "box_width"), ("y", "box_height")))
    photos.ball(meadow, middle + x * side, top + y * side, 0.12 * side, (206, 60, 52))
    painted = (
        photos.photo(meadow).crop((middle, top, middle + side, bottom)).resize((256, 256), Image.Resampling.LANCZOS)
    )
    painted.point([value * 0.97 + shift for shift in (5, 3, 0) for value in range(256)]).save(folder / "painted.png")


def taken(page: ComfyPage, nodes: dict[str, Node], links: list[str]) -> Image.Image:
    """A picture of a graph, after a run if it has prompts to show."""
    page.clear()
    ids = page.page.evaluate(BUILD, [nodes, links])
    show_graph(page)
    for name, (kind, place, _) in nodes.items():
        if kind in PROMPTS and len(place) > 2:
            end = page.run()
            assert end["kind"] == "execution_success", end
            page.pictures(ids[name])
    return graph_picture(page)


class Drawing:
    """Draws prompts on the server, without the page."""

    def __init__(self, client: ComfyClient):
        self.client, self.kinds = client, client.object_info()

    def node(self, kind: str, /, **inputs) -> dict:
        """A node of an API prompt, with its defaults."""
        required = self.kinds[kind]["input"]["required"].items()
        return node(
            kind, **{name: settings["default"] for name, (_, settings) in required if "default" in settings} | inputs
        )

    def photo(self, name: str) -> Image.Image:
        return self.picture({"photo": node("LoadImage", image=f"{name}.png")}, ["photo", 0])

    def composed(self, photo: str, *draws: dict, **settings) -> dict[str, dict]:
        """A graph whose node "compose" puts the marks of Draw nodes on a photo."""
        given = {f"marks.marks{number}": [f"draw{number}", 0] for number, _ in enumerate(draws)}
        return {
            "photo": node("LoadImage", image=f"{photo}.png"),
            **{f"draw{number}": draw for number, draw in enumerate(draws)},
            "compose": self.node("FlowInOneCompose", image=["photo", 0], **given, **settings),
        }

    def prompt(self, photo: str, *draws: dict, **settings) -> Image.Image:
        return self.picture(self.composed(photo, *draws, **settings), ["compose", 1])

    def picture(self, nodes: dict[str, dict], wanted: list) -> Image.Image:
        (picture,) = self.pictures(nodes, wanted)
        return picture

    def pictures(self, nodes: dict[str, dict], wanted: list) -> list[Image.Image]:
        """What comes out of an output [node, number] of a graph."""
        saved = self.client.run(nodes | {"save": node("SaveImage", images=wanted, filename_prefix="help")})["outputs"]
        return [Image.open(BytesIO(content)) for _, content in self.client.images({"outputs": {"save": saved["save"]}})]


def before_and_after(photo: str, draw: str, settings: dict, task: str) -> Callable[[Drawing], list]:
    """A photo, and next to it the prompt that a Draw node makes of it."""

    def pictures(drawing: Drawing) -> list:
        return [[drawing.photo(photo), drawing.prompt(photo, drawing.node(draw, **settings), task=task)]]

    return pictures


def captions(drawing: Drawing) -> list:
    kinds = (
        dict(kind="class", text="arch"),
        dict(text="a fox asleep in the snow", background="solid", color="#8a9aa8", face="comic"),
        dict(text="a lighthouse in a storm", background="vertical gradient", color="#20304f", second_color="#c9a78b"),
    )
    return [[drawing.picture({"write": drawing.node("FlowInOneTextPrompt", **kind)}, ["write", 1]) for kind in kinds]]


def doodle_and_gap(drawing: Drawing) -> list:
    doodle = drawing.prompt("room", drawing.node("FlowInOneDrawDoodle", **DOODLE), task="doodle")
    gap = drawing.node("FlowInOneDrawDoodle", mask=["photo", 1], mask_as="erased region")
    return [[doodle, drawing.prompt("gap", gap, task="text_in_image", instruction="Fill in the gap in this photo.")]]


def push_and_wind(drawing: Drawing) -> list:
    kinds = (("ground", PUSH, "point_force"), ("sea", WIND, "wind"))
    return [
        [drawing.prompt(photo, drawing.node("FlowInOneDrawForce", **force), task=task) for photo, force, task in kinds]
    ]


def three_fits(drawing: Drawing) -> list:
    draw = drawing.node("FlowInOneDrawBox", **BALL)
    return [[drawing.prompt("wide", draw, task="text_box", fit=fit) for fit in ("crop", "letterbox", "stretch")]]


def pasted(drawing: Drawing) -> list:
    nodes = drawing.composed("wide", drawing.node("FlowInOneDrawBox", **BALL), task="text_box")
    nodes["answer"] = node("LoadImage", image="painted.png")
    nodes["paste"] = drawing.node("FlowInOnePasteBack", image=["answer", 0], prompt=["compose", 0])
    return [[drawing.picture(nodes, ["compose", 1]), drawing.photo("painted")], [drawing.picture(nodes, ["paste", 0])]]


def stages(drawing: Drawing) -> list:
    nodes = drawing.composed("floor", drawing.node("FlowInOneDrawTrajectory", **PATH), task="trajectory")
    nodes["load"] = drawing.node("FlowInOneLoader", **(fixtures.LOADER | {"dtype": "default"}))
    model = dict(model=["load", 0], encoder=["load", 1], vae=["load", 2])
    nodes["motion"] = drawing.node("FlowInOneMotion", **model, prompt=["compose", 0], stages=4, steps=1)
    pictures = drawing.pictures(nodes, ["motion", 1])
    return [pictures[:2], pictures[2:]]


# Rows of pictures, all as wide as the page.
RESULTS: dict[str, Callable[[Drawing], list[list[Image.Image]]]] = {
    "FlowInOneTextPrompt": captions,
    "FlowInOneDrawBox": before_and_after("meadow", "FlowInOneDrawBox", BOX, "text_box"),
    "FlowInOneDrawMarker": before_and_after("sea", "FlowInOneDrawMarker", MARKER, "visual_marker"),
    "FlowInOneDrawDoodle": doodle_and_gap,
    "FlowInOneDrawForce": push_and_wind,
    "FlowInOneDrawTrajectory": before_and_after("floor", "FlowInOneDrawTrajectory", PATH, "trajectory"),
    "FlowInOneDrawInstruction": before_and_after("lake", "FlowInOneDrawInstruction", WORDS, "text_in_image"),
    "FlowInOneCompose": three_fits,
    "FlowInOnePasteBack": pasted,
    "FlowInOneMotion": stages,
}


def as_wide_as_the_page(rows: list[list[Image.Image]]) -> Image.Image:
    """Rows of pictures under each other, each row as wide as a help page."""
    sides = [(WIDTH - (len(row) - 1) * GAP) // len(row) for row in rows]
    sized = [[resized(picture, side) for picture in row] for row, side in zip(rows, sides)]
    return contact_sheet(sized, GAP, margin=0, paper=None)


def save(picture: Image.Image, name: str, kind: str) -> None:
    """Write a picture of a node's help page."""
    save_within(picture, HELP_PAGES / name / f"{kind}.webp", LARGEST, range(88, 40, -6), method=6)


if __name__ == "__main__":
    main()
