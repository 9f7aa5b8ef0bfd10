"""Opens a video and finds its pictures."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream

from ..apisr_archs.text import shown
from .errors import UnreadableVideo

Source = str | Path | io.BytesIO
"""A video file, or the contents of one."""


class Window(NamedTuple):
    """The part of a video to read, in seconds from the beginning of its time line."""

    start: float = 0.0
    duration: float = 0.0
    """0: up to the end."""


WHOLE = Window()


@contextmanager
def opened(source: Source) -> Iterator[InputContainer]:
    """An open video.

    Raises:
        UnreadableVideo: it cannot be opened.
    """
    name = name_of(source)
    if isinstance(source, io.BytesIO):
        source.seek(0)
    # FFmpeg takes what stands before a colon for a protocol, and would look for "http:x" in the network
    file = source if isinstance(source, io.BytesIO) else Path(source).absolute()
    try:
        container: Any = av.open(file, metadata_errors="replace")
    except FFmpegError as error:
        reason = "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise UnreadableVideo(f"{name} {reason}. Choose a video that plays, or convert it to mp4.") from error
    with container:
        yield container


def name_of(source: Source) -> str:
    return "The video in memory" if isinstance(source, io.BytesIO) else shown(Path(source).name)


def video_stream(container: InputContainer, name: str) -> av.VideoStream:
    """The first video stream that is no cover picture.

    Raises:
        UnreadableVideo: there is none, or PyAV has no decoder for it.
    """
    streams = [stream for stream in container.streams.video if not is_cover(stream)]
    if not streams:
        raise UnreadableVideo(f"{name} has no video stream. Choose a file with one.")
    stream = streams[0]
    if stream.codec_context is None:
        raise UnreadableVideo(f"{name} is in a format that PyAV cannot decode. Convert it to h264 in mp4.")
    return stream


def base_of(stream: Stream) -> Fraction:
    """Seconds of one tick of a stream."""
    return stream.time_base or Fraction(1, av.time_base)


def is_cover(stream: Stream) -> bool:
    """Whether a stream is a still picture that belongs to the file, not a video."""
    return bool(stream.disposition & Disposition.attached_pic)


def is_empty(packet: av.Packet) -> bool:
    """Whether a packet holds nothing: in mp4, text of length 0 fills the time between two subtitles."""
    codec = getattr(packet.stream, "codec_context", None)
    return packet.size <= (2 if codec is not None and codec.name == "mov_text" else 0)
