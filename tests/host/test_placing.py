"""Answers find their place on the photo: at its size, in the right region, and nowhere else."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from devtools import tiny
from devtools.comfyui.client import ExecutionFailed
from flowinone.prompts.squaring import Squaring

FITS = ("crop", "letterbox", "stretch")
SIZE = 401, 300
AREA = 0.3, 0.4, 0.6, 0.7
BLUE = 20, 40, 230


def node(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}


BOX = node(
    "FlowInOneDrawBox", x=0.3, y=0.4, box_width=0.3, box_height=0.3, label="put a cat", color="#ff0000", width=3.0
)
PATH = node("FlowInOneDrawTrajectory", points="0.3,0.5 0.6,0.5", smooth=True, color="#ff2d2d", width=4.0)
WIND = node(
    "FlowInOneDrawForce", kind="wind", x=0.5, y=0.5, angle=0.0, strength=1.0, scale=0.0, color="#ff2d2d", width=0.0
)


WORDS = node(
    "FlowInOneTextPrompt",
    kind="caption",
    text="a cat",
    background="trained",
    color="#fd6fa7",
    second_color="#e0c3fc",
    face="trained",
    text_size=0.0,
    align="center",
    size=256,
    font="bundled",
)
MODELS = dict(
    checkpoint="flowinone_tiny.safetensors", vision="janus_vision_tiny.safetensors", vae="vae_tiny.safetensors"
)


def strokes(text, **inputs):
    chosen = dict(mask_as="doodle", strokes=text, brush="round", color="#000000", width=4.0, smooth=False) | inputs
    return node("FlowInOneDrawDoodle", **chosen)


def scene(width, height):
    """A made-up photo without any blue: bands, and a chequered ground."""
    y, x = np.mgrid[0:height, 0:width]
    red = 90 + 120 * x / width + 30 * ((x * 20 // width + y * 20 // height) % 2)
    green = 60 + 150 * y / height
    return Image.fromarray(np.stack([red, green, np.full_like(red, 60)], axis=-1).astype(np.uint8))


def ramp(size):
    """An answer that says where it is: red from left to right, green from top to bottom."""
    along = (np.arange(size) + 0.5) / size * 255
    red, green = np.meshgrid(along, along)
    return Image.fromarray(np.stack([red, green, np.full_like(red, 230)], axis=-1).round().astype(np.uint8))


@pytest.fixture
def upload(client, tmp_path):
    """Give the server a picture; the name for LoadImage."""

    def send(picture):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.png"
        picture.save(path, compress_level=1)
        return client.upload(path)

    return send


@pytest.fixture
def paste(client, upload):
    """Paste an answer back; the result and the weights of each answer, and the photo as SaveImage makes it.

    `pictures` are further ones to load, each as the node of its name and as a mask, the node of its name and " mask".
    """

    def run(answer=None, photo=None, marks=BOX, fit="crop", nodes=None, pictures=None, **inputs):
        graph = {
            "photo": node("LoadImage", image=upload(photo or scene(*SIZE))),
            "answer": node("LoadImage", image=upload(answer or Image.new("RGB", (256, 256), BLUE))),
            "draw": marks,
            "compose": node(
                "FlowInOneCompose",
                image=["photo", 0],
                task="text_box",
                instruction="",
                fit=fit,
                bypass="by task",
                size=256,
                font="bundled",
                **{"marks.marks0": ["draw", 0]},
            ),
            "paste": node(
                "FlowInOnePasteBack",
                **dict(image=["answer", 0], prompt=["compose", 0], region="marks", grow=0.0, feather=0.0, threshold=0.1)
                | {name.rstrip("_"): given for name, given in inputs.items()},
            ),
            "mask": node("MaskToImage", mask=["paste", 1]),
            "save": node("SaveImage", images=["paste", 0], filename_prefix="pasted"),
            "save mask": node("SaveImage", images=["mask", 0], filename_prefix="mask"),
            "save photo": node("SaveImage", images=["photo", 0], filename_prefix="photo"),
            **(nodes or {}),
        }
        for name, picture in (pictures or {}).items():
            graph[name] = node("LoadImage", image=upload(picture))
            graph[f"{name} mask"] = node("ImageToMask", image=[name, 0], channel="red")
        outputs = client.run({name: given for name, given in graph.items() if given is not None})["outputs"]

        def saved(name):
            contents = client.images({"outputs": {name: outputs.get(name, {})}})
            return [np.array(Image.open(io.BytesIO(content))).astype(np.int16) for _, content in contents]

        masks = [mask[..., 0] / 255 for mask in saved("save mask")]
        (photo,) = saved("save photo") or [None]
        return saved("save"), masks, photo

    return run


def canvas_positions(fit, width, height):
    """Where on the canvas the photo's pixels are: x and y [H, W], outside 0..1 where it does not show them."""
    squaring = Squaring(fit, width, height)
    (left, top), (right, bottom) = squaring.to_canvas(0.5, 0.5), squaring.to_canvas(width - 0.5, height - 0.5)
    return np.meshgrid(np.linspace(left, right, width), np.linspace(top, bottom, height))


def distance_to(area, x, y):
    """Of canvas positions from an area of it, in canvases."""
    beside, above = np.maximum(area[0] - x, x - area[2]), np.maximum(area[1] - y, y - area[3])
    return np.hypot(beside.clip(0), above.clip(0))


def test_a_box_edit_of_a_large_photo_changes_its_region_alone(paste):
    original = scene(4000, 3000)
    (pasted,), _, _ = paste(photo=original, grow=0.03, feather=0.04, nodes={"save mask": None, "save photo": None})
    assert pasted.shape == (3000, 4000, 3)
    # The canvas is the middle 3000 pixels; the blend reaches 210 pixels beyond the box.
    left, top, right, bottom = 500 + 900, 1200, 500 + 1800, 2100
    assert np.abs(pasted[top - 90 : bottom + 90, left:right] - BLUE).max() <= 1
    pasted[top - 210 : bottom + 210, left - 210 : right + 210] = 0
    untouched = np.array(original, dtype=np.int16)
    untouched[top - 210 : bottom + 210, left - 210 : right + 210] = 0
    assert np.abs(untouched - pasted).max() <= 1, (
        "SaveImage cuts off, where the photo's levels were divided and multiplied again"
    )


@pytest.mark.parametrize("fit", FITS)
def test_a_box_edit_changes_its_box_and_what_is_blended_around_it_alone(paste, fit):
    (pasted,), (mask,), photo = paste(fit=fit, grow=0.03, feather=0.06)
    assert pasted.shape == (300, 401, 3)
    distance = distance_to(AREA, *canvas_positions(fit, *SIZE))
    full, untouched = distance <= 0.03, distance >= 0.09
    assert np.abs(pasted[full] - BLUE).max() <= 1 and (mask[full] == 1).all()
    assert (pasted[untouched] == photo[untouched]).all() and (mask[untouched] == 0).all()
    between = (distance > 0.05) & (distance < 0.07)
    assert 0 < mask[between].min() and mask[between].max() < 1
    expected = photo + mask[..., None] * (np.array(BLUE) - photo)
    assert np.abs(pasted - expected)[between].max() <= 2


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("side", [256, 700])
def test_answers_of_every_size_lie_where_the_canvas_was(paste, fit, side):
    (pasted,), (mask,), photo = paste(answer=ramp(side), fit=fit, region="whole")
    x, y = canvas_positions(fit, *SIZE)
    covered = mask == 1
    assert set(np.unique(mask)) <= {0, 1}
    # A pixel column that the crop's edge runs through belongs to the photo.
    assert covered.mean() == pytest.approx(299 * 300 / 401 / 300 if fit == "crop" else 1, abs=1e-9)
    assert (pasted[~covered] == photo[~covered]).all()
    # Within half a pixel of a 256 px answer from its edges there is nothing left to interpolate.
    inside = covered & (np.abs(x - 0.5) < 0.497) & (np.abs(y - 0.5) < 0.497)
    assert np.abs(pasted[..., 0] - 255 * x)[inside].max() <= 2
    assert np.abs(pasted[..., 1] - 255 * y)[inside].max() <= 2


def test_a_cropped_canvas_blends_within_its_edges(paste):
    (pasted,), (mask,), photo = paste(region="whole", feather=0.1)
    x, _ = canvas_positions("crop", *SIZE)
    assert (mask[(x < 0) | (x > 1)] == 0).all() and (mask[np.abs(x - 0.5) < 0.4] == 1).all()
    assert (np.diff(mask[100, 51:80]) > 0).all() and mask[100, 51] < 0.02
    assert (mask[0] == mask[150]).all(), "above and below it the photo ends too"


@pytest.mark.parametrize(
    ("marks", "inside", "outside"),
    [
        # Two strokes that touch are one drawing, with all that it encloses; the third is another.
        (
            strokes("0.1,0.1 0.3,0.1\n0.3,0.1 0.3,0.3\n0.8,0.8 0.9,0.9"),
            [(0.12, 0.28), (0.89, 0.81)],
            [(0.5, 0.5), (0.35, 0.35)],
        ),
        (PATH, [(0.45, 0.5), (0.15, 0.5), (0.45, 0.66)], [(0.05, 0.5), (0.45, 0.75)]),
        (WIND, [(0.01, 0.01), (0.99, 0.99)], []),
    ],
)
def test_marks_say_how_far_the_answer_counts(paste, marks, inside, outside):
    _, (mask,), _ = paste(marks=marks, fit="stretch")
    width, height = SIZE
    assert all(mask[int(y * height), int(x * width)] == 1 for x, y in inside)
    assert all(mask[int(y * height), int(x * width)] == 0 for x, y in outside)


def test_an_erased_region_counts_in_its_shape(paste):
    triangle = Image.new("RGB", SIZE, "black")
    ImageDraw.Draw(triangle).polygon([(110, 50), (290, 50), (200, 250)], fill="white")
    marks = strokes("", mask=["region mask", 0], mask_as="erased region")
    (pasted,), (mask,), photo = paste(marks=marks, pictures={"region": triangle})
    assert np.abs(mask - np.asarray(triangle)[..., 0] / 255).mean() < 0.01
    # A weight below 1/255 is saved as 0.
    assert np.abs(pasted - photo)[mask == 0].max() <= 1


@pytest.mark.parametrize("fit", FITS)
def test_changes_are_found_through_a_decoders_noise(paste, fit):
    photo = scene(*SIZE)
    answer = np.asarray(Squaring(fit, *SIZE).apply(photo, 256)).astype(float)
    y, x = (np.mgrid[0:256, 0:256] + 0.5) / 256
    disc = np.hypot(x - 0.4, y - 0.5) < 0.12
    answer[disc] = BLUE
    answer += 4 + 12 * tiny.uniform("grain", answer.size).reshape(answer.shape)
    answer = Image.fromarray(answer.clip(0, 255).astype(np.uint8))
    (pasted,), (mask,), photo = paste(answer, photo, fit=fit, region="changes")
    x, y = canvas_positions(fit, *SIZE)
    away = np.hypot(x - 0.4, y - 0.5) - 0.12
    assert (mask[away < -0.01] == 1).all() and (mask[away > 0.05] == 0).all()
    assert (pasted[away > 0.05] == photo[away > 0.05]).all()

    (pasted,), (mask,), photo = paste(answer, scene(*SIZE), fit=fit, region="changes", threshold=1.0)
    assert (mask == 0).all() and (pasted == photo).all()


@pytest.mark.parametrize("larger", [1, 2])
def test_a_mask_on_the_photo_takes_the_regions_place(paste, larger):
    drawn = np.zeros((300, 401), dtype=np.uint8)
    drawn[100:150, 200:260] = 255
    drawn[120, 100:330] = 255
    picture = Image.fromarray(drawn).resize((401 * larger, 300 * larger), Image.Resampling.NEAREST).convert("RGB")
    (pasted,), (mask,), photo = paste(mask=["region mask", 0], pictures={"region": picture}, region="whole")
    # A mask of another size has soft edges: 7/8 of a pixel beside them, 3/4 of one on the line, the product at its end.
    assert np.abs(mask - drawn / 255).max() <= (0 if larger == 1 else 0.35)
    assert (mask[102:148, 202:258] == 1).all() and np.abs(pasted[102:148, 202:258] - BLUE).max() <= 1
    assert (pasted[mask == 0] == photo[mask == 0]).all()

    _, (mask,), _ = paste(
        mask=["region mask", 0], pictures={"region": picture}, grow=0.1, feather=0.05, fit="letterbox"
    )
    across, down = np.meshgrid(np.arange(401) + 0.5, np.arange(300) + 0.5)
    away = np.minimum(*(distance_to(area, across, down) / 401 for area in ((200, 100, 260, 150), (100, 120, 330, 121))))
    assert (mask[away < 0.09] == 1).all() and (mask[away > 0.16] == 0).all()


def test_soft_masks_are_blended_as_softly(paste):
    ramped = np.zeros((300, 401), dtype=np.uint8)
    ramped[:, 150:250] = np.linspace(0, 255, 100)
    picture = Image.fromarray(ramped).convert("RGB")
    _, (mask,), _ = paste(mask=["region mask", 0], pictures={"region": picture})
    assert np.abs(mask - ramped / 255).max() <= 1 / 255


@pytest.mark.parametrize("fit", FITS)
def test_a_larger_copy_of_the_photo_can_be_pasted_into(paste, fit):
    original = scene(1300, 972)
    (pasted,), (mask,), _ = paste(
        photo=original.resize(SIZE), fit=fit, photo_=["original", 0], pictures={"original": original}
    )
    assert pasted.shape == (972, 1300, 3)
    x, y, width, height = Squaring(fit, *SIZE).window
    left, right = (x + side * width for side in AREA[::2])
    top, bottom = (y + side * height for side in AREA[1::2])
    rows, columns = np.nonzero(mask)
    found = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert found == pytest.approx((left * 1300 / 401, top * 3.24, right * 1300 / 401, bottom * 3.24), abs=1)
    untouched = mask == 0
    assert np.abs(pasted - np.asarray(original))[untouched].max() <= 1


def test_answers_go_into_copies_of_one_photo_or_each_into_its_own(paste):
    two = node("ImageBatch", image1=["answer", 0], image2=["red", 0])
    pictures = {"red": Image.new("RGB", (256, 256), "red")}
    (first, second), masks, photo = paste(image=["two", 0], nodes={"two": two}, pictures=pictures)
    inside = masks[0] == 1
    assert (
        (masks[0] == masks[1]).all()
        and (first[~inside] == photo[~inside]).all()
        and (second[~inside] == photo[~inside]).all()
    )
    assert np.abs(first[inside] - BLUE).max() <= 1 and np.abs(second[inside] - (255, 0, 0)).max() <= 1

    nodes = {
        "two": two,
        "mirrored": node("ImageFlip", image=["photo", 0], flip_method="y-axis: horizontally"),
        "photos": node("ImageBatch", image1=["photo", 0], image2=["mirrored", 0]),
        "compose": node(
            "FlowInOneCompose",
            image=["photos", 0],
            task="text_box",
            instruction="",
            fit="crop",
            bypass="by task",
            size=256,
            font="bundled",
            **{"marks.marks0": ["draw", 0]},
        ),
    }
    (first, second), _, photo = paste(image=["two", 0], nodes=nodes, pictures=pictures)
    assert (first[~inside] == photo[~inside]).all() and (second[~inside] == photo[:, ::-1][~inside]).all()
    with pytest.raises(
        ExecutionFailed, match="prompt has 2 images for 1 output images in image; connect as many, or one"
    ):
        paste(nodes=nodes, pictures=pictures)


def test_transparency_outside_the_region_stays(paste):
    alpha = Image.fromarray(np.tile(np.linspace(0, 255, 401), (300, 1)).astype(np.uint8))
    nodes = {
        "clear": node("InvertMask", mask=["alpha mask", 0]),
        "cut out": node("JoinImageWithAlpha", image=["photo", 0], alpha=["clear", 0]),
        "compose": node(
            "FlowInOneCompose",
            image=["cut out", 0],
            task="text_box",
            instruction="",
            fit="crop",
            bypass="by task",
            size=256,
            font="bundled",
            **{"marks.marks0": ["draw", 0]},
        ),
    }
    (pasted,), (mask,), photo = paste(nodes=nodes, pictures={"alpha": alpha.convert("RGB")})
    assert pasted.shape == (300, 401, 4)
    outside = mask == 0
    assert (pasted[..., :3][outside] == photo[outside]).all() and (pasted[~outside][:, 3] == 255).all()
    assert np.abs(pasted[..., 3] - np.asarray(alpha))[outside].max() <= 1


WIDE_MASK = {"region": Image.new("RGB", (400, 200), "white")}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (dict(answer=Image.new("RGB", SIZE)), "image is 401 x 300 pixels; expected the whole square output image"),
        (dict(mask=["region mask", 0], pictures=WIDE_MASK), "mask is 400 x 200 pixels and the photo 401 x 300"),
        (
            dict(mask=["region mask", 0], pictures={"region": Image.new("RGB", SIZE)}),
            "mask selects nothing that the canvas shows",
        ),
        (dict(photo_=["region", 0], pictures=WIDE_MASK), "photo is 400 x 200 pixels and the prompt's 401 x 300"),
        (dict(prompt=["words", 0]), "prompt shows no photo to put the output image into"),
    ],
)
def test_what_does_not_belong_together_is_explained(paste, inputs, message):
    with pytest.raises(ExecutionFailed) as failure:
        paste(nodes={"words": WORDS}, **inputs)
    assert message in failure.value.details["exception_message"]


@pytest.mark.parametrize("fit", FITS)
def test_vae_decode_gives_the_picture_at_the_photos_size_and_place(client, upload, fit):
    graph = {
        "load": node("FlowInOneLoader", dtype="float32", **MODELS),
        "photo": node("LoadImage", image=upload(scene(*SIZE))),
        "compose": node(
            "FlowInOneCompose",
            image=["photo", 0],
            task="text_box",
            instruction="",
            fit=fit,
            bypass="by task",
            size=256,
            font="bundled",
            **{"marks.marks0": ["draw", 0]},
        ),
        "draw": BOX,
        "sample": node(
            "FlowInOneSampler",
            model=["load", 0],
            encoder=["load", 1],
            vae=["load", 2],
            prompt=["compose", 0],
            seed=0,
            steps=1,
            guidance_scale=1.0,
            solver="euler",
            bypass=False,
            sample_posterior=False,
        ),
        "answer": node("FlowInOneVAEDecode", samples=["sample", 0], vae=["load", 2]),
        "placed": node(
            "FlowInOneVAEDecode", samples=["sample", 0], vae=["load", 2], prompt=["compose", 0], size="photo"
        ),
        "pasted": node(
            "FlowInOnePasteBack",
            image=["answer", 0],
            prompt=["compose", 0],
            region="whole",
            grow=0.0,
            feather=0.0,
            threshold=0.1,
        ),
        **{
            f"save {name}": node("SaveImage", images=[name, 0], filename_prefix=name)
            for name in ("answer", "placed", "pasted")
        },
    }
    outputs = client.run(graph)["outputs"]
    answer, placed, pasted = (
        Image.open(io.BytesIO(client.images({"outputs": {name: outputs[name]}})[0][1]))
        for name in ("save answer", "save placed", "save pasted")
    )
    assert answer.size == (256, 256) and placed.size == SIZE
    assert (np.asarray(placed) == np.asarray(pasted)).all()
    # The same by hand: the bars cut away, or the sides of the photo put on again.
    squaring = Squaring(fit, *SIZE)
    if fit == "crop":
        middle = np.asarray(placed.crop((51, 0, 350, 300))).astype(int)
        expected = answer.resize((299, 300), Image.Resampling.BICUBIC, box=(256 * 0.5 / 300, 0, 256 * 299.5 / 300, 256))
    else:
        middle = np.asarray(placed).astype(int)
        box = [256 * side for side in (*squaring.to_canvas(0, 0), *squaring.to_canvas(*SIZE))]
        expected = answer.resize(SIZE, Image.Resampling.BICUBIC, box=box)
    # Pillow cuts what overshoots 8 bits after either direction, ours at the end.
    assert np.abs(middle - np.asarray(expected)).mean() < 1

    for change, message in (
        (None, "prompt is not connected, and size is photo"),
        (["words", 0], "prompt shows no photo"),
    ):
        graph["placed"]["inputs"].pop("prompt")
        graph["placed"]["inputs"] |= {"prompt": change} if change else {}
        with pytest.raises(ExecutionFailed, match=message):
            client.run(graph | {"words": WORDS})
        graph["placed"]["inputs"]["prompt"] = None
