"""Saved graphs keep working: tests/fixtures/nodes.json has what they rely on in each node, and it only grows.

A graph stores its widgets' values by position and its links by slot, an API prompt stores both by name. So a node's id,
the order, names and types of its inputs and outputs and the choices of its combos stay. After adding to them:

    FLOWINONE_SNAPSHOT=write bash scripts/test.sh tests/host/test_snapshot.py
"""

import copy
import json
import math
import os
from pathlib import Path

import pytest

from devtools import ROOT
from devtools.comfyui.object_info import widget_names
from devtools.comfyui.server import PACK_NAME

SNAPSHOT = ROOT / "tests" / "fixtures" / "nodes.json"
REMEDY = """
Undo that, or where nothing was released with it yet, take the node's entry out of tests/fixtures/nodes.json.
A new input goes to the end of its kind as an optional one. A node that has to become another one gets a new id:
either its old class stays, with is_deprecated=True, or on_load of the pack's extension registers
    await ComfyAPI().node_replacement.register(io.NodeReplace(new_node_id=..., old_node_id=..., old_widget_ids=...,
                                                             input_mapping=..., output_mapping=...))
where old_widget_ids are the names under "widgets" in the snapshot, all of them and in that order, and input_mapping
names no old input that a prompt may lack. Its entry in the snapshot stays."""
BEHIND = "tests/fixtures/nodes.json is behind; write it anew as this file's first lines say, and commit it."


def described(node):
    """What saved graphs rely on in a node, from its /object_info."""
    slots = {
        name: entry(name, node["input"][group][name], group == "optional")
        for group in ("required", "optional")
        for name in node["input_order"].get(group, ())
    }
    widgets = widget_names(node)
    return {
        # The browser adds control_after_generate, which takes a place among the values like any other widget.
        "widgets": [slots.get(name, {"name": name, "type": "COMBO"}) for name in widgets],
        "sockets": [slot for name, slot in slots.items() if name not in widgets],
        "outputs": [
            {"name": name, "type": kind} for name, kind in zip(node["output_name"], node["output"], strict=True)
        ],
    }


def entry(name, slot, optional):
    kind, settings = slot[0], (slot[1] if len(slot) > 1 else {})
    found = {"name": name, "type": kind} | ({"optional": True} if optional else {})
    if "options" in settings:
        # A combo of files offers what lies in the folder.
        found["options"] = [option for option in settings["options"] if not Path(str(option)).suffix]
    # The inputs of an Autogrow are named after its prefix, and counted.
    counted = settings | settings.get("template", {})
    return found | {key: counted[key] for key in ("prefix", "min", "max") if key in counted}


def broken_promises(old, new):
    """What a graph that was saved with node `old` would miss in node `new`, a line each."""
    found = []
    for kind in ("widgets", "sockets", "outputs"):
        before, now = old[kind], new[kind]
        for place, (was, is_now) in enumerate(zip(before, now)):
            found += [f"{kind} {place + 1}, {was['name']}: {problem}" for problem in changes(was, is_now)]
        found += [f"{kind}: {lost['name']} is gone" for lost in before[len(now) :]]
        if kind != "outputs":
            found += [f"{kind}: {late['name']} is required" for late in now[len(before) :] if not late.get("optional")]
    return found


def changes(was, now):
    """The changes of one input or output that take something away."""
    if [was["name"], was.get("prefix")] != [now["name"], now.get("prefix")]:
        yield f"{now['name']} is in its place"
        return
    if not set(was["type"].split(",")) <= set(now["type"].split(",")):
        yield f"takes {now['type']} instead of {was['type']}"
    for lost in [option for option in was.get("options", ()) if option not in now.get("options", ())]:
        yield f"cannot be {lost!r} any more"
    if was.get("optional") and not now.get("optional"):
        yield "is required now"
    (lowest, highest), (new_lowest, new_highest) = limits(was), limits(now)
    if lowest < new_lowest or highest > new_highest:
        yield f"allows {new_lowest} to {new_highest} instead of {lowest} to {highest}"


def limits(slot):
    return slot.get("min", -math.inf), slot.get("max", math.inf)


def written(nodes):
    """The snapshot's text: a line for each input and output, so that a change shows as one."""
    blocks = []
    for node_id, node in nodes.items():
        kinds = [
            f'  "{kind}": [' + ",".join(f"\n    {json.dumps(slot)}" for slot in slots) + ("\n  ]" if slots else "]")
            for kind, slots in node.items()
        ]
        blocks.append(f'"{node_id}": {{\n' + ",\n".join(kinds) + "\n}")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def test_graphs_that_were_saved_before_fit_the_nodes_of_today(client):
    offered = {
        node_id: described(node)
        for node_id, node in client.object_info().items()
        if node["python_module"] == f"custom_nodes.{PACK_NAME}"
    }
    frozen = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    # ComfyUI puts the new node in the place of the old one, in API prompts and, after a click, in graphs.
    replaced = {old for old, new in client.get("/node_replacements").items() if new[0]["new_node_id"] in offered}
    gone = frozen.keys() - offered.keys() - replaced
    broken = [f"{node_id} is gone" for node_id in sorted(gone)]
    for node_id in frozen.keys() & offered.keys():
        broken += [f"{node_id}, {promise}" for promise in broken_promises(frozen[node_id], offered[node_id])]
    assert not broken, "Saved graphs would break:\n" + "\n".join(broken) + REMEDY

    current = written(frozen | offered)
    if os.environ.get("FLOWINONE_SNAPSHOT") == "write":
        SNAPSHOT.write_text(current, encoding="utf-8", newline="\n")
    assert current == SNAPSHOT.read_text(encoding="utf-8"), BEHIND


def test_node_ids_are_the_packs_own():
    assert all(node_id.startswith("FlowInOne") for node_id in json.loads(SNAPSHOT.read_text(encoding="utf-8")))


OLD = {
    "widgets": [
        {"name": "steps", "type": "INT", "min": 1, "max": 100},
        {"name": "solver", "type": "COMBO", "options": ["euler", "heun"]},
    ],
    "sockets": [{"name": "image", "type": "IMAGE,MASK", "optional": True}],
    "outputs": [{"name": "LATENT", "type": "LATENT"}],
}


def grown(node):
    node["widgets"][0]["max"] = 1000
    node["widgets"][1]["options"].insert(0, "midpoint")
    node["widgets"].append({"name": "shift", "type": "FLOAT", "optional": True})
    node["sockets"][0]["type"] = "MASK,IMAGE,LATENT"
    node["outputs"].append({"name": "seed", "type": "INT"})


@pytest.mark.parametrize(
    "change, complaint",
    [
        (grown, None),
        (
            lambda node: node["widgets"].insert(0, {"name": "cfg", "type": "FLOAT", "optional": True}),
            "cfg is in its place",
        ),
        (lambda node: node["widgets"].append({"name": "cfg", "type": "FLOAT"}), "cfg is required"),
        (lambda node: node["widgets"].pop(), "solver is gone"),
        (lambda node: node["widgets"][1]["options"].remove("heun"), "cannot be 'heun'"),
        (lambda node: node["widgets"][0].update(max=50), "allows 1 to 50"),
        (lambda node: node["sockets"][0].update(type="IMAGE"), "takes IMAGE instead"),
        (lambda node: node["sockets"][0].pop("optional"), "is required now"),
        (lambda node: node["outputs"].clear(), "LATENT is gone"),
    ],
)
def test_growing_is_told_from_breaking(change, complaint):
    new = copy.deepcopy(OLD)
    change(new)
    found = broken_promises(OLD, new)
    assert found == [] if complaint is None else complaint in found[0]
