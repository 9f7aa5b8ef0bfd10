"""Measures the peak host memory of a batch with core's node, the list-and-cat method of older packs, and ours.

    python dev.py bench host_memory [--frames 16]

Frames of 1280x720 go through a nearest-neighbor 4x model, which needs no memory of its own. Each method runs in its own
process. Printed are the increase of the peak resident memory, in MiB and relative to the output, and whether the output
is contiguous (if not, saving it copies it again).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch
import torch.nn.functional as F
from _common import load_comfyui, load_pack, save
from torch import Tensor, nn

SCALE = 4
HEIGHT, WIDTH = 720, 1280
WAYS = ("core", "list and cat", "ours")


class Nearest(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=SCALE, mode="nearest")


class Model:
    """The parts of an UPSCALE_MODEL that all three methods need."""

    scale = SCALE
    input_channels = output_channels = 3

    def __init__(self) -> None:
        import comfy.model_patcher

        self.model = Nearest()
        device = torch.device("cpu")
        self.patcher = comfy.model_patcher.CoreModelPatcher(self.model, load_device=device, offload_device=device)

    def __call__(self, image: Tensor) -> Tensor:
        return self.model(image)


def upscale(way: str, model: Model, images: Tensor) -> Tensor:
    if way == "core":
        from comfy_extras.nodes_upscale_model import ImageUpscaleWithModel

        return ImageUpscaleWithModel.execute(model, images)[0]
    if way == "ours":
        from apisr_pack.engine import upscale as engine_upscale

        return engine_upscale(model, images, tile=512, overlap=32)
    frames = [model(image[None].movedim(-1, -3)).movedim(-3, -1) for image in images]
    return torch.cat(frames).clamp_(0, 1)


def measure(way: str, frames: int) -> dict[str, Any]:
    """Measure one method. Must run in a fresh process, since the peak never falls."""
    load_pack()
    load_comfyui()
    images = torch.rand(frames, HEIGHT, WIDTH, 3)
    model = Model()
    with torch.inference_mode():
        upscale(way, model, images[:1, :64, :64])  # so that imports and thread pools are not counted
        baseline = _peak_bytes()
        started = time.process_time()
        result = upscale(way, model, images)
    peak = _peak_bytes() - baseline
    return {
        "way": way,
        "frames": frames,
        "peak_mib": round(peak / 2**20),
        "of_output": round(peak / (result.numel() * 4), 3),
        "contiguous": result.is_contiguous(),
        "cpu_seconds": round(time.process_time() - started, 2),
    }


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(measure(arguments.way, arguments.frames)))
        return 0
    rows: list[dict[str, Any]] = []
    print(f"{'way':14} {'peak MiB':>9} {'x output':>9}  contiguous  CPU s")
    for way in WAYS:
        command = [sys.executable, __file__, "--way", way, "--frames", str(arguments.frames)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        row = json.loads(done.stdout.splitlines()[-1])
        rows.append(row)
        contiguous = "yes" if row["contiguous"] else "no"
        print(f"{way:14} {row['peak_mib']:9} {row['of_output']:9.2f}  {contiguous:10}  {row['cpu_seconds']:.1f}")
    print(f"Saved {save('host_memory_cpu', rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
