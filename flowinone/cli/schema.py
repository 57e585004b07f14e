"""`flowinone schema`: the JSON Schema of visual prompts."""

import argparse
import json

DESCRIPTION = "Print the JSON Schema of visual prompts."


def add_arguments(command: argparse.ArgumentParser) -> None:
    del command  # it has none


def run(options: argparse.Namespace) -> int:
    from ..prompts import json_schema

    # In ASCII, so that it is the same JSON in every terminal's encoding.
    print(json.dumps(json_schema(), indent=2))
    return 0
