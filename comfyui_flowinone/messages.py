"""Messages to the user from within a running node."""

import logging

from comfy_execution.utils import get_executing_context
from server import PromptServer


def warn(message: str | None) -> None:
    """Show a warning on the node that is being executed, and log it. Does nothing without a message."""
    if message is None:
        return
    logging.warning("FlowInOne: %s", message)
    context = get_executing_context()
    if context is not None and PromptServer.instance is not None:
        PromptServer.instance.send_progress_text(message, context.node_id)
