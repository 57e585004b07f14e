"""Build API prompts, and find their nodes by class instead of by the ids in a workflow file."""

from __future__ import annotations


def node_id(prompt: dict, class_type: str) -> str:
    """The id of the only node of a class. Raises ValueError if there is none, or more than one."""
    found = [name for name, node in prompt.items() if node["class_type"] == class_type]
    if len(found) != 1:
        raise ValueError(f"The workflow has {len(found)} {class_type} nodes where exactly one is expected")
    return found[0]


def inputs_of(prompt: dict, class_type: str) -> dict:
    """The inputs of the only node of a class, to change in place."""
    return prompt[node_id(prompt, class_type)]["inputs"]


def node(class_type: str, **inputs) -> dict:
    """A node of an API prompt."""
    return {"class_type": class_type, "inputs": inputs}


def titled(title: str, class_type: str, **inputs) -> dict:
    """A node of an API prompt with a title, for messages about it."""
    return node(class_type, **inputs) | {"_meta": {"title": title}}


def ksampler(**changes) -> dict:
    """The stock KSampler behind the nodes "load" and "encode"."""
    settings = dict(
        model=["load", 0],
        positive=["encode", 0],
        negative=["encode", 1],
        latent_image=["encode", 3],
        seed=99,
        steps=4,
        cfg=7.0,
        sampler_name="euler",
        scheduler="simple",
        denoise=1.0,
    )
    return node("KSampler", **(settings | changes))
