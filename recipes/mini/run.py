"""Train mini, the small model that ships with the package, from scratch: python recipes/mini/run.py --out runs/mini

Every stage is a YAML file next to this one; their order is that of their names. `pairs.yaml` has the sets of toy scenes
that they train on. A stage that was stopped resumes. After the last stage, the three files are in OUT/mini.

A stage's fields: `objective` chooses the training and what `settings` may contain (autoencoder: AutoencoderConfig,
decoder: DecoderConfig, ocr_pretraining: OCRConfig, latent_regression: LatentRegressionConfig, flow_matching:
TrainingConfig, as in a run file of `flowinone train`). `pairs` names a set, or for latent_regression several.
`encode_targets` is the autoencoder whose latents of the sets' targets are needed. `initial` writes the checkpoint that
the stage starts from, either merged of a `prompt_encoder` and a `velocity_network`, or a `checkpoint` with another
`source_deviation`; `final_source_deviation` writes flowinone_final.safetensors likewise. $OUT is the folder --out.
"""

import argparse
import dataclasses
import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic.dataclasses import dataclass

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from flowinone import mini  # noqa: E402
from flowinone.autoencoder import autoencoder_from_state_dict  # noqa: E402
from flowinone.hardware import accelerator  # noqa: E402
from flowinone.toy import SOURCE_NAME, open_scenes  # noqa: E402
from flowinone.training.cache import PairCache  # noqa: E402
from flowinone.training.data import Mixture  # noqa: E402
from flowinone.training.loop import train  # noqa: E402
from flowinone.training.run_config import (  # noqa: E402
    FORBID_UNKNOWN,
    TrainingConfig,
    apply_override,
    as_fields,
    read_yaml,
    validated,
)
from flowinone.weights.checkpoint import open_autoencoder  # noqa: E402
from recipes.mini.autoencoder_training import (  # noqa: E402
    AutoencoderConfig,
    DecoderConfig,
    train_autoencoder,
    train_decoder,
)
from recipes.mini.checkpoint_edits import merge, with_source_deviation, write_shipped_files  # noqa: E402
from recipes.mini.latent_regression import LatentRegressionConfig, train_latent_regression  # noqa: E402
from recipes.mini.ocr_pretraining import OCRConfig, train_ocr  # noqa: E402

FOLDER = Path(__file__).parent


@dataclass(frozen=True, config=FORBID_UNKNOWN)
class PairSet:
    """`count` scenes; `weights` are the tasks' sampling weights."""

    count: int
    seed: int
    weights: dict[str, float]


@dataclass(frozen=True, config=FORBID_UNKNOWN)
class Stage:
    """A stage's YAML file, as the module's docstring describes it."""

    objective: Literal["autoencoder", "decoder", "ocr_pretraining", "latent_regression", "flow_matching"]
    pairs: str | list[str]
    settings: dict[str, Any]
    encode_targets: str = ""
    initial: dict[str, Any] = dataclasses.field(default_factory=dict)
    final_source_deviation: float = 0.0


def stage_names() -> list[str]:
    """The stages in their order."""
    return sorted(file.stem for file in FOLDER.glob("[0-9]*.yaml"))


class Recipe:
    """The stages and pair sets, with all paths in the folder `out`.

    `overrides` are such as `01_autoencoder.settings.steps=100` or `pairs.sets.base.count=512`. Raises ConfigError for
    invalid fields.
    """

    def __init__(self, out: Path, processes: int = 1, overrides: Sequence[str] = ()):
        self.out, self.processes = out, processes
        fields = {name: read_yaml(FOLDER / f"{name}.yaml") for name in ["pairs", *stage_names()]}
        for override in overrides:
            apply_override(fields, override)
        pairs = fields.pop("pairs")
        self.image_size, self.vision_size = pairs["image_size"], pairs["vision_size"]
        self.sets = {name: validated(PairSet, values) for name, values in pairs["sets"].items()}
        self.stages = {name: validated(Stage, _in_folder(values, str(out))) for name, values in fields.items()}
        for name in self.stages:
            self.config(name)

    def config(self, name: str) -> Any:
        """The configuration object of a stage's training."""
        stage = self.stages[name]
        fields = {"out": str(self.out / name), **stage.settings}
        if stage.objective == "flow_matching":
            pairs = self.sets[stage.pairs]
            fields |= {
                "data": [{"path": f"{SOURCE_NAME}:{task}", "weight": weight} for task, weight in pairs.weights.items()],
                "seed": pairs.seed,
                "cache": pairs.count,
                "cache_folder": str(self.out / "pairs" / stage.pairs),
            }
        kinds = {
            "autoencoder": AutoencoderConfig,
            "decoder": DecoderConfig,
            "ocr_pretraining": OCRConfig,
            "latent_regression": LatentRegressionConfig,
            "flow_matching": TrainingConfig,
        }
        return validated(kinds[stage.objective], fields)

    def cache(self, name: str) -> PairCache:
        """A set's scenes, rendered if they are not there yet."""
        pairs = self.sets[name]
        cache = PairCache(self.out / "pairs" / name, pairs.count, self.vision_size, self.image_size)
        sizes = dict(seed=pairs.seed, image_size=self.image_size, vision_size=self.vision_size)
        sources = [(open_scenes(task, **sizes), weight) for task, weight in pairs.weights.items()]
        cache.fill(Mixture(sources, pairs.seed), self.processes)
        return cache

    def run(self, name: str) -> bool:
        """Run a stage, from its last snapshot if there is one; whether it reached its end."""
        stage, config = self.stages[name], self.config(name)
        names = [stage.pairs] if isinstance(stage.pairs, str) else stage.pairs
        caches = {pairs: self.cache(pairs) for pairs in names}
        if stage.encode_targets:
            for cache in caches.values():
                _encode_targets(cache, stage.encode_targets)
        (self.out / name).mkdir(exist_ok=True)
        self._write_initial(name)
        match stage.objective:
            case "autoencoder":
                train_autoencoder(config, caches[stage.pairs])
            case "decoder":
                train_decoder(config, caches[stage.pairs])
            case "ocr_pretraining":
                train_ocr(config, caches[stage.pairs])
            case "latent_regression":
                # A set that is named twice is sampled twice as often.
                train_latent_regression(config, [caches[pairs] for pairs in names])
            case "flow_matching":
                if not self._train(config):
                    return False
        if stage.final_source_deviation:
            with_source_deviation(
                self.out / name / "flowinone.safetensors",
                self.out / name / "flowinone_final.safetensors",
                stage.final_source_deviation,
            )
        return True

    def ship(self, folder: Path) -> list[Path]:
        """Write the three files of the last stages to a folder, as the package has them; their paths."""
        *_, regression, flow = stage_names()
        return write_shipped_files(
            self.out / flow / "flowinone_final.safetensors",
            self.out / regression / "vision.safetensors",
            self.out / "02_decoder" / "vae.safetensors",
            self.cache("base"),
            folder,
        )

    def _write_initial(self, name: str) -> None:
        initial, target = self.stages[name].initial, self.out / name / "initial.safetensors"
        if "source_deviation" in initial:
            with_source_deviation(Path(initial["checkpoint"]), target, initial["source_deviation"])
        elif initial:
            merge(Path(initial["prompt_encoder"]), Path(initial["velocity_network"]), target)

    def _train(self, config: TrainingConfig) -> bool:
        """Run `flowinone train`, in this process or in several; whether it reached its end."""
        if self.processes == 1:
            return not train(config, sources={SOURCE_NAME: open_scenes}).stopped
        file = Path(config.out) / "run.yaml"
        # JSON is YAML.
        file.write_text(json.dumps(as_fields(config), indent=1), encoding="utf-8")
        # Not accelerate's own launcher, which starts a single process where there is no GPU.
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        processes = f"--nproc-per-node={self.processes}"
        subprocess.run([*launcher, processes, "-m", "flowinone", "train", str(file)], cwd=ROOT, check=True)
        return True


def _in_folder(value: Any, out: str) -> Any:
    """Nested fields with $OUT replaced."""
    if isinstance(value, dict):
        return {name: _in_folder(inner, out) for name, inner in value.items()}
    return value.replace("$OUT", out) if isinstance(value, str) else value


def _encode_targets(cache: PairCache, vae: str) -> None:
    file = open_autoencoder(vae)
    autoencoder = autoencoder_from_state_dict(file.tensors(torch.float32), **file.settings)
    cache.encode("target", autoencoder, accelerator() or torch.device("cpu"), torch.bfloat16)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for snapshots, logs and 40 GB of toy scenes")
    parser.add_argument(
        "--stages", nargs="+", metavar="NN", help="numbers or names of the stages to run (default: all, in order)"
    )
    parser.add_argument(
        "--processes", type=int, default=1, help="for flow matching and rendering; on a CPU, one per core (default: 1)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME.FIELD=VALUE",
        help="override a field, such as 01_autoencoder.settings.steps=100 or pairs.sets.base.count=512; repeatable",
    )
    parser.add_argument("--install", action="store_true", help="write the three files into the package itself")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    names = stage_names()
    chosen = [name for name in names if not options.stages or {name, name[:2]} & set(options.stages)]
    unknown = [given for given in options.stages or [] if given not in names and given not in {n[:2] for n in names}]
    if unknown:
        parser.error(f"there is no stage {unknown[0]}; choose from {', '.join(names)}")
    recipe = Recipe(options.out.resolve(), options.processes, options.set)
    for name in chosen:
        logging.info("stage %s", name)
        if not recipe.run(name):
            return 130
    if names[-1] in chosen:
        for file in recipe.ship(mini.NETWORK.parent if options.install else options.out / "mini"):
            print(f"written: {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
