"""OCR pretraining: a new vision tower learns to read the words of prompt pictures.

FlowInOne's own tower, Janus-Pro's, was pretrained on captioned pictures; the network's objective alone is too weak a
signal for a new one. It first recognises single words on crops, where words are large and many fit into a batch, and
then all words in their order on whole prompts of the toy world.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from flowinone.hardware import accelerator
from flowinone.prompts.spec import TextStyle
from flowinone.prompts.typeface import typeface
from flowinone.toy import example_from_name
from flowinone.training.build import math_attention_on_cpu
from flowinone.training.cache import PairCache
from flowinone.training.export import write_tower
from flowinone.training.initialization import new_vision_tower
from flowinone.training.run_config import FORBID_UNKNOWN, OptimizerName
from flowinone.vision import VisionEncoder
from recipes.mini.fitting import fit

MAX_WORDS = 16
"""Words per prompt that are predicted; the rest is ignored."""
_CROP = 3, 8
"""Rows and columns of patches of a crop with a word."""
_FONT_SIZE = 22
"""Pixels: the size of words at the beginning."""
_VARIATION_RAMP = 0.7
"""Share of the word steps after which words have their full variation in looks and position."""


@dataclass(frozen=True, config=FORBID_UNKNOWN)
class OCRConfig:
    """`tower` gives the `JanusVisionConfig` fields of the new tower.

    The first `word_steps` are single words on crops. Their looks and positions vary more and more: with all positions
    from the start, nothing is learnt for very long. `steps` more are whole prompts, shifted by up to `shift` pixels as
    augmentation.
    """

    out: str
    tower: dict
    seed: int = 0
    word_steps: int = 6000
    word_batch_size: int = 192
    steps: int = 2000
    batch_size: int = 48
    optimizer: OptimizerName = "muon"
    learning_rate: float = 1e-3
    warmup: int = 200
    shift: int = 8
    ema: float = 0.998
    bf16: bool = True
    checkpoint_every: int = 500


class OCRModel(nn.Module):
    """A tower, a head that detects words token by token, and queries that predict the word at each position.

    A tower first learns which words are present, and then their order.
    """

    def __init__(self, vision: VisionEncoder, words: int):
        super().__init__()
        self.vision = vision
        width = vision.config.projection_dim
        self.queries = nn.Parameter(torch.randn(MAX_WORDS, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 8, batch_first=True)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, words))
        self.spot = nn.Linear(width, words)
        # At nearly all tokens, nearly all words are absent.
        nn.init.constant_(self.spot.bias, -7.0)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """For pixels [B, 3, S, S], logits [B, MAX_WORDS, words] by position, and [B, words] of each word's presence."""
        tokens = self.norm(self.vision(pixels).float())
        queries = self.queries.expand(len(tokens), -1, -1)
        positions = self.head(self.attention(queries, tokens, tokens, need_weights=False)[0])
        return positions, self.spot(tokens).float().logsumexp(dim=1)

    def detect(self, crops: Tensor, cells: Tensor) -> Tensor:
        """Logits [B, words] of each word's presence in crops [B, 3, h, w] at the patch positions `cells` [B, N]."""
        tower = self.vision.vision_model
        tokens = tower.embeddings.patch_embedding(crops).flatten(2).transpose(1, 2)
        tokens = tower.encoder(inputs_embeds=tokens + tower.embeddings.position_embedding(cells)).last_hidden_state
        tokens = self.norm(self.vision.aligner(tower.post_layernorm(tokens)).float())
        return self.spot(tokens).float().logsumexp(dim=1)


class _WordCrops:
    """Batches of crops with words from prompts' sentences, in the prompts' typefaces."""

    def __init__(
        self, cache: PairCache, sentences: Sequence[Sequence[str]], numbers: dict[str, int], patch: int, side: int
    ):
        self.backgrounds, self.numbers, self.patch, self.side = cache["target"], numbers, patch, side
        self.by_word: dict[str, list[Sequence[str]]] = {word: [] for word in numbers if word}
        for sentence in sentences:
            for word in dict.fromkeys(sentence):
                self.by_word[word].append(sentence)
        self.faces = [typeface(TextStyle(face)).path for face in ("sans", "sans", "serif", "comic")]

    def batch(self, count: int, variation: float, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Crops [B, 3, h, w] uint8, their patch positions [B, N], labels [B], and neighbours [B, words] bool.

        The label is the crop's word; neighbours are the words of which a part is visible next to it. `variation`, 0 to
        1, is how much words vary in looks and position.
        """
        rows, columns = (min(many, self.side) for many in _CROP)
        height, width = rows * self.patch, columns * self.patch
        words, crops = list(self.by_word), []
        labels = torch.zeros(count, dtype=torch.long)
        neighbors = torch.zeros(count, len(self.numbers), dtype=torch.bool)
        for number in range(count):
            word = words[random.integers(len(words))]
            sentence = self.by_word[word][random.integers(len(self.by_word[word]))]
            background = self.backgrounds[random.integers(len(self.backgrounds))]
            top, left = (int(random.integers(max(len(background) - length, 0) + 1)) for length in (height, width))
            crop = Image.fromarray(np.ascontiguousarray(background[top : top + height, left : left + width])).resize(
                (width, height)
            )
            labels[number] = self.numbers[word]
            for seen in self._write(crop, word, sentence, variation, random):
                neighbors[number, self.numbers[seen]] = seen != word
            crops.append(np.asarray(crop))
        top, left = (
            torch.from_numpy(random.integers(0, self.side - many + 1, size=(count, 1, 1))) for many in (rows, columns)
        )
        cells = (top + torch.arange(rows)[:, None]) * self.side + left + torch.arange(columns)
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2), cells.flatten(1), labels, neighbors

    def _write(
        self, crop: Image.Image, word: str, sentence: Sequence[str], variation: float, random: np.random.Generator
    ) -> Iterator[str]:
        """Draw a word, with its neighbours in the sentence, on a crop; yields every visible word."""
        at = sentence.index(word)
        varied = random.random(3) < variation
        cased = [str.lower, str.capitalize, str.upper][random.choice(3, p=(0.6, 0.2, 0.2)) if varied[0] else 0]
        path = self.faces[random.integers(len(self.faces)) if varied[1] else 0]
        size = round(_FONT_SIZE * (1 + variation * random.uniform(-0.4, 0.6)))
        while (font := cached_font(path, size)).getlength(cased(word)) > crop.width - 4 and size > 6:
            size -= 2
        pen = ImageDraw.Draw(crop)
        x = 4 + variation * (random.uniform(2, crop.width - 2 - font.getlength(cased(word))) - 4)
        baseline = crop.height / 2 + size / 3
        baseline += variation * (random.uniform(size * 0.8, crop.height - size * 0.25) - baseline)
        fill, outline = [("black", "white"), ("white", "black")][random.integers(2)]
        look = dict(fill=fill, stroke_fill=outline, stroke_width=1, font=font, anchor="ls")
        # Neighbours are added last.
        shown = range(len(sentence)) if varied[2] else range(at, at + 1)
        beginning = x - font.getlength("".join(f"{before} " for before in sentence[: at if varied[2] else 0]))
        for number in shown:
            drawn = cased(sentence[number]) if number == at else sentence[number]
            end = beginning + font.getlength(drawn)
            if end > 0 and beginning < crop.width:
                pen.text((beginning, baseline), drawn, **look)
                yield sentence[number]
            beginning = end + font.getlength(" ")


cached_font = functools.lru_cache(maxsize=256)(ImageFont.truetype)


def words_of(name: str) -> list[str]:
    """The words in the prompt of a scene, by the name of its pair."""
    return example_from_name(name).words.lower().replace(".", "").replace(",", "").split()[:MAX_WORDS]


def train_ocr(config: OCRConfig, cache: PairCache) -> Path:
    """Train on a cache of scenes, from the last snapshot if there is one; the tower's file."""
    torch.manual_seed(config.seed)
    device = accelerator() or torch.device("cpu")
    sentences = [words_of(name) for name in cache.names]
    vocabulary = ["", *sorted({word for sentence in sentences for word in sentence})]
    numbers = {word: number for number, word in enumerate(vocabulary)}
    targets = torch.tensor([[numbers[word] for word in s] + [0] * (MAX_WORDS - len(s)) for s in sentences])
    vision = new_vision_tower(config.tower)
    model = OCRModel(vision, len(vocabulary)).to(device)
    pictures = cache["vision"]
    crops = _WordCrops(
        cache, sentences, numbers, vision.config.patch_size, vision.config.image_size // vision.config.patch_size
    )

    def loss_at(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        random = np.random.default_rng((config.seed, step))
        if step < config.word_steps:
            variation = min(1.0, step / (_VARIATION_RAMP * config.word_steps))
            return _word_loss(model, crops.batch(config.word_batch_size, variation, random), device, config)
        chosen = np.sort(random.integers(cache.count, size=config.batch_size))
        shifted = _shifted(torch.from_numpy(pictures[chosen]).permute(0, 3, 1, 2), config.shift, random)
        return _sentence_loss(model, shifted, targets[chosen], device, config)

    with math_attention_on_cpu(device):
        fit(
            model,
            loss_at,
            config.word_steps + config.steps,
            config,
            betas=(0.9, 0.98),
            weight_decay=0.03,
            adamw_only=("head", "spot"),
        )
    return write_tower(Path(config.out) / "vision.safetensors", vision)


def _word_loss(
    model: OCRModel, batch: tuple[Tensor, ...], device: torch.device, config: OCRConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    crops, cells, labels, neighbors = (part.to(device) for part in batch)
    with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
        presence = model.detect(crops.float() / 127.5 - 1, cells)
    # Neighbours are present as well, so they must not count as wrong.
    presence = presence.masked_fill(neighbors, -math.inf)
    return F.cross_entropy(presence, labels), {"word accuracy": (presence.argmax(-1) == labels).float().mean()}


def _sentence_loss(
    model: OCRModel, pictures: Tensor, wanted: Tensor, device: torch.device, config: OCRConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    wanted = wanted.to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
        positions, presence = model(pictures.to(device).float() / 127.5 - 1)
    errors = F.cross_entropy(positions.float().flatten(0, 1), wanted.flatten(), reduction="none").view_as(wanted)
    # Most positions are after the end of the sentence.
    weights = torch.where(wanted > 0, 1.0, 0.1)
    present = torch.zeros_like(presence, dtype=torch.bool).scatter_(1, wanted, True)[:, 1:]
    loss = (errors * weights).sum() / weights.sum() + presence_loss(presence[:, 1:], present, ~present)
    accuracy = (positions.argmax(-1) == wanted)[wanted > 0].float().mean()
    return loss, {"word accuracy": accuracy, "false positives": (presence[:, 1:] > 0)[~present].float().mean()}


def presence_loss(logits: Tensor, present: Tensor, absent: Tensor) -> Tensor:
    """Binary cross-entropy of logits [B, words]; the few present words weigh about as much as the many absent ones."""
    errors = F.binary_cross_entropy_with_logits(logits, present.float(), reduction="none")
    return errors[present].mean() + (errors * absent).sum(dim=1).mean() / 4


def _shifted(pictures: Tensor, by: int, random: np.random.Generator) -> Tensor:
    """Pictures [B, 3, S, S], each shifted by up to `by` pixels, with edges repeated."""
    size = pictures.shape[-1]
    index = torch.arange(size)
    shifted = []
    for picture, (down, right) in zip(pictures, random.integers(-by, by + 1, size=(len(pictures), 2)).tolist()):
        shifted.append(picture[:, (index + down).clamp(0, size - 1)][:, :, (index + right).clamp(0, size - 1)])
    return torch.stack(shifted)
