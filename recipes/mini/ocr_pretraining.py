"""The vision tower's schooling: a new one learns to read prompt pictures before the network learns to answer them.

Janus-Pro's tower came to FlowInOne with what it had learnt from captioned pictures. A small one gets as much here: it
must tell the words of made-up prompts (`scenes`), first on pieces of pictures, where a word is large and many fit into a
batch, then in their order on whole prompts. The objective of the network says as much too faintly.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.nn import functional as F

from flowinone.hardware import accelerator
from flowinone.prompts.spec import TextStyle
from flowinone.prompts.typeface import typeface
from flowinone.toy import example_from_name
from flowinone.training.cache import PairCache
from flowinone.training.export import write_tower
from flowinone.training.optimizers import Kind
from flowinone.training.parts import fresh_tower, quick_attention
from flowinone.vision import VisionEncoder
from recipes.mini.fitting import fit

LONGEST = 16
"""Words that are asked for."""
_PIECE = 3, 8
"""Rows and columns of patches that a word is shown on."""
_USUAL = 22
"""Pixels: the size of words in the beginning."""
_SPREADING = 0.7
"""Share of the word steps after which words look and stand as differently as they ever do."""


@dataclasses.dataclass(frozen=True)
class ReadingConfig:
    """`tower` are `JanusVisionConfig` fields. The first `word_steps` see single words, which stand alike and in one place at
    first and in more and more ways later: a tower that meets all places at once learns none for very long. `steps` more see
    whole prompts, which are moved by up to `shift` pixels, so that each is many."""

    out: str
    tower: dict
    seed: int = 0
    word_steps: int = 6000
    word_batch_size: int = 192
    steps: int = 2000
    batch_size: int = 48
    optimizer: Kind = "muon"
    learning_rate: float = 1e-3
    warmup: int = 200
    shift: int = 8
    ema: float = 0.998
    bf16: bool = True
    checkpoint_every: int = 500


class Reader(nn.Module):
    """A tower; a head that names words token by token; and a query for every place in the sentence that asks for its word.

    Which words are there at all is what a tower learns first, and from there their order.
    """

    def __init__(self, vision: VisionEncoder, words: int):
        super().__init__()
        self.vision = vision
        width = vision.config.projection_dim
        self.queries = nn.Parameter(torch.randn(LONGEST, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 8, batch_first=True)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, words))
        self.spot = nn.Linear(width, words)
        # Many tokens ask whether a word is there, and it hardly ever is.
        nn.init.constant_(self.spot.bias, -7.0)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, LONGEST, words] of the word at each place, and [B, words] of each word's presence, for pixels [B, 3, S, S]."""
        tokens = self.norm(self.vision(pixels).float())
        queries = self.queries.expand(len(tokens), -1, -1)
        places = self.head(self.attention(queries, tokens, tokens, need_weights=False)[0])
        return places, self.spot(tokens).float().logsumexp(dim=1)

    def spotted(self, pieces: Tensor, cells: Tensor) -> Tensor:
        """Logits [B, words] of each word's presence in pieces [B, 3, h, w] whose patches have the numbers `cells` [B, N] in the picture."""
        tower = self.vision.vision_model
        tokens = tower.embeddings.patch_embedding(pieces).flatten(2).transpose(1, 2)
        tokens = tower.encoder(inputs_embeds=tokens + tower.embeddings.position_embedding(cells)).last_hidden_state
        tokens = self.norm(self.vision.aligner(tower.post_layernorm(tokens)).float())
        return self.spot(tokens).float().logsumexp(dim=1)


class _Words:
    """Batches of pieces of pictures with words, as they stand in sentences, in the prompts' letterings."""

    def __init__(
        self, cache: PairCache, sentences: Sequence[Sequence[str]], numbers: dict[str, int], patch: int, side: int
    ):
        self.grounds, self.numbers, self.patch, self.side = cache["target"], numbers, patch, side
        self.by_word: dict[str, list[Sequence[str]]] = {word: [] for word in numbers if word}
        for sentence in sentences:
            for word in dict.fromkeys(sentence):
                self.by_word[word].append(sentence)
        self.faces = [typeface(TextStyle(face)).path for face in ("sans", "sans", "serif", "comic")]

    def batch(self, count: int, spread: float, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Bytes [B, 3, h, w], the numbers of their patches [B, N], the word that is asked for [B], and of every word [B, words]
        whether it, or a part of it, stands beside that one. `spread` is how differently words look and stand, 0 to 1."""
        rows, columns = (min(many, self.side) for many in _PIECE)
        height, width = rows * self.patch, columns * self.patch
        words, pieces = list(self.by_word), []
        asked, beside = torch.zeros(count, dtype=torch.long), torch.zeros(count, len(self.numbers), dtype=torch.bool)
        for number in range(count):
            word = words[random.integers(len(words))]
            sentence = self.by_word[word][random.integers(len(self.by_word[word]))]
            ground = self.grounds[random.integers(len(self.grounds))]
            top, left = (int(random.integers(max(len(ground) - length, 0) + 1)) for length in (height, width))
            piece = Image.fromarray(np.ascontiguousarray(ground[top : top + height, left : left + width])).resize(
                (width, height)
            )
            asked[number] = self.numbers[word]
            for seen in self._write(piece, word, sentence, spread, random):
                beside[number, self.numbers[seen]] = seen != word
            pieces.append(np.asarray(piece))
        top, left = (
            torch.from_numpy(random.integers(0, self.side - many + 1, size=(count, 1, 1))) for many in (rows, columns)
        )
        cells = (top + torch.arange(rows)[:, None]) * self.side + left + torch.arange(columns)
        return torch.from_numpy(np.stack(pieces)).permute(0, 3, 1, 2), cells.flatten(1), asked, beside

    def _write(
        self, piece: Image.Image, word: str, sentence: Sequence[str], spread: float, random: np.random.Generator
    ) -> Iterator[str]:
        """Put a word, and what stands beside it in the sentence, on a piece; every word that shows."""
        at = sentence.index(word)
        varied = random.random(3) < spread
        cased = [str.lower, str.capitalize, str.upper][random.choice(3, p=(0.6, 0.2, 0.2)) if varied[0] else 0]
        path = self.faces[random.integers(len(self.faces)) if varied[1] else 0]
        size = round(_USUAL * (1 + spread * random.uniform(-0.4, 0.6)))
        while (font := quick_font(path, size)).getlength(cased(word)) > piece.width - 4 and size > 6:
            size -= 2
        pen = ImageDraw.Draw(piece)
        x = 4 + spread * (random.uniform(2, piece.width - 2 - font.getlength(cased(word))) - 4)
        baseline = piece.height / 2 + size / 3
        baseline += spread * (random.uniform(size * 0.8, piece.height - size * 0.25) - baseline)
        fill, outline = [("black", "white"), ("white", "black")][random.integers(2)]
        look = dict(fill=fill, stroke_fill=outline, stroke_width=1, font=font, anchor="ls")
        # Neighbours come last of all.
        shown = range(len(sentence)) if varied[2] else range(at, at + 1)
        beginning = x - font.getlength("".join(f"{before} " for before in sentence[: at if varied[2] else 0]))
        for number in shown:
            drawn = cased(sentence[number]) if number == at else sentence[number]
            end = beginning + font.getlength(drawn)
            if end > 0 and beginning < piece.width:
                pen.text((beginning, baseline), drawn, **look)
                yield sentence[number]
            beginning = end + font.getlength(" ")


quick_font = functools.lru_cache(maxsize=256)(ImageFont.truetype)


def words_of(name: str) -> list[str]:
    """What the prompt of a scene says, by the name of its pair."""
    return example_from_name(name).words.lower().replace(".", "").replace(",", "").split()[:LONGEST]


def train_reading(config: ReadingConfig, cache: PairCache) -> Path:
    """Train on a cache of scenes, from the last state if there is one; the tower's file."""
    torch.manual_seed(config.seed)
    device = accelerator() or torch.device("cpu")
    sentences = [words_of(name) for name in cache.names]
    vocabulary = ["", *sorted({word for sentence in sentences for word in sentence})]
    numbers = {word: number for number, word in enumerate(vocabulary)}
    targets = torch.tensor([[numbers[word] for word in s] + [0] * (LONGEST - len(s)) for s in sentences])
    vision = fresh_tower(config.tower)
    reader = Reader(vision, len(vocabulary)).to(device)
    pictures = cache["vision"]
    pieces = _Words(
        cache, sentences, numbers, vision.config.patch_size, vision.config.image_size // vision.config.patch_size
    )

    def loss_of(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        random = np.random.default_rng((config.seed, step))
        if step < config.word_steps:
            spread = min(1.0, step / (_SPREADING * config.word_steps))
            return _word_loss(reader, pieces.batch(config.word_batch_size, spread, random), device, config)
        chosen = np.sort(random.integers(cache.count, size=config.batch_size))
        moved = _moved(torch.from_numpy(pictures[chosen]).permute(0, 3, 1, 2), config.shift, random)
        return _sentence_loss(reader, moved, targets[chosen], device, config)

    with quick_attention(device):
        fit(
            reader,
            loss_of,
            config.word_steps + config.steps,
            config,
            betas=(0.9, 0.98),
            weight_decay=0.03,
            plain=("head", "spot"),
        )
    return write_tower(Path(config.out) / "vision.safetensors", vision)


def _word_loss(
    reader: Reader, batch: tuple[Tensor, ...], device: torch.device, config: ReadingConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    pieces, cells, asked, beside = (part.to(device) for part in batch)
    with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
        presence = reader.spotted(pieces.float() / 127.5 - 1, cells)
    # Which of the words is there; those beside it are right as well, and not asked for.
    presence = presence.masked_fill(beside, -math.inf)
    return F.cross_entropy(presence, asked), {"words right": (presence.argmax(-1) == asked).float().mean()}


def _sentence_loss(
    reader: Reader, pictures: Tensor, wanted: Tensor, device: torch.device, config: ReadingConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    wanted = wanted.to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
        places, presence = reader(pictures.to(device).float() / 127.5 - 1)
    errors = F.cross_entropy(places.float().flatten(0, 1), wanted.flatten(), reduction="none").view_as(wanted)
    # Places after the sentence count little: most are.
    weights = torch.where(wanted > 0, 1.0, 0.1)
    there = torch.zeros_like(presence, dtype=torch.bool).scatter_(1, wanted, True)[:, 1:]
    loss = (errors * weights).sum() / weights.sum() + presence_loss(presence[:, 1:], there, ~there)
    right = (places.argmax(-1) == wanted)[wanted > 0].float().mean()
    return loss, {"words in place": right, "imagined": (presence[:, 1:] > 0)[~there].float().mean()}


def presence_loss(logits: Tensor, there: Tensor, absent: Tensor) -> Tensor:
    """Cross entropy of the logits [B, words] for words that are there and for words that are not, as much for both; those of
    neither kind do not count."""
    errors = F.binary_cross_entropy_with_logits(logits, there.float(), reduction="none")
    return errors[there].mean() + (errors * absent).sum(dim=1).mean() / 4


def _moved(pictures: Tensor, by: int, random: np.random.Generator) -> Tensor:
    """Bytes [B, 3, S, S], each moved by up to `by` pixels, edges repeated."""
    size = pictures.shape[-1]
    places = torch.arange(size)
    moved = []
    for picture, (down, right) in zip(pictures, random.integers(-by, by + 1, size=(len(pictures), 2)).tolist()):
        moved.append(picture[:, (places + down).clamp(0, size - 1)][:, :, (places + right).clamp(0, size - 1)])
    return torch.stack(moved)
