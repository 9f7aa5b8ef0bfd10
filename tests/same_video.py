"""Compares an upscaled video with its source, by ffprobe: what must be the same, and what may differ."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from apisr_pack.tests import ffprobe

MILLISECOND = Fraction(1, 1000)
TAGS = ("color_range", "color_space", "color_transfer", "color_primaries")
Span = tuple[Fraction, Fraction | None]
"""Start and end in seconds. None: Matroska has no end of the last frame for codecs that FFmpeg cannot parse."""


def assert_same(source: Path, result: Path) -> None:
    """All that an upscaled video keeps: frames and their times, colours, shape, other streams, chapters."""
    assert_same_times(source, result)
    assert_same_look(source, result)
    assert_same_streams(source, result)
    assert _rounded(ffprobe.chapters(source)) == _rounded(ffprobe.chapters(result))


def shown(path: Path) -> list[Span]:
    """When each frame is shown: from its time to that of the next; the last one up to the end of the stream."""
    frames, video = ffprobe.frames(path), ffprobe.video(path)
    starts = [start for start, _ in frames]
    end = None if frames[-1][1] is None else starts[-1] + frames[-1][1]
    if "duration_ts" in video:
        end = (video.get("start_pts", 0) + video["duration_ts"]) * Fraction(video["time_base"])
    return list(zip(starts, [*starts[1:], end], strict=True))


def assert_same_times(source: Path, result: Path) -> None:
    """Every frame once, at its own time. Times below zero begin at zero; Matroska rounds to the millisecond."""
    before, after = shown(source), shown(result)
    assert len(after) == len(before)
    offset = min(Fraction(0), before[0][0])
    exact = result.suffix != ".mkv"
    for (start, end), (new_start, new_end) in zip(before, after, strict=True):
        assert abs(new_start - (start - offset)) <= (0 if exact else MILLISECOND / 2)
        if end is None or new_end is None:
            assert result.suffix == ".mkv"
            continue
        assert abs(new_end - (end - offset)) <= MILLISECOND  # edit lists of the sources are rounded to that


def assert_same_look(source: Path, result: Path) -> None:
    """The colour tags that the source has, and the shape of its pixels."""
    before, after = ffprobe.video(source), ffprobe.video(result)
    given = {tag: before[tag] for tag in TAGS if before.get(tag, "reserved") != "reserved"}
    if before["pix_fmt"] in ("rgba", "bgra", "argb"):  # becomes YUV of limited range
        given = {}
    assert {tag: after.get(tag) for tag in given} == given
    assert _aspect(after) == (1 / _aspect(before) if _is_turned(before) else _aspect(before))


def assert_same_streams(source: Path, result: Path) -> None:
    """Sound, subtitles, attachments: the same bytes at the same times, with language and title."""
    before, after = (_others(path) for path in (source, result))
    assert [stream["codec_name"] for stream in after] == [stream["codec_name"] for stream in before]
    for old, new in zip(before, after, strict=True):
        for tag in ("language", "title"):
            assert new["tags"].get(tag, "und") == old["tags"].get(tag, "und")
        if old["codec_name"] in ("ass", "ttf"):  # the styles; the file itself
            assert ffprobe.extradata(source, old["index"]) == ffprobe.extradata(result, new["index"])
        one, other = ffprobe.packets(source, old["index"]), ffprobe.packets(result, new["index"])
        assert len(other) == len(one)
        for packet, copy in zip(one, other, strict=True):
            assert packet.hash == copy.hash or _is_adts(source)
            if packet.pts is not None and copy.pts is not None:
                assert abs(packet.pts - copy.pts) <= MILLISECOND / 2


def _others(path: Path) -> list[dict[str, Any]]:
    """All streams but the pictures, and the text track in which mp4 stores chapters."""
    pictures = ffprobe.video(path)["index"]
    streams = [stream for stream in ffprobe.streams(path) if stream["index"] != pictures]
    return [{"codec_name": None, "tags": {}, **stream} for stream in streams if stream.get("codec_name") != "bin_data"]


def _is_adts(path: Path) -> bool:
    """AAC in MPEG-TS has headers of its own before each packet, which other containers do not have."""
    return path.suffix == ".ts"


def _is_turned(video: dict[str, Any]) -> bool:
    return any(entry.get("rotation", 0) % 180 for entry in video.get("side_data_list", []))


def _aspect(video: dict[str, Any]) -> Fraction:
    return Fraction(video.get("sample_aspect_ratio", "1:1").replace(":", "/"))


def _rounded(chapters: list[ffprobe.Chapter]) -> list[tuple[int, int, str]]:
    """To milliseconds, which is what mp4 stores."""
    return [(round(one.start * 1000), round(one.end * 1000), one.title) for one in chapters]
