"""What the tiling engine needs to know of a network, without knowing the network."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Halo:
    """How far the network looks around a pixel, in input pixels: the margin a tile needs on each side.

    With `exact` a tiled picture equals the untiled one within 0.5/255; each network's `facts` say how it was found.
    """

    exact: int
    normal: int
    fast: int


@dataclass(frozen=True)
class Facts:
    scale: int
    """Output pixels per input pixel along one axis."""
    alignment: int
    """Tile origins must be multiples of this, in input pixels: the period of windows, or of the pixel-unshuffle."""
    halo: Halo
    feather: int
    """Width of the blend across a seam, in output pixels."""
    bytes_per_pixel: Mapping[torch.dtype, int]
    """Peak activation memory per input pixel, for the dtypes fp32, fp16 and bf16.

    Ours: the CPU allocator's peak under torch's profiler, the same per pixel at 64x64 and 128x128, and 8 % on top.
    """
    global_statistics: bool = False
    """Whether each output pixel depends on all input pixels, so that no halo makes tiles exact."""
    tiling: bool = True
    """False if the network must see the whole image at once."""


def bytes_per_pixel(fp32: int) -> Mapping[torch.dtype, int]:
    """The three dtypes' figures from the one for fp32."""
    return {torch.float32: fp32, torch.float16: fp32 // 2, torch.bfloat16: fp32 // 2}
