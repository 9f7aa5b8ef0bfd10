"""The properties of a network that the tiling engine needs, so that it does not depend on the network itself."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Halo:
    """The effective receptive field around a pixel, in input pixels: the margin that a tile needs on each side.

    With `exact`, a tiled picture equals the untiled one within 0.5/255 if the network has no global statistics. Each
    network's `facts` say how the value was determined.
    """

    exact: int
    fast: int


@dataclass(frozen=True)
class Strips:
    """How the network runs in row strips: same result, less memory (`Way.rows`).

    `trunk`, `trunk_strip`, `kept` and `strip` are memory per pixel as fractions of `Facts.bytes_per_pixel`. The peak is
    the larger one of two: that of the trunk, with `trunk` for every pixel of the tile and `trunk_strip` for every pixel
    of the strip and its halo; and that of the tail, with `kept` and `strip` in the same way.
    """

    multiple: int
    """The rows of a strip must be a multiple of this."""
    halo: int
    """Rows that are computed beyond the strip on each side."""
    redone: float
    """Rows computed twice per strip because of its halos, in units of a row through the whole network."""
    trunk: float
    kept: float
    strip: float
    trunk_strip: float = 0.0
    """0 if the trunk does not run in strips, or the peak is always in the tail."""


@dataclass(frozen=True)
class Facts:
    scale: int
    """Output pixels per input pixel along one axis."""
    alignment: int
    """Tile origins must be multiples of this, in input pixels: the size of windows, or of the pixel-unshuffle."""
    halo: Halo
    feather: int
    """Width of the blend across a seam, in output pixels."""
    bytes_per_pixel: Mapping[torch.dtype, int]
    """Peak activation memory per input pixel, in bytes, for fp32, fp16 and bf16, including the output.

    For our networks: the CPU allocator's peak under torch's profiler (benchmarks/memory.py), plus 8 %.
    """
    global_statistics: bool = False
    """Whether an output pixel may depend on all input pixels, so that no halo can make tiles exact."""
    tiling: bool = True
    """False if the network must see the whole image at once."""
    strips: Strips | None = None
    """None if the network cannot run in strips."""
    padding: int = 1
    """The network pads height and width of its input to multiples of this, in input pixels."""
    minimum: int = 1
    """The network pads height and width of its input to at least this, in input pixels. Tiles must not be smaller."""
    square: bool = False
    """The network pads its input to a square."""

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the padded input that the network works on, for an input of the given size."""
        height, width = (-(-max(side, self.minimum) // self.padding) * self.padding for side in (height, width))
        longest = max(height, width)
        return (longest, longest) if self.square else (height, width)

    def corrected(self, dtype: torch.dtype, factor: float) -> "Facts":
        """The same facts with the memory figure for one dtype multiplied by `factor`."""
        bytes_per_pixel = {**self.bytes_per_pixel, dtype: max(1, round(self.bytes_of(dtype) * factor))}
        return replace(self, bytes_per_pixel=bytes_per_pixel)

    def bytes_of(self, dtype: torch.dtype) -> int:
        """`bytes_per_pixel` for any dtype; foreign models may use others, like fp64."""
        return self.bytes_per_pixel.get(dtype) or self.bytes_per_pixel[torch.float32] * dtype.itemsize // 4


def bytes_per_pixel(fp32: float) -> Mapping[torch.dtype, int]:
    """`Facts.bytes_per_pixel` for all three dtypes, from the figure for fp32."""
    return {torch.float32: round(fp32), torch.float16: round(fp32 / 2), torch.bfloat16: round(fp32 / 2)}
