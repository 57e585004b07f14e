"""The server side of FlowInOne Canvas: the photos it draws on, and the renderer's image of the prompt being edited."""

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
BACKGROUND_KEY = "flowinone_background"
"""Under this key a node's ui output names the photo that it got; web/canvas/background.js reads it."""

_MAX_BYTES = MAX_CHARACTERS + 100_000
_MIN_SIZE, _MAX_SIZE = 64, 1024
_MAX_WAITING = 8
_LOADERS = ("LoadImage", "LoadImageOutput")
"""Nodes whose output the page knows before a run."""


def _path_of(name: str) -> str:
    """The path of an annotated name: `folder/name.png [input]`, input if it has no annotation.

    Raises PromptError if there is no such file.
    """
    try:
        path = folder_paths.get_annotated_filepath(name)
    except ValueError:
        path = None
    if path is None or not os.path.isfile(path):
        raise PromptError(
            "picture", f"{name!r} is not among ComfyUI's files; drop the photo on the canvas again, or connect one"
        )
    return path


def open_input_image(name: str, opaque: bool = False) -> Image.Image:
    """The RGB image of an annotated name, with alpha composited over white; `opaque` drops alpha, as Load Image does.

    Raises PromptError if there is no such file, or if it is not an image.
    """
    path = _path_of(name)
    return _decoded(path, os.path.getmtime(path), opaque)


def version_of_input_image(name: str) -> float | None:
    """A value that changes with the file's content; None if there is no such file."""
    try:
        return os.path.getmtime(_path_of(name)) if name else None
    except (PromptError, OSError):
        return None


def background_report(photo: Image.Image, prompt: dict | None, node: str) -> dict:
    """The ui output that shows the page the photo connected to `image` of a node in an API prompt.

    Empty if a Load node is connected, whose image the page knows. Any other photo is saved to ComfyUI's temp folder.
    """
    link = (prompt or {}).get(node, {}).get("inputs", {}).get("image")
    if isinstance(link, list) and prompt.get(link[0], {}).get("class_type") in _LOADERS:
        return {}
    digest = hashlib.sha256(photo.tobytes() + repr(photo.size).encode()).hexdigest()
    name = f"flowinone_background_{digest[:16]}.png"
    folder = folder_paths.get_temp_directory()
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        photo.save(path, compress_level=1)
    return {BACKGROUND_KEY: [{"filename": name, "subfolder": "", "type": "temp"}]}


@functools.lru_cache(maxsize=2)  # an edit renders the same photo again and again
def _decoded(path: str, changed: float, opaque: bool) -> Image.Image:
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB") if opaque else as_rgb(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PromptError("picture", f"{os.path.basename(path)} cannot be read as an image: {error}") from error


def rendered_png(request: dict) -> bytes:
    """The prompt image of a request as PNG.

    A request has `prompt` (the visual prompt as JSON text), `picture` (the photo's annotated name or null), `opaque`,
    `size` and `font`. Raises PromptError for one that cannot be rendered.
    """
    if not isinstance(request, dict) or not isinstance(request.get("prompt"), str):
        raise PromptError("prompt", "is missing; send the visual prompt as text")
    name, size = request.get("picture"), request.get("size", 512)
    if name is not None and not isinstance(name, str):
        raise PromptError("picture", "is not a file name; send one as text, or null")
    if isinstance(size, bool) or not isinstance(size, int) or not _MIN_SIZE <= size <= _MAX_SIZE:
        raise PromptError(
            "size", f"is {json.dumps(size)[:40]}; expected a whole number of pixels from {_MIN_SIZE} to {_MAX_SIZE}"
        )
    prompt = loads(request["prompt"])
    photo = None
    if isinstance(prompt.canvas, PhotoCanvas) and name is not None:
        photo = open_input_image(name, bool(request.get("opaque")))
    try:
        font = folders.font_file(request.get("font"))
    except (FileNotFoundError, TypeError):
        raise PromptError("font", "is not in models/fonts; choose another") from None
    png = io.BytesIO()
    render(prompt, photo, size, font).save(png, "PNG", compress_level=1)
    return png.getvalue()


def add_routes(routes: web.RouteTableDef) -> None:
    """Let a POST of a visual prompt to `ROUTE` return its prompt image as PNG.

    Errors are JSON, `{"error": sentence}`: 400 for what cannot be rendered, 413 for too much, 429 for too many at once.
    """
    one_at_a_time, waiting = asyncio.Semaphore(1), 0

    @routes.post(ROUTE)
    async def render_route(request: web.Request) -> web.Response:
        nonlocal waiting
        if (request.content_length or 0) > _MAX_BYTES:
            return _error(413, f"the request has {request.content_length:,} bytes; at most {_MAX_BYTES:,} are accepted")
        body = await request.content.read(_MAX_BYTES + 1)
        while not request.content.at_eof() and len(body) <= _MAX_BYTES:
            body += await request.content.read(_MAX_BYTES + 1 - len(body))
        if len(body) > _MAX_BYTES:
            return _error(413, f"the request has more than {_MAX_BYTES:,} bytes, which is the limit")
        if waiting >= _MAX_WAITING:
            return _error(429, "too many prompts are being rendered; try again in a moment")
        waiting += 1
        try:
            async with one_at_a_time:
                # In a thread: the event loop serves all of ComfyUI.
                png = await asyncio.to_thread(lambda: rendered_png(json.loads(body)))
        except PromptError as error:
            return _error(400, str(error))
        except (ValueError, RecursionError) as error:
            return _error(400, f"the request is not JSON: {error}")
        finally:
            waiting -= 1
        return web.Response(body=png, content_type="image/png", headers={"Cache-Control": "no-store"})


def _error(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)
