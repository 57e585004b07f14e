"""What tests, scripts and benchmarks share; nothing of the pack or the library imports it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The repository."""
FIXTURES = ROOT / "tests" / "fixtures"
HELP_PAGES = ROOT / "comfyui_flowinone" / "web" / "docs"
