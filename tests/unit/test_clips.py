"""The clips of the tests are what they say, according to ffprobe."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from apisr_pack.tests import clips, ffprobe

FACTS: dict[str, dict[str, Any]] = {
    "twos lossless": {"codec_name": "ffv1", "frames": 24},
    "vfr mp4": {"frames": 14, "has_b_frames": 2},
    "negative start": {"frames": 12},
    "edit list": {"frames": 7},
    "one frame": {"frames": 1},
    "gradient h264 420": {"pix_fmt": "yuv420p10le"},
    "gradient h265 444": {"pix_fmt": "yuv444p10le", "codec_name": "hevc"},
    "card bt601": {"color_space": "smpte170m", "color_range": "tv"},
    "card bt709 full": {"color_space": "bt709", "color_range": "pc"},
    "card bt2020 10-bit": {"color_space": "bt2020nc", "pix_fmt": "yuv420p10le"},
    "card pq": {"color_transfer": "smpte2084"},
    "card hlg": {"color_transfer": "arib-std-b67"},
    "odd h264 444": {"width": 65, "height": 47},
    "anamorphic": {"sample_aspect_ratio": "8:9"},
    "interlaced": {"field_order": "tt"},
    "long": {"frames": 720},
}


@pytest.mark.parametrize("name", FACTS)
def test_clips_are_what_they_say(name: str, tmp_path: Path) -> None:
    path = clips.CLIPS[name](tmp_path)
    facts = {**ffprobe.video(path), "frames": len(ffprobe.frames(path))}
    assert {fact: facts.get(fact) for fact in FACTS[name]} == FACTS[name]


def test_times(tmp_path: Path) -> None:
    irregular = [start for start, _ in ffprobe.frames(clips.CLIPS["vfr mp4"](tmp_path))]
    assert len({after - before for before, after in pairwise(irregular)}) > 2
    assert ffprobe.frames(clips.CLIPS["negative start"](tmp_path))[0][0] < 0
    assert ffprobe.frames(clips.CLIPS["late start mp4"](tmp_path))[0][0] == Fraction(3, 2)
    assert ffprobe.frames(clips.CLIPS["last held mp4"](tmp_path))[-1][1] == Fraction(48 * 1001, 24000)


def test_tracks(tmp_path: Path) -> None:
    streams = ffprobe.streams(clips.CLIPS["tracks mkv"](tmp_path))
    assert [stream["codec_type"] for stream in streams] == [
        "video", "audio", "audio", "subtitle", "subtitle", "attachment"
    ]  # fmt: skip
    assert [stream["channels"] for stream in streams if stream["codec_type"] == "audio"] == [6, 2]
    assert [chapter.title for chapter in ffprobe.chapters(tmp_path / "tracks.mkv")] == ["Opening", "Part A"]


def test_rotation(tmp_path: Path) -> None:
    (entry,) = ffprobe.video(clips.CLIPS["rotated"](tmp_path))["side_data_list"]
    assert entry["rotation"] == 90


def test_empty_packets(tmp_path: Path) -> None:
    """A held frame of AVI: fewer packets than time."""
    path = clips.CLIPS["avi held"](tmp_path)
    times = [start for start, _ in ffprobe.frames(path)]
    assert len(times) == 12
    assert times[-1] == Fraction(20, 24)
