"""Runs of `video.upscale_video` that end early, go on, or cannot begin."""

from __future__ import annotations

import io
import re
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from apisr_pack.engine import Callbacks, Cancelled
from apisr_pack.tests import clips, ffprobe
from apisr_pack.tests.standins import NearestModel
from apisr_pack.video import NotEnoughDisk, UnwritableVideo, codecs, disk, parts, upscale_video
from apisr_pack.video.status import Status

PART = 5
"""Frames in a part, here."""
EXACT: dict[str, Any] = {"codec": "ffv1"}
"""x264 does not encode such small pictures the same each time on CPUs with AVX-512 (PyAV 18.1)."""


class Interrupted(BaseException):
    """Like KeyboardInterrupt: not an Exception."""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clip of 24 frames, so of five parts."""
    monkeypatch.setattr(parts, "FRAMES", PART)
    (tmp_path / "source").mkdir()
    return clips.CLIPS["tracks mp4"](tmp_path / "source")


def left(target: Path) -> list[str]:
    """What is beside or in the place of a target."""
    return sorted(path.relative_to(target.parent).as_posix() for path in target.parent.rglob("*"))


# Runs that were cut off


@pytest.mark.parametrize("end", [Cancelled("Cancelled."), Interrupted(), RuntimeError("broken")], ids=repr)
def test_a_run_that_was_cut_off_goes_on(source: Path, tmp_path: Path, end: BaseException) -> None:
    whole = upscale_video(NearestModel(2), source, tmp_path / "whole" / "result", reuse_frames=False, **EXACT)
    target, seen = tmp_path / "cut" / "result", list[int]()

    def stop(status: Status) -> None:
        seen.append(status.done)
        if status.done == 13:
            raise end

    first = NearestModel(2)
    with pytest.raises(type(end)):
        upscale_video(first, source, target, on_frame=stop, reuse_frames=False, **EXACT)
    (folder,) = (target.parent / "result.parts").iterdir()
    kept = sorted(path.name for path in folder.iterdir())
    finished = len(kept) // 2
    assert 0 < finished <= 2
    assert kept == [f"{part:06}.{kind}" for part in range(finished) for kind in ("json", "mp4")]

    second, told = NearestModel(2), list[str]()
    result = upscale_video(second, source, target, callbacks=Callbacks(tell=told.append), reuse_frames=False, **EXACT)
    assert f"{finished * PART} frames were finished before; going on from there." in told
    assert second.model.calls == first.model.calls[:1] * (24 - finished * PART), "the finished ones are not computed"
    assert ffprobe.packets(result) == ffprobe.packets(whole)
    assert left(target) == ["result.mp4"]


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{"quality": 66}, {"size": (100, 150)}, {"bit_depth": 10}, {"window": (0, 0.9)}])
def test_parts_of_other_settings_are_not_used(source: Path, tmp_path: Path, changed: dict[str, Any]) -> None:
    target, told = tmp_path / "cut" / "result", list[str]()
    with pytest.raises(Interrupted):
        upscale_video(NearestModel(2), source, target, on_frame=interrupt_at(13))
    upscale_video(NearestModel(2), source, target, callbacks=Callbacks(tell=told.append), **changed)
    assert not any("finished before" in line for line in told)


def interrupt_at(number: int) -> Any:
    def stop(status: Status) -> None:
        if status.done == number:
            raise Interrupted

    return stop


@pytest.mark.parametrize("damage", ["shorter", "no list", "bad list", "gap"])
def test_damaged_parts_are_computed_again(source: Path, tmp_path: Path, damage: str) -> None:
    whole = upscale_video(NearestModel(2), source, tmp_path / "whole" / "result", **EXACT)
    target = tmp_path / "cut" / "result"
    with pytest.raises(Interrupted):
        upscale_video(NearestModel(2), source, target, on_frame=interrupt_at(20), **EXACT)
    (folder,) = (target.parent / "result.parts").iterdir()
    if damage == "shorter":
        video = folder / "000001.mp4"
        video.write_bytes(video.read_bytes()[:-10])
    elif damage == "gap":
        (folder / "000000.mp4").unlink()
    else:
        (folder / "000001.json").write_text('{"times": [[', encoding="utf-8")
        if damage == "no list":
            (folder / "000001.json").unlink()
    result = upscale_video(NearestModel(2), source, target, **EXACT)
    assert ffprobe.packets(result) == ffprobe.packets(whole)


def test_only_old_parts_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parts" / "1").mkdir(parents=True)
    parts.remove_stale(tmp_path / "parts")
    assert (tmp_path / "parts" / "1").is_dir()
    later = time.time() + parts.STALE_AFTER + 60
    monkeypatch.setattr(time, "time", lambda: later)
    parts.remove_stale(tmp_path / "parts")
    assert left(tmp_path / "parts") == ["parts"]


def test_an_older_result_is_kept_until_the_new_one_is_complete(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "result.mp4"
    target.parent.mkdir()
    target.write_bytes(b"older")
    with pytest.raises(Interrupted):
        upscale_video(NearestModel(2), source, target, on_frame=interrupt_at(3))
    assert target.read_bytes() == b"older"
    upscale_video(NearestModel(2), source, target)
    assert len(ffprobe.frames(target)) == 24


@pytest.mark.parametrize("name", ["clip.mp4", "clip", "CLIP.MP4"])
def test_the_source_is_not_replaced(source: Path, tmp_path: Path, name: str) -> None:
    clip = source.rename(tmp_path / "source" / ("clip.mp4" if name != "CLIP.MP4" else name))
    before = clip.read_bytes()
    with pytest.raises(
        UnwritableVideo, match=r"(?i)^The result could replace clip\.mp4, its source\. Give it another name"
    ):
        upscale_video(NearestModel(2), clip, tmp_path / "source" / name)
    assert clip.read_bytes() == before
    assert left(clip) == [clip.name]


def test_names_with_colons_are_files(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg takes what stands before a colon for a protocol."""
    monkeypatch.chdir(source.parent)
    source.rename("http:clip.mp4")
    result = upscale_video(NearestModel(2), "http:clip.mp4", "pipe:1")
    assert result == source.parent / "pipe:1.mp4"
    assert len(ffprobe.frames(result)) == 24


@pytest.mark.parametrize("name", ["n" * 300, "n" * 245])
def test_names_that_are_too_long_are_named(source: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UnwritableVideo, match=r"^The video cannot be written to .* \(File name too long\)\. Check its"):
        upscale_video(NearestModel(2), source, tmp_path / name)


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_result_needs_a_name(source: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir("/")
    with pytest.raises(ValueError, match=r"^target is '/'; expected the path of the file to write"):
        upscale_video(NearestModel(2), source, name)


# Disks


def test_a_full_disk_is_said_before_it_is_full(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=disk.MARGIN + 10))
    target = tmp_path / "out" / "result"
    with pytest.raises(NotEnoughDisk, match=r"needs about 0 MB of disk space, but 64 MB are free in .*\. Free some"):
        upscale_video(NearestModel(2), source, target)
    assert not target.parent.exists() or left(target) == []


def test_a_disk_that_fills_is_said_while_writing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished parts stay: with more room the run goes on."""
    free, target = [2**40], tmp_path / "out" / "result"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free[0]))

    def fill(status: Status) -> None:
        if status.done == 12:
            free[0] = 1000

    with pytest.raises(NotEnoughDisk):
        upscale_video(NearestModel(2), source, target, on_frame=fill)
    assert "result.parts" in left(target)
    free[0] = 2**40
    told = list[str]()
    upscale_video(NearestModel(2), source, target, callbacks=Callbacks(tell=told.append))
    assert any("frames were finished before" in line for line in told)
    assert left(target) == ["result.mp4"]


@pytest.mark.parametrize("device", ["/dev/full"])
def test_a_disk_without_room_is_said_by_its_name(source: Path, tmp_path: Path, device: str) -> None:
    """Linux has a file that is always full."""
    target = tmp_path / "out" / "result.mp4"
    target.parent.mkdir()
    (target.parent / "result.mp4.partial").symlink_to(device)
    with pytest.raises(NotEnoughDisk, match=r"^The disk is full\. Free some space and run again"):
        upscale_video(NearestModel(2), source, target)
    assert not target.exists()


# Fades


@pytest.mark.slow
def test_a_fade_keeps_its_steps_under_a_tolerance(tmp_path: Path) -> None:
    """96 frames, each a little brighter: the reference is what was computed last, so steps add up."""
    source = clips.CLIPS["fade"](tmp_path)
    results = [
        upscale_video(NearestModel(2), source, tmp_path / f"{tolerance}", codec="ffv1", tolerance=tolerance)
        for tolerance in (0, 4)
    ]
    exact, reused = ([int(frame.mean()) for frame in ffprobe.pixels(result)] for result in results)
    assert len(reused) == 96
    assert max(abs(one - other) for one, other in zip(exact, reused, strict=True)) <= 4
    assert np.all(np.diff(reused) >= 0)
    assert len(set(reused)) >= max(exact) // 6


# Codecs, quality and status


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"codec": "vp9"}, "codec is 'vp9'; expected one of: h264, h265"),
        ({"quality": 101}, "quality is 101; expected 0 (small file) to 100"),
        ({"quality": float("nan")}, "quality is nan"),
        ({"window": (-1, 0.5)}, "window[0] is -1; expected at least 0"),
        ({"window": (0, float("inf"))}, "window[1] is inf; expected at least 0, and a finite number"),
        ({"quality": "high"}, "quality is 'high'"),
        ({"quality": None}, "quality is None"),
        ({"bit_depth": 12}, "bit_depth is 12; expected one of: auto, 8, 10"),
        ({"multiple_of": 0}, "multiple_of"),
        ({"tolerance": -1}, "tolerance"),
        ({"size": (0, 10)}, "size's height is 0; expected at least 1"),
    ],
)
def test_wrong_settings_are_named(source: Path, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
        upscale_video(NearestModel(2), source, tmp_path / "out" / "result", **changes)
    assert not (tmp_path / "out").exists()


def test_a_codec_that_is_missing_here_is_said(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "can_open", lambda name: name != "av1")
    with pytest.raises(
        UnwritableVideo, match=r"^av1 cannot be opened on this machine\. Choose another codec: h264, h2"
    ):
        upscale_video(NearestModel(2), source, tmp_path / "out" / "result", codec="av1")


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["h264", "h265", "av1"])
def test_better_quality_is_larger_and_nearer(codec: str, source: Path, tmp_path: Path) -> None:
    exact = ffprobe.pixels(upscale_video(NearestModel(2), source, tmp_path / "exact", codec="ffv1"))[5].astype(int)
    sizes, errors = [], []
    for quality in (0, 50, 90):
        result = upscale_video(NearestModel(2), source, tmp_path / f"{quality}", codec=codec, quality=quality)
        sizes.append(sum(packet.size for packet in ffprobe.packets(result)))
        errors.append(np.abs(ffprobe.pixels(result)[5].astype(int) - exact).mean())
    assert sizes == sorted(set(sizes))
    assert errors == sorted(set(errors), reverse=True)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ((1, 100, 0, 0.5, 0.0), "Frame 1 of 100, 50 s left\n2 frames/s, 0% reused"),
        ((50, 100, 40, 1.0, 0.876), "Frame 50 of 100, 5 s left\n10 frames/s, 88% reused"),
        ((2, 362, 0, 2.0, 0.5), "Frame 2 of 362, 6 min 00 s left\n1 frames/s, 50% reused"),
        ((1, 34567, 0, 1.0, 0.0), "Frame 1 of 34567, 9 h 36 min left\n1 frames/s, 0% reused"),
        ((12, 10, 0, 3.0, 0.0), "Frame 12 of 12, 0 s left\n4 frames/s, 0% reused"),
    ],
)
def test_status_is_two_short_lines(status: Any, text: str) -> None:
    assert str(Status(*status, torch.zeros(1, 1, 3))) == text


def test_a_video_in_memory_is_a_source(source: Path, tmp_path: Path) -> None:
    contents = io.BytesIO(source.read_bytes())
    one = upscale_video(NearestModel(2), contents, tmp_path / "one", **EXACT)
    other = upscale_video(NearestModel(2), source, tmp_path / "other", **EXACT)
    assert ffprobe.packets(one) == ffprobe.packets(other)
