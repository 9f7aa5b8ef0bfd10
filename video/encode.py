"""Encodes pictures into the file of one part."""

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch.nn.functional as F
from av.container import OutputContainer
from av.error import FFmpegError
from torch import Tensor

from ..apisr_archs.text import shown
from . import color, planes
from .codecs import CODECS, Encoding
from .color import Color
from .errors import NotEnoughDisk, UnwritableVideo

Planes = list[np.ndarray]
"""Planes of unsigned integers, (h, w), as they are encoded."""
KEY_FRAMES = 48
"""Most frames from one key frame to the next: players can jump to every other second."""


@dataclass(frozen=True)
class Look:
    """How the pictures of a video are to be encoded and shown."""

    size: tuple[int, int]
    """Height and width of the pictures."""
    multiple_of: int
    """Height and width of encoded frames are multiples of this; the last row and column are repeated."""
    color: Color
    aspect: Fraction
    """Width of a pixel in units of its height."""
    rate: Fraction
    """Average number of frames a second, by which encoders share out bits."""

    @property
    def encoded_size(self) -> tuple[int, int]:
        height, width = (-(-side // self.multiple_of) * self.multiple_of for side in self.size)
        return height, width


def need_of(encoding: Encoding) -> int:
    """Frames of this encoding have a height and a width that are multiples of this."""
    layout = planes.layout_of(av.VideoFormat(encoding.format))
    return max(layout.across, layout.down)


def encode_part(path: Path, encoding: Encoding, look: Look, pictures: Iterable[Tensor | Planes]) -> None:
    """Encode pictures, (H, W, 3) in [0, 1], or what `stored` made of them, one packet for each, into a file.

    A picture that is the same object as the one before it is not converted again. The times in the file mean nothing.

    Raises:
        UnwritableVideo: the encoder does not give one packet for each picture.
        FFmpegError: see `explained`.
    """
    given, packets = _encode(path, encoding, look, pictures)
    if given != packets:
        raise UnwritableVideo(f"{encoding.codec} made {packets} packets of {given} frames. Choose another codec.")


def explained(error: FFmpegError | OSError, encoding: Encoding, look: Look) -> Exception:
    """The error that says what to do about one that was raised while writing."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return NotEnoughDisk("The disk is full. Free some space and run again: it goes on from the last finished part.")
    if isinstance(error, OSError):
        place = f" to {shown(str(error.filename))}" if error.filename else ""
        return UnwritableVideo(f"The video cannot be written{place} ({error.strerror}). Check its folder and disk.")
    height, width = look.encoded_size
    return UnwritableVideo(
        f"{encoding.codec} cannot write frames of {width}x{height} with {encoding.bits} bits ({error.strerror}). "
        "Choose another codec or size."
    )


def stored(picture: Tensor, encoding: Encoding, look: Look) -> Planes:
    """The numbers that are encoded for a picture, computed on its device."""
    layout = planes.layout_of(av.VideoFormat(encoding.format))
    return color.from_rgb(_extended(picture, *look.encoded_size), layout, look.color)


def _encode(path: Path, encoding: Encoding, look: Look, pictures: Iterable[Tensor | Planes]) -> tuple[int, int]:
    """Returns the number of pictures and of packets."""
    given = packets = 0
    last: tuple[Tensor | Planes, av.VideoFrame] | None = None
    with av.open(path, "w") as container:
        stream = _stream(container, encoding, look)
        for picture in pictures:
            if last is None or picture is not last[0]:
                last = picture, _frame(picture, encoding, look)
            frame = last[1]
            frame.pts, frame.time_base, frame.pict_type = given, 1 / look.rate, 0  # encoders change it
            given += 1
            for packet in stream.encode(frame):
                packets += 1
                container.mux(packet)
        for packet in stream.encode(None):
            packets += 1
            container.mux(packet)
    return given, packets


def _stream(container: OutputContainer, encoding: Encoding, look: Look) -> Any:
    codec = CODECS[encoding.codec]
    stream: Any = container.add_stream(codec.encoder, rate=look.rate, options=encoding.options)
    context = stream.codec_context
    context.height, context.width = look.encoded_size
    context.pix_fmt = encoding.encoder_format
    context.sample_aspect_ratio = look.aspect
    context.max_b_frames = 0  # every packet's time is that of its frame: nothing depends on how containers reorder
    context.gop_size = KEY_FRAMES
    if codec.tag:
        context.codec_tag = codec.tag
    _tag(context, look.color)
    return stream


def _tag(target: Any, colors: Color) -> None:
    """Set the colour tags of a frame or an encoder."""
    target.color_range = planes.JPEG_RANGE if colors.is_full_range else planes.MPEG_RANGE
    target.colorspace = colors.matrix
    if hasattr(target, "color_primaries"):  # frames have it from PyAV 16.1 on; ProRes stores that of frames
        target.color_primaries, target.color_trc = colors.primaries, colors.transfer


def _frame(picture: Tensor | Planes, encoding: Encoding, look: Look) -> av.VideoFrame:
    numbers = stored(picture, encoding, look) if isinstance(picture, Tensor) else picture
    frame = planes.frame_of(numbers, encoding.format)
    if encoding.encoder_format != encoding.format:
        frame = frame.reformat(format=encoding.encoder_format)
    _tag(frame, look.color)
    return frame


def _extended(picture: Tensor, height: int, width: int) -> Tensor:
    """(H, W, C) with its last row and column repeated up to a size."""
    below, right = height - picture.shape[0], width - picture.shape[1]
    if not below and not right:
        return picture
    return F.pad(picture.movedim(-1, 0), (0, right, 0, below), mode="replicate").movedim(0, -1)
