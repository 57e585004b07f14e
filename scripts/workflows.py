"""Write shipped workflows anew, in the three forms in which they are shipped, as ComfyUI's own page makes them.

    python scripts/environment.py scripts/workflows.py                        # all, after nodes have got new inputs
    python scripts/environment.py scripts/workflows.py "Text box" Doodle      # some, after they were changed
    python scripts/environment.py scripts/workflows.py "Text box" --thumbnail picture.png

A workflow is made and changed in the browser and saved as workflows/NAME.json. From that this writes NAME.json again,
without what only concerns the one who saved it, and with what helps everyone else: where its nodes and models come from;
and api/NAME.json, the prompt for the API. NAME.jpg, its thumbnail, is made of the given picture, or with --thumbnails
of the prompt that the workflow draws, on made-up photos.
"""

import argparse
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import scenes
from PIL import Image
from playwright.sync_api import sync_playwright

from flowinone import __version__
from scripts import environment
from tests.host.browser.page import ComfyPage
from tests.host.comfyui.client import ComfyClient
from tests.host.comfyui.server import ComfyServer
from tests.tiny import write_models

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = ROOT / "workflows"
SIDE, LARGEST = 400, 40_000  # pixels and bytes of a thumbnail

COMFYUI = "0.30.0"  # that the core nodes are known to be of, where the file does not say
HUB = "https://huggingface.co"
# The files of the nodes that load any: name, address and folder.
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
# What shows the prompts of a workflow, the fullest first; each has their pictures for its second output.
PROMPTS = ("FlowInOneMotion", "FlowInOneCompose", "FlowInOneTextPrompt")
# Nodes' parts in the order of the files.
ORDER = ["id", "type", "pos", "size", "flags", "order", "mode", "inputs", "outputs"]
ORDER += ["title", "properties", "widgets_values", "color", "bgcolor"]
# The photo of a thumbnail, or several, its grain, and what is moved because the photo has its things elsewhere.
PHOTOS = {
    "Text in image": (scenes.lake, 0.9, {}),
    "Text box": (scenes.meadow, 0.9, {}),
    "Visual marker": (scenes.sea, 0.9, {}),
    "Doodle": (scenes.room, 0.9, {}),
    "Force": (scenes.ground, 0.3, {"FlowInOneDrawForce": {"x": 0.25, "y": 0.44, "angle": 18, "strength": 1.2}}),
    "Trajectory": (
        scenes.floor,
        0.9,
        {
            "FlowInOneDrawTrajectory": {
                "points": "0.266,0.57 0.27,0.43 0.33,0.27 0.49,0.19 0.69,0.18 0.83,0.16",
                "color": "#3060e2",
            }
        },
    ),
    "Upscale": (scenes.lake, 0.9, {"FlowInOneDrawBox": {"x": 0.1, "y": 0.13, "box_height": 0.26}}),
    "Two passes": (scenes.meadow, 0.9, {}),
    "ComfyUI samplers": (
        scenes.ground,
        0.3,
        {"FlowInOneDrawMarker": {"tip_x": 0.75, "tip_y": 0.57, "start_x": 0.44, "start_y": 0.36}},
    ),
    "Folder": ((scenes.lake, scenes.meadow, scenes.sea, scenes.room), 0.9, {}),
    "Detector boxes": (scenes.room, 0.9, {}),
    "Doodle from a mask": (scenes.lake, 0.9, {}),
    "Photo edit": (scenes.sea, 0.9, {"FlowInOneDrawBox": {"x": 0.05, "y": 0.26, "box_height": 0.36}}),
    "Motion video": (
        scenes.ground,
        0.3,
        {
            "FlowInOneDrawTrajectory": {"points": "0.25,0.44 0.36,0.31 0.52,0.38 0.57,0.55 0.66,0.72 0.9,0.78"},
            "FlowInOneMotion": {"stages": 4, "steps": 1, "guidance_scale": 1.0},
        },
    ),
    "Solver comparison": (scenes.sea, 0.9, {"FlowInOneDrawForce": {"x": 0.2, "y": 0.24}}),
}
# What shows prompts only with a model is content with one that has learnt nothing.
TINY = {
    "FlowInOneLoader": {
        "checkpoint": "flowinone_tiny.safetensors",
        "vision": "janus_vision_tiny.safetensors",
        "vae": "vae_tiny.safetensors",
    }
}
# What is painted over the photo with the mask editor, as polygons in its pixels.
PAINTED = {
    "Doodle from a mask": [
        [(118, 388), (252, 388), (228, 424), (146, 424)],
        [(176, 376), (176, 262), (248, 376)],
        [(166, 376), (166, 284), (122, 376)],
    ],
}
# Nodes that work on files which are not there, and what does the same with the photo.
STAND_INS = {
    "RTDETR_detect": {
        "class_type": "PrimitiveBoundingBox",
        "inputs": {"x": 202, "y": 238, "width": 140, "height": 190},
    },
    "LoadImageDataSetFromFolder": {"class_type": "LoadImage", "inputs": {}},
}


def main() -> None:
    options = parse_options()
    browser = environment.find_browser(Path(sys.executable))
    comfyui = os.environ.get("FLOWINONE_COMFYUI")
    if not (browser and comfyui):
        sys.exit("Needs a ComfyUI and a browser; run it as python scripts/environment.py scripts/workflows.py")
    python = os.environ.get("FLOWINONE_COMFYUI_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory() as base, ComfyServer(comfyui, python, base) as server:
        client = server.client()
        with sync_playwright() as playwright:
            with playwright.chromium.launch(executable_path=browser, **environment.BROWSER_OPTIONS) as chromium:
                with (
                    ComfyPage(chromium, server.url, vue=False) as classic,
                    ComfyPage(chromium, server.url, vue=True) as vue,
                ):
                    for name in options.names:
                        rewrite(classic, vue, name)
        write_models(Path(base) / "models")
        for name in options.names:
            if options.thumbnail:
                write_thumbnail(name, Image.open(options.thumbnail))
            elif options.thumbnails:
                picture = composed(client, name)
                if picture is None:
                    print(f"{name} draws no prompt; give it a picture with --thumbnail")
                else:
                    write_thumbnail(name, picture)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="workflows, by file name without .json. Default: all")
    parser.add_argument("--thumbnails", action="store_true", help="draw the thumbnails of those that draw a prompt")
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


def rewrite(page: ComfyPage, vue: ComfyPage, name: str) -> None:
    """Open workflows/NAME.json in both renderers, and write both forms of what the classic one made of it."""
    path = WORKFLOWS / f"{name}.json"
    for one in (page, vue):
        one.drop(path.name, path.read_bytes())
    graph, roomy = page.graph(), {node["id"]: node["size"] for node in vue.graph()["nodes"]}
    for node in graph["nodes"]:
        # Nodes 2.0 need more room, and take it when the graph is opened.
        node["size"] = [max(lengths) for lengths in zip(node["size"], roomy[node["id"]])]
    write(path, json.dumps(tidied(graph), indent=2, ensure_ascii=False))
    prompt = {
        number: {key: node[key] for key in ("class_type", "inputs", "_meta")} for number, node in page.prompt().items()
    }
    write(WORKFLOWS / "api" / path.name, compact(prompt))


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


def composed(client: ComfyClient, name: str) -> Image.Image | None:
    """The prompt that a workflow draws, on its photo for thumbnails, or all of its prompts; None if it draws none."""
    prompt = json.loads((WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))
    kinds = {node["class_type"]: number for number, node in prompt.items()}
    drawing = next((kinds[kind] for kind in PROMPTS if kind in kinds), None)
    if drawing is None:
        return None
    scene, grain, changes = PHOTOS.get(name, (scenes.meadow, 0.9, {}))
    prompt |= {number: STAND_INS[kind] for kind, number in kinds.items() if kind in STAND_INS}
    wanted = {number: prompt[number] for number in ancestors(prompt, drawing)}
    for node in wanted.values():
        node["inputs"] |= changes.get(node["class_type"], {}) | TINY.get(node["class_type"], {})
    wanted["thumbnail"] = {"class_type": "SaveImage", "inputs": {"images": [drawing, 1], "filename_prefix": name}}
    pictures = []
    with tempfile.TemporaryDirectory() as folder:
        for one in scene if isinstance(scene, tuple) else (scene,):
            photo(name, one, grain).save(Path(folder) / "photo.png")
            uploaded = client.upload(Path(folder) / "photo.png")
            for node in wanted.values():
                if node["class_type"] == "LoadImage":
                    node["inputs"]["image"] = uploaded
            outputs = client.run(wanted)["outputs"]
            saved = client.images({"outputs": {"thumbnail": outputs["thumbnail"]}})
            pictures += [Image.open(io.BytesIO(content)) for _, content in saved]
    return side_by_side(pictures)


def photo(name: str, scene: Callable, grain: float) -> Image.Image:
    """A scene as the photo of a workflow; what was painted over it is transparent, as the mask editor saves it."""
    picture = scenes.photo(scene(), grain)
    if name in PAINTED:
        kept = 255 - 255 * scenes.shape(*PAINTED[name])
        picture.putalpha(Image.fromarray(kept.astype("uint8")).resize(picture.size, Image.Resampling.LANCZOS))
    return picture


def side_by_side(pictures: list[Image.Image]) -> Image.Image:
    """A picture alone, or four in two rows with a white line between them, as large as one."""
    if len(pictures) == 1:
        return pictures[0]
    width, height = pictures[0].size
    whole = Image.new("RGB", (width, height), "white")
    for number, picture in enumerate(pictures):
        quarter = picture.resize((width // 2 - 3, height // 2 - 3), Image.Resampling.LANCZOS)
        whole.paste(quarter, (number % 2 * (width // 2 + 3), number // 2 * (height // 2 + 3)))
    return whole


def ancestors(prompt: dict, number: str) -> set[str]:
    """The numbers of a node and of all that lead to it."""
    sources = [value[0] for value in prompt[number]["inputs"].values() if isinstance(value, list)]
    return {number}.union(*(ancestors(prompt, source) for source in sources))


def write_thumbnail(name: str, picture: Image.Image) -> None:
    """Save a picture's middle square as workflows/NAME.jpg, as well as its few bytes allow."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    small = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS, box)
    for quality in range(92, 40, -3):
        content = io.BytesIO()
        small.save(content, "JPEG", quality=quality, optimize=True, progressive=True)
        if len(content.getvalue()) <= LARGEST:
            break
    (WORKFLOWS / f"{name}.jpg").write_bytes(content.getvalue())
    print(f"workflows/{name}.jpg, quality {quality}")


if __name__ == "__main__":
    main()
