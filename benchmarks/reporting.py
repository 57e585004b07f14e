"""From timings to figures and lines: the cost of a step and of an image for each method and batch, and their ratios."""

import dataclasses
import statistics

from benchmarks.costs import floor_seconds

STEPS = 50


@dataclasses.dataclass
class Row:
    """Timings of one method, dtype and batch, in seconds: encoding, decoding, the very first step, and (steps, seconds)
    samples.
    """

    method: str
    dtype: str
    batch: int
    encode: float
    decode: float
    first: float | None = None
    samples: list[tuple[int, float]] = dataclasses.field(default_factory=list)

    def figures(self, network: dict, floor: dict) -> dict:
        """The row as it is in the JSON, without ratios; `network` and `floor` as they are in the JSON."""
        step = statistics.median(taken / count for count, taken in self.samples)
        whole = [taken for count, taken in self.samples if count == STEPS]
        picture = (statistics.median(whole) if whole else STEPS * step) / self.batch
        # One after the other, the branches read the weights twice.
        read = (2 if self.method == "reference" else 1) * network["weight_bytes_per_pass"][self.dtype]
        floor_step = floor_seconds(2 * self.batch * network["flop_per_pass"], read, floor, self.dtype)
        return {
            "method": self.method,
            "dtype": self.dtype,
            "batch": self.batch,
            "first_step_s": self.first,
            "step_s": step,
            "floor_step_s": floor_step,
            "times_floor": step / floor_step,
            "picture_s": picture,
            "scaled": not whole,
            "encode_s": self.encode,
            "decode_s": self.decode,
            "whole_picture_s": picture + (self.encode + self.decode) / self.batch,
            "samples": self.samples,
        }


def summary(rows: list[Row], network: dict, floor: dict) -> list[dict]:
    """The figures of every row with a timed step, and `ratio`: its times as shares of the reference's at the same
    batch.
    """
    figures = [row.figures(network, floor) for row in rows if row.samples]
    references = {row["batch"]: row for row in figures if row["method"] == "reference"}
    for row in figures:
        against = references.get(row["batch"])
        parts = ("step", "picture", "whole_picture")
        row["ratio"] = against and {part: row[f"{part}_s"] / against[f"{part}_s"] for part in parts}
    return figures


HEADING = (
    f"{'batch':>5}  {'method':<19} {'step s':>8} {'ratio':>6} {'x floor':>8}   {'picture s':>9} {'with VAE etc.':>13}"
    f" {'ratio':>6}   {'first step s':>12}"
)


def row_line(row: dict) -> str:
    """One row under `HEADING`; a ~ marks what was scaled up from fewer steps."""
    about = "~" if row["scaled"] else ""
    shares = {part: f"{value:.3f}" for part, value in (row["ratio"] or {}).items()}
    return (
        f"{row['batch']:>5}  {row['method'] + ' ' + row['dtype']:<19} {number(row['step_s']):>8}"
        f" {shares.get('step', '-'):>6}"
        f" {row['times_floor']:>8.1f}   {about + number(row['picture_s']):>9}"
        f" {about + number(row['whole_picture_s']):>13}"
        f" {shares.get('whole_picture', '-'):>6}   {number(row['first_step_s']):>12}"
    )


def step_lines(figures: list[dict]) -> list[str]:
    """How the cost of a step depends on how many are taken, a line for each row that was timed with several counts."""
    lines = []
    for row in figures:
        times = step_curve(row)
        if len(times) > 1:
            pairs = ", ".join(f"{count}: {number(taken / count)}" for count, taken in times)
            lines.append(f"       {row['method']} {row['dtype']}, s a step when so many are taken: {pairs}")
    return lines


def step_curve(row: dict) -> list[tuple[int, float]]:
    """Counts of steps, ascending, and the median seconds that so many took."""
    counts = sorted({count for count, _ in row["samples"]})
    return [(count, statistics.median(taken for done, taken in row["samples"] if done == count)) for count in counts]


def floor_line(floor: dict) -> str:
    rates = [f"{rate / 1e12:.3g} TFLOP/s in {dtype}" for dtype, rate in floor["matrix_flop_per_s"].items()]
    return f"floor: {', '.join(rates)}, copying {floor['copy_byte_per_s'] / 1e9:.3g} GB/s"


def load_line(load: dict) -> str:
    extra = [
        f"{gigabytes(load[f'extra_{place}_bytes'])} of {place} memory on top of them"
        for place in ("host", "device")
        if load[f"extra_{place}_bytes"] is not None
    ]
    places = {"": load} | ({"from the disk ": load["from_disk"]} if load["from_disk"] else {})
    times = [
        f"{place}{number(taken['load_s'])} s, reading once {number(taken['read_s'])} s, ratio {taken['ratio']:.2f}"
        for place, taken in places.items()
    ]
    return f"load the {load['what']}'s weights, {gigabytes(load['file_bytes'])}: {'; '.join(times + extra)}"


def memory_lines(memory: list[dict]) -> list[str]:
    """A line per method: peak memory of one image, as torch's allocator reports it, or counted where it reports
    none.
    """
    peaks = [entry["allocated_bytes"] or entry["counted_bytes"] for entry in memory]
    reference = next((peak for entry, peak in zip(memory, peaks) if entry["method"] == "reference"), None)
    lines = []
    for entry, peak in zip(memory, peaks):
        known = "allocated" if entry["allocated_bytes"] else "counted"
        ratio = f", ratio {peak / reference:.3f}" if reference else ""
        lines.append(
            f"memory for one image, {entry['method']} {entry['dtype']}: {gigabytes(peak)} {known}{ratio}, "
            f"of which {gigabytes(entry['weight_bytes'])} weights"
        )
    return lines


def number(value: float) -> str:
    """About three significant digits."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 4
    return f"{value:.{digits}f}"


def gigabytes(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
