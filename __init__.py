"""FlowInOne for ComfyUI: visual prompts in, pictures out."""

WEB_DIRECTORY = "./comfyui_flowinone/web"


async def comfy_entrypoint():
    # Everything is imported here and not above: importing the pack stays instant, and works where there is no ComfyUI.
    from comfy_api.latest import ComfyExtension
    from server import PromptServer

    from .comfyui_flowinone.folders import register_folders
    from .comfyui_flowinone.routes import add_routes
    from .nodes import NODES

    class FlowInOneExtension(ComfyExtension):
        async def on_load(self) -> None:
            register_folders()
            add_routes(PromptServer.instance.routes)

        async def get_node_list(self) -> list:
            return NODES

    return FlowInOneExtension()
