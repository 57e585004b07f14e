"""FlowInOne Canvas without its page: the node draws its document, and the server draws the same during editing."""

import http.client
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

from devtools import ROOT
from devtools.comfyui.client import ExecutionFailed
from devtools.comfyui.fixtures import PHOTO
from devtools.comfyui.prompt import node
from devtools.pixels import as_saved, opened
from flowinone.prompts import Box, Doodle, PhotoCanvas, SolidCanvas, Text, VisualPrompt, dumps, loads, render
from flowinone.prompts.spec import Stroke

BOX = VisualPrompt("text_box", PhotoCanvas("letterbox", "#204060"), (Box((0.2, 0.3, 0.6, 0.7), "put a fox"),))
PLAIN = VisualPrompt("text_to_image", SolidCanvas(), (Text("a fox", (0.1, 0.1, 0.9, 0.9)),), bypass=True)
DEFAULTS = dict(picture="", size=256, font="bundled")


@pytest.fixture
def photo(client):
    return client.upload(PHOTO)


@pytest.fixture
def canvas(client):
    """Run the node; the saved prompt pictures, its text, and what it told the page."""

    def run(drawing, nodes=None, **inputs):
        drawing = drawing if isinstance(drawing, str) else dumps(drawing)
        graph = {
            "canvas": node("FlowInOneCanvas", **(DEFAULTS | {"drawing": drawing} | inputs)),
            "save": node("SaveImage", images=["canvas", 1], filename_prefix="canvas"),
            "text": node("PreviewAny", source=["canvas", 2]),
            **(nodes or {}),
        }
        outputs = client.run(graph)["outputs"]
        saved = [opened(content) for _, content in client.images({"outputs": {"save": outputs["save"]}})]
        return saved, outputs["text"]["text"][0], outputs.get("canvas")

    return run


def loaded(photo):
    return {"photo": node("LoadImage", image=photo)}


def test_a_drawing_on_the_connected_picture_is_what_the_library_makes_of_it(canvas, photo):
    (picture,), text, told = canvas(BOX, loaded(photo), image=["photo", 0])
    assert np.array_equal(picture, as_saved(render(BOX, Image.open(PHOTO), 256)))
    assert loads(text) == BOX
    # A picture from Load Image is one that the page knows already.
    assert told is None


def test_the_dropped_picture_counts_where_none_is_connected(canvas, client, photo, tmp_path):
    clear = Image.new("RGBA", (40, 60), (200, 0, 0, 128))
    clear.save(tmp_path / "half clear.png")
    dropped = f"{client.upload(tmp_path / 'half clear.png')} [input]"
    (picture,), _, _ = canvas(BOX, picture=dropped)
    assert np.array_equal(picture, as_saved(render(BOX, clear, 256)))
    (picture,), _, _ = canvas(BOX, loaded(photo), image=["photo", 0], picture=dropped)
    assert np.array_equal(picture, as_saved(render(BOX, Image.open(PHOTO), 256)))


def test_a_plain_ground_needs_no_picture(canvas, photo):
    (picture,), text, _ = canvas(PLAIN)
    assert np.array_equal(picture, as_saved(render(PLAIN, size=256)))
    assert loads(text).bypass is True
    (picture,), _, _ = canvas(PLAIN, loaded(photo), image=["photo", 0])
    assert np.array_equal(picture, as_saved(render(PLAIN, size=256)))


def test_every_picture_of_a_batch_gets_the_drawing(canvas, photo):
    nodes = loaded(photo) | {
        "other": node("ImageInvert", image=["photo", 0]),
        "batch": node("ImageBatch", image1=["photo", 0], image2=["other", 0]),
    }
    pictures, text, _ = canvas(BOX, nodes, image=["batch", 0])
    inverted = Image.fromarray(255 - np.asarray(Image.open(PHOTO).convert("RGB")))
    for picture, expected in zip(pictures, (Image.open(PHOTO), inverted), strict=True):
        assert np.array_equal(picture, as_saved(render(BOX, expected, 256)))
    assert loads(text) == BOX


def test_its_text_and_its_prompt_go_on_in_other_nodes(canvas, client, photo):
    nodes = loaded(photo) | {
        "compose": node(
            "FlowInOneCompose",
            task="doodle",
            instruction="",
            fit="crop",
            bypass="by task",
            size=256,
            font="bundled",
            image=["photo", 0],
            spec=["canvas", 2],
        ),
        "again": node("SaveImage", images=["compose", 1], filename_prefix="again"),
    }
    nodes["canvas"] = node("FlowInOneCanvas", **DEFAULTS, drawing=dumps(BOX), image=["photo", 0])
    nodes["save"] = node("SaveImage", images=["canvas", 1], filename_prefix="canvas")
    outputs = client.run(nodes)["outputs"]
    first, second = (opened(client.images({"outputs": {name: outputs[name]}})[0][1]) for name in ("save", "again"))
    assert np.array_equal(first, second)


def test_the_page_is_told_what_came_in_from_a_node_that_shows_nothing(canvas, client, photo):
    nodes = loaded(photo) | {"other": node("ImageInvert", image=["photo", 0])}
    # The second run takes the node's result from ComfyUI's cache.
    for _ in range(2):
        _, _, told = canvas(BOX, nodes, image=["other", 0])
        ((_, content),) = client.images({"outputs": {"canvas": {"images": told["flowinone_background"]}}})
        assert np.array_equal(opened(content), 255 - np.asarray(Image.open(PHOTO).convert("RGB")))


def test_a_dropped_picture_that_was_replaced_is_drawn_on_anew(canvas, server):
    path = server.base / "input" / "changing.png"
    for color in ("red", "blue"):
        Image.new("RGB", (64, 64), color).save(path)
        os.utime(path, (0, {"red": 1_000_000, "blue": 2_000_000}[color]))
        (picture,), _, _ = canvas(BOX, picture="changing.png")
        assert np.array_equal(picture, as_saved(render(BOX, Image.new("RGB", (64, 64), color), 256)))


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        (dict(drawing=" "), "drawing: is empty; draw on the canvas"),
        (dict(drawing="{"), "is not JSON|not a visual prompt|no JSON"),
        (dict(drawing=dumps(BOX)), "image: is not connected; connect a photo"),
        (dict(drawing=dumps(BOX), picture="gone.png [input]"), "'gone.png .input.' is not among ComfyUI's files"),
        (dict(drawing=dumps(BOX), picture="../comfyui.log"), "is not among ComfyUI's files"),
        (dict(drawing=dumps(BOX).replace("0.2", "1e300")), r"area\[0\]: is 1e\+300; expected -1 to 2"),
    ],
)
def test_what_cannot_be_drawn_is_said(canvas, inputs, problem):
    with pytest.raises(ExecutionFailed, match=problem):
        canvas(**inputs)


# The route


@pytest.fixture
def ask(server):
    """POST to the route; status, kind and content of the answer."""

    def post(body, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(f"{server.url}/flowinone/render", data, {"Content-Type": "application/json"} | headers)
        try:
            with urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read()
        except HTTPError as error:
            return error.code, error.headers["Content-Type"], error.read()

    return post


def sentence(answer, status):
    """The sentence of a refusal."""
    assert answer[0] == status, answer
    assert answer[1].startswith("application/json")
    said = json.loads(answer[2])["error"]
    assert len(said) < 400 and "Traceback" not in said
    return said


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests" / "fixtures" / "documents").glob("*.json")), ids=lambda path: path.stem
)
def test_the_server_draws_a_prompt_as_the_library_does(ask, client, path):
    text = path.read_text(encoding="utf-8")
    prompt, name = loads(text), client.upload(PHOTO)
    status, kind, content = ask(dict(prompt=text, picture=name, size=320))
    assert (status, kind) == (200, "image/png")
    photo = Image.open(PHOTO) if isinstance(prompt.canvas, PhotoCanvas) else None
    assert np.array_equal(opened(content), np.asarray(render(prompt, photo, 320)))


def test_alpha_is_ignored_where_load_image_ignores_it(ask, client, tmp_path):
    Image.new("RGBA", (40, 60), (200, 0, 0, 128)).save(tmp_path / "clear.png")
    name = client.upload(tmp_path / "clear.png")
    bare = dumps(VisualPrompt("text_box", PhotoCanvas()))
    for opaque, color in ((True, (200, 0, 0)), (False, (227, 127, 127))):
        _, _, content = ask(dict(prompt=bare, picture=name, size=64, opaque=opaque))
        assert np.array_equal(np.unique(opened(content).reshape(-1, 3), axis=0), [color])


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "prompt: is missing"),
        (b"null", "prompt: is missing"),
        ({}, "prompt: is missing"),
        (dict(prompt={"version": 1}), "prompt: is missing; send the visual prompt as text"),
        (dict(prompt="[]"), "is a list of 0, the prompts of a batch"),
        (dict(prompt="[" * 100_000), "deep|nested"),
        (dict(prompt='{"version": 99}'), "newer FlowInOne"),
        (dict(prompt=dumps(PLAIN).replace("0.9", "1e999")), "finite|expected -1 to 2"),
        (dict(prompt=dumps(PLAIN).replace("a fox", "\\ud800")), "surrogate"),
        (dict(prompt=dumps(PLAIN), size=1025), "size: is 1025; expected a whole number of pixels from 64 to 1024"),
        (dict(prompt=dumps(PLAIN), size=63), "size: is 63"),
        (dict(prompt=dumps(PLAIN), size=True), "size: is true"),
        (dict(prompt=dumps(PLAIN), size="9" * 1000), "size: is"),
        (dict(prompt=dumps(PLAIN), font="../../secret.ttf"), "font: is not in models/fonts"),
        (dict(prompt=dumps(PLAIN), font=[1]), "font: is not in models/fonts"),
        (dict(prompt=dumps(BOX)), "photo: is missing"),
        (dict(prompt=dumps(BOX), picture=["a"]), "picture: is not a file name"),
        (dict(prompt=dumps(BOX), picture="gone.png"), "picture: 'gone.png' is not among ComfyUI's files"),
        (dict(prompt=dumps(BOX), picture="../comfyui.log"), "is not among ComfyUI's files"),
        (dict(prompt=dumps(BOX), picture="../../../../etc/passwd [output]"), "is not among ComfyUI's files"),
        (dict(prompt=dumps(BOX), picture="a\0b.png"), "is not among ComfyUI's files"),
        (dict(prompt=dumps(BOX), picture="no picture.png"), "picture: no picture.png cannot be read as an image"),
        (dict(prompt=dumps(BOX), picture="cut.png"), "picture: cut.png cannot be read as an image"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value)[:50],
)
def test_a_request_that_cannot_be_is_refused_with_a_sentence(ask, server, body, problem):
    (server.base / "input" / "no picture.png").write_text("GIF87a, but not really", encoding="utf-8")
    (server.base / "input" / "cut.png").write_bytes(PHOTO.read_bytes()[:2000])
    assert re.search(problem, sentence(ask(body), 400))


def test_a_body_that_is_too_large_is_refused_however_it_is_sent(ask, server):
    large = 4_200_000
    assert "bytes" in sentence(ask(b" " * large), 413)
    # Without a Content-Length, in chunks.
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(
            "POST",
            "/flowinone/render",
            (b" " * 100_000 for _ in range(large // 100_000)),
            encode_chunked=True,
            headers={"Transfer-Encoding": "chunked"},
        )
        answer = connection.getresponse()
        assert "bytes" in sentence((answer.status, answer.headers["Content-Type"], answer.read()), 413)
    finally:
        connection.close()


def test_requests_beyond_what_can_wait_are_put_off(ask):
    rng = np.random.default_rng(0)
    strokes = tuple(Stroke(tuple(map(tuple, rng.random((60, 2)).tolist()))) for _ in range(40))
    heavy = json.dumps(
        dict(prompt=dumps(VisualPrompt("doodle", SolidCanvas(), (Doodle(strokes),))), size=1024)
    ).encode()
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _: ask(heavy), range(24)))
    assert {status for status, _, _ in answers} == {200, 429}
    assert "try again" in sentence(next(answer for answer in answers if answer[0] == 429), 429)
    assert len({content for status, _, content in answers if status == 200}) == 1
