"""The translations that the pack ships for ComfyUI's page."""

from __future__ import annotations

import json

from devtools import ROOT

LOCALES = ROOT / "locales"


def shipped(language: str, file: str = "nodeDefs") -> dict:
    """The content of locales/LANGUAGE/FILE.json, {} if there is none."""
    path = LOCALES / language / f"{file}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
