"""Puts the finished parts and everything else of the source into one file: packets are copied, nothing is encoded."""

import heapq
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.stream import Stream

from ..apisr_archs.text import shown
from .codecs import CODECS, Encoding
from .errors import UnwritableVideo
from .parts import Part
from .reader import Clip
from .source import Source, base_of, is_cover, is_empty, opened, video_stream

MATROSKA = "matroska"
ASPECT_INSIDE = ("h264", "hevc")
"""Codecs whose packets say the shape of pixels. PyAV cannot write it into Matroska for others."""
SUFFIXES = {".mp4": "mp4", ".mov": "mov", ".mkv": MATROSKA}
"""FFmpeg's name of the container, by file name."""
MOST_TICKS = 2**31 - 1
"""Most ticks a second that an mp4 can have."""
TAGS_OF_THE_FILE = ("encoder", "major_brand", "minor_version", "compatible_brands", "duration", "vendor_id")
"""What describes the source as a file, not its content, in lower case."""


@dataclass(frozen=True)
class Kept:
    """Which container a result goes into, and what of its source."""

    container: str
    """FFmpeg's name."""
    streams: tuple[int, ...]
    """Indices of the source's streams that are copied."""
    lost: tuple[str, ...]
    """What cannot be copied, for the user."""

    @property
    def suffix(self) -> str:
        return suffix_of(self.container)


def suffix_of(container: str) -> str:
    """Of files, for a container in FFmpeg's name."""
    return next(suffix for suffix, name in SUFFIXES.items() if name == container)


def containers(target: Path, encoding: Encoding) -> tuple[str, ...]:
    """The containers that a result may go into, the preferred one first: that of the file name, if it has one.

    Raises:
        UnwritableVideo: the codec does not go into that container.
    """
    named = SUFFIXES.get(target.suffix.lower())
    home = CODECS[encoding.codec].container
    if named is None or named in (home, MATROSKA):
        return (named,) if named else (home, MATROSKA)
    if named == "mov" and encoding.codec.startswith(("h264", "h265")):
        return (named,)
    raise UnwritableVideo(f"{encoding.codec} does not go into {target.suffix}. Name the result .{home} or .mkv.")


def choose_container(source: Source, clip: Clip, video: Path, containers: Sequence[str]) -> Kept:
    """The first of some containers, or a later one that can carry more of the source.

    video: a file with the stream of pictures as it will be written.
    """
    with opened(source) as container, av.open(video) as pictures:
        wanted = beside(container, video_stream(container, clip.name))
        carried = {
            name: [
                stream
                for stream in wanted
                if not _lacks_times(stream, container) and carries(name, pictures.streams.video[0], stream)
            ]
            for name in containers
        }
        # the first of those with the most; a cover picture alone is no reason for another container
        best = max(containers, key=lambda name: sum(not is_cover(stream) for stream in carried[name]))
        lost = [described(stream) for stream in wanted if stream not in carried[best]]
        if best == MATROSKA and clip.aspect != 1 and pictures.streams.video[0].codec_context.name not in ASPECT_INSIDE:
            lost.append(f"the pixel aspect {clip.aspect.numerator}:{clip.aspect.denominator} (h264 and h265 keep it)")
        return Kept(best, tuple(stream.index for stream in carried[best]), tuple(lost))


def _lacks_times(stream: Stream, container: InputContainer) -> bool:
    """Whether packets cannot be copied: Matroska does not say when to decode those of a video with B-frames."""
    return (
        stream.type == "video"
        and not is_cover(stream)
        and container.format.name.startswith(MATROSKA)
        and bool(getattr(stream.codec_context, "has_b_frames", True))
    )


def beside(container: InputContainer, pictures: Stream) -> list[Stream]:
    """All streams but the pictures and the text track in which mp4 stores chapters."""
    chapters = (
        stream
        for stream in container.streams.data
        if container.chapters() and stream.metadata.get("handler_name") == "SubtitleHandler"
    )
    left_out = {pictures.index, *(stream.index for stream in chapters)}
    return [stream for stream in container.streams if stream.index not in left_out]


def described(stream: Stream) -> str:
    """A stream in words, like "subtitles 3 (ass, English)"."""
    kind = "cover picture" if is_cover(stream) else {"subtitle": "subtitles"}.get(stream.type, stream.type)
    about = [stream.codec_context.name] if getattr(stream, "codec_context", None) else []
    about += [shown(value) for key in ("language", "title", "filename") if (value := stream.metadata.get(key))]
    return f"{kind} {stream.index}" + (f" ({', '.join(about)})" if about else "")


def carries(container: str, *streams: Stream) -> bool:
    """Whether a container can carry these streams together: found by trying."""
    if container == "mov" and any(map(is_cover, streams)):
        return False  # it accepts cover pictures and loses them
    try:
        with av.open(io.BytesIO(), "w", format=container) as trial:
            for stream in streams:
                added(trial, stream)
            trial.start_encoding()
    except (FFmpegError, ValueError, TypeError):
        return False
    return True


def added(container: OutputContainer, template: Any) -> Any:
    """Add a stream like `template` to the container."""
    return container.add_stream_from_template(template, opaque=True)


def added_pictures(container: OutputContainer, template: Any) -> Any:
    """As `added`, with the tag by which players know H.265 and the kinds of ProRes; FFmpeg would write its default."""
    stream = added(container, template)
    if container.format.name != MATROSKA:
        stream.codec_context.codec_tag = template.codec_context.codec_tag
    return stream


def write_video(
    source: Source, clip: Clip, parts: Sequence[Part], kept: Kept, target: Path, check: Callable[[], None]
) -> None:
    """Write the parts as one video, with the streams that are kept, chapters and tags.

    check: called again and again; may raise.
    """
    with opened(source) as container, av.open(parts[0].path) as first:
        streams = [container.streams[index] for index in kept.streams]
        options = options_of(kept.container, clip.time_base, streams)
        with av.open(target, "w", format=kept.container, options=options) as out:
            pictures = added_pictures(out, first.streams.video[0])
            pictures.time_base, pictures.sample_aspect_ratio = clip.time_base, clip.aspect
            copy_tags(video_stream(container, clip.name), pictures)
            others = {stream.index: added(out, stream) for stream in streams}
            for index, stream in others.items():
                copy_tags(container.streams[index], stream)
            out.metadata.update(kept_tags(container.metadata))
            out.set_chapters(_chapters(container, clip))
            packets = _other_packets(container, clip, others, kept.container)
            for packet in heapq.merge(_picture_packets(parts, clip, pictures), packets, key=_time):
                check()
                out.mux(packet)


def options_of(container: str, time_base: Fraction, others: Sequence[Stream]) -> dict[str, str]:
    """Options of a container for pictures with this time base, and for other streams."""
    if container == MATROSKA:
        return {}
    # an mp4 stores in ticks of its own when each track begins
    ticks = time_base.denominator
    common = lcm(ticks, *(base_of(stream).denominator for stream in others))
    options = {"movie_timescale": str(common if common < MOST_TICKS else min(ticks, MOST_TICKS))}
    if not any(map(is_cover, others)):  # tags of any name and cover pictures exclude each other
        options["movflags"] = "use_metadata_tags"
    return options


def _time(packet: av.Packet) -> Fraction:
    """When a packet is decoded, in seconds."""
    time: Any = packet.dts
    return time * packet.time_base


def _picture_packets(parts: Iterable[Part], clip: Clip, stream: Any) -> Iterator[av.Packet]:
    for part in parts:
        with av.open(part.path) as container:
            packets = (packet for packet in container.demux(container.streams.video[0]) if packet.size)
            for packet, (start, duration) in zip(packets, part.times, strict=True):
                packet.pts, packet.dts, packet.duration, packet.time_base = start, start, duration, clip.time_base
                packet.stream = stream
                yield packet


def _other_packets(container: InputContainer, clip: Clip, streams: dict[int, Any], target: str) -> Iterator[av.Packet]:
    """The packets of other streams that belong to the clip, on its time line."""
    if not streams:
        return
    packets = container.demux([container.streams[index] for index in streams])
    with suppress(FFmpegError):  # the end is missing, which the reader of the pictures reports
        for packet in packets:
            if not is_empty(packet) and _moved(packet, clip, target):
                packet.stream = streams[packet.stream.index]
                yield packet


def _moved(packet: av.Packet, clip: Clip, target: str) -> bool:
    """Move a packet from the source's time line to the clip's. Returns whether it belongs to the clip."""
    if packet.pts is None and packet.dts is None:
        packet.pts = 0  # covers and attachments
    time_base: Any = packet.time_base
    pts: Any = packet.dts if packet.pts is None else packet.pts
    dts: Any = packet.pts if packet.dts is None else packet.dts
    offset = round(clip.origin * clip.time_base / time_base)
    pts, dts = pts - offset, dts - offset
    length = packet.duration or 0
    end = None if clip.end is None else clip.end / time_base
    if end is not None and pts >= end:
        return False
    if clip.window.start and pts < 0:
        if pts + length <= 0:
            return False
        if packet.stream.type == "subtitle":
            pts, dts, packet.duration = 0, 0, pts + length
        elif target == MATROSKA:  # mp4 has edit lists, by which players skip what comes before the beginning
            return False
    packet.pts, packet.dts = pts, dts
    return True


def copy_tags(source: Stream, target: Any) -> None:
    target.metadata.update(kept_tags(source.metadata))
    target.disposition = source.disposition.value


def kept_tags(tags: dict[str, str]) -> dict[str, str]:
    return {
        key: value for key, value in tags.items() if key.lower() not in TAGS_OF_THE_FILE and not key.startswith("_")
    }


def _chapters(container: InputContainer, clip: Clip) -> list[Any]:
    """The chapters that reach into the clip, on its time line."""
    chapters = []
    for chapter in container.chapters():
        time_base: Any = chapter["time_base"]
        offset = clip.origin * clip.time_base / time_base
        end = chapter["end"] - offset
        if clip.end is not None:
            end = min(end, clip.end / time_base)
        start = max(0, chapter["start"] - offset)
        if start < end:
            chapters.append({**chapter, "start": round(start), "end": round(end)})
    return chapters
