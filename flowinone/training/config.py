"""What a training run is: a YAML file, field by field, and changes to it from the command line."""

import dataclasses
import os
import types
import typing
from collections.abc import Sequence
from typing import Literal

from .optimizers import Kind

Mode = Literal["scratch", "finetune", "lora"]
Precision = Literal["no", "bf16", "fp16"]


class ConfigError(ValueError):
    """A field of a training configuration that cannot be; the message names it, what was wrong and what is expected."""


def _least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{name} is {value}; expected at least {least}")


@dataclasses.dataclass(frozen=True)
class LoraSettings:
    """Low-rank updates of the velocity network's matrices; `layers` is a regular expression for their names."""

    rank: int = 16
    alpha: float = 16
    dropout: float = 0
    layers: str = r".*\.(query_key_value|query|key_value|dense|w0|w1|w2)"

    def __post_init__(self):
        _least("lora.rank", self.rank, 1)


@dataclasses.dataclass(frozen=True)
class Source:
    """Training pairs at `path`, a folder or shards, drawn in proportion to `weight`."""

    path: str
    weight: float = 1

    def __post_init__(self):
        if not self.weight > 0:
            raise ConfigError(f"data weight of {self.path} is {self.weight}; expected more than 0")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """A run. Defaults are the authors' (reference: paper, appendix; `configs/flowinone_training_demo.py`), batch and steps apart.

    `mode`: scratch trains a network of the shape `network` (`FlowInOneConfig` fields), finetune the whole of `checkpoint`, lora
    low-rank updates to it. `vision` and `vae` are files as for `flowinone generate`; `train_vision` lets the tower learn, too;
    without `train_prompt` the prompt encoder stays as it is.
    `batch_size` is per process and step; a step takes `accumulation` of them. Times are in optimizer steps.
    `cache` is how many pairs to draw and encode once, in `cache_folder` (or the run's folder), and to train on again and again;
    0 draws a new pair every time. Caching does without the contrastive term, which looks at the target pictures.
    The first `source_steps` steps train the prompt encoder alone, and the tower if it learns, to guess the target: from
    scratch they save many more. `source_weight` is how much that counts in the others.
    `optimizer` muon learns in fewer steps from scratch; the released network was trained with adamw.
    `samples` are prompts, pictures or documents as `flowinone generate` takes them, that are answered every `sample_every` steps.
    """

    out: str
    data: tuple[Source, ...]
    mode: Mode = "finetune"
    checkpoint: str = ""
    vision: str = ""
    vae: str = ""
    network: dict = dataclasses.field(default_factory=dict)
    tower: dict = dataclasses.field(default_factory=dict)
    train_vision: bool = False
    train_prompt: bool = True
    lora: LoraSettings = LoraSettings()

    seed: int = 0
    steps: int = 10_000
    source_steps: int = 0
    batch_size: int = 4
    accumulation: int = 1
    optimizer: Kind = "adamw"
    learning_rate: float = 1e-5
    warmup: int = 5_000
    schedule: Literal["constant", "cosine"] = "constant"
    betas: tuple[float, float] = (0.9, 0.9)
    weight_decay: float = 0.03
    clip: float = 1.0
    ema: float = 0.9999
    null_probability: float = 0.1
    kl_weight: float = 0.01
    contrastive_weight: float = 1.0
    source_weight: float = 0.0

    precision: Precision = "no"
    gradient_checkpointing: bool = False
    workers: int = 2
    cache: int = 0
    cache_folder: str = ""
    log_every: int = 10
    checkpoint_every: int = 500
    keep: int = 2
    sample_every: int = 500
    samples: tuple[str, ...] = ()
    sample_steps: int = 20
    guidance_scale: float = 7.0

    def __post_init__(self):
        for name in (
            "steps",
            "batch_size",
            "accumulation",
            "log_every",
            "checkpoint_every",
            "keep",
            "sample_every",
            "sample_steps",
        ):
            _least(name, getattr(self, name), 1)
        for name in ("source_steps", "warmup", "workers", "cache"):
            _least(name, getattr(self, name), 0)
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate is {self.learning_rate}; expected more than 0")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"ema is {self.ema}; expected 0 (off) to less than 1")
        if not 0 <= self.null_probability < 1:
            raise ConfigError(f"null_probability is {self.null_probability}; expected 0 to less than 1")
        if self.cache and self.contrastive_weight and self.mode == "finetune":
            raise ConfigError(
                "contrastive_weight looks at target pictures, which a cache has encoded away; set it or cache to 0"
            )
        if not self.data:
            raise ConfigError("data is empty; name at least one folder or pattern of shards")
        if self.mode != "scratch" and not self.checkpoint:
            raise ConfigError(f"checkpoint is empty; mode {self.mode} starts from a FlowInOne network")
        if self.mode == "scratch" and self.checkpoint:
            raise ConfigError("checkpoint has no place in mode scratch; leave it out, or choose finetune")
        if not self.train_prompt and (self.source_steps or self.source_weight):
            raise ConfigError(
                "source_steps and source_weight teach the prompt encoder, which train_prompt leaves as it is; set them to 0, or train_prompt to true"
            )
        if not self.vae:
            raise ConfigError("vae is empty; name a Stable Diffusion 1.x VAE")
        if not self.vision and not (self.mode == "scratch" and self.tower):
            raise ConfigError(
                "vision is empty; name a Janus-Pro vision tower, or in mode scratch give the shape of a new one as tower"
            )
        if self.tower and not self.train_vision:
            raise ConfigError("train_vision is false, and a new tower that never learns sees nothing; set it to true")


def read_config(path: str | os.PathLike | None, changes: Sequence[str] = ()) -> TrainingConfig:
    """The configuration of a YAML file (None for the defaults) with `changes`, each `field=value` or `field.field=value`.

    Values of changes are YAML, too. Raises ConfigError for files and fields that cannot be, OSError where there is no file.
    """
    import yaml

    fields = {}
    if path is not None:
        with open(path, encoding="utf-8") as file:
            try:
                fields = yaml.safe_load(file) or {}
            except yaml.YAMLError as error:
                raise ConfigError(f"{path} is not YAML: {error}") from None
        if not isinstance(fields, dict):
            raise ConfigError(f"{path} holds no fields; expected lines such as steps: 1000")
    for change in changes:
        name, separator, value = change.partition("=")
        if not separator:
            raise ConfigError(f"{change!r} changes nothing; write field=value")
        *parents, last = name.split(".")
        place = fields
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{name}: {parent} has no fields")
        try:
            place[last] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"{name} is {value!r}, which is not YAML; put it in quotes") from None
    return _built(TrainingConfig, fields, "")


def as_fields(config: TrainingConfig) -> dict:
    """The configuration as dicts, lists, text and numbers, which `read_config` reads from a file."""
    return dataclasses.asdict(
        config, dict_factory=lambda pairs: {name: list(v) if isinstance(v, tuple) else v for name, v in pairs}
    )


def _built(kind: type, fields: object, where: str):
    if not isinstance(fields, dict):
        raise ConfigError(f"{where or 'the configuration'} is {fields!r}; expected fields")
    hints = typing.get_type_hints(kind)
    unknown = [name for name in fields if name not in hints]
    if unknown:
        raise ConfigError(f"{where}{unknown[0]} is no field; choose of {', '.join(hints)}")
    given = {name: _read(hints[name], value, f"{where}{name}") for name, value in fields.items()}
    missing = [
        f.name
        for f in dataclasses.fields(kind)
        if f.default is f.default_factory is dataclasses.MISSING and f.name not in given
    ]
    if missing:
        raise ConfigError(f"{where}{missing[0]} is missing")
    return kind(**given)


def _read(hint: object, value: object, where: str) -> object:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        # A path alone stands for a source of weight 1.
        return _built(hint, {"path": value} if hint is Source and isinstance(value, str) else value, f"{where}.")
    if origin is tuple:
        if not isinstance(value, list) or (arguments[-1] is not Ellipsis and len(value) != len(arguments)):
            raise ConfigError(f"{where} is {value!r}; expected a list")
        return tuple(_read(arguments[0], item, f"{where}[{number}]") for number, item in enumerate(value))
    if origin is Literal:
        # YAML reads a bare no as false.
        value = "no" if value is False and "no" in arguments else value
        if value not in arguments:
            raise ConfigError(f"{where} is {value!r}; choose one of {', '.join(arguments)}")
        return value
    if hint is float and isinstance(value, str):
        # YAML takes 1e-5 for text.
        try:
            value = float(value)
        except ValueError:
            pass
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", dict: "fields"}
        raise ConfigError(f"{where} is {value!r}; expected {names[hint]}")
    return types.MappingProxyType(value).copy() if hint is dict else value
