"""Prints the peak resident memory, in MiB, of a process that upscales the video given as its argument."""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path

from _common import load_pack

load_pack()

# these imports need the pack to be loaded
from apisr_pack import video  # noqa: E402
from apisr_pack.tests.standins import NearestModel  # noqa: E402

with tempfile.TemporaryDirectory() as folder:
    video.upscale_video(NearestModel(4), Path(sys.argv[1]), Path(folder, "result.mp4"), reuse_frames=False)
print(round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
