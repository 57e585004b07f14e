"""How fast and how small is the network? Times it against a reference and against the machine's own limits, in one run.

    python benchmarks/network.py [--device cpu|cuda|mps] [--dtype DTYPE ...] [--batch N ...] [--json FILE] [--plot FILE]

The reference is `reference.ReferenceVelocityNetwork`, run as the public implementation runs: float32, eager, the two
guidance branches one after the other, every feature map kept. Ratios are times divided by the reference's at the same
batch. The floor is the time that the arithmetic of a step, or reading its weights, takes at the rates measured in the
same run. Weights are random, from a seed. On a slow device fewer than 50 steps are timed, and a ~ marks extrapolated
figures. Ctrl-C keeps what was measured.
"""

import argparse
import importlib.util
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import costs, measuring, plotting, reporting  # noqa: E402
from benchmarks.costs import computing  # noqa: E402
from benchmarks.loading import load_costs  # noqa: E402
from benchmarks.measuring import median_seconds, seconds  # noqa: E402
from benchmarks.methods import GUIDANCE, METHODS, steps_from  # noqa: E402
from benchmarks.reporting import STEPS, Row, gigabytes  # noqa: E402
from benchmarks.shapes import SIZES, meta_parts, meta_pipeline, write_files  # noqa: E402
from flowinone import FlowInOnePipeline  # noqa: E402
from flowinone.weights.checkpoint import open_network  # noqa: E402
from flowinone.weights.eightbit import KINDS, NEEDS_TORCHAO  # noqa: E402

DTYPES = ("float32", "bfloat16", "float16", *KINDS)


def main() -> int:
    options = parsed_options()
    run = Run(options)
    try:
        with torch.no_grad(), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            run.measure(Path(folder))
    except NotEnough as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        run.print_steps()
        say("Interrupted; the figures are what was measured until then.")
    report = run.report()
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.plot and report["rows"]:
        plotting.draw(report).save(options.plot, optimize=True)
    return 0 if run.complete else 130


def parsed_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--device", help="as torch calls it. Default: the accelerator there is, else the CPU")
    add(
        "--dtype",
        nargs="+",
        choices=DTYPES,
        metavar="DTYPE",
        help=f"of the method own: {', '.join(DTYPES)}. "
        f"{' and '.join(KINDS)} are of the network's large matrices, by torchao; all else is in bfloat16. "
        "Default: float32, and bfloat16 where the device multiplies at least as fast in it",
    )
    add(
        "--mode", choices=("both", "reference", "own"), default="both", help="the methods to time. Default: %(default)s"
    )
    add(
        "--compiled",
        action="store_true",
        help="time own with torch.compile as well; compiling takes minutes for each batch",
    )
    add("--batch", nargs="+", type=at_least_one, metavar="N", help="pictures at a time. Default: 1 4 16, on a CPU 1 2")
    add("--size", choices=SIZES, default="full", help="of the network; the released one is full. Default: %(default)s")
    add("--seconds", type=at_least_one, default=20, metavar="S", help="to time a row for, about. Default: %(default)s")
    add("--rounds", type=at_least_one, default=3, help="timings of what S allows to repeat. Default: %(default)s")
    add("--tf32", action="store_true", help="round float32 products to TF32 on CUDA, the reference's too")
    add("--seed", type=int, default=0, help="of the weights. Default: %(default)s")
    add("--json", type=Path, metavar="FILE", help="write the figures there as well")
    add("--plot", type=Path, metavar="FILE", help="draw cost against steps and batch there, a PNG")
    options = parser.parse_args()
    for target in filter(None, (options.json, options.plot)):
        if not target.parent.is_dir():
            parser.error(f"{target} cannot be written: there is no folder {target.parent}; make it first")
    if options.plot and options.plot.suffix != ".png":
        parser.error(f"{options.plot} would be a PNG; give it a name that ends in .png")
    try:
        options.device = measuring.find_device(options.device)
    except ValueError as error:
        parser.error(str(error))
    if options.tf32 and options.device.type != "cuda":
        parser.error(f"--tf32 is for CUDA, and the device is {options.device}; leave it out")
    if options.dtype and options.mode == "reference":
        parser.error("--dtype is for the method own, which --mode reference leaves out; the reference is in float32")
    if options.compiled and options.mode == "reference":
        parser.error("--compiled is a form of the method own, which --mode reference leaves out")
    if {*KINDS} & {*(options.dtype or ())} and not importlib.util.find_spec("torchao"):
        parser.error(NEEDS_TORCHAO)
    return options


def at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1")
    return int(text)


class NotEnough(Exception):
    """Memory or disk that the run needs and does not find; the message says how much, and what to try."""


class Run:
    """What was asked for, and what has been measured so far."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.device: torch.device = options.device
        self.shapes = SIZES[options.size]
        self.batches = sorted(set(options.batch or ((1, 2) if self.device.type == "cpu" else (1, 4, 16))))
        self.complete = False
        self.machine, self.floor, self.network = {}, {}, {}
        self.load, self.memory = [], []
        self.rows: list[Row] = []
        self.printed = 0

    def measure(self, folder: Path) -> None:
        """All of it; the parts come in an order that frees memory before it is needed. Raises NotEnough where too
        little is left.
        """
        self.measure_machine()
        self.check_memory()
        say(f"Making {self.options.size} weights from seed {self.options.seed} …")
        files = write_files(self.shapes, folder, self.options.seed)
        self.measure_loading(files)
        say("Loading them for the steps …")
        pipelines = {dtype: self.pipeline(files, dtype) for dtype in self.dtypes}
        self.measure_memory(pipelines)
        for batch in self.batches:
            self.measure_batch(pipelines, batch)
            self.print_steps()
        self.complete = True

    def measure_machine(self) -> None:
        options = self.options
        if options.tf32:
            torch.set_float32_matmul_precision("high")
        self.machine = measuring.machine(self.device)
        print("\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in self.machine.items()))
        own = [] if options.mode == "reference" else options.dtype or DTYPES[:2]
        references = [] if options.mode == "own" else ["float32"]
        self.floor = measuring.measure_floor(
            self.device, list(dict.fromkeys([torch.float32, *map(computing, own)])), options.size == "tiny"
        )
        rates = self.floor["matrix_flop_per_s"]
        if not options.dtype:
            own = [dtype for dtype in own if rates[dtype] >= rates["float32"]]
        print(reporting.floor_line(self.floor))
        self.variants = [("reference", dtype) for dtype in references] + [
            (method, dtype) for method in ("own", *["compiled"] * options.compiled) for dtype in own
        ]
        self.dtypes = list(dict.fromkeys(dtype for _, dtype in self.variants))

    def check_memory(self) -> None:
        """Count what the network is and what each variant needs. Raises NotEnough if device, machine or disk have less
        left.
        """
        weights, read, extra = {}, {}, 0
        # To compile for this as well would take minutes, and make the first step look cheap.
        for method, dtype in (variant for variant in self.variants if variant[0] != "compiled"):
            pipeline = meta_pipeline(self.shapes, computing(dtype))
            if dtype in KINDS:
                pipeline.quantize(dtype)
            peak = costs.counted_peak(pipeline, METHODS[method])
            weights[dtype], extra = costs.weight_bytes(pipeline), max(extra, peak * max(self.batches))
            read[dtype] = costs.stored_bytes(pipeline.model.velocity_network)
            self.memory.append(
                {
                    "method": method,
                    "dtype": dtype,
                    "batch": 1,
                    "weight_bytes": weights[dtype],
                    "counted_bytes": weights[dtype] + peak,
                    "allocated_bytes": None,
                }
            )
        self.network = costs.network_facts(pipeline.model, read)
        sizes = [
            sum(tensor.nbytes for tensor in part.values()) for part in meta_parts(self.shapes, torch.bfloat16).values()
        ]
        need, left = sum(weights.values()) + extra, measuring.available_bytes(self.device)
        if need > left:
            raise NotEnough(
                f"{self.device} has {gigabytes(left)} of memory left, and this needs {gigabytes(need)}: "
                f"{gigabytes(need - extra)} for weights in {' and '.join(weights)}, {gigabytes(extra)} for "
                f"{max(self.batches)} pictures at a time. Try --batch 1, --mode own with one --dtype, or --size small"
            )
        # A part's weights are in memory twice while they are written.
        making, left = 2 * max(sizes), measuring.available_bytes(torch.device("cpu"))
        if making > left:
            raise NotEnough(
                f"making the weights needs {gigabytes(making)} of memory, "
                f"and the machine has {gigabytes(left)} left; try --size small"
            )
        place = tempfile.gettempdir()
        if sum(sizes) > (left := shutil.disk_usage(place).free):
            raise NotEnough(
                f"the weights need {gigabytes(sum(sizes))} in {place}, "
                f"which has {gigabytes(left)} left; set TMPDIR to another folder"
            )

    def pipeline(self, files: dict[str, Path], dtype: str | None = None) -> FlowInOnePipeline:
        paths = (files["network"], files["vision"], files["vae"])
        small = dtype in KINDS
        # In 16 bits they need not fit on the device.
        device = torch.device("cpu") if small else self.device
        pipeline = FlowInOnePipeline.from_single_files(*paths, dtype=dtype and computing(dtype), device=device)
        if small:
            pipeline.quantize(dtype)
            pipeline.to(self.device)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def measure_loading(self, files: dict[str, Path]) -> None:
        def network():
            return [open_network(files["network"]).load(device=self.device)]

        def everything():
            pipeline = self.pipeline(files)
            return [pipeline.model, pipeline.vision, pipeline.vae]

        for what, paths, load in (
            ("network", [files["network"]], network),
            ("pipeline", list(files.values()), everything),
        ):
            say(f"Timing how the {what} loads …")
            taken = load_costs(paths, load, self.device, self.options.rounds, self.options.seconds)
            self.load.append({"what": what} | taken)
            print(reporting.load_line(self.load[-1]))

    def measure_memory(self, pipelines: dict[str, FlowInOnePipeline]) -> None:
        """Where torch knows what it allocated, an image's peak on top of the weights of its own pipeline."""
        for entry in self.memory if measuring.counts_memory(self.device) else ():
            pipeline = pipelines[entry["dtype"]]
            guided, pictures = METHODS[entry["method"]](pipeline), costs.prompt_pictures(1)
            peak = measuring.allocated_peak(lambda: costs.answer(pipeline, guided, pictures, 2), self.device)  # noqa: B023
            entry["allocated_bytes"] = entry["weight_bytes"] + peak
        print("\n".join(reporting.memory_lines(self.memory)))

    def measure_batch(self, pipelines: dict[str, FlowInOnePipeline], batch: int) -> None:
        """Every variant at this batch, by turns, so that a machine that slows down slows all of them."""
        options, timed = self.options, []
        latents = {dtype: self.measure_ends(pipeline, dtype, batch) for dtype, pipeline in pipelines.items()}
        for method, dtype in self.variants:
            say(f"Batch {batch}: steps, {method} {dtype} …")
            (source, image_latent), encode, decode = latents[dtype]
            row = Row(method, dtype, batch, encode, decode)
            self.rows.append(row)
            bypass = torch.zeros(batch, dtype=torch.bool, device=source.device)
            velocity = METHODS[method](pipelines[dtype])(image_latent, bypass)

            def steps(count: int, velocity=velocity, source=source) -> float:
                return seconds(lambda: steps_from(velocity, source, count), self.device)

            row.first = steps(1)
            row.samples.append((1, steps(1)))
            counts = counts_for(row.samples[0][1], options.seconds, options.rounds, batch == self.batches[0])
            timed.append((row, steps, counts))
        for turn in range(max(len(counts) for *_, counts in timed)):
            for row, steps, counts in timed:
                if turn < len(counts):
                    row.samples.append((counts[turn], steps(counts[turn])))

    def measure_ends(
        self, pipeline: FlowInOnePipeline, dtype: str, batch: int
    ) -> tuple[tuple[Tensor, Tensor], float, float]:
        """Source and image latents of a batch, and the seconds to encode and decode it, common to all methods of a
        dtype.
        """
        say(f"Batch {batch}: encoding and decoding, {dtype} …")
        pictures = costs.prompt_pictures(batch)
        timing = self.device, self.options.rounds, self.options.seconds / 10
        latents, encode = median_seconds(lambda: costs.encode(pipeline, pictures), *timing)
        _, decode = median_seconds(lambda: pipeline.decode(latents[0]), *timing)
        return latents, encode, decode

    def print_steps(self) -> None:
        """The rows that are new since the last time, under the heading if they are the first."""
        figures = reporting.summary(self.rows, self.network, self.floor)
        fresh = figures[self.printed :]
        if fresh:
            lines = [reporting.row_line(row) for row in fresh] + reporting.step_lines(fresh)
            print("\n".join(lines if self.printed else [reporting.HEADING, *lines]), flush=True)
        self.printed = len(figures)

    def report(self) -> dict:
        return {
            "complete": self.complete,
            "steps": STEPS,
            "guidance_scale": GUIDANCE.scale,
            "seed": self.options.seed,
            "size": self.options.size,
            "machine": self.machine,
            "floor": self.floor,
            "network": self.network,
            "load": self.load,
            "memory": self.memory,
            "rows": reporting.summary(self.rows, self.network, self.floor),
        }


def counts_for(step: float, enough: float, rounds: int, curve: bool) -> list[int]:
    """How many steps to time next, where one takes `step` seconds and all rounds together about `enough`; 50 where they
    fit.

    With `curve` smaller counts too, and at least two steps once, to see how cost grows with them.
    """
    most = min(STEPS, int(enough / rounds / step))
    if most < 2:
        return [2] if curve else []
    smaller = {max(1, most * share // 5) for share in range(1, 5)} - {most} if curve else ()
    return [*sorted(smaller), *[most] * rounds]


def say(line: str) -> None:
    """Tell the user what takes a moment."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    # What ends it at a time limit keeps the figures, and removes the weights, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
