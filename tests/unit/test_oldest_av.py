"""Videos with the oldest PyAV that ComfyUI allows. The clips are made, and looked at, with the installed one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from apisr_pack.tests import clips, same_video

ROOT = Path(__file__).resolve().parents[2]
OLDEST = "16.0.0"
SCRIPT = """
import sys
import av
from apisr_pack.tests.standins import NearestModel
from apisr_pack.video import upscale_video

version, source, target, codec = sys.argv[1:]
assert av.__version__ == version
print(upscale_video(NearestModel(2), source, target, codec=codec))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """For a Python that finds the oldest PyAV first, and the pack under the name that the tests use."""
    folder = tmp_path_factory.mktemp("oldest")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), f"av=={OLDEST}"]
    subprocess.run(install, check=True)
    (folder / "apisr_pack").symlink_to(ROOT)
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("tracks mkv", "h264"),
        ("tracks mp4", "h265"),
        ("cover first", "h264"),
        ("rotated", "av1"),
        ("card bt709 10-bit", "ffv1"),
        ("card pq", "h265"),
        ("anamorphic", "prores"),
    ],
)
def test_everything_is_kept(name: str, codec: str, tmp_path: Path, environment: dict[str, str]) -> None:
    source = clips.CLIPS[name](tmp_path)
    (tmp_path / "result").mkdir()
    arguments = [OLDEST, str(source), str(tmp_path / "result" / "result"), codec]
    subprocess.run([sys.executable, "-c", SCRIPT, *arguments], env=environment, check=True)
    (result,) = (tmp_path / "result").iterdir()
    same_video.assert_same(source, result)
