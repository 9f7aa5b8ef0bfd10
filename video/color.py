"""YUV planes <-> RGB pictures, computed in fp32 (ITU-R BT.601, BT.709, BT.2020; ITU-T H.273).

FFmpeg's own conversion is up to one step of 255 off, also for 10-bit video (measured with libswscale 9.5 and all its
flags for accuracy). Here the only errors are those of rounding to the output's bits.
"""

from collections.abc import Sequence
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

    Chroma is enlarged by a bilinear filter; its samples lie to the left, as is usual for MPEG-2, H.264
    and H.265.
    """
    luma_black, luma_span, chroma_zero, chroma_span = _scales(layout.bits, color)
    luma = torch.from_numpy(planes[0].astype(np.float32)).sub_(luma_black).div_(luma_span)
    if len(planes) == 1:
        return luma.clamp_(0, 1).unsqueeze(-1).expand(-1, -1, 3).contiguous()
    height, width = luma.shape
    blue, red = (
        _enlarged(torch.from_numpy(plane.astype(np.float32)), layout)[:height, :width]
        .sub_(chroma_zero)
        .div_(chroma_span)
        for plane in planes[1:3]
    )
    kr, kb = WEIGHTS[color.matrix]
    kg = 1 - kr - kb
    picture = torch.empty(height, width, 3)
    picture[..., 0] = luma + red * (2 - 2 * kr)
    picture[..., 2] = luma + blue * (2 - 2 * kb)
    picture[..., 1] = luma.sub_(blue, alpha=(2 - 2 * kb) * kb / kg).sub_(red, alpha=(2 - 2 * kr) * kr / kg)
    return picture.clamp_(0, 1)


def from_rgb(picture: Tensor, layout: Layout, color: Color) -> list[np.ndarray]:
    """RGB (H, W, 3) in [0, 1] -> planes Y, Cb, Cr of unsigned integers, rounded to the nearest.

    H and W must be multiples of `layout.down` and `layout.across`.
    """
    kr, kb = WEIGHTS[color.matrix]
    luma_black, luma_span, chroma_zero, chroma_span = _scales(layout.bits, color)
    red, green, blue = picture.to("cpu", torch.float32).unbind(-1)
    luma = (red * kr).add_(green, alpha=1 - kr - kb).add_(blue, alpha=kb)
    differences = ((blue - luma).div_(2 - 2 * kb), (red - luma).div_(2 - 2 * kr))
    planes = [_integers(luma, luma_span, luma_black, layout)]
    planes += [_integers(_reduced(plane, layout), chroma_span, chroma_zero, layout) for plane in differences]
    return planes


def integers_to_rgb(planes: Sequence[np.ndarray], bits: int) -> Tensor:
    """Planes G, B, R of unsigned integers in full range, as FFmpeg orders them -> RGB (H, W, 3), fp32 in [0, 1]."""
    green, blue, red = (torch.from_numpy(plane.astype(np.float32)) for plane in planes[:3])
    return torch.stack([red, green, blue], dim=-1).div_(2**bits - 1)


def _scales(bits: int, color: Color) -> tuple[float, float, float, float]:
    """Integer value of black, from black to white, of no colour, and from one end of chroma to the other."""
    step = 2 ** (bits - 8)
    if color.is_full_range:
        return 0, 2**bits - 1, 128 * step, 2**bits - 1
    return 16 * step, 219 * step, 128 * step, 224 * step


def _integers(plane: Tensor, span: float, zero: float, layout: Layout) -> np.ndarray:
    values = (plane * span).add_(zero).round_().clamp_(0, 2**layout.bits - 1)
    return values.numpy().astype(layout.dtype)


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
