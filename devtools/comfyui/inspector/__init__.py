"""A pack for test servers: an untrained detector, and GET /inspector, which tells what is in memory."""

import gc

import comfy.model_management
import psutil
from aiohttp import web
from server import PromptServer

from .detector import write_detector
from .patches import NODES

NODE_CLASS_MAPPINGS = NODES
KINDS = {"NativeVelocityNetwork", "PromptEncoder", "VisionEncoder", "AutoencoderKL"}

write_detector()


@PromptServer.instance.routes.get("/inspector")
async def inspect(request):
    """The models that ComfyUI has loaded, with their bytes, the model parts that exist, and the resident bytes."""
    gc.collect()
    loaded = [
        {"kind": type(entry.model.model).__name__, "bytes": entry.model.model_size()}
        for entry in comfy.model_management.current_loaded_models
        if entry.model is not None
    ]
    existing = [type(thing).__name__ for thing in gc.get_objects() if type(thing).__name__ in KINDS]
    return web.json_response(
        {"loaded": loaded, "existing": sorted(existing), "resident": psutil.Process().memory_info().rss}
    )
