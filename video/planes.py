"""Frames of PyAV <-> pictures (H, W, 3)."""

from collections.abc import Iterable

import av
import numpy as np
from av.video.plane import VideoPlane
from torch import Tensor

from . import color
from .color import Color, Layout

SUBSAMPLING = {(1, 1): "444", (2, 1): "422", (2, 2): "420", (1, 2): "440", (4, 1): "411", (4, 4): "410"}
"""FFmpeg's names, by (`Layout.across`, `Layout.down`)."""
MPEG_RANGE, JPEG_RANGE = 1, 2
"""Values of AVColorRange: limited and full."""


def color_of(frame: av.VideoFrame, context: av.VideoCodecContext) -> Color:
    """The colour tags of a decoded frame. PyAV 16.0 has some only in the decoder's context."""
    return Color(int(frame.colorspace), is_full_range(frame), int(context.color_primaries), int(context.color_trc))


def is_full_range(frame: av.VideoFrame) -> bool:
    """Grey is of full range unless it says otherwise. RGB becomes YUV of limited range."""
    name = frame.format.name
    is_full = frame.color_range == JPEG_RANGE or name.startswith("yuvj")
    is_full |= name.startswith("gray") and frame.color_range != MPEG_RANGE
    return is_full and not is_rgb(frame)


def bits_of(frame: av.VideoFrame) -> int:
    """Bits of a colour component."""
    return max(component.bits for component in frame.format.components)


def has_alpha(frame: av.VideoFrame) -> bool:
    return any(component.is_alpha for component in frame.format.components)


def is_rgb(frame: av.VideoFrame) -> bool:
    return frame.format.is_rgb or frame.format.has_palette or frame.format.name.startswith("gbr")


def plain(frame: av.VideoFrame) -> av.VideoFrame:
    """The same numbers in one of the formats that `planes_of` can read: planar, little-endian, 8 to 16 bits."""
    name = _plain_format(frame)
    if frame.format.name.replace("yuvj", "yuv") == name:
        return frame
    same_range = JPEG_RANGE if is_rgb(frame) or is_full_range(frame) else MPEG_RANGE
    return frame.reformat(format=name, src_color_range=same_range, dst_color_range=same_range)


def _plain_format(frame: av.VideoFrame) -> str:
    bits = bits_of(frame)
    depth = "" if bits <= 8 else f"{bits}le" if bits in (10, 12, 14, 16) else "16le"
    if is_rgb(frame):
        return f"gbrp{depth}"
    if len(frame.format.components) < 3:  # grey, or grey with alpha
        return f"gray{depth}"
    factors = frame.width, frame.height
    small = frame.format.chroma_width(frame.width), frame.format.chroma_height(frame.height)
    across, down = (1 << (-(-whole // part) - 1).bit_length() for whole, part in zip(factors, small, strict=True))
    alpha = "a" if has_alpha(frame) and frame.format.name.startswith("yuva") else ""
    return f"yuv{alpha}{SUBSAMPLING[across, down]}p{depth}"


def planes_of(frame: av.VideoFrame) -> list[np.ndarray]:
    """The planes of a frame in a plain format, (h, w) unsigned integers, as views of its memory."""
    dtype = np.dtype(np.uint8 if bits_of(frame) <= 8 else "<u2")
    return [_view(plane, dtype) for plane in frame.planes]


def _view(plane: VideoPlane, dtype: np.dtype) -> np.ndarray:
    rows = np.frombuffer(plane, dtype)[: plane.height * plane.line_size // dtype.itemsize]  # pyright: ignore
    return rows.reshape(plane.height, -1)[:, : plane.width]


def same_planes(one: Iterable[np.ndarray], other: Iterable[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def picture_of(frame: av.VideoFrame, colors: Color) -> Tensor:
    """A frame in a plain format as RGB, (H, W, 3), fp32 in [0, 1].

    colors: with a matrix that can be computed with, see `Color.resolved`.
    """
    planes, bits = planes_of(frame), bits_of(frame)
    if is_rgb(frame):
        return color.integers_to_rgb(planes, bits)
    if len(frame.format.components) < 3:
        return color.to_rgb(planes[:1], Layout(bits), colors)
    return color.to_rgb(planes[:3], layout_of(frame.format), colors)


def layout_of(pix_fmt: av.VideoFormat) -> Layout:
    """The layout of a planar YUV format."""
    side = 64
    bits = max(component.bits for component in pix_fmt.components)
    return Layout(bits, side // pix_fmt.chroma_width(side), side // pix_fmt.chroma_height(side))


def frame_of(planes: list[np.ndarray], pix_fmt: str) -> av.VideoFrame:
    """A frame of PyAV with these planes, (h, w) unsigned integers."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane, values in zip(frame.planes, planes, strict=True):
        _view(plane, values.dtype)[:] = values
    return frame
