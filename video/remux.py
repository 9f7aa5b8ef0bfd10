"""Copies a result into another file without encoding it again."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av

from .errors import UnwritableVideo
from .mux import added, added_pictures, beside, carries, copy_tags, described, kept_tags, options_of, suffix_of
from .source import Source, base_of, is_empty, name_of, opened, video_stream


def remux(source: Source, target: Path | io.BytesIO, container: str, tags: Mapping[str, str]) -> tuple[str, ...]:
    """Copy a video with further tags. Returns the streams that the container cannot carry, in words.

    Args:
        source: a result of `run_video`, in which every packet has its times.
        container: FFmpeg's name, one of the values of `mux.SUFFIXES`.

    Raises:
        UnwritableVideo: the container cannot carry the pictures.
    """
    name = name_of(source)
    with opened(source) as origin:
        pictures = video_stream(origin, name)
        if not carries(container, pictures):
            raise UnwritableVideo(f"{name}: {pictures.codec_context.name} does not go into {suffix_of(container)}.")
        others = beside(origin, pictures)
        kept = [stream for stream in others if carries(container, pictures, stream)]
        options = options_of(container, base_of(pictures), kept)
        with av.open(_place(target), "w", format=container, options=options) as out:
            streams = {pictures.index: added_pictures(out, pictures)} | {each.index: added(out, each) for each in kept}
            for index, stream in streams.items():
                stream.time_base = base_of(origin.streams[index])
                copy_tags(origin.streams[index], stream)
            streams[pictures.index].sample_aspect_ratio = pictures.sample_aspect_ratio
            out.metadata.update({**kept_tags(origin.metadata), **tags})
            out.set_chapters(origin.chapters())
            for packet in origin.demux([origin.streams[index] for index in streams]):
                if not is_empty(packet):
                    packet.stream = streams[packet.stream.index]
                    out.mux(packet)
        return tuple(described(stream) for stream in others if stream not in kept)


def _place(target: Path | io.BytesIO) -> Any:
    return str(target) if isinstance(target, Path) else target
