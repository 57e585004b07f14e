"""The canvas's counterpart on the server: its pictures, and the prompt as the renderer draws it while it is edited."""

import asyncio
import functools
import hashlib
import io
import json
import os

import folder_paths
from aiohttp import web
from PIL import Image, ImageOps

from ..flowinone.pictures import as_rgb
from ..flowinone.prompts import loads, render
from ..flowinone.prompts.checks import PromptError
from ..flowinone.prompts.document import MAX_CHARACTERS
from ..flowinone.prompts.spec import PhotoCanvas
from . import folders

ROUTE = "/flowinone/render"
REPORT = "flowinone_background"
_MOST_BYTES = MAX_CHARACTERS + 100_000
_SMALLEST, _LARGEST = 64, 1024
_MOST_WAITING = 8
_KNOWN_TO_THE_PAGE = ("LoadImage", "LoadImageOutput")


def picture_file(name: str) -> str:
    """The file of an annotated name, `folder/name.png [input]`, input being the default. Raises PromptError if there is none."""
    try:
        path = folder_paths.get_annotated_filepath(name)
    except ValueError:
        path = None
    if path is None or not os.path.isfile(path):
        raise PromptError(
            "picture", f"{name!r} is not among ComfyUI's files; drop the picture on the canvas again, or connect one"
        )
    return path


def open_picture(name: str, opaque: bool = False) -> Image.Image:
    """The RGB picture of an annotated name; alpha over white, or ignored where it is `opaque` as Load Image has it."""
    path = picture_file(name)
    return _decoded(path, os.path.getmtime(path), opaque)


def picture_version(name: str) -> float | None:
    """What changes with a file's content, None where there is none."""
    try:
        return os.path.getmtime(picture_file(name)) if name else None
    except (PromptError, OSError):
        return None


def report(photo: Image.Image, prompt: dict | None, node: str) -> dict:
    """What a node of an API prompt tells the page about the picture at its input `image`.

    Nothing where a Load node shows it; any other picture the page cannot have before the run.
    """
    link = (prompt or {}).get(node, {}).get("inputs", {}).get("image")
    if isinstance(link, list) and prompt.get(link[0], {}).get("class_type") in _KNOWN_TO_THE_PAGE:
        return {}
    content = hashlib.sha256(photo.tobytes() + repr(photo.size).encode()).hexdigest()
    name = f"flowinone_background_{content[:16]}.png"
    folder = folder_paths.get_temp_directory()
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        photo.save(path, compress_level=1)
    return {REPORT: [{"filename": name, "subfolder": "", "type": "temp"}]}


@functools.lru_cache(maxsize=2)  # the same picture is drawn on again and again
def _decoded(path: str, changed: float, opaque: bool) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return ImageOps.exif_transpose(picture).convert("RGB") if opaque else as_rgb(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PromptError("picture", f"{os.path.basename(path)} cannot be read: {error}") from error


def drawn(request: dict) -> bytes:
    """The PNG of a request: `prompt` (document's text), `picture` (annotated name or null), `opaque`, `size` and `font`.

    Raises PromptError, which names what is wrong.
    """
    if not isinstance(request, dict) or not isinstance(request.get("prompt"), str):
        raise PromptError("prompt", "is missing; send the document as text")
    name, size = request.get("picture"), request.get("size", 512)
    if name is not None and not isinstance(name, str):
        raise PromptError("picture", "is no name")
    if isinstance(size, bool) or not isinstance(size, int) or not _SMALLEST <= size <= _LARGEST:
        raise PromptError(
            "size", f"is {json.dumps(size)[:40]}; expected a whole number of pixels from {_SMALLEST} to {_LARGEST}"
        )
    prompt = loads(request["prompt"])
    photo = None
    if isinstance(prompt.canvas, PhotoCanvas) and name is not None:
        photo = open_picture(name, bool(request.get("opaque")))
    written = io.BytesIO()
    try:
        font = folders.font_file(request.get("font"))
    except (FileNotFoundError, TypeError):
        raise PromptError("font", "is not in models/fonts; choose another") from None
    render(prompt, photo, size, font).save(written, "PNG", compress_level=1)
    return written.getvalue()


def add_routes(routes: web.RouteTableDef) -> None:
    """POST a prompt to `ROUTE`, get its picture as PNG; 400, 413 or 429 and a sentence as JSON for what cannot be drawn."""
    drawing, waiting = asyncio.Semaphore(1), 0

    @routes.post(ROUTE)
    async def draw(request: web.Request) -> web.Response:
        nonlocal waiting
        if (request.content_length or 0) > _MOST_BYTES:
            return _refused(413, f"the prompt has {request.content_length:,} bytes; at most {_MOST_BYTES:,} are read")
        body = await request.content.read(_MOST_BYTES + 1)
        while not request.content.at_eof() and len(body) <= _MOST_BYTES:
            body += await request.content.read(_MOST_BYTES + 1 - len(body))
        if len(body) > _MOST_BYTES:
            return _refused(413, f"the prompt has more than {_MOST_BYTES:,} bytes")
        if waiting >= _MOST_WAITING:
            return _refused(429, "too many prompts are being drawn; try again in a moment")
        waiting += 1
        try:
            async with drawing:
                # Off the loop, which has all of ComfyUI's traffic to see to.
                picture = await asyncio.to_thread(lambda: drawn(json.loads(body)))
        except PromptError as error:
            return _refused(400, str(error))
        except (ValueError, RecursionError) as error:
            return _refused(400, f"the request is not JSON: {error}")
        finally:
            waiting -= 1
        return web.Response(body=picture, content_type="image/png", headers={"Cache-Control": "no-store"})


def _refused(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)
