"""The configuration of a training run: a YAML file, and overrides from the command line.

pydantic validates it. ComfyUI's server imports pydantic itself, and the `train` extra lists it for the library.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass

OptimizerName = Literal["adamw", "muon"]
ScheduleName = Literal["constant", "cosine"]
Mode = Literal["scratch", "finetune", "lora"]
Precision = Literal["no", "bf16", "fp16"]
T = TypeVar("T")


class ConfigError(ValueError):
    """A training configuration is invalid; the message names the field, its value and what is expected."""


def _as_data_source(value: object) -> object:
    """A bare path is a source of weight 1."""
    return {"path": value} if isinstance(value, str) else value


def _no_as_text(value: object) -> object:
    """YAML reads a bare `no` as false."""
    return "no" if value is False else value


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


Whole = Annotated[int, Strict()]
AtLeast0 = Annotated[Whole, Field(ge=0)]
AtLeast1 = Annotated[Whole, Field(ge=1)]
Number = Annotated[float, BeforeValidator(_no_bool)]
"""YAML reads 1e-5 as text, which pydantic converts."""
Positive = Annotated[Number, Field(gt=0)]
Switch = Annotated[bool, Strict()]
UserPath = Annotated[str, AfterValidator(os.path.expanduser)]
"""A path as users write it, with `~` for the home folder."""

FORBID_UNKNOWN = ConfigDict(extra="forbid")
"""For dataclasses that `validated` makes: a misspelt field is an error."""


@dataclass(frozen=True, config=FORBID_UNKNOWN)
class LoraSettings:
    """Low-rank adapters of the velocity network's linear layers; `layers` is a regular expression of their names."""

    rank: AtLeast1 = 16
    alpha: Number = 16
    dropout: Number = 0
    layers: str = r".*\.(query_key_value|query|key_value|dense|w0|w1|w2)"


@dataclass(frozen=True, config=FORBID_UNKNOWN)
class DataSource:
    """Training pairs at `path`, sampled in proportion to `weight`.

    `path` is a pair folder, shards, or `NAME:…` for a source that is registered under NAME (see `sources.open_source`).
    """

    path: UserPath
    weight: Positive = 1


@dataclass(frozen=True, config=FORBID_UNKNOWN)
class TrainingConfig:
    """A training run. The defaults are the authors', except for batch size and steps.

    Reference: the paper's appendix, and upstream's `configs/flowinone_training_demo.py`.

    `mode`: "scratch" trains a new network with the `FlowInOneConfig` fields in `network`, "finetune" all of
    `checkpoint`, "lora" low-rank adapters for it. `vision` and `vae` are files as for `flowinone generate`.
    `train_vision` trains the vision tower as well; in mode scratch, `tower` gives the `JanusVisionConfig` fields of a
    new one. `train_prompt: false` freezes the prompt encoder.

    `batch_size` is per process and forward pass; an optimizer step takes `accumulation` of them. `warmup` and all
    intervals are in optimizer steps. Muon needs fewer steps than AdamW from scratch; the released network was trained
    with AdamW.

    `cache` is the number of pairs to load and encode once, into `cache_folder` (default: the run's folder), and to
    sample from with replacement; 0 streams pairs instead. A cache excludes the contrastive term, which needs the target
    pictures themselves.

    The first `source_steps` steps are latent regression: they train only the prompt encoder, and the tower if
    `train_vision` is set, to predict the target latent. From scratch that saves many flow-matching steps.
    `source_weight` is the weight of the same term in the remaining steps.

    `samples` are prompts as `flowinone generate` takes them; a sheet of pictures for them is written every
    `sample_every` steps, with `sample_steps` solver steps at `guidance_scale`.
    """

    out: UserPath
    data: tuple[Annotated[DataSource, BeforeValidator(_as_data_source)], ...]
    mode: Mode = "finetune"
    checkpoint: UserPath = ""
    vision: UserPath = ""
    vae: UserPath = ""
    network: dict[str, Any] = dataclasses.field(default_factory=dict)
    tower: dict[str, Any] = dataclasses.field(default_factory=dict)
    train_vision: Switch = False
    train_prompt: Switch = True
    lora: LoraSettings = LoraSettings()

    seed: Whole = 0
    steps: AtLeast1 = 10_000
    source_steps: AtLeast0 = 0
    batch_size: AtLeast1 = 4
    accumulation: AtLeast1 = 1
    optimizer: OptimizerName = "adamw"
    learning_rate: Positive = 1e-5
    warmup: AtLeast0 = 5_000
    schedule: ScheduleName = "constant"
    betas: tuple[Number, Number] = (0.9, 0.9)
    weight_decay: Number = 0.03
    clip: Number = 1.0
    ema: Annotated[Number, Field(ge=0, lt=1)] = 0.9999
    null_probability: Annotated[Number, Field(ge=0, lt=1)] = 0.1
    kl_weight: Number = 0.01
    contrastive_weight: Number = 1.0
    source_weight: Number = 0.0

    precision: Annotated[Precision, BeforeValidator(_no_as_text)] = "no"
    gradient_checkpointing: Switch = False
    workers: AtLeast0 = 2
    cache: AtLeast0 = 0
    cache_folder: UserPath = ""
    log_every: AtLeast1 = 10
    checkpoint_every: AtLeast1 = 500
    keep: AtLeast1 = 2
    sample_every: AtLeast1 = 500
    samples: tuple[UserPath, ...] = ()
    sample_steps: AtLeast1 = 20
    guidance_scale: Number = 7.0

    def __post_init__(self):
        if not self.data:
            raise ValueError("data is empty; name at least one folder or pattern of shards")
        if self.mode != "scratch" and not self.checkpoint:
            raise ValueError(f"checkpoint is empty; mode {self.mode} starts from a FlowInOne network")
        if self.mode == "scratch" and self.checkpoint:
            raise ValueError("checkpoint is not used in mode scratch; remove it, or choose mode finetune")
        if not self.vae:
            raise ValueError("vae is empty; name a Stable Diffusion 1.x VAE")
        if not self.vision and not (self.mode == "scratch" and self.tower):
            raise ValueError(
                "vision is empty; name a Janus-Pro vision tower, or in mode scratch give a new tower's shape in tower"
            )
        if self.tower and not self.train_vision:
            raise ValueError("train_vision is false, but a new tower must be trained to be of use; set it to true")
        if not self.train_prompt and (self.source_steps or self.source_weight):
            raise ValueError(
                "source_steps and source_weight train the prompt encoder, which train_prompt: false freezes; "
                "set them to 0, or train_prompt to true"
            )
        if self.cache and self.contrastive_weight and self.mode == "finetune":
            raise ValueError(
                "contrastive_weight needs the target pictures, but a cache keeps only their latents; "
                "set contrastive_weight or cache to 0"
            )


def read_config(path: str | os.PathLike | None, overrides: Sequence[str] = ()) -> TrainingConfig:
    """The configuration in a YAML file (None: the defaults), with overrides.

    `overrides` are each `field=value` or `field.field=value`, with YAML values. Raises ConfigError for an invalid file,
    field or value, OSError for a missing file.
    """
    fields = {} if path is None else read_yaml(path)
    for override in overrides:
        apply_override(fields, override)
    return validated(TrainingConfig, fields)


def read_yaml(path: str | os.PathLike) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError for anything else, OSError for a missing file."""
    import yaml

    with open(path, encoding="utf-8") as file:
        try:
            fields = yaml.safe_load(file) or {}
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(fields, dict):
        raise ConfigError(f"{path} contains no fields; expected lines such as steps: 1000")
    return fields


def apply_override(fields: dict[str, Any], override: str) -> None:
    """Set `field.field=value` in nested fields, in place. Raises ConfigError for a malformed override."""
    import yaml

    name, separator, value = override.partition("=")
    if not separator:
        raise ConfigError(f"{override!r} is not an override; write field=value")
    *parents, last = name.split(".")
    for parent in parents:
        fields = fields.setdefault(parent, {})
        if not isinstance(fields, dict):
            raise ConfigError(f"{name} cannot be set: {parent} has no fields")
    try:
        fields[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"{name} is {value!r}, which is not valid YAML; put it in quotes") from None


def as_fields(config: TrainingConfig) -> dict[str, Any]:
    """The configuration as JSON-compatible fields, which `read_config` reads back."""
    return json.loads(json.dumps(dataclasses.asdict(config)))  # type: ignore[call-overload]


def validated(kind: type[T], fields: Mapping[str, Any]) -> T:
    """A dataclass, made from fields by name. Raises ConfigError, naming the first field that is invalid."""
    try:
        return pydantic.TypeAdapter(kind).validate_python(dict(fields))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(_explained(kind, first["type"], first["loc"], first["input"], first["msg"])) from None


def _explained(kind: type, problem: str, place: tuple[int | str, ...], value: object, message: str) -> str:
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
    if problem in ("missing", "missing_argument"):
        return f"{name} is missing"
    if problem in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{name} is not a field; choose from {', '.join(_sibling_fields(kind, place))}"
    if not name:
        return message.removeprefix("Value error, ")
    expected = message.removeprefix("Value error, ").removeprefix("Input should be ").removeprefix("expected ")
    if problem.startswith(("greater", "less")):
        expected = f"a number {expected}"
    return f"{name} is {value!r}; expected {expected.replace('valid tuple', 'list')}"


def _sibling_fields(kind: type, place: tuple[int | str, ...]) -> list[str]:
    """The valid names for the last part of a place."""
    inner = {"lora": LoraSettings, "data": DataSource}.get(str(place[0]), kind) if len(place) > 1 else kind
    return [field.name for field in dataclasses.fields(inner)]
