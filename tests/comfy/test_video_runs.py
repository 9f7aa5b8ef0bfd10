"""Upscale Video (APISR) among other nodes, and runs that are cut off, cancelled, repeated or refused."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from apisr_pack.tests import clips, ffprobe, same_video
from apisr_pack.tests.comfy import workflows as wf
from apisr_pack.tools.comfy_server import ExecutionFailed, ExecutionInterrupted, PromptRejected, ServerFailed

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer, Event

NEAREST = "nearest.pth"
PARTS = Path("user", "__apisr", "video_parts")


@pytest.fixture(autouse=True)
def _nearest_model(comfy: ComfyServer) -> None:
    wf.write_nearest(comfy.models_dir / NEAREST)


def sent(server: ComfyServer, path: Path) -> str:
    return Path(shutil.copy(path, server.base / "input")).name


@pytest.fixture
def tracks(comfy: ComfyServer, tmp_path: Path) -> tuple[Path, str]:
    """A clip with two sound tracks and its name in the input folder."""
    path = clips.CLIPS["tracks mp4"](tmp_path)
    return path, sent(comfy, path)


def ran(events: Any) -> set[str]:
    """The nodes that a prompt executed."""
    return {event["data"]["node"] for event in events if event["type"] == "executing"} - {None}


@pytest.mark.parametrize(("start", "duration"), [(0.25, 0.5), (0.25, 0.0), (0.0, 0.3), (-0.5, 0.0)])
def test_trimmed_before(comfy: ComfyServer, tracks: tuple[Path, str], start: float, duration: float) -> None:
    source, name = tracks
    prompt = wf.video_prompt(NEAREST, name)
    prompt["trimmed"] = wf.node(
        "Video Slice", video=("video", 0), start_time=start, duration=duration, strict_duration=False
    )
    prompt["upscaled"]["inputs"]["video"] = ["trimmed", 0]
    result = wf.saved_video(comfy, comfy.run(prompt))
    begin = Fraction(start) if start >= 0 else 1 + Fraction(start)
    end = begin + Fraction(duration) if duration else Fraction(10)
    chosen = [time - begin for time, _ in ffprobe.frames(source) if begin <= time < end]
    kept = [time for time, _ in ffprobe.frames(result)]
    assert len(kept) == len(chosen)
    assert max(abs(one - other) for one, other in zip(kept, chosen, strict=True)) < Fraction(1, 10000)
    hashes = {packet.hash for packet in ffprobe.packets(source, 1)}
    sound = ffprobe.packets(result, 1)
    assert {packet.hash for packet in sound} < hashes
    assert sound[0].pts <= 0
    assert sound[-1].pts + sound[-1].duration >= min(end, 1) - begin


def test_other_nodes_take_the_result(comfy: ComfyServer, tracks: tuple[Path, str]) -> None:
    source, name = tracks
    prompt = wf.video_prompt(NEAREST, name)
    prompt["parts"] = wf.node("GetVideoComponents", video=("upscaled", 0))
    prompt["preview"] = wf.node("PreviewImage", images=("parts", 0))
    prompt["trimmed"] = wf.node(
        "Video Slice", video=("upscaled", 0), start_time=0.5, duration=0.25, strict_duration=False
    )
    prompt["short"] = wf.save_video("trimmed", "short")
    result = comfy.run(prompt)
    assert len(comfy.images(result, "preview")) == len(ffprobe.frames(source))
    assert len(ffprobe.frames(wf.saved_video(comfy, result, "short"))) == 6


def test_frames_in_memory_become_a_video(comfy: ComfyServer) -> None:
    prompt: Any = {
        "picture": wf.load_image(wf.send(comfy, wf.crop(32, 48), "frame.png")),
        "frames": wf.node("RepeatImageBatch", image=("picture", 0), amount=5),
        "sound": wf.node("EmptyAudio", duration=1.0, sample_rate=44100, channels=2),
        "video": wf.node("CreateVideo", images=("frames", 0), fps=12.0, audio=("sound", 0)),
        "model": wf.our_loader(NEAREST),
        "upscaled": wf.our_video("model", "video", codec="ffv1"),
        "saved": wf.save_video("upscaled"),
    }
    result = wf.saved_video(comfy, comfy.run(prompt))
    assert [time for time, _ in ffprobe.frames(result)] == [Fraction(frame, 12) for frame in range(5)]
    assert ffprobe.streams(result)[1]["codec_name"] == "aac"
    picture = ffprobe.pixels(result)[0][::2, ::2].astype(int)
    assert np.abs(picture - wf.crop(32, 48)).max() <= 4  # FFmpeg's conversion to RGB is 2 off


def test_what_mp4_cannot_hold_is_saved_beside(comfy: ComfyServer, tmp_path: Path) -> None:
    path = clips.CLIPS["tracks mkv"](tmp_path)
    viewable = wf.saved_video(comfy, comfy.run(wf.video_prompt(NEAREST, sent(comfy, path))))
    same_video.assert_same(path, viewable.with_suffix(".mkv"))
    kinds = {stream["codec_type"] for stream in ffprobe.streams(viewable)}
    assert kinds == {"video", "audio", "data"}  # the data are chapters
    assert len(ffprobe.frames(viewable)) == len(ffprobe.frames(path))


def test_a_lost_result_is_computed_again(comfy: ComfyServer, tracks: tuple[Path, str]) -> None:
    prompt = wf.video_prompt(NEAREST, tracks[1], codec="ffv1")
    first = comfy.run(prompt)
    assert "upscaled" in ran(first.events)
    prompt["saved"]["inputs"]["filename_prefix"] = "again"
    assert "upscaled" not in ran(comfy.run(prompt).events)
    shutil.rmtree(comfy.base / "temp" / "apisr")
    prompt["saved"]["inputs"]["filename_prefix"] = "once_more"
    again = comfy.run(prompt)
    assert "upscaled" in ran(again.events)
    one, other = (wf.saved_video(comfy, result) for result in (first, again))
    assert ffprobe.packets(one) == ffprobe.packets(other)


def test_a_codec_of_another_machine_is_refused(comfy: ComfyServer, tracks: tuple[Path, str]) -> None:
    with pytest.raises(PromptRejected) as caught:
        comfy.run(wf.video_prompt(NEAREST, tracks[1], codec="h264 (Apple)"))
    (error,) = caught.value.details["node_errors"]["upscaled"]["errors"]
    assert "which this machine cannot write. Choose one of: h264, h265" in error["details"]


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"resize_to": "model scale"}, (192, 128)),
        ({"resize_to": "factor", "resize_to.factor": 1.5}, (144, 96)),
        ({"resize_to": "shorter side", "resize_to.pixels": 100, "multiple_of": 8}, (152, 104)),
    ],
)
def test_sizes(comfy: ComfyServer, tracks: tuple[Path, str], changes: dict[str, Any], size: tuple[int, int]) -> None:
    """As the frontend sends them: the choice always, its number beside it."""
    result = comfy.run(wf.video_prompt(NEAREST, tracks[1], **changes))
    video = ffprobe.streams(wf.saved_video(comfy, result))[0]
    assert (video["width"], video["height"]) == size


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quality": 101}, "Value 101 bigger than max of 100"),
        ({"resize_to": "factor", "resize_to.factor": 99.0}, "Value 99.0 bigger than max of 16.0"),
        ({"bit_depth": "12"}, "Value not in list"),
    ],
)
def test_values_out_of_range_are_refused(
    comfy: ComfyServer, tracks: tuple[Path, str], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(PromptRejected) as caught:
        comfy.run(wf.video_prompt(NEAREST, tracks[1], **changes))
    (error,) = caught.value.details["node_errors"]["upscaled"]["errors"]
    assert error["message"] == message


@pytest.mark.parametrize("blocked", [PARTS, Path("temp", "apisr")], ids=["parts", "result"])
def test_folders_that_cannot_be_written_are_named(comfy: ComfyServer, tracks: tuple[Path, str], blocked: Path) -> None:
    """A file where the folder should be: also root, which the permissions do not stop, cannot write there."""
    path = comfy.base / blocked
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")
    try:
        with pytest.raises(ExecutionFailed) as caught:
            comfy.run(wf.video_prompt(NEAREST, tracks[1], quality=40))
    finally:
        path.unlink()
    message = caught.value.details["exception_message"].strip()
    assert message.startswith("The video cannot be written")
    assert message.endswith("Check its folder and disk.")
    shutil.rmtree(comfy.base / PARTS, ignore_errors=True)  # finished parts wait for a better day


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.CLIPS["long"](tmp_path_factory.mktemp("long"))


def test_cancel_is_felt_at_once_and_the_run_goes_on_later(comfy: ComfyServer, long_clip: Path) -> None:
    prompt = wf.video_prompt(NEAREST, sent(comfy, long_clip), reuse_frames=False)

    def cancel_after_two_parts(event: Event) -> None:
        if "frame " in event.get("data", {}).get("text", "") and len(list((comfy.base / PARTS).glob("*/*.json"))) >= 2:
            comfy.interrupt()

    with pytest.raises(ExecutionInterrupted):
        comfy.run(prompt, on_event=cancel_after_two_parts)
    assert not list((comfy.base / "temp").rglob("*.partial"))
    kept = list((comfy.base / PARTS).glob("*/*"))
    assert kept
    assert len([path for path in kept if path.suffix == ".json"]) * 2 == len(kept)
    result = comfy.run(prompt)
    assert "going on at frame " in str(result.events)
    assert not list((comfy.base / PARTS).glob("*"))
    same_video.assert_same(long_clip, wf.saved_video(comfy, result))


def test_progress_is_shown(comfy: ComfyServer, long_clip: Path) -> None:
    result = comfy.run(wf.video_prompt(NEAREST, sent(comfy, long_clip), quality=30))
    texts = [event["data"]["text"] for event in result.events if event["type"] == "progress_text"]
    assert any(re.fullmatch(r"frame 720 of 720, 0\.1 s left\n.+ frames/s, 91 % reused", text) for text in texts)
    assert re.fullmatch(r"720 frames in [\d.]+ s, 91 % reused", texts[-1])
    assert "657 of 720 frames copied" in comfy.log_text


def test_a_killed_server_goes_on_from_its_finished_parts(
    comfy: ComfyServer, long_clip: Path, comfy_server: Callable[..., ComfyServer]
) -> None:
    """The same frames as an uninterrupted run, and no finished part was computed again."""
    # x264 is not deterministic below a width of about 200 pixels on CPUs with AVX-512 (PyAV 18.1)
    larger = {"resize_to": "factor", "resize_to.factor": 8.0}
    prompt = wf.video_prompt(NEAREST, sent(comfy, long_clip), reuse_frames=False, quality=70, **larger)
    whole = wf.saved_video(comfy, comfy.run(prompt))
    first = comfy_server()
    wf.write_nearest(first.models_dir / NEAREST)
    sent(first, long_clip)

    def finished() -> list[Path]:
        return sorted((first.base / PARTS).glob("*/*.json"))

    def kill_after_two_parts(_: Event) -> None:
        if len(finished()) >= 2:
            first.kill()

    with pytest.raises((OSError, ServerFailed)):
        first.run(prompt, on_event=kill_after_two_parts)
    count = len(finished())
    assert count >= 2
    result = comfy_server(base=first.base).run(prompt)
    assert f"going on at frame {count * 96 + 1} of 720" in str(result.events)
    resumed = wf.saved_video(first, result)
    assert ffprobe.packets(resumed) == ffprobe.packets(whole)
    assert not list((first.base / PARTS).glob("*"))
