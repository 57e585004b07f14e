"""Train mini, the small model that ships with the package, from nothing: python recipes/mini/train.py --out runs/mini

Made-up scenes, drawn once; an autoencoder of their pictures; more of its decoder, on the answers; a vision tower that reads
their words; a network behind them, for its velocities; another's prompt encoder, which guesses answers, at first behind the
tower, then together with it; the network of both; that together with the tower; guesses again; guesses of what stands where;
a finer prompt encoder's; those on more scenes; velocities from close around its guesses; guesses once more, above all of
things that move or are swapped; and velocities behind those. Each stage goes on where it was stopped.
"""

import argparse
import json
import logging
import math
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from flowinone import mini  # noqa: E402
from flowinone.autoencoder import autoencoder_from_state_dict, latents_of_moments  # noqa: E402
from flowinone.hardware import accelerator  # noqa: E402
from flowinone.model.names import native_name  # noqa: E402
from flowinone.training.cache import PairCache  # noqa: E402
from flowinone.training.config import Source, TrainingConfig, as_fields  # noqa: E402
from flowinone.training.data import Mixture  # noqa: E402
from flowinone.training.export import preview_factors, write_weights  # noqa: E402
from flowinone.training.loop import source_at, train  # noqa: E402
from flowinone.weights.checkpoint import open_autoencoder  # noqa: E402
from flowinone.weights.weightfile import open_weights  # noqa: E402
from recipes.mini.autoencoder_training import AutoencoderConfig, DecoderConfig, train_autoencoder, train_decoder  # noqa: E402
from recipes.mini.latent_regression import GuessingConfig, train_guessing  # noqa: E402
from recipes.mini.ocr_pretraining import ReadingConfig, train_reading  # noqa: E402

IMAGE_SIZE, VISION_SIZE = 128, 192
PAIRS, MORE_PAIRS, FLOW_PAIRS, HARDER_PAIRS, LAST_PAIRS = 49_152, 81_920, 20_480, 24_576, 16_384
SEED = 0
# Tasks that need reading are the hardest.
SHARES = {
    "class_to_image": 0.7,
    "text_to_image": 1.6,
    "text_in_image": 1.6,
    "text_box": 1.3,
    "visual_marker": 1.1,
    "doodle": 0.9,
    "point_force": 0.9,
    "wind": 0.6,
    "trajectory": 1.0,
}
# Of those that were learnt by heart, most.
MORE_SHARES = {
    "class_to_image": 0.3,
    "text_to_image": 2.0,
    "text_in_image": 1.0,
    "text_box": 1.3,
    "visual_marker": 1.5,
    "doodle": 0.8,
    "point_force": 1.0,
    "wind": 1.7,
    "trajectory": 1.4,
}
FLOW_SHARES = {
    "class_to_image": 0.4,
    "text_to_image": 1.5,
    "text_in_image": 1.3,
    "text_box": 1.5,
    "visual_marker": 1.6,
    "doodle": 0.9,
    "point_force": 1.0,
    "wind": 1.4,
    "trajectory": 1.8,
}
HARDER_SHARES = {
    "class_to_image": 0.1,
    "text_to_image": 0.4,
    "text_in_image": 0.7,
    "text_box": 0.7,
    "visual_marker": 2.4,
    "doodle": 0.2,
    "point_force": 1.2,
    "wind": 0.3,
    "trajectory": 4.0,
}
LAST_SHARES = FLOW_SHARES | {"trajectory": 4.0}
# Standard deviations of the source around a guess, for velocities and then for use. As training of guesses leaves it, 1, half of
# what the flow starts at is noise.
SPREAD, USED_SPREAD = 0.4, 0.12
TOWER = dict(
    hidden_size=128,
    num_hidden_layers=5,
    num_attention_heads=4,
    patch_size=16,
    image_size=VISION_SIZE,
    mlp_ratio=4.0,
    projection_dim=256,
    depth=2,
    num_image_tokens=144,
)
NETWORK = dict(
    token_count=144,
    token_width=256,
    context_length=48,
    context_width=128,
    context_layers=2,
    context_heads=4,
    context_mlp_width=256,
    reduced_widths=[16],
    latent_size=16,
    coarse_width=128,
    coarse_heads=4,
    coarse_blocks=7,
    coarse_mlp_width=256,
    gate_width=32,
    fine_width=96,
    fine_blocks=5,
    fine_mlp_width=192,
    fine_kernel=3,
)
# A token of the prompt encoder for each of the tower's: none need share one.
FINER = dict(context_length=144, reduced_widths=[6])
LEARNING = dict(
    batch_size=32,
    optimizer="muon",
    betas=(0.9, 0.98),
    weight_decay=0.01,
    ema=0.998,
    contrastive_weight=0.0,
    schedule="cosine",
    precision="bf16",
    cache=PAIRS,
    log_every=50,
    checkpoint_every=500,
    seed=SEED,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of states, logs and the 40 GB of drawn scenes")
    parser.add_argument("--processes", type=int, default=1, help="for the network's stages; on a CPU one for each core")
    parser.add_argument("--autoencoder-steps", type=int, default=3600)
    parser.add_argument("--decoder-steps", type=int, default=4000)
    parser.add_argument("--reading-steps", type=int, default=2000)
    parser.add_argument("--velocity-steps", type=int, default=5600)
    parser.add_argument("--guess-steps", type=int, default=1500)
    parser.add_argument(
        "--word-steps", type=int, nargs=3, default=(2500, 3000, 2150), help="in three runs, the last one later"
    )
    parser.add_argument("--network-steps", type=int, default=4000)
    parser.add_argument("--together-steps", type=int, default=4400)
    parser.add_argument(
        "--guessing-steps",
        type=int,
        nargs=4,
        default=(2000, 7000, 7000, 2800),
        help="of the old prompt encoder, of a finer one, with more scenes, and at last",
    )
    parser.add_argument(
        "--flow-steps", type=int, nargs=2, default=(2500, 2500), help="before and after the last guesses"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    out = options.out

    cache = scenes(out / "cache", PAIRS, SHARES, SEED, options.processes)
    vae = train_autoencoder(AutoencoderConfig(str(out / "vae"), steps=options.autoencoder_steps, seed=SEED), cache)
    encode_answers(cache, vae)
    vae = train_decoder(DecoderConfig(str(out / "decoder"), str(vae), steps=options.decoder_steps, seed=SEED), cache)
    vision = train_reading(ReadingConfig(str(out / "reading"), TOWER, steps=options.reading_steps, seed=SEED), cache)
    shared = dict(data=sources_of(SHARES), warmup=100, vae=str(vae), cache_folder=str(out / "cache"), **LEARNING)

    def stage(name: str, steps: int, rate: float, **fields) -> Path:
        """Train in a folder of that name; where the network is."""
        config = TrainingConfig(str(out / name), steps=steps, learning_rate=rate, **shared | fields)
        run(config, options.processes)
        return out / name / "flowinone.safetensors"

    fresh = dict(mode="scratch", network=NETWORK, vision=str(vision))
    velocity = stage("velocity", options.velocity_steps, 3e-3, warmup=200, **fresh)
    encoder = stage("guess", options.guess_steps, 3e-3, source_steps=options.guess_steps, **fresh)
    for name, steps, rate in zip(("words", "more_words"), options.word_steps, (1e-3, 1.5e-3)):
        encoder = stage(
            name, steps, rate, source_steps=steps, checkpoint=str(encoder), vision=str(vision), train_vision=True
        )
        vision = out / name / "vision.safetensors"
    begun = joined(encoder, velocity, out / "begun.safetensors")
    network = stage(
        "network", options.network_steps, 3e-3, checkpoint=str(begun), vision=str(vision), source_weight=1.0
    )
    both = dict(train_vision=True, warmup=50)
    network = stage(
        "together", options.together_steps, 2e-3, checkpoint=str(network), vision=str(vision), source_weight=1.0, **both
    )
    vision, last = out / "together" / "vision.safetensors", options.word_steps[2]
    network = stage("last_words", last, 8e-4, source_steps=last, checkpoint=str(network), vision=str(vision), **both)
    vision = out / "last_words" / "vision.safetensors"
    more = scenes(out / "more_cache", MORE_PAIRS, MORE_SHARES, SEED + 1, options.processes)
    encode_answers(more, vae)
    stages = ("places", 1.2e-3, {}, [cache]), ("finer", 1.6e-3, FINER, [cache]), ("more", 1.2e-3, {}, [cache, more])
    for (name, rate, shape, caches), steps in zip(stages, options.guessing_steps):
        config = GuessingConfig(str(out / name), str(network), str(vision), shape, SEED, steps, learning_rate=rate)
        network, vision = train_guessing(config, caches)

    def velocities(name: str, pairs: PairCache, shares: dict[str, float], seed: int, steps: int) -> Path:
        """Learn velocities from close around the guesses, which stay as they are; where the network is, narrowed for use."""
        begun = spread(network, out / f"{name}_begun.safetensors", SPREAD)
        data = dict(data=sources_of(shares), cache=pairs.count, cache_folder=str(pairs.folder), seed=seed)
        # Behind a sure guess, another's target is a loss ten times as large as its own: fewer of those.
        fields = dict(train_prompt=False, null_probability=0.05, precision="no", **data)
        learnt = stage(name, steps, 8e-4, checkpoint=str(begun), vision=str(vision), **fields)
        return spread(learnt, out / f"{name}_used.safetensors", USED_SPREAD)

    flow = scenes(out / "flow_cache", FLOW_PAIRS, FLOW_SHARES, SEED + 2, options.processes)
    network = velocities("flow", flow, FLOW_SHARES, SEED + 2, options.flow_steps[0])
    harder = scenes(out / "harder_cache", HARDER_PAIRS, HARDER_SHARES, SEED + 3, options.processes)
    encode_answers(harder, vae)
    encode_answers(flow, vae)
    # How sure the guesses are stays as it is.
    config = GuessingConfig(
        str(out / "ends"),
        str(network),
        str(vision),
        seed=SEED,
        steps=options.guessing_steps[3],
        learning_rate=1e-3,
        reading_weight=0.5,
        kl_weight=0.0,
        bf16=False,
    )
    network, vision = train_guessing(config, [flow, harder, harder])
    # Scenes that those guesses have not learnt from, for theirs are better.
    last = scenes(out / "last_cache", LAST_PAIRS, LAST_SHARES, SEED + 4, options.processes)
    network = velocities("last_flow", last, LAST_SHARES, SEED + 4, options.flow_steps[1])
    ship(network, vision, vae, cache)


def sources_of(shares: dict[str, float]) -> tuple[Source, ...]:
    """Scenes of every task, as training's data."""
    return tuple(Source(f"scenes:{task}", share) for task, share in shares.items())


def scenes(folder: Path, count: int, shares: dict[str, float], seed: int, processes: int) -> PairCache:
    """So many scenes, drawn if they are not there."""
    cache = PairCache(folder, count, VISION_SIZE, IMAGE_SIZE)
    sources = [(source_at(f"scenes:{task}", seed, IMAGE_SIZE, VISION_SIZE), share) for task, share in shares.items()]
    cache.fill(Mixture(sources, seed), processes)
    return cache


def encode_answers(cache: PairCache, vae: Path) -> None:
    """Add the answers' moments to a cache, if that autoencoder has not."""
    file = open_autoencoder(vae)
    autoencoder = autoencoder_from_state_dict(file.tensors(torch.float32), **file.settings)
    cache.encode("target", autoencoder, accelerator() or torch.device("cpu"), torch.bfloat16)


def joined(encoder: Path, velocity: Path, target: Path) -> Path:
    """A network with the one's prompt encoder and the other's velocity network."""
    files = {True: open_weights(encoder), False: open_weights(velocity)}
    tensors = {name: files[native_name(name).startswith("prompt_encoder.")][name] for name in files[True]}
    return write_weights(target, tensors, files[True].metadata)


def spread(source: Path, target: Path, deviation: float) -> Path:
    """A network whose prompt encoder is so sure of all its guesses: their standard deviation is `deviation`."""
    file = open_weights(source)
    tensors = {name: file[name] for name in file}
    for name, tensor in tensors.items():
        kind = native_name(name).removeprefix("prompt_encoder.head.")
        if kind in ("weight", "bias"):  # of means, then of log-variances
            tensor[len(tensor) // 2 :] = 2 * math.log(deviation) if kind == "bias" else 0.0
    return write_weights(target, tensors, file.metadata)


def run(config: TrainingConfig, processes: int) -> None:
    """A stage of the network's training, in this process or in several."""
    if processes == 1:
        if train(config).stopped:
            sys.exit(130)
        return
    file = Path(config.out).with_suffix(".yaml")
    # JSON is YAML.
    file.write_text(json.dumps(as_fields(config), indent=1), encoding="utf-8")
    # Not accelerate's own launcher, which starts one process only where there is no GPU.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    subprocess.run([*launch, "-m", "flowinone", "train", str(file)], cwd=ROOT, check=True)


def ship(network: Path, vision: Path, vae: Path, cache: PairCache) -> None:
    """Put the parts where the package has them, in half precision."""
    moments = torch.tensor(cache["target_encoded"][:2048]).float()
    pictures = torch.tensor(cache["target"][:2048]).permute(0, 3, 1, 2).float() / 255
    preview = json.dumps(preview_factors(latents_of_moments(moments, None), pictures))
    for source, place in ((network, mini.NETWORK), (vision, mini.VISION), (vae, mini.VAE)):
        file = open_weights(source)
        tensors = {name: file[name].half() for name in file}
        facts = {name: value for name, value in file.metadata.items() if name.startswith("flowinone.")}
        write_weights(place, tensors, facts | ({"flowinone.preview": preview} if place == mini.NETWORK else {}))


if __name__ == "__main__":
    main()
