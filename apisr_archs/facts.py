"""What the tiling engine needs to know of a network, without knowing the network."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Halo:
    """How far the network looks around a pixel, in input pixels: the margin a tile needs on each side.

    With `exact` a tiled picture equals the untiled one within 0.5/255, where the network has no global statistics; each
    network's `facts` say how it was found.
    """

    exact: int
    fast: int


@dataclass(frozen=True)
class Strips:
    """How the network runs in row strips: same result, less memory (`Way.rows`).

    The shares are parts of `Facts.bytes_per_pixel`. The peak is the larger of two: in the trunk, `trunk` for the whole
    tile and `trunk_strip` for the strip and its halo; in the tail, `kept` and `strip` in the same way.
    """

    multiple: int
    """Rows of a strip are a multiple of this."""
    halo: int
    """Rows that are computed beyond the strip on each side."""
    redone: float
    """How many rows of the whole network the halos of one strip cost."""
    trunk: float
    kept: float
    strip: float
    trunk_strip: float = 0.0
    """0 if the trunk runs at once, or has its peak while the tail runs."""


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
    """Peak activation memory per input pixel, in bytes, for the dtypes fp32, fp16 and bf16, output included.

    Ours: the CPU allocator's peak under torch's profiler (benchmarks/memory.py), and 8 % on top.
    """
    global_statistics: bool = False
    """Whether an output pixel may depend on all input pixels, so that no halo makes tiles exact."""
    tiling: bool = True
    """False if the network must see the whole image at once."""
    strips: Strips | None = None
    """None if the network cannot run in strips."""
    padding: int = 1
    """The network pads both sides of its input to a multiple of this, in input pixels."""
    minimum: int = 1
    """The network pads shorter sides of its input to this, in input pixels: tiles must not be smaller."""
    square: bool = False
    """The network pads its input to a square."""

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what the network works on, for an input of these."""
        height, width = (-(-max(side, self.minimum) // self.padding) * self.padding for side in (height, width))
        longest = max(height, width)
        return (longest, longest) if self.square else (height, width)

    def corrected(self, dtype: torch.dtype, factor: float) -> "Facts":
        """The same with another memory figure for a dtype: `factor` times the one so far."""
        bytes_per_pixel = {**self.bytes_per_pixel, dtype: max(1, round(self.bytes_of(dtype) * factor))}
        return replace(self, bytes_per_pixel=bytes_per_pixel)

    def bytes_of(self, dtype: torch.dtype) -> int:
        """`bytes_per_pixel`, also for the dtype of a stranger's model, like fp64."""
        return self.bytes_per_pixel.get(dtype) or self.bytes_per_pixel[torch.float32] * dtype.itemsize // 4


def bytes_per_pixel(fp32: float) -> Mapping[torch.dtype, int]:
    """The three dtypes' figures from the one for fp32."""
    return {torch.float32: round(fp32), torch.float16: round(fp32 / 2), torch.bfloat16: round(fp32 / 2)}
