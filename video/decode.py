"""Decodes the pictures of a video, and finds out when each is shown and how long."""

from collections import deque
from collections.abc import Generator, Iterator
from fractions import Fraction

import av
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError

from .source import WHOLE, Window, base_of


def timed_frames(
    container: InputContainer, stream: av.VideoStream, window: Window, problems: list[str]
) -> Generator[tuple[av.VideoFrame, int, int], None, None]:
    """Decode the frames in a window, with start and duration in ticks of the source."""
    first, last = ticks(window.start, stream), ticks(window.start + window.duration, stream)
    if first > 0:
        container.seek(first, stream=stream)
    step = max(1, round(1 / rate_of(stream) / base_of(stream)))
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


def _with_start(frames: Iterator[tuple[av.VideoFrame, int | None]], step: int) -> Iterator[tuple[av.VideoFrame, int]]:
    """Each frame with the time at which it is shown, in ticks; times always increase."""
    previous = None
    for frame, start in frames:
        if start is None or (previous is not None and start <= previous):
            start = 0 if previous is None else previous + step
        previous = start
        yield frame, start


def _decoded(
    container: InputContainer, stream: av.VideoStream, problems: list[str]
) -> Iterator[tuple[av.VideoFrame, int | None]]:
    """All frames that can be decoded, with their times if there are any. What cannot be is added to `problems`."""
    stream.thread_type = "AUTO"
    is_in_order = container.format.name == "avi"  # it stores when packets are decoded, not when frames are shown
    times: deque[int | None] = deque()
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
        if packet is not None and packet.size:
            times.append(packet.dts)
        for frame in frames:
            in_order = times.popleft() if times else None
            yield frame, in_order if is_in_order else frame.dts if frame.pts is None else frame.pts
        if packet is None:
            return


def ticks(seconds: float, stream: av.VideoStream) -> int:
    return int(seconds / base_of(stream))  # rounded as ComfyUI does it


def rate_of(stream: av.VideoStream) -> Fraction:
    return Fraction(stream.average_rate or stream.guessed_rate or 25)


def estimated_frames(container: InputContainer, stream: av.VideoStream, window: Window, rate: Fraction) -> int:
    if window == WHOLE and stream.frames > 0:
        return stream.frames
    seconds = float(stream.duration * base_of(stream)) if stream.duration else (container.duration or 0) / av.time_base
    seconds = max(0.0, seconds - window.start)
    return max(1, round((min(seconds, window.duration) if window.duration else seconds) * rate))
