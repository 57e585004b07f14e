"""Two small plots of a network benchmark: cost against steps, and against pictures at a time."""

import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from benchmarks.reporting import step_curve

FONT = Path(__file__).resolve().parents[1] / "flowinone" / "prompts" / "fonts" / "LiberationSans-Regular.ttf"
WIDE, HIGH, MARGIN, LETTERS = 1240, 480, 76, 16
FINE = 2  # drawn that much larger, then scaled down, for smooth lines
INK, FAINT, COLORS = "#222222", "#dddddd", ("#777777", "#1f6fb4", "#c8501e", "#2e8b57", "#8a4fbf")

Series = dict[str, list[tuple[float, float]]]


def draw(report: dict) -> Image.Image:
    """The plots of a report with rows, as network.py writes it, side by side, with one legend; both axes start at 0."""
    steps, batches = {}, {}
    first = min(row["batch"] for row in report["rows"])
    for row in report["rows"]:
        name = f"{row['method']} {row['dtype']}"
        batches.setdefault(name, []).append((row["batch"], row["step_s"]))
        if row["batch"] == first:
            steps[name] = step_curve(row)
    canvas = Canvas()
    machine = report["machine"]
    canvas.text(MARGIN, 28, f"{machine['device']}, torch {machine['torch']}, {report['size']} network, guided steps")
    left = MARGIN
    for name, color in zip(batches, COLORS):
        canvas.line([(left, 62), (left + 24, 62)], color, 3)
        left += 64 + canvas.text(left + 32, 62, name)
    half = WIDE // 2
    titles = f"seconds for so many steps, batch {first}", "seconds for a step of so many pictures"
    for shift, title, series in zip((0, half), titles, (steps, batches)):
        plot(canvas, (shift + MARGIN, 112, shift + half - 28, HIGH - 48), title, series)
    return canvas.paper.resize((WIDE, HIGH), Image.Resampling.LANCZOS)


class Canvas:
    """Paper whose units are the pixels of the finished picture."""

    def __init__(self):
        self.paper = Image.new("RGB", (WIDE * FINE, HIGH * FINE), "#ffffff")
        self.pen = ImageDraw.Draw(self.paper)
        self.font = ImageFont.truetype(str(FONT), LETTERS * FINE)

    def text(self, x: float, y: float, text: str, anchor: str = "lm") -> float:
        """Writes it, and returns its width."""
        self.pen.text((x * FINE, y * FINE), text, INK, self.font, anchor)
        return self.font.getlength(text) / FINE

    def line(self, points: list[tuple[float, float]], color: str, width: int = 1) -> None:
        self.pen.line([(x * FINE, y * FINE) for x, y in points], color, width * FINE, joint="curve")

    def dot(self, x: float, y: float, color: str) -> None:
        self.pen.ellipse([edge * FINE for edge in (x - 4, y - 4, x + 4, y + 4)], color)


def plot(canvas: Canvas, box: tuple[int, int, int, int], title: str, series: Series) -> None:
    left, top, right, bottom = box
    widest, highest = (max(values) for values in zip(*(point for line in series.values() for point in line)))
    across, up = ticks(widest, whole=True), ticks(highest)

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * x / across[-1], bottom - (bottom - top) * y / up[-1]

    canvas.text(left, top - 20, title)
    for value in up:
        canvas.line([place(0, value), place(across[-1], value)], FAINT if value else INK)
        canvas.text(left - 8, place(0, value)[1], f"{value:g}", "rm")
    for value in across:
        canvas.text(place(value, 0)[0], bottom + 18, f"{value:g}", "mm")
    for line, color in zip(series.values(), COLORS):
        canvas.line([place(*point) for point in line], color, 3)
        for point in line:
            canvas.dot(*place(*point), color)


def ticks(most: float, whole: bool = False) -> list[float]:
    """Round values from 0 to `most` or a little beyond, up to eight of them."""
    raw = max(most / 5, 1 if whole else 0)
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    return [round(number * step, 12) for number in range(math.ceil(most / step - 1e-9) + 1)]
