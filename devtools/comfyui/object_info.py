"""What the page derives from a node's /object_info."""

from __future__ import annotations

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR", "IMAGEUPLOAD", "COMFY_DYNAMICCOMBO_V3"}


def widget_names(info: dict) -> list[str]:
    """The names of a node's widgets, in the order of `widgets_values` in saved graphs."""
    names = []
    for group in ("required", "optional"):
        for name in info["input_order"].get(group, ()):
            kind, *options = info["input"][group][name]
            options = options[0] if options else {}
            is_list = isinstance(kind, list)
            if options.get("forceInput") or not (is_list or kind in WIDGET_TYPES):
                continue
            names.append(name)
            if options.get("control_after_generate"):
                names.append("control_after_generate")
            if options.get("image_upload"):
                names.append("upload")
    return names
