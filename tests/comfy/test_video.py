"""Upscale Video (APISR) in a real ComfyUI: Load Video -> our node -> Save Video; ffprobe says what came out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from apisr_pack.tests import clips, ffprobe, same_video
from apisr_pack.tests.comfy import workflows as wf
from apisr_pack.tools.comfy_server import ExecutionFailed

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer

NEAREST = "nearest.pth"


@pytest.fixture(scope="module", autouse=True)
def _nearest_model(comfy: ComfyServer) -> None:
    wf.write_nearest(comfy.models_dir / NEAREST)


def sent(server: ComfyServer, name: str) -> Path:
    """Build a clip in the server's input folder."""
    builder = {**clips.CLIPS, **clips.DAMAGED, **clips.REFUSED}[name]
    folder = server.base / "input" / name.replace(" ", "_")
    folder.mkdir(exist_ok=True)
    path = builder(folder)
    return Path(shutil.move(path, server.base / "input" / f"{folder.name}{path.suffix}"))


def upscaled(server: ComfyServer, name: str, **changes: Any) -> tuple[Path, Path]:
    """The source and what Save Video wrote. What does not fit into mp4 is saved beside, see the node's page."""
    source = sent(server, name)
    saved = wf.saved_video(server, server.run(wf.video_prompt(NEAREST, source.name, **changes)))
    others = [saved.with_suffix(suffix) for suffix in (".mkv", ".mov")]
    return source, next((path for path in others if path.exists()), saved)


@pytest.mark.parametrize("name", [name for name in clips.CLIPS if name not in ("interlaced", "avi b-frames")])
def test_everything_is_kept(comfy: ComfyServer, name: str) -> None:
    same_video.assert_same(*upscaled(comfy, name))


@pytest.mark.parametrize("name", clips.DAMAGED)
def test_what_can_be_decoded_is_kept(comfy: ComfyServer, name: str) -> None:
    source, result = upscaled(comfy, name)
    same_video.assert_same_times(source, result)


@pytest.mark.parametrize("name", [*clips.REFUSED, "interlaced"])
def test_what_is_no_video_is_refused_in_one_sentence(comfy: ComfyServer, name: str) -> None:
    source = sent(comfy, name)
    before = files(comfy)
    with pytest.raises(ExecutionFailed) as caught:
        comfy.run(wf.video_prompt(NEAREST, source.name))
    message = caught.value.details["exception_message"].strip()
    assert message.endswith(".")
    assert source.name in message
    assert "\n" not in message
    assert files(comfy) == before


def files(server: ComfyServer) -> set[Path]:
    """All files that a run may leave behind."""
    folders = (server.base / name for name in ("output", "temp", "user"))
    return {path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.parametrize("codec", ["h265", "av1", "ffv1", "prores"])
def test_each_codec_comes_out_of_save_video(comfy: ComfyServer, codec: str) -> None:
    """ProRes does not fit into the mp4 that Save Video names: it is beside, and the mp4 is a copy for viewing."""
    source, result = upscaled(comfy, "vfr mp4", codec=codec, quality=100)
    same_video.assert_same(source, result)
    named = {"h265": "hevc", "av1": "av1", "ffv1": "ffv1", "prores": "prores"}
    assert ffprobe.video(result)["codec_name"] == named[codec]
    if codec == "prores":
        assert result.suffix == ".mov"
        assert ffprobe.video(result.with_suffix(".mp4"))["codec_name"] == "h264"
        assert len(ffprobe.frames(result.with_suffix(".mp4"))) == len(ffprobe.frames(source))


@pytest.mark.parametrize("name", ["grey", "gradient h264 420", "gradient h265 420"])
def test_pixels_are_those_of_the_source(comfy: ComfyServer, name: str) -> None:
    """With a network that repeats pixels, lossless luma is the source's luma, each value twice, in 8 and in 10 bits."""
    source, result = upscaled(comfy, name, codec="ffv1")
    assert ("10" in ffprobe.video(source)["pix_fmt"]) == ("10" in ffprobe.video(result)["pix_fmt"])
    for before, after in zip(ffprobe.planes(source), ffprobe.planes(result), strict=True):
        difference = after[0].astype(int) - before[0].repeat(2, axis=0).repeat(2, axis=1)
        assert np.abs(difference).max() <= 1


def test_rotation_is_applied(comfy: ComfyServer) -> None:
    """The clip is to be turned by 90 degrees counter-clockwise."""
    source, result = upscaled(comfy, "rotated", codec="ffv1")
    upright = np.rot90(ffprobe.planes(source)[0][0])
    difference = ffprobe.planes(result)[0][0][::2, ::2].astype(int) - upright
    assert np.abs(difference).mean() < 0.5
