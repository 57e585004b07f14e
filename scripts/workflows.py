"""Regenerate shipped workflows, in the three forms in which they are shipped, as ComfyUI's own page makes them.

    python devtools/environment.py scripts/workflows.py                        # all, after nodes got new inputs
    python devtools/environment.py scripts/workflows.py "Text box" Doodle      # some, after they were changed
    python devtools/environment.py scripts/workflows.py --seeds 40             # after mini was retrained
    python devtools/environment.py scripts/workflows.py "Text box" --thumbnail picture.png

A workflow is made and changed in the browser and saved as workflows/NAME.json. From that this writes NAME.json again:
without the state of the page that saved it, and with what everyone else needs. That is where its nodes and models come
from, mini's steps and guidance scale (flowinone/mini), its toy scene (devtools/workflow_scenes.py), and with --seeds
the first seed with which mini solves that scene. It also writes api/NAME.json, the prompt for the API. The thumbnail,
NAME.jpg, is the given picture, or with --thumbnails the prompt that the workflow draws with mini's answer.
"""

import argparse
import io
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from devtools import ROOT, photos, workflow_scenes
from devtools.browser.chromium import browser_and_server
from devtools.browser.page import ComfyPage
from devtools.comfyui.client import ComfyClient
from devtools.contact_sheet import contact_sheet, in_rows, resized, save_within
from flowinone import __version__, mini

WORKFLOWS = ROOT / "workflows"
SIDE, LARGEST = 400, 40_000  # pixels and bytes of a thumbnail
PROMPT_SIDE, ANSWER_SIDE = 248, 148  # pixels of the prompt and the answer in its corners

COMFYUI = "0.30.0"  # the version of core nodes, where the file does not state one
HUB = "https://huggingface.co"
# The files that nodes load: name, address and folder.
MODELS = {
    "FlowInOneLoader": [
        ("flowinone_256px.pth", f"{HUB}/CSU-JPG/FlowInOne/resolve/main/flowinone_256px.pth", "flowinone"),
        (
            "janus_pro_1b.safetensors",
            f"{HUB}/deepseek-community/Janus-Pro-1B/resolve/main/model.safetensors",
            "clip_vision",
        ),
        (
            "vae-ft-mse-840000-ema-pruned.safetensors",
            f"{HUB}/stabilityai/sd-vae-ft-mse-original/resolve/main/vae-ft-mse-840000-ema-pruned.safetensors",
            "vae",
        ),
    ],
    "UpscaleModelLoader": [
        (
            "RealESRGAN_x4plus.safetensors",
            f"{HUB}/Comfy-Org/Real-ESRGAN_repackaged/resolve/main/RealESRGAN_x4plus.safetensors",
            "upscale_models",
        ),
    ],
    "UNETLoader": [
        (
            "rt_detr_v4-x-hgnet_fp16.safetensors",
            f"{HUB}/Comfy-Org/SDPose/resolve/main/diffusion_models/rt_detr_v4-x-hgnet_fp16.safetensors",
            "diffusion_models",
        ),
    ],
}
NOTES = {"MarkdownNote", "Note"}
# The nodes that show a workflow's prompts, in order of preference, as their second output.
PROMPTS = ("FlowInOneMotion", "FlowInOneCompose", "FlowInOneTextPrompt", "FlowInOneCanvas")
# The nodes that give its answers, in order of preference, as their first output.
ANSWERS = ("FlowInOnePasteBack", "FlowInOneMotion", "FlowInOneVAEDecode", "VAEDecode")
# Function evaluations of a step: all solvers of a workflow get steps that cost the same.
EVALUATIONS = {"heun": 2, "rk4": 4}
# Pixels: heights of notes are multiples of this.
NOTE_STEP = 40
# The order of a node's keys in the files.
ORDER = ["id", "type", "pos", "size", "flags", "order", "mode", "inputs", "outputs"]
ORDER += ["title", "properties", "widgets_values", "color", "bgcolor"]
# The photos in the thumbnails of workflows that need photos.
PHOTOS = {
    "Folder": (photos.lake, photos.meadow, photos.sea, photos.room),
    "Detector boxes": (photos.room,),
    "Doodle from a mask": (photos.lake,),
}
# Polygons painted over the photo with the mask editor, in its pixels.
PAINTED = {
    "Doodle from a mask": [
        [(118, 388), (252, 388), (228, 424), (146, 424)],
        [(176, 376), (176, 262), (248, 376)],
        [(166, 376), (166, 284), (122, 376)],
    ],
}
# Replacements for nodes that need files which are not at hand.
SUBSTITUTES = {
    "RTDETR_detect": {
        "class_type": "PrimitiveBoundingBox",
        "inputs": {"x": 202, "y": 238, "width": 140, "height": 190},
    },
    "LoadImageDataSetFromFolder": {"class_type": "LoadImage", "inputs": {}},
}


def main() -> None:
    options = parse_options()
    with browser_and_server() as (browser, server):
        client = server.client()
        with ComfyPage(browser, server.url, vue=False) as classic, ComfyPage(browser, server.url, vue=True) as vue:
            for name in options.names:
                rewrite(classic, vue, name)
                seed = None
                if options.seeds and name in workflow_scenes.TOYS:
                    seed = first_correct_seed(client, name, options.seeds)
                if seed is not None:
                    rewrite(classic, vue, name, seed)
        for name in options.names:
            if options.thumbnail:
                write_thumbnail(name, Image.open(options.thumbnail))
            elif options.thumbnails:
                write_thumbnail(name, on_photos(client, name) if name in PHOTOS else answered(client, name))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="workflows, by file name without .json. Default: all")
    parser.add_argument(
        "--seeds", type=int, default=0, metavar="N", help="try so many and take the first that mini answers correctly"
    )
    parser.add_argument("--thumbnails", action="store_true", help="make new thumbnails")
    parser.add_argument("--thumbnail", type=Path, metavar="FILE", help="take this picture for the one workflow named")
    options = parser.parse_args()
    known = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"there is no workflows/{unknown[0]}.json; there are {', '.join(known)}")
    if options.thumbnail and len(options.names) != 1:
        parser.error("--thumbnail is for one workflow; name it")
    options.names = options.names or known
    return options


def rewrite(page: ComfyPage, vue: ComfyPage, name: str, seed: int | None = None) -> None:
    """Open workflows/NAME.json in both renderers, and write both forms of the graph, with that seed if one is given."""
    path = WORKFLOWS / f"{name}.json"
    for one in (page, vue):
        one.drop(path.name, path.read_bytes())
    suit_mini(page, name, seed)
    graph, roomy = page.graph(), {node["id"]: node["size"] for node in vue.graph()["nodes"]}
    for node in graph["nodes"]:
        # Nodes 2.0 need more room, and take it when the graph is opened.
        node["size"] = [max(lengths) for lengths in zip(node["size"], roomy[node["id"]])]
        if node["type"] in NOTES and node["size"][1] % NOTE_STEP:
            # Text is a little higher until the page's fonts have loaded, and a note that has grown stays so.
            node["size"][1] = math.ceil((node["size"][1] + NOTE_STEP / 4) / NOTE_STEP) * NOTE_STEP
    write(path, json.dumps(tidied(graph), indent=2, ensure_ascii=False))
    prompt = {
        number: {key: node[key] for key in ("class_type", "inputs", "_meta")} for number, node in page.prompt().items()
    }
    write(WORKFLOWS / "api" / path.name, compact(prompt))


def suit_mini(page: ComfyPage, name: str, seed: int | None) -> None:
    """Set mini's steps and guidance scale, the seed if one is given, and the workflow's toy scene."""
    for number, node in page.prompt().items():
        wanted = dict.fromkeys(("guidance_scale", "cfg"), mini.GUIDANCE_SCALE)
        wanted["steps"] = mini.STEPS // EVALUATIONS.get(node["inputs"].get("solver"), 1)
        if node["class_type"] == "FlowInOneCanvas":
            wanted["drawing"] = workflow_scenes.drawing(workflow_scenes.TOYS[name])
        if seed is not None and isinstance(node["inputs"].get("seed"), int):
            wanted["seed"] = seed
        for widget in wanted.keys() & node["inputs"].keys():
            page.set(int(number), widget, wanted[widget])


def first_correct_seed(client: ComfyClient, name: str, count: int) -> int | None:
    """The first of so many seeds with which mini answers the workflow's toy scene correctly; None if none does."""
    prompt, _ = api(name)
    shown = next(number for number, node in prompt.items() if node["_meta"]["title"] == workflow_scenes.shown_by(name))
    wanted = {number: prompt[number] for number in ancestors(prompt, shown)}
    for seed in range(count):
        for node in wanted.values():
            if isinstance(node["inputs"].get("seed"), int):
                node["inputs"]["seed"] = seed
        *_, (_, content) = client.images({"outputs": {shown: client.run(wanted)["outputs"][shown]}})
        wrong = workflow_scenes.faults(name, Image.open(io.BytesIO(content)).convert("RGB"))
        if not wrong:
            print(f"{name}: seed {seed}")
            return seed
    print(f"{name}: none of {count} seeds; with the last one {wrong[0]}")
    return None


def tidied(graph: dict) -> dict:
    """The graph as it is shipped: no view, no language, no empty fields, and its nodes say where they come from."""
    nodes = [tidied_node(node) for node in sorted(graph["nodes"], key=lambda node: node["order"])]
    links = sorted(graph["links"])
    extra = {key: graph["extra"][key] for key in ("reroutes", "linkExtensions") if graph["extra"].get(key)}
    return {
        "id": graph["id"],
        "revision": 0,
        "last_node_id": max(node["id"] for node in nodes),
        "last_link_id": max(link[0] for link in links),
        "nodes": nodes,
        "links": links,
        "groups": graph["groups"],
        **({"definitions": graph["definitions"]} if graph.get("definitions") else {}),
        "config": {},
        "extra": extra,
        "version": graph["version"],
    }


def tidied_node(node: dict) -> dict:
    """One node of a graph, as it is shipped."""
    node = {key: value for key, value in node.items() if value is not None}
    for side in ("pos", "size"):
        node[side] = [round(length) for length in node[side]]
    for sockets in ("inputs", "outputs"):
        node[sockets] = [tidied_slot(slot) for slot in node.get(sockets, [])]
    node.setdefault("widgets_values", [])
    if node["type"] not in NOTES:
        ours = node["type"].startswith("FlowInOne")
        origin = {
            "Node name for S&R": node["type"],
            "cnr_id": "flowinone" if ours else "comfy-core",
            "ver": __version__ if ours else node["properties"].get("ver", COMFYUI),
        }
        node["properties"] = origin | {key: value for key, value in node["properties"].items() if key not in origin}
    if node["type"] in MODELS:
        files = MODELS[node["type"]]
        node["properties"]["models"] = [dict(zip(("name", "url", "directory"), file)) for file in files]
    return {key: node.pop(key) for key in ORDER if key in node} | node


def tidied_slot(slot: dict) -> dict:
    """One input or output of a node, as it is shipped; an empty one keeps its "link" or "links"."""
    return {
        key: value
        for key, value in slot.items()
        if key in ("link", "links") or value is not None and key not in ("localized_name", "boundingRect", "slot_index")
    }


def compact(value, pad: str = "", lead: int = 0) -> str:
    """JSON in which a short object stays on one line."""
    if not (isinstance(value, dict) and value):
        return json.dumps(value, ensure_ascii=False)
    flat = ", ".join(f"{json.dumps(key)}: {json.dumps(part, ensure_ascii=False)}" for key, part in value.items())
    nested = any(isinstance(part, dict) for part in value.values())
    if not nested and len(value) <= 3 and len(pad) + lead + len(flat) <= 96:
        return f"{{ {flat} }}"
    lines = (f"{pad}  {json.dumps(key)}: {compact(part, pad + '  ', len(key) + 4)}" for key, part in value.items())
    return "{\n" + ",\n".join(lines) + f"\n{pad}}}"


def write(path: Path, text: str) -> None:
    """Write a file, and say so if that changed it."""
    if not path.exists() or path.read_text(encoding="utf-8") != text + "\n":
        path.write_text(text + "\n", encoding="utf-8", newline="\n")
        print(path.relative_to(ROOT))


def answered(client: ComfyClient, name: str) -> Image.Image:
    """The prompt of a workflow, or several, and the last picture that mini answers with, as a thumbnail has them."""
    prompt, numbers = api(name)
    shown, answer = (next(numbers[kind] for kind in kinds if kind in numbers) for kinds in (PROMPTS, ANSWERS))
    wanted = {number: prompt[number] for number in ancestors(prompt, shown) | ancestors(prompt, answer)}
    prompts, answers = saved(client, wanted, name, [shown, 1], [answer, 0])
    paper = Image.new("RGB", (SIDE, SIDE), "#303030")
    paper.paste(side_by_side(prompts).resize((PROMPT_SIDE,) * 2, Image.Resampling.LANCZOS))
    paper.paste(answers[-1].resize((ANSWER_SIDE,) * 2, Image.Resampling.LANCZOS), (SIDE - ANSWER_SIDE,) * 2)
    return paper


def on_photos(client: ComfyClient, name: str) -> Image.Image:
    """The prompt that a workflow draws on its photos for thumbnails."""
    prompt, numbers = api(name)
    shown = next(numbers[kind] for kind in PROMPTS if kind in numbers)
    prompt |= {number: SUBSTITUTES[kind] for kind, number in numbers.items() if kind in SUBSTITUTES}
    wanted = {number: prompt[number] for number in ancestors(prompt, shown)}
    pictures = []
    with tempfile.TemporaryDirectory() as folder:
        for scene in PHOTOS[name]:
            photo(name, scene).save(Path(folder) / "photo.png")
            uploaded = client.upload(Path(folder) / "photo.png")
            for node in wanted.values():
                if node["class_type"] == "LoadImage":
                    node["inputs"]["image"] = uploaded
            pictures += saved(client, wanted, name, [shown, 1])[0]
    return side_by_side(pictures)


def api(name: str) -> tuple[dict, dict[str, str]]:
    """A workflow's prompt for the API, and the numbers of its nodes by class."""
    prompt = json.loads((WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))
    return prompt, {node["class_type"]: number for number, node in prompt.items()}


def saved(client: ComfyClient, prompt: dict, name: str, *outputs: list) -> list[list[Image.Image]]:
    """The pictures that these outputs of a prompt's nodes give."""
    saving = {
        f"thumbnail {n}": {"class_type": "SaveImage", "inputs": {"images": output, "filename_prefix": name}}
        for n, output in enumerate(outputs)
    }
    done = client.run(prompt | saving)["outputs"]
    return [
        [Image.open(io.BytesIO(content)) for _, content in client.images({"outputs": {n: done[n]}})] for n in saving
    ]


def photo(name: str, scene: Callable) -> Image.Image:
    """A scene as the photo of a workflow; what was painted over it is transparent, as the mask editor saves it."""
    picture = photos.photo(scene())
    if name in PAINTED:
        kept = 255 - 255 * photos.shape(*PAINTED[name])
        picture.putalpha(Image.fromarray(kept.astype("uint8")).resize(picture.size, Image.Resampling.LANCZOS))
    return picture


def side_by_side(pictures: list[Image.Image]) -> Image.Image:
    """A picture alone, or four in two rows with a white line between them, as large as one."""
    if len(pictures) == 1:
        return pictures[0]
    quarters = [resized(picture, picture.width // 2 - 3, picture.height // 2 - 3) for picture in pictures]
    return contact_sheet(list(in_rows(quarters, 2)), gap=6, margin=0)


def ancestors(prompt: dict, number: str) -> set[str]:
    """The numbers of a node and of all that lead to it."""
    sources = [value[0] for value in prompt[number]["inputs"].values() if isinstance(value, list)]
    return {number}.union(*(ancestors(prompt, source) for source in sources))


def write_thumbnail(name: str, picture: Image.Image) -> None:
    """Save a picture's middle square as workflows/NAME.jpg."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    small = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS, box)
    save_within(small, WORKFLOWS / f"{name}.jpg", LARGEST, range(92, 40, -3), optimize=True, progressive=True)


if __name__ == "__main__":
    main()
