"""Reads a video: its facts, and its frames with their times."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
import torch
from torch import Tensor

from . import planes
from .color import Color
from .decode import estimated_frames, rate_of, ticks, timed_frames
from .errors import UnreadableVideo
from .source import WHOLE, Source, Window, base_of, name_of, opened, video_stream


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


def read_clip(source: Source, window: Window = WHOLE) -> Clip:
    """Read the facts of a video, and decode its first frame.

    Raises:
        UnreadableVideo: there is no video to upscale; the text says why.
    """
    name = name_of(source)
    with opened(source) as container:
        stream = video_stream(container, name)
        timed = timed_frames(container, stream, window, [])
        first = next(timed, None)
        if first is None:
            where = " in the chosen part" if window != WHOLE else " that can be decoded"
            raise UnreadableVideo(f"{name} has no frames{where}. Choose another video or part.")
        frame, start, _ = first
        timed.close()
        turns = round(frame.rotation // 90) % 4  # as ComfyUI rounds it
        size = (frame.height, frame.width) if turns % 2 == 0 else (frame.width, frame.height)
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        rate = rate_of(stream)
        return Clip(
            name=name,
            window=window,
            height=size[0],
            width=size[1],
            turns=turns,
            aspect=1 / aspect if turns % 2 else aspect,
            frames=estimated_frames(container, stream, window, rate),
            rate=rate,
            time_base=base_of(stream),
            origin=ticks(window.start, stream) if window.start else min(0, start),
            bits=planes.bits_of(frame),
            color=planes.color_of(frame, stream.codec_context).resolved(frame.height, frame.width),
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
        for number, (decoded, start, duration) in enumerate(timed_frames(container, stream, clip.window, problems)):
            _require_like_the_first(decoded, clip, number)
            if number < skip:
                continue
            frame = planes.plain(decoded)
            if before and planes.same_planes(planes.planes_of(before[0]), planes.planes_of(frame)):
                picture = before[1]
            else:
                picture = planes.picture_of(frame, clip.color)
                if clip.turns:
                    picture = torch.from_numpy(np.rot90(picture.numpy(), clip.turns).copy())
            before = frame, picture
            yield Frame(picture, start - clip.origin, duration)
    if problems and tell:
        tell(f"{len(problems)} damaged pieces of {clip.name} could not be read ({problems[0]}). The rest is complete.")


def _require_like_the_first(frame: av.VideoFrame, clip: Clip, number: int) -> None:
    if frame.interlaced_frame:
        raise UnreadableVideo(
            f"{clip.name} is interlaced (frame {number + 1}). Deinterlace it first, for example by "
            "ffmpeg's filter bwdif=send_frame."
        )
    size = (frame.height, frame.width) if clip.turns % 2 == 0 else (frame.width, frame.height)
    if size != (clip.height, clip.width):
        raise UnreadableVideo(
            f"Frame {number + 1} of {clip.name} is {size[1]}x{size[0]}, the first is {clip.width}x{clip.height}. "
            "Cut the video where its size changes, and upscale the parts."
        )
