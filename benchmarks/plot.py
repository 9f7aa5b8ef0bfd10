"""Plots the results of `compare`: speed relative to core ComfyUI's node, for each model and size.

    python dev.py bench plot benchmarks/results/compare_cpu.json [MORE.json ...]

Several records of the same device, for example one per model, are combined in docs/images/speed_<device>.png. Bars are
our engine; diamonds are the reference network on the full frame under fp16 autocast, if that was measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

try:
    import matplotlib as mpl
except ImportError:
    sys.exit(f"This needs matplotlib: {sys.executable} -m pip install matplotlib")

mpl.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
COLORS = ("#9ecae1", "#6baed6", "#3182bd", "#08519c", "#08306b")
RIVAL = "full frame, fp16 autocast"
NAMES = {"core": "ComfyUI's node", "reference, core's tiling": "the reference network in ComfyUI's tiling"}
GROUP = 0.88
"""Total width of a model's bars; the distance between models is 1."""

Row = dict[str, Any]


def read(paths: list[Path]) -> tuple[dict[str, Any], list[Row]]:
    """The first record, and the rows of all records that have a speed."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    devices = {record["device"] for record in records}
    if len(devices) > 1:
        sys.exit(f"These records are of different devices: {', '.join(sorted(devices))}.")
    rows = [row for record in records for row in record["rows"] if row.get("speed_up") and row.get("size")]
    if not any(row["contestant"] == "ours" for row in rows):
        sys.exit(f"{', '.join(map(str, paths))}: no speeds of pictures found. Measure some with `compare`.")
    return records[0], rows


def draw(axes: Axes, rows: list[Row]) -> None:
    ours = {(row["model"], row["size"]): row["speed_up"] for row in rows if row["contestant"] == "ours"}
    rival = {(row["model"], row["size"]): row["speed_up"] for row in rows if row["contestant"] == RIVAL}
    start = _scale(axes, [*ours.values(), *rival.values()])
    models = list(dict.fromkeys(model for model, _ in ours))
    sizes = sorted({size for _, size in ours}, key=_pixels)
    width = GROUP / len(sizes)
    for number, size in enumerate(sizes):
        places = {model: center - GROUP / 2 + width * (number + 0.5) for center, model in enumerate(models)}
        found = {model: ours[model, size] for model in models if (model, size) in ours}
        heights = [value - start for value in found.values()]
        bar_color = COLORS[min(number, len(COLORS) - 1)]
        x = [places[model] for model in found]
        bars = axes.bar(x, heights, width * 0.92, bottom=start, label=size, color=bar_color)
        axes.bar_label(bars, [_short(value) for value in found.values()], padding=2, fontsize=8)
        marks = {places[model]: rival[model, size] for model in found if (model, size) in rival}
        axes.plot(list(marks), list(marks.values()), "D", color="#d94801", markersize=5)
    if rival:
        axes.plot([], [], "D", color="#d94801", markersize=5, label=RIVAL.replace(", ", ",\n"))
    axes.set_xticks(range(len(models)), models)


def _scale(axes: Axes, values: list[float]) -> float:
    """Set up the axis. Returns the value at which bars start: 0, or 1 on a logarithmic axis."""
    low, high = min(1.0, *values), max(1.0, *values)
    axes.axhline(1, color="black", linewidth=1)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if high <= 10 * low:
        axes.set_ylim(0, high * 1.15)
        axes.yaxis.set_major_formatter("{x:g}x")
        return 0.0
    bottom, top = low / 1.3, high * 1.5
    axes.set_yscale("log")
    axes.set_ylim(bottom, top)
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if bottom < tick < top]
    axes.set_yticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.minorticks_off()
    return 1.0


def _pixels(size: str) -> int:
    width, height = size.split("x")
    return int(width) * int(height)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 3 else f"{value:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+", metavar="RECORD", help="what compare has saved")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the picture")
    arguments = parser.parse_args()
    record, rows = read(arguments.records)
    figure, axes = plt.subplots(figsize=(10, 4.5), layout="constrained")
    draw(axes, rows)
    base = rows[0]["over"]
    comfyui = record.get("versions", {}).get("comfyui")
    software = f"torch {record['torch']}" + (f", ComfyUI {comfyui}" if comfyui else "")
    axes.set_title(f"Speed over {NAMES.get(base, base)} (= 1x)\n{record['device']}, {software}", fontsize=11)
    axes.legend(title="input size", fontsize=9, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"speed_{arguments.records[0].stem.removeprefix('compare_')}.png"
    figure.savefig(path, dpi=150)
    print(f"Saved {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
