"""Prints the peak resident memory, in MiB, of a process that upscales the video given as its argument."""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from _common import load_pack
from torch import Tensor, nn

load_pack()

# these imports need the pack to be loaded
from apisr_pack import video  # noqa: E402


class Nearest(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=4)


class Model:
    """An UPSCALE_MODEL that takes hardly any memory or time."""

    scale = 4
    input_channels = output_channels = 3
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self) -> None:
        self.model = Nearest()

    def __call__(self, image: Tensor) -> Tensor:
        return self.model(image)


with tempfile.TemporaryDirectory() as folder:
    video.upscale_video(Model(), Path(sys.argv[1]), Path(folder, "result.mp4"), reuse_frames=False)
print(round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
