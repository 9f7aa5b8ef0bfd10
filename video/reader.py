"""Reads a video: its facts, and its frames with their times."""

import io
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import torch
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError
from av.stream import Disposition, Stream
from torch import Tensor

from ..apisr_archs.text import shown
from . import planes
from .color import Color
from .errors import UnreadableVideo

Source = str | Path | io.BytesIO
"""A video file, or the contents of one."""


class Window(NamedTuple):
    """The part of a video to read, in seconds from the beginning of its time line."""

    start: float = 0.0
    duration: float = 0.0
    """0: up to the end."""


WHOLE = Window()


@dataclass(frozen=True)
class Clip:
    """What is known of a video before its frames are read."""

    name: str
    """For messages."""
    window: Window
    height: int
    width: int
    """Size of the pictures, turned upright."""
    turns: int
    """Quarter turns, counterclockwise, that make the stored frames upright."""
    aspect: Fraction
    """Width of a pixel in units of its height, upright."""
    frames: int
    """Number of frames, estimated from the container; at least 1."""
    rate: Fraction
    """Average number of frames a second."""
    time_base: Fraction
    """Seconds of one tick, the unit of all times."""
    origin: int
    """Ticks from the beginning of the source's time line to that of the result."""
    bits: int
    """Bits of a colour component."""
    color: Color
    """With a matrix that can be computed with."""
    has_alpha: bool

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(frames, height, width, channels), as `engine.prepare` takes it."""
        return self.frames, self.height, self.width, 3

    @property
    def end(self) -> Fraction | None:
        """Seconds of the result's time line at which the window ends; None for the end of the video."""
        return Fraction(self.window.duration) if self.window.duration else None


class Frame(NamedTuple):
    """A frame, the time at which it is shown and how long, in ticks of the result's time line."""

    picture: Tensor
    """RGB, (H, W, 3), fp32 in [0, 1]. The same object as before if the frame is equal to the one before."""
    start: int
    duration: int


@contextmanager
def opened(source: Source) -> Iterator[InputContainer]:
    """An open video.

    Raises:
        UnreadableVideo: it cannot be opened.
    """
    name = name_of(source)
    if isinstance(source, io.BytesIO):
        source.seek(0)
    try:
        container: Any = av.open(source, metadata_errors="replace")
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


def read_clip(source: Source, window: Window = WHOLE) -> Clip:
    """Read the facts of a video, and decode its first frame.

    Raises:
        UnreadableVideo: there is no video to upscale; the text says why.
    """
    name = name_of(source)
    with opened(source) as container:
        stream = video_stream(container, name)
        timed = _timed(container, stream, window, [])
        first = next(timed, None)
        if first is None:
            where = " in the chosen part" if window != WHOLE else " that can be decoded"
            raise UnreadableVideo(f"{name} has no frames{where}. Choose another video or part.")
        frame, start, _ = first
        timed.close()
        turns = round(frame.rotation // 90) % 4  # as ComfyUI rounds it
        size = (frame.height, frame.width) if turns % 2 == 0 else (frame.width, frame.height)
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        rate = _rate(stream)
        return Clip(
            name=name,
            window=window,
            height=size[0],
            width=size[1],
            turns=turns,
            aspect=1 / aspect if turns % 2 else aspect,
            frames=_estimated_frames(container, stream, window, rate),
            rate=rate,
            time_base=base_of(stream),
            origin=_ticks(window.start, stream) if window.start else min(0, start),
            bits=planes.bits_of(frame),
            color=planes.color_of(frame).resolved(frame.height, frame.width),
            has_alpha=planes.has_alpha(frame),
        )


def read_frames(
    source: Source, clip: Clip, skip: int = 0, tell: Callable[[str], None] | None = None
) -> Iterator[Frame]:
    """Decode the frames of a clip but for the first `skip`, each with its own time.

    tell: called with a line about what could not be read.

    Raises:
        UnreadableVideo: a frame is interlaced or has another size than the first.
    """
    problems: list[str] = []
    before: tuple[av.VideoFrame, Tensor] | None = None
    with opened(source) as container:
        stream = video_stream(container, clip.name)
        for number, (decoded, start, duration) in enumerate(_timed(container, stream, clip.window, problems)):
            _require_like_the_first(decoded, clip, number)
            if number < skip:
                continue
            frame = planes.plain(decoded)
            if before and planes.same_planes(planes.planes_of(before[0]), planes.planes_of(frame)):
                picture = before[1]
            else:
                picture = planes.picture_of(frame, clip.color)
                picture = torch.rot90(picture, clip.turns).contiguous() if clip.turns else picture
            before = frame, picture
            yield Frame(picture, start - clip.origin, duration)
    if problems and tell:
        tell(f"{clip.name}: {len(problems)} damaged pieces could not be read ({problems[0]}); the rest is complete.")


def _require_like_the_first(frame: av.VideoFrame, clip: Clip, number: int) -> None:
    if frame.interlaced_frame:
        raise UnreadableVideo(
            f"{clip.name} is interlaced (frame {number + 1}). Deinterlace it first, for example with "
            "ffmpeg -i in.mp4 -vf bwdif=send_frame out.mkv"
        )
    size = (frame.height, frame.width) if clip.turns % 2 == 0 else (frame.width, frame.height)
    if size != (clip.height, clip.width):
        raise UnreadableVideo(
            f"Frame {number + 1} of {clip.name} is {size[1]}x{size[0]}, the first is {clip.width}x{clip.height}. "
            "Cut the video where its size changes, and upscale the parts."
        )


def _timed(
    container: InputContainer, stream: av.VideoStream, window: Window, problems: list[str]
) -> Generator[tuple[av.VideoFrame, int, int], None, None]:
    """Decode the frames in a window, with start and duration in ticks of the source."""
    first, last = _ticks(window.start, stream), _ticks(window.start + window.duration, stream)
    if first > 0:
        container.seek(first, stream=stream)
    step = max(1, round(1 / _rate(stream) / base_of(stream)))
    held: tuple[av.VideoFrame, int] | None = None
    for frame, start in _with_start(_decoded(container, stream, problems), step):
        if window.start and start < first:
            continue
        if window.duration and start >= last:
            if held:
                yield (*held, last - held[1])
            return
        if held:
            yield (*held, start - held[1])
        held = frame, start
    if held:
        yield (*held, _last_duration(container, stream, held, step, last if window.duration else None))


def _last_duration(
    container: InputContainer, stream: av.VideoStream, held: tuple[av.VideoFrame, int], step: int, end: int | None
) -> int:
    """How long the last frame of a video is shown, in ticks."""
    frame, start = held
    duration = frame.duration or step
    if "mov" in container.format.name and stream.duration:
        # with B-frames the durations of packets belong to the order of decoding; the track knows its end, where edit
        # lists are rounded to the millisecond
        until_end = (stream.start_time or 0) + stream.duration - start
        duration = until_end if until_end > duration + base_of(stream).denominator / 1000 else duration
    return duration if end is None else max(1, min(duration, end - start))


def _with_start(frames: Iterator[av.VideoFrame], step: int) -> Iterator[tuple[av.VideoFrame, int]]:
    """Each frame with the time at which it is shown, in ticks; times always increase.

    Where containers give no presentation times or wrong ones (AVI, raw streams), those of decoding are used, as FFmpeg
    does (`guess_correct_pts`): whichever have gone backwards less often.
    """
    wrong_pts = wrong_dts = 0
    last_pts = last_dts = previous = None
    for frame in frames:
        wrong_dts += frame.dts is not None and last_dts is not None and frame.dts <= last_dts
        wrong_pts += frame.pts is not None and last_pts is not None and frame.pts <= last_pts
        last_dts, last_pts = frame.dts, frame.pts
        start = frame.pts if wrong_pts <= wrong_dts or frame.dts is None else frame.dts
        start = frame.dts if start is None else start
        if start is None or (previous is not None and start <= previous):
            start = 0 if previous is None else previous + step
        previous = start
        yield frame, start


def _decoded(container: InputContainer, stream: av.VideoStream, problems: list[str]) -> Iterator[av.VideoFrame]:
    """All frames that can be decoded. What cannot be read is added to `problems`."""
    stream.thread_type = "AUTO"
    packets = container.demux(stream)
    packet: av.Packet | None
    while True:
        packet = None
        try:
            packet = next(packets, None)
            # An empty packet would end the decoder. AVI has them where a frame is held.
            frames = stream.decode(packet) if packet is None or packet.size else []
        except EndOfFile:
            return
        except FFmpegError as error:
            problems.append(str(error.strerror))
            if packet is None:
                return
            continue
        yield from frames
        if packet is None:
            return


def _ticks(seconds: float, stream: av.VideoStream) -> int:
    return int(seconds / base_of(stream))  # rounded as ComfyUI does it


def _rate(stream: av.VideoStream) -> Fraction:
    return Fraction(stream.average_rate or stream.guessed_rate or 25)


def _estimated_frames(container: InputContainer, stream: av.VideoStream, window: Window, rate: Fraction) -> int:
    if window == WHOLE and stream.frames > 0:
        return stream.frames
    seconds = float(stream.duration * base_of(stream)) if stream.duration else (container.duration or 0) / av.time_base
    seconds = max(0.0, seconds - window.start)
    return max(1, round((min(seconds, window.duration) if window.duration else seconds) * rate))
