"""YUV planes <-> RGB pictures, computed in fp32 (ITU-R BT.601, BT.709, BT.2020; ITU-T H.273).

FFmpeg's own conversion is up to one step of 255 off, also for 10-bit video (measured with libswscale 9.5 and all its
flags for accuracy). Here the only errors are those of rounding to the output's bits.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

RGB, BT709, UNSPECIFIED, FCC, BT470BG, SMPTE170M, SMPTE240M, BT2020 = 0, 1, 2, 4, 5, 6, 7, 9
"""Values of MatrixCoefficients in H.273, which FFmpeg uses too."""
PQ, HLG = 16, 18
"""Values of TransferCharacteristics in H.273 for high dynamic range."""
WEIGHTS = {
    BT709: (0.2126, 0.0722),
    FCC: (0.30, 0.11),
    BT470BG: (0.299, 0.114),
    SMPTE170M: (0.299, 0.114),
    SMPTE240M: (0.212, 0.087),
    BT2020: (0.2627, 0.0593),
}
"""The weights of red and blue in luma, by matrix."""
USUAL = {BT709: (BT709, BT709), BT2020: (BT2020, 14), BT470BG: (BT470BG, SMPTE170M), SMPTE240M: (SMPTE240M, SMPTE240M)}
"""Primaries and transfer that go with a matrix; 14 is that of BT.2020 with 10 bits."""
UNKNOWN = (0, UNSPECIFIED, 3)
"""Values of primaries and transfer that say nothing; 0 and 3 are reserved."""


BLOCK, BLOCK_ON_GPU = 32000, 2**22
"""Numbers of a plane that are computed at a time. On a CPU they stay in the cache, and from 32768 on torch uses further
threads, which would compete with those of the network. On a GPU the block bounds the memory."""
THREADS = max(1, min(4, (os.cpu_count() or 1) // 4))
"""Blocks that are computed at a time. On small machines one, as the encoder and perhaps the network use the others."""


@dataclass(frozen=True)
class Color:
    """How the numbers of a video are to be understood. The numbers are those of H.273."""

    matrix: int = UNSPECIFIED
    is_full_range: bool = False
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED

    @property
    def is_hdr(self) -> bool:
        return self.transfer in (PQ, HLG)

    def resolved(self, height: int, width: int) -> "Color":
        """The same with a matrix that can be computed with, and nothing unspecified: some containers keep all or none.

        What is not given is what players assume: for the matrix BT.709 from HD on, else BT.601, and what goes with it.
        """
        matrix = self.matrix if self.matrix in WEIGHTS else BT709 if width >= 1280 or height > 576 else SMPTE170M
        primaries, transfer = USUAL.get(matrix, (SMPTE170M, SMPTE170M))
        return replace(
            self,
            matrix=matrix,
            primaries=primaries if self.primaries in UNKNOWN else self.primaries,
            transfer=transfer if self.transfer in UNKNOWN else self.transfer,
        )


@dataclass(frozen=True)
class Layout:
    """How a planar YUV picture is stored."""

    bits: int
    across: int = 1
    """Width of the picture as a multiple of the width of its chroma planes: 1, 2 or 4."""
    down: int = 1
    """The same for the height."""

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint8 if self.bits == 8 else np.uint16)


def to_rgb(planes: Sequence[np.ndarray], layout: Layout, color: Color) -> Tensor:
    """Planes Y, Cb, Cr of unsigned integers -> RGB, (H, W, 3), fp32 in [0, 1]. Y alone is a grey picture.

    Chroma is enlarged by a bilinear filter; its samples lie to the left, as is usual for MPEG-2, H.264 and H.265.
    """
    height, width = planes[0].shape
    picture = torch.empty(height, width, 3)

    def convert(rows: slice) -> None:
        luma = _floats(planes[0][rows])
        around = slice(max(0, rows.start // layout.down - 1), -(-rows.stop // layout.down) + 1)
        skipped = rows.start - around.start * layout.down
        chroma = [
            _enlarged(_floats(plane[around]), layout)[skipped : skipped + len(luma), :width] for plane in planes[1:3]
        ]
        _block_to_rgb(picture[rows], luma, chroma, layout, color)

    _for_each(_blocks(height, width, layout, BLOCK), convert)
    return picture


def _block_to_rgb(block: Tensor, luma: Tensor, chroma: Sequence[Tensor], layout: Layout, color: Color) -> None:
    """Compute `block`, (rows, W, 3), from the numbers of luma and, if there are any, of chroma of the same size."""
    luma_black, luma_span, chroma_zero, chroma_span = _scales(layout.bits, color)
    luma.sub_(luma_black).div_(luma_span)
    if not chroma:
        for channel in block.unbind(-1):
            torch.clamp(luma, 0, 1, out=channel)
        return
    blue, red = (plane.sub_(chroma_zero).div_(chroma_span) for plane in chroma)
    kr, kb = WEIGHTS[color.matrix]
    kg = 1 - kr - kb
    channels = (
        torch.add(luma, red, alpha=2 - 2 * kr),
        luma.sub(blue, alpha=(2 - 2 * kb) * kb / kg).sub_(red, alpha=(2 - 2 * kr) * kr / kg),
        torch.add(luma, blue, alpha=2 - 2 * kb),
    )
    for place, channel in zip(block.unbind(-1), channels, strict=True):
        torch.clamp(channel, 0, 1, out=place)


def from_rgb(picture: Tensor, layout: Layout, color: Color) -> list[np.ndarray]:
    """RGB (H, W, 3) in [0, 1] -> planes Y, Cb, Cr of unsigned integers, rounded to the nearest.

    Computed on the picture's device. H and W must be multiples of `layout.down` and `layout.across`.
    """
    height, width, _ = picture.shape
    chroma_size = height // layout.down, width // layout.across
    planes = [np.empty(size, layout.dtype) for size in ((height, width), chroma_size, chroma_size)]
    is_on_cpu = picture.device.type == "cpu"
    integer = torch.uint8 if layout.bits == 8 else torch.int16  # GPUs know little of 16 unsigned bits

    def convert(rows: slice) -> None:
        chroma_rows = slice(rows.start // layout.down, rows.stop // layout.down)
        numbers = _block_from_rgb(picture[rows].float(), layout, color)
        for plane, place, values in zip(planes, (rows, chroma_rows, chroma_rows), numbers, strict=True):
            plane[place] = (values if is_on_cpu else values.to(integer).cpu()).numpy()  # torch's cast uses threads

    if is_on_cpu:
        _for_each(_blocks(height, width, layout, BLOCK), convert)
    else:
        for rows in _blocks(height, width, layout, BLOCK_ON_GPU):
            convert(rows)
    return planes


def _block_from_rgb(block: Tensor, layout: Layout, color: Color) -> tuple[Tensor, Tensor, Tensor]:
    """Whole numbers for Y, Cb and Cr of some rows of RGB, (rows, W, 3)."""
    kr, kb = WEIGHTS[color.matrix]
    luma_black, luma_span, chroma_zero, chroma_span = _scales(layout.bits, color)
    red, green, blue = block.unbind(-1)
    luma = (red * kr).add_(green, alpha=1 - kr - kb).add_(blue, alpha=kb)
    cb, cr = (_reduced((primary - luma).div_(2 - 2 * weight), layout) for primary, weight in ((blue, kb), (red, kr)))
    most = 2**layout.bits - 1
    return (
        luma.mul_(luma_span).add_(luma_black).round_().clamp_(0, most),
        cb.mul_(chroma_span).add_(chroma_zero).round_().clamp_(0, most),
        cr.mul_(chroma_span).add_(chroma_zero).round_().clamp_(0, most),
    )


def _blocks(height: int, width: int, layout: Layout, size: int) -> Iterator[slice]:
    """Rows of a picture, about `size` pixels at a time. Blocks begin where a row of chroma does."""
    rows = max(1, size // width // layout.down) * layout.down
    for first in range(0, height, rows):
        yield slice(first, min(height, first + rows))


def _for_each(blocks: Iterator[slice], convert: Callable[[slice], None]) -> None:
    if THREADS == 1:
        for rows in blocks:
            convert(rows)
        return
    mode = torch.is_inference_mode_enabled()  # each thread has its own

    def convert_in_mode(rows: slice) -> None:
        with torch.inference_mode(mode):
            convert(rows)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(convert_in_mode, blocks))  # raises what a block raised


def _floats(plane: np.ndarray) -> Tensor:
    return torch.from_numpy(plane.astype(np.float32))


def integers_to_rgb(planes: Sequence[np.ndarray], bits: int) -> Tensor:
    """Planes G, B, R of unsigned integers in full range, as FFmpeg orders them -> RGB (H, W, 3), fp32 in [0, 1]."""
    height, width = planes[0].shape
    picture = torch.empty(height, width, 3)
    for rows in _blocks(height, width, Layout(bits), BLOCK):
        for channel, plane in zip((1, 2, 0), planes[:3], strict=True):
            torch.div(_floats(plane[rows]), 2**bits - 1, out=picture[rows, :, channel])
    return picture


def _scales(bits: int, color: Color) -> tuple[float, float, float, float]:
    """Integer value of black, from black to white, of no colour, and from one end of chroma to the other."""
    step = 2 ** (bits - 8)
    if color.is_full_range:
        return 0, 2**bits - 1, 128 * step, 2**bits - 1
    return 16 * step, 219 * step, 128 * step, 224 * step


def _enlarged(chroma: Tensor, layout: Layout) -> Tensor:
    """(h, w) -> (h * down, w * across)."""
    if layout.down > 1:  # samples lie in the middle of theirs of luma
        above, below = torch.cat([chroma[:1], chroma[:-1]]), torch.cat([chroma[1:], chroma[-1:]])
        rows = chroma.new_empty(len(chroma), layout.down, chroma.shape[1])
        for row in range(layout.down):
            offset = (row + 0.5) / layout.down - 0.5
            torch.lerp(chroma, above if offset < 0 else below, abs(offset), out=rows[:, row])
        chroma = rows.flatten(0, 1)
    if layout.across > 1:
        following = torch.cat([chroma[:, 1:], chroma[:, -1:]], dim=1)
        columns = chroma.new_empty(*chroma.shape, layout.across)
        for column in range(layout.across):
            torch.lerp(chroma, following, column / layout.across, out=columns[..., column])
        chroma = columns.flatten(1)
    return chroma


def _reduced(chroma: Tensor, layout: Layout) -> Tensor:
    """(h * down, w * across) -> (h, w), for factors 1 and 2."""
    if layout.down == 2:
        chroma = (chroma[0::2] + chroma[1::2]).div_(2)
    if layout.across == 2:
        even, odd = chroma[:, 0::2], chroma[:, 1::2]
        before = torch.cat([even[:, :1], odd[:, :-1]], dim=1)
        chroma = (even * 2).add_(before).add_(odd).div_(4)
    return chroma
