"""The nodes' texts in other languages: locales/en is what the nodes say, locales/zh has the same keys in Chinese.

A text of a node is changed in nodes/. After that, and after adding a node or an input:

    FLOWINONE_SNAPSHOT=write bash scripts/test.sh tests/host/test_locales.py

rewrites locales/en, and adds to the other languages what they lack, in English, for you to translate. A page looks up
labels and tooltips in its own language alone, and then in the nodes; so it needs locales/en only for the sockets of
Autogrow inputs, whose tooltips it finds nowhere else. It is there in full as the text to translate from.
"""

import json
import os
import re

import pytest

from devtools import ROOT
from devtools.comfyui.server import PACK_NAME
from devtools.translations import LOCALES, shipped

LANGUAGES = sorted(folder.name for folder in LOCALES.iterdir() if folder.is_dir())
REMEDY = "write it anew as this file's first lines say, translate what is new, and commit it."


def described(node):
    """The texts of a node, from its /object_info, as a nodeDefs.json has them."""
    inputs, outputs = {}, {}
    for group in ("required", "optional"):
        for name in node["input_order"].get(group, ()):
            settings = node["input"][group][name][1]
            inputs[name] = {"name": settings.get("display_name", name), "tooltip": settings.get("tooltip", "")}
            for socket in sockets(name, settings):
                inputs[socket] = {"tooltip": inputs[name]["tooltip"]}
    texts = zip(node["output_name"], node["output"], node["output_tooltips"])
    for number, (name, kind, tooltip) in enumerate(texts):
        # An output that is called like its type is translated with the type, by ComfyUI.
        outputs[str(number)] = {} if name == kind else {"name": name}
        outputs[str(number)]["tooltip"] = tooltip or ""
    return {
        "display_name": node["display_name"],
        "description": node["description"],
        "inputs": inputs,
        "outputs": outputs,
    }


def sockets(name, settings):
    """What the page calls the sockets of an Autogrow input, which appear one by one."""
    template = settings.get("template", {})
    return [f"{name}_{template['prefix']}{number}" for number in range(template["max"])] if "prefix" in template else []


def filled(texts, source):
    """The keys of `source`, with those of `texts` that are there already."""
    if isinstance(source, str):
        return texts if isinstance(texts, str) else source
    texts = texts if isinstance(texts, dict) else {}
    return {key: filled(texts.get(key), value) for key, value in source.items()}


def flat(texts, path=()):
    """Every text, by the path of its keys."""
    if isinstance(texts, str):
        return {path: texts}
    return {key: text for name, value in texts.items() for key, text in flat(value, (*path, name)).items()}


def written(texts):
    return json.dumps(texts, indent=2, ensure_ascii=False) + "\n"


def categories(language):
    return shipped(language, "main").get("nodeCategories", {})


@pytest.fixture(scope="module")
def texts(server):
    offered = server.client().object_info()
    return {
        name: described(node) for name, node in offered.items() if node["python_module"] == f"custom_nodes.{PACK_NAME}"
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_of_every_node_is_there_in_every_language_and_nothing_else(texts, language):
    expected = filled(None if language == "en" else shipped(language), texts)
    path = LOCALES / language / "nodeDefs.json"
    if os.environ.get("FLOWINONE_SNAPSHOT") == "write":
        path.write_text(written(expected), encoding="utf-8", newline="\n")
    found, wanted = flat(shipped(language)), flat(expected)
    missing, stale = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    assert not missing and not stale, f"{path.relative_to(ROOT)} lacks {missing} and has no use for {stale}; {REMEDY}"
    changed = [key for key, text in wanted.items() if found[key] != text]
    assert not changed, f"{path.relative_to(ROOT)} has other texts than nodes/ for {changed}; {REMEDY}"
    assert path.read_text(encoding="utf-8") == written(expected), f"{path.relative_to(ROOT)}: {REMEDY}"


def test_chinese_texts_are_chinese(texts):
    # Names such as x, VAE and Latent are the same in Chinese.
    english = [
        ".".join(key)
        for key, text in flat(shipped("zh")).items()
        if not re.search("[\u4e00-\u9fff]", text) and (key[-1] != "name" or len(text) > len("Latent"))
    ]
    assert not english, f"locales/zh/nodeDefs.json is not translated at {english}"
    same = [
        ".".join(key) for key, text in flat(shipped("zh")).items() if key[-1] != "name" and text == flat(texts)[key]
    ]
    assert not same


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_name_has_characters_that_the_page_would_take_for_syntax(language):
    # vue-i18n compiles names and descriptions; tooltips it shows as they are.
    found = flat(shipped(language)) | flat(categories(language))
    assert not [key for key, text in found.items() if key[-1] != "tooltip" and set("{}@|") & set(text)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_categories_have_names_in_every_language(server, language):
    nodes = server.client().object_info()
    parts = {part for name in shipped("en") for part in nodes[name]["category"].split("/")}
    # The pack's own name is the same everywhere, and in English all of them are shown as the nodes have them.
    assert categories(language).keys() == (set() if language == "en" else parts - {"FlowInOne"})


def test_the_server_hands_out_all_of_it(client):
    served = client.get("/i18n")
    for language in LANGUAGES:
        assert served[language]["nodeDefs"] == shipped(language)
        assert served[language].items() >= shipped(language, "main").items()
