"""The node that is being executed: messages on it, and what comes before it in the graph."""

import logging

from comfy_execution.utils import get_executing_context
from server import PromptServer


def nodes_before() -> list[dict]:
    """The nodes of the running graph that the executed node's MODEL has gone through, as in an API prompt.

    Empty outside of a server's run.
    """
    context = get_executing_context()
    if context is None or PromptServer.instance is None:
        return []
    running, _ = PromptServer.instance.prompt_queue.get_current_queue_volatile()
    graph = next((prompt for _, prompt_id, prompt, *_ in running if prompt_id == context.prompt_id), {})
    found, ahead, seen = [], [context.node_id], set()
    while ahead:
        node_id = ahead.pop()
        if node_id in seen or node_id not in graph:
            continue
        seen.add(node_id)
        found.append(graph[node_id])
        links = (graph[node_id]["inputs"].get(name) for name in ("model", "guider"))
        ahead += [link[0] for link in links if isinstance(link, list)]
    return found


def warn(message: str | None) -> None:
    """Show a warning on the node that is being executed, and log it. Does nothing without a message."""
    if message is None:
        return
    logging.warning("FlowInOne: %s", message)
    context = get_executing_context()
    if context is not None and PromptServer.instance is not None:
        PromptServer.instance.send_progress_text(message, context.node_id)
