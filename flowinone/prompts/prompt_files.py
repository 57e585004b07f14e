"""Visual prompts in files: JSON documents, PNGs that carry their document, and plain prompt images."""

import io
import sys
from collections.abc import Mapping

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..files import STANDARD_STREAM, write_output
from ..pictures import as_rgb
from .checks import PromptError
from .document import MAX_CHARACTERS, loads
from .render import render
from .spec import PhotoCanvas, VisualPrompt

PROMPT_CHUNK = "flowinone_prompt"
"""Name of the PNG text chunk that holds the document of a prompt image."""

DOCUMENT_SUFFIX = ".json"

READ_ERRORS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What `load_prompt_image` raises for files without a usable prompt. Pillow raises SyntaxError for some broken PNGs."""


def is_document(source: str) -> bool:
    """Whether the name is a JSON document's."""
    return source.lower().endswith(DOCUMENT_SUFFIX)


def read_prompt(source: str) -> VisualPrompt:
    """The prompt in a JSON document, or in a PNG that carries one; `-` reads standard input.

    Raises OSError for a file that cannot be opened, and ValueError for one without a valid prompt; both name the file.
    """
    if source == STANDARD_STREAM:
        content = sys.stdin.buffer.read(MAX_CHARACTERS + 1)
    else:
        with open(source, "rb") as file:
            content = file.read(MAX_CHARACTERS + 1)
    try:
        if not content.startswith(b"\x89PNG"):
            return loads(content)
        with Image.open(io.BytesIO(content)) as picture:
            prompt = embedded_prompt(picture)
    except (PromptError, OSError, SyntaxError) as error:
        raise ValueError(f"{source}: {error}") from None
    if prompt is None:
        raise ValueError(
            f"{source} is a picture without a visual prompt in it; give a document, or a PNG that `flowinone compose` "
            "wrote"
        )
    return prompt


def embedded_prompt(picture: Image.Image) -> VisualPrompt | None:
    """The prompt in the text chunk of an opened PNG, None if it has none. Raises PromptError for an invalid one."""
    text = picture.info.get(PROMPT_CHUNK)
    return loads(text) if isinstance(text, str) else None


def render_with_photo(prompt: VisualPrompt, photo: str | None, size: int = 512, font: str | None = None) -> Image.Image:
    """The rendered prompt, `size` x `size` pixels; `photo` is the file for a photo canvas, `-` standard input.

    Raises PromptError as `render`, and ValueError for a photo that is missing or cannot be read.
    """
    if not isinstance(prompt.canvas, PhotoCanvas):
        return render(prompt, None, size, font)
    if photo is None:
        raise ValueError("the prompt is drawn on a photo, and none was given; give it with --image")
    try:
        with Image.open(io.BytesIO(sys.stdin.buffer.read()) if photo == STANDARD_STREAM else photo) as picture:
            return render(prompt, picture, size, font)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{photo} cannot be read: {error}") from None


def load_prompt_image(source: str, photo: str | None = None, bypass: bool | None = None) -> tuple[Image.Image, bool]:
    """The RGB prompt image in a file, or rendered from a document, and whether the dual path is bypassed.

    A document with a photo canvas is drawn on the file `photo`. Without `bypass` the document decides, also one inside
    a PNG; an image without one is not bypassed. Raises one of `READ_ERRORS`.
    """
    if is_document(source):
        prompt = read_prompt(source)
        return render_with_photo(prompt, photo), prompt.bypass if bypass is None else bypass
    stream = io.BytesIO(sys.stdin.buffer.read()) if source == STANDARD_STREAM else source
    with Image.open(stream) as picture:
        if bypass is None:
            try:
                prompt = embedded_prompt(picture)
            except ValueError as error:
                raise ValueError(
                    f"its {PROMPT_CHUNK} cannot be read ({error}); --bypass or --no-bypass ignores it"
                ) from None
            bypass = prompt is not None and prompt.bypass
        return as_rgb(picture), bypass


def write_png(image: Image.Image, target: str, chunks: Mapping[str, str]) -> None:
    """Write a PNG with text chunks atomically, or to standard output for `-`. Raises OSError."""
    text = PngInfo()
    for name, value in chunks.items():
        text.add_text(name, value)
    content = io.BytesIO()
    image.save(content, "PNG", pnginfo=text)
    write_output(content.getvalue(), target)
