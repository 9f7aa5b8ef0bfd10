"""Whole videos through `video.upscale_video`: ffprobe, which is not ours, says what came out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apisr_pack.engine import Callbacks
from apisr_pack.tests import clips, ffprobe, same_video
from apisr_pack.tests.standins import NearestModel
from apisr_pack.video import UnreadableVideo, UnwritableVideo, available, remux, run, upscale_video

FAST = (
    "vfr mp4",
    "vfr mkv",
    "negative start",
    "edit list",
    "tracks mkv",
    "tracks mp4",
    "anamorphic",
    "card bt709 10-bit",
)
WITHOUT_TIMES = ("avi b-frames",)


def upscaled(name: str, folder: Path, **settings: Any) -> tuple[Path, Path, list[str]]:
    """The source, the result and what was told, for a clip of the tables."""
    sources, results = folder / "source", folder / "result"
    sources.mkdir(parents=True, exist_ok=True)
    source = {**clips.CLIPS, **clips.DAMAGED, **clips.REFUSED}[name](sources)
    told: list[str] = []
    callbacks = Callbacks(tell=told.append)
    result = upscale_video(NearestModel(2), source, results / "result", callbacks=callbacks, **settings)
    assert list(results.iterdir()) == [result]
    return source, result, told


@pytest.mark.parametrize(
    "name",
    [
        name if name in FAST else pytest.param(name, marks=pytest.mark.slow)
        for name in clips.CLIPS
        if name not in (*WITHOUT_TIMES, "interlaced")
    ],
)
def test_everything_is_kept(name: str, tmp_path: Path) -> None:
    source, result, _ = upscaled(name, tmp_path)
    same_video.assert_same(source, result)


@pytest.mark.slow
@pytest.mark.parametrize("codec", [codec for codec in available() if codec != "h264"])
@pytest.mark.parametrize("name", [*FAST, "late start mp4", "last held mkv", "rotated"])
def test_everything_is_kept_by_each_codec(name: str, codec: str, tmp_path: Path) -> None:
    source, result, _ = upscaled(name, tmp_path, codec=codec)
    same_video.assert_same(source, result)


def test_files_without_times_play_at_their_rate(tmp_path: Path) -> None:
    """H.264 with B-frames in AVI: the packets of the source have no time of presentation."""
    _, result, _ = upscaled("avi b-frames", tmp_path)
    starts = [start for start, _ in same_video.shown(result)]
    assert starts == [Fraction(frame, 24) for frame in range(12)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codec", "quality", "tag"),
    [("h264", 65, "avc1"), ("h265", 65, "hvc1"), ("av1", 65, "av01"), ("prores", 10, "apco"), ("prores", 100, "ap4h")],
)
def test_the_tag_by_which_players_know_the_codec_is_kept(codec: str, quality: int, tag: str, tmp_path: Path) -> None:
    _, result, _ = upscaled("anamorphic", tmp_path, codec=codec, quality=quality)
    assert ffprobe.video(result)["codec_tag_string"] == tag
    copy = tmp_path / f"copy{result.suffix}"
    remux(result, copy, result.suffix[1:], {})
    assert ffprobe.video(copy)["codec_tag_string"] == tag


def test_frames_too_small_for_the_codec_are_refused(tmp_path: Path) -> None:
    """SVT-AV1 waits for ever at some such sizes, like 4096x4."""
    words = r"^av1 needs frames of at least 64x64; these are 96x32\. Choose another codec or a larger size\.$"
    with pytest.raises(UnwritableVideo, match=words):
        upscaled("anamorphic", tmp_path, codec="av1", size=(32, 96))


def test_a_second_video_that_cannot_be_copied_is_said(tmp_path: Path) -> None:
    """Matroska does not say when to decode packets of B-frames."""
    source = tmp_path / "two.mkv"
    with clips.opened(source) as out:
        reordered = {"options": {"bf": "2", "b-adapt": "0"}}
        clips.write(out, *(clips.add_video(out, clips.sliding(12), **reordered) for _ in range(2)))
    told = list[str]()
    result = upscale_video(NearestModel(2), source, tmp_path / "result", callbacks=Callbacks(tell=told.append))
    assert len(ffprobe.frames(result)) == 12
    assert "Left out, since mp4 cannot hold it: video 1 (h264) of two.mkv." in told


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "ffv1", "prores"])
def test_a_shape_of_pixels_that_is_lost_is_said(codec: str, tmp_path: Path) -> None:
    source, told = clips.CLIPS["anamorphic"](tmp_path), list[str]()
    callbacks = Callbacks(tell=told.append)
    result = upscale_video(NearestModel(2), source, tmp_path / "result.mkv", codec=codec, callbacks=callbacks)
    is_kept = ffprobe.video(result).get("sample_aspect_ratio") == "8:9"
    lost = f"Left out, since mkv cannot hold it: the pixel aspect 8:9 (h264 and h265 keep it) of {source.name}."
    assert is_kept == (lost not in told) == (codec in ("h264", "h265"))


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("codec", ["ffv1", "h264", "h265", "av1"])
def test_flat_colours_come_out(codec: str, bits: int, tmp_path: Path) -> None:
    """Against the formulas of the standards, in which nobody's library takes part."""
    for matrix in ("bt601", "bt709", "bt2020"):
        name = f"card {matrix}" + (" 10-bit" if bits == 10 else "")
        _, result, _ = upscaled(name, tmp_path / matrix, codec=codec, quality=100)
        expected = clips.card_planes(matrix, bits)
        got = ffprobe.planes(result)
        assert len(got) == 4
        for plane, wanted in zip(got[-1], expected, strict=True):
            scale = plane.shape[0] // wanted.shape[0]
            enlarged = wanted.repeat(scale, axis=0).repeat(scale, axis=1)
            assert _inside(plane, enlarged) <= 1


def _inside(plane: np.ndarray, wanted: np.ndarray) -> int:
    """The largest difference within the 2 x 4 patches of the card: at their borders chroma is filtered."""
    height, width = plane.shape[0] // 2, plane.shape[1] // 4
    rows, columns = np.arange(plane.shape[0]) % height, np.arange(plane.shape[1]) % width
    is_inside = [(place >= 4) & (place < size - 4) for place, size in ((rows, height), (columns, width))]
    kept = is_inside[0][:, None] & is_inside[1]
    return int(np.abs(plane.astype(int) - wanted.astype(int))[kept].max())


@pytest.mark.parametrize("name", clips.REFUSED)
def test_what_is_no_video_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo, match=r"^[^\n]+\.$"):
        upscaled(name, tmp_path)
    assert not (tmp_path / "result").exists()


@pytest.mark.parametrize("name", ["anamorphic", "card bt709 10-bit", "twos lossless"])
def test_devices_that_convert_give_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: pictures are converted before they are queued."""
    source, one, _ = upscaled(name, tmp_path, codec="ffv1")
    monkeypatch.setattr(run, "CONVERTING", ("cpu",))
    other = upscale_video(NearestModel(2), source, tmp_path / "other", codec="ffv1")
    assert [packet.hash for packet in ffprobe.packets(other)] == [packet.hash for packet in ffprobe.packets(one)]
