"""Checks results and memory on this device: each model, in each precision, in each way the engine can run it.

    python dev.py bench device_check [--models "RRDB 4x"] [--size 512x512] [--precisions fp32 fp16 bf16] [--profile]

The output is compared with that of the reference network on the whole picture in true fp32. The exit code is 1 if the
largest difference is more than 1/255 (8/255 in bf16), or the memory peak is more than 1.25 times the planned memory.

    whole      the whole picture at once, if it fits
    tiles      four tiles
    strips     row strips, for networks that can run in them
    clip       eight pictures, written by a background thread if they come from a GPU; the last one is compared

Seconds are for a single call; use `compare` to compare speed. "peak" is the memory allocated on a GPU, without weights.
--profile prints the slowest kernels and how busy the device is.

The requirements are those of `compare` (see its help); neither ComfyUI nor internet access is needed. On a GPU, all
checks take a few minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from _common import RESULTS, save, size_of
from _contestants import (
    DEVICE,
    GPU,
    MODELS,
    PRECISION,
    Entry,
    difference,
    engine,
    load_model,
    picture,
    prepare,
    versions,
    whole,
)
from _measure import first_line, release, sample
from apisr_pack.apisr_archs import Way
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

LIMITS = {"fp32": 1.0, "fp16": 1.0, "bf16": 8.0}
"""Largest allowed difference, in steps of 1/255."""
FRAMES = 8
MIB = 2**20

Row = dict[str, Any]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME")
    precisions = list(LIMITS) if GPU else ["fp32"]  # on a CPU the others take 100 times as long
    parser.add_argument("--precisions", nargs="+", choices=LIMITS, default=precisions, metavar="NAME")
    parser.add_argument("--size", type=size_of, default="512x512" if GPU else "160x128", metavar="WxH")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY")
    parser.add_argument("--profile", action="store_true", help="print the slowest kernels")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the record")
    return parser.parse_args()


def at_once(model: Any, image: Tensor) -> tuple[Tensor, Row]:
    # twice the estimate: otherwise the engine would fall back to strips if the estimate were too low
    planned = engine.bytes_for(*image.shape[1:3], model.facts, model.dtype)
    output, row = _measured(lambda: engine.upscale(model, image, budget=2 * planned))
    return output, {**row, "planned_mib": planned / MIB}


def in_tiles(model: Any, image: Tensor) -> tuple[Tensor, Row]:
    tile = max(image.shape[1:3]) * 3 // 4
    plan = engine.plan(*image.shape[1:3], model.facts, tile=tile, dtype=model.dtype)
    output, row = _measured(lambda: engine.upscale(model, image, tile=tile))
    return output, {**row, "planned_mib": plan.bytes / MIB, "plan": str(plan)}


def in_strips(model: Any, image: Tensor) -> tuple[Tensor, Row]:
    batch = image.movedim(-1, 1).to(DEVICE)
    return _measured(lambda: model(batch, way=Way(rows=64)).movedim(1, -1).cpu())


def clip(model: Any, image: Tensor) -> tuple[Tensor, Row]:
    frames = torch.cat([image.roll(8 * index, dims=2) for index in reversed(range(FRAMES))])
    output, row = _measured(lambda: engine.upscale(model, frames))
    return output[-1:], {**row, "seconds": row["seconds"] / FRAMES}


WAYS: dict[str, Callable[[Any, Tensor], tuple[Tensor, Row]]] = {
    "whole": at_once,
    "tiles": in_tiles,
    "strips": in_strips,
    "clip": clip,
}


def _measured(run: Callable[[], Tensor]) -> tuple[Tensor, Row]:
    seconds, _, peak, _, output = sample(run)
    return output, {"seconds": seconds, "peak_mib": peak / MIB} if GPU else {"seconds": seconds}


def check(entry: Entry, arguments: argparse.Namespace, image: Tensor) -> Iterator[Row]:
    judge = difference(whole(entry, image))
    for precision in arguments.precisions:
        for way in arguments.ways:
            row = {"model": entry.model.name, "weights": entry.weights, "precision": precision, "way": way}
            try:
                output, measured = WAYS[way](load_model(entry.path, precision, DEVICE), image)
            except Exception as error:  # reported; the other ways are still tried
                measured = {"problem": first_line(error)}
            else:
                row["max_255"] = judge(output)
            yield {**row, **measured}
            release()


def is_bad(row: Row) -> bool:
    too_far = row.get("max_255") is not None and not row["max_255"] <= LIMITS[row["precision"]]
    too_much = "planned_mib" in row and row.get("peak_mib", 0) > row["planned_mib"] * 1.25
    return "problem" in row or too_far or too_much


def show_kernels(entry: Entry, image: Tensor) -> None:
    model = load_model(entry.path, PRECISION, DEVICE)
    batch = image.movedim(-1, 1).to(DEVICE, model.dtype).contiguous()
    model(batch)
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if GPU else [ProfilerActivity.CPU]
    with profile(activities=activities) as profiler:
        model(batch)
        if GPU:
            torch.cuda.synchronize()
    order = "self_cuda_time_total" if GPU else "self_cpu_time_total"
    print(f"\n{entry.model.name}, {PRECISION}")
    print(profiler.key_averages().table(sort_by=order, row_limit=15, max_name_column_width=60))


def main() -> int:
    arguments = parse()
    width, height = arguments.size
    image = picture(width, height)
    print(f"{torch.cuda.get_device_name() if GPU else 'CPU'}, torch {torch.__version__}, {width}x{height}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for name in arguments.models:
            with torch.inference_mode(False):
                entry = prepare(MODELS[name], Path(folder))
            for row in check(entry, arguments, image):
                rows.append({**row, "size": f"{width}x{height}"})
                _show(row)
                save("device_check", rows, arguments.out, versions=versions(None))  # an interrupted run keeps its rows
            if arguments.profile:
                show_kernels(entry, image)
    return int(any(map(is_bad, rows)))


def _show(row: Row) -> None:
    figures = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row.items()}
    more = "  ".join(f"{key} {value}" for key, value in list(figures.items())[4:])
    print(f"{row['model']:13} {row['precision']:5} {row['way']:9} {'BAD ' if is_bad(row) else ''}{more}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
