"""Every node explains itself: tooltips, search words, and a help page in English and Chinese with pictures.

A new node gets comfyui_flowinone/web/docs/NODE/en.md and zh.md, in the form of the others, a graph in
scripts/help_pictures.py, which takes the pictures, and its texts in locales/ (see test_locales.py). A changed one needs
its pages and pictures changed.
"""

import re
from pathlib import Path

import pytest
from PIL import Image

from devtools import ROOT
from devtools.comfyui.server import PACK_NAME
from devtools.translations import shipped

DOCS = ROOT / "comfyui_flowinone" / "web" / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.glob("*/*.md"))
HEADINGS = {
    "en": ["Inputs", "Outputs", "Tips", "When something is wrong"],
    "zh": ["输入", "输出", "小贴士", "遇到问题时"],
}
# What ComfyUI itself puts into its page: the widget next to seeds, and the names of types.
COMFYUIS = {
    "en": {"control": "control after generate"},
    "zh": {
        "control": "生成后控制",
        "IMAGE": "图像",
        "MASK": "遮罩",
        "MODEL": "模型",
        "NOISE": "噪波",
        "LATENT": "Latent",
        "SAMPLER": "采样器",
        "SIGMAS": "Sigmas",
        "GUIDER": "引导器",
    },
}
# "- **x**, **y** – Where …" and "- **x**、**y**（…）：…".
ITEM = {
    "en": re.compile(r"- ((?:\*\*[^*]+\*\*(?:, )?)+) – \S"),
    "zh": re.compile(r"- ((?:\*\*[^*]+\*\*、?)+)(?:（[^）]+）)?：\S"),
}
BOLD, CODE, QUOTED = (
    re.compile(r"\*\*([^*]+)\*\*"),
    re.compile(r"`([^`]+)`"),
    re.compile(r'^- \*"([^"]+)"', re.MULTILINE),
)
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]*)\)")
LARGEST, ALL = 200_000, 2_500_000  # bytes of a picture, and of all of them: everyone downloads them with the pack


@pytest.fixture(scope="module")
def nodes(server):
    offered = server.client().object_info()
    return {name: node for name, node in offered.items() if node["python_module"] == f"custom_nodes.{PACK_NAME}"}


def text_of(page):
    return (DOCS / page).read_text(encoding="utf-8")


def parts_of(page):
    """A page's node and language, and its text by heading; what is above the first is under ""."""
    node, language = page.removesuffix(".md").split("/")
    parts = re.split(r"^## (.+)$", text_of(page), flags=re.MULTILINE)
    return node, language, {"": parts[0]} | dict(zip(parts[1::2], parts[2::2]))


def names(node_id, node, language, kind):
    """What the page calls the inputs or outputs of a node."""
    texts = shipped(language)[node_id][kind]
    if kind == "inputs":
        seeds = [slot for slot in node["input"]["required"].values() if slot[1].get("control_after_generate")]
        return [text["name"] for text in texts.values() if "name" in text] + [COMFYUIS[language]["control"]] * len(
            seeds
        )
    named = zip(texts.values(), node["output_name"], strict=True)
    return [text.get("name", COMFYUIS[language].get(name, name)) for text, name in named]


def test_every_input_and_output_has_a_tooltip(nodes):
    faulty = []
    for node_id, node in nodes.items():
        slots = node["input"].get("required", {}) | node["input"].get("optional", {})
        inputs = [(name, slot[1].get("tooltip")) for name, slot in slots.items()]
        for name, tooltip in [*inputs, *zip(node["output_name"], node["output_tooltips"])]:
            if not tooltip or not re.fullmatch(r"[A-Z0-9].*[.)]", tooltip):
                faulty.append(f"{node_id}, {name}: {tooltip}")
    assert not faulty, "Needs a tooltip in nodes/, of whole sentences: " + "\n".join(faulty)


def test_every_node_says_what_it_does_and_can_be_found_by_other_words(nodes):
    for node_id, node in nodes.items():
        assert node["description"].endswith("."), node_id
        own = node["display_name"].lower()
        assert len([word for word in node["search_aliases"] if word not in own]) >= 3, node_id


def test_every_node_has_a_page_in_both_languages(nodes):
    wanted = {f"{node}/{language}.md" for node in nodes for language in HEADINGS}
    missing, stale = sorted(wanted - set(PAGES)), sorted(set(PAGES) - wanted)
    assert not missing, f"Write {missing} in {DOCS.relative_to(ROOT)}, as this file's first lines say."
    assert not stale, f"{stale} are of no node; remove them."


@pytest.mark.parametrize("page", PAGES)
def test_a_page_explains_exactly_the_inputs_and_outputs_that_the_node_has(nodes, page):
    node, language, parts = parts_of(page)
    assert list(parts) == ["", *HEADINGS[language]]
    for kind, heading in zip(("inputs", "outputs"), HEADINGS[language]):
        items = parts[heading].strip().splitlines()
        matches = [ITEM[language].match(item) for item in items]
        assert all(matches), f"{page}: {items[matches.index(None)]} does not begin as an item does"
        explained = [name for match in matches for name in BOLD.findall(match[1])]
        wanted = names(node, nodes[node], language, kind)
        assert sorted(explained) == sorted(wanted), (
            f"{page}, {heading}: explain those of the node, by their names in locales/{language}"
        )


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_puts_in_bold_is_to_be_seen_in_the_graph(nodes, page):
    _, language, _ = parts_of(page)
    seen = set()
    for other in shipped(language).keys() & nodes.keys():
        title = shipped(language)[other]["display_name"]
        seen |= {title, title.removeprefix("FlowInOne ")}
        for kind in ("inputs", "outputs"):
            seen |= set(names(other, nodes[other], language, kind))
    assert set(BOLD.findall(text_of(page))) <= seen


@pytest.mark.parametrize("page", PAGES)
def test_errors_that_a_page_quotes_are_raised(page):
    folders = (ROOT / folder for folder in ("nodes", "comfyui_flowinone", "flowinone"))
    source = "\n".join(path.read_text(encoding="utf-8") for folder in folders for path in folder.glob("**/*.py"))
    for message in QUOTED.findall(text_of(page)):
        assert all(part in source for part in message.split("…")), message


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_pictures_and_every_picture_is_on_a_page(page):
    node, language, parts = parts_of(page)
    # Links count from docs/, and not from the page: so ComfyUI's page resolves them.
    pictures = PICTURE.findall(parts[""])
    assert pictures == PICTURE.findall(text_of(page))
    assert pictures[0][1] == f"{node}/graph_{language}.webp"
    for words, link in pictures:
        assert words and link.startswith(f"{node}/")
        with Image.open(DOCS / link) as picture:
            picture.load()
            # Sharp at the usual width of the help panel, on a screen with two pixels for one.
            assert picture.width >= 700
    linked = {link for other in HEADINGS for _, link in PICTURE.findall(text_of(f"{node}/{other}.md"))}
    assert linked == {f"{node}/{path.name}" for path in (DOCS / node).iterdir() if path.suffix != ".md"}


def test_the_pictures_are_small():
    sizes = [path.stat().st_size for path in DOCS.glob("*/*.webp")]
    assert max(sizes) <= LARGEST and sum(sizes) <= ALL


@pytest.mark.parametrize("node", sorted({page.split("/")[0] for page in PAGES}))
def test_the_chinese_page_says_the_same_in_chinese(node):
    english, chinese = (text_of(f"{node}/{language}.md") for language in ("en", "zh"))
    # Values, file names and error messages are the same in all languages.
    assert sorted(set(CODE.findall(english))) == sorted(set(CODE.findall(chinese)))
    assert QUOTED.findall(english) == QUOTED.findall(chinese)
    assert english.count("\n- ") == chinese.count("\n- ")
    for line in chinese.splitlines():
        assert not line or re.search("[\u4e00-\u9fff]", line), line


def test_the_server_hands_out_pages_and_pictures(client):
    for path in filter(Path.is_file, DOCS.glob("**/*")):
        address = f"/extensions/{PACK_NAME}/docs/{path.relative_to(DOCS).as_posix()}"
        assert client.request(address) == path.read_bytes()


FRAME = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
OPEN = """() => {
    const node = LiteGraph.createNode('FlowInOneDrawBox');
    app.graph.add(node);
    app.canvas.ds.scale = 1;
    app.canvas.centerOnNode(node);
}"""
TITLE = """() => {
    const [node] = app.graph.nodes, {offset} = app.canvas.ds, {left, top} = app.canvas.canvas.getBoundingClientRect();
    return [left + node.pos[0] + 90 + offset[0], top + node.pos[1] - LiteGraph.NODE_TITLE_HEIGHT / 2 + offset[1]];
}"""
SHOWN = """(page) => [...page.querySelectorAll('img')].map(
    ({src, complete, naturalWidth}) => [src, complete && naturalWidth]
)"""


def test_the_help_panel_shows_the_page_of_the_language_with_its_pictures(server, browser):
    from devtools.browser.page import ComfyPage

    def speak(language):
        with browser.new_context() as context:
            context.request.post(f"{server.url}/api/settings", data={"Comfy.Locale": language})

    speak("zh")
    try:
        with ComfyPage(browser, server.url, vue=False) as comfy:
            comfy.command("Comfy.NewBlankWorkflow")
            comfy.page.wait_for_function("() => app.graph.nodes.length === 0")
            comfy.page.evaluate(OPEN)
            comfy.page.evaluate(FRAME)
            comfy.page.mouse.click(*comfy.page.evaluate(TITLE))
            comfy.page.get_by_test_id("info-button").click()
            page = comfy.page.locator(".node-help-content")
            page.get_by_role("heading", name=HEADINGS["zh"][0], exact=True).wait_for()
            comfy.page.wait_for_function(
                f"(page) => ({SHOWN})(page).every(([, width]) => width)", arg=page.element_handle()
            )
            pictures = page.evaluate(SHOWN)
            title = comfy.page.evaluate("() => app.graph.nodes[0].title")
            problems = comfy.problems
    finally:
        speak("en")
    links = [link for _, link in PICTURE.findall(text_of("FlowInOneDrawBox/zh.md"))]
    address = f"{server.url}/extensions/{PACK_NAME}/docs"
    assert pictures == [[f"{address}/{link}", Image.open(DOCS / link).width] for link in links]
    assert title == shipped("zh")["FlowInOneDrawBox"]["display_name"]
    assert not problems
