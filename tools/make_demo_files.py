"""Creates the small files in web/demo/ that the example workflows open with, from tests/art.

    python tools/make_demo_files.py

apisr_demo.png is the picture of the demo, apisr_sprite.png a transparent figure, and apisr_demo.mp4 a second of
animation on twos, in which the figure moves and blinks before a still background. Needs Pillow, numpy and PyAV.
"""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
ART = ROOT / "tests" / "art"
DEMO = ROOT / "web" / "demo"
SIZE = (256, 192)
FRAMES, RATE = 24, 24
DRAWINGS = FRAMES // 2


def make_sprite() -> Image.Image:
    """The figure from head to waist, (H, W) = (252, 228), RGBA."""
    with Image.open(ART / "sylvie_green_smile.png") as whole:
        upper = whole.crop((0, 0, whole.width, 504))
    return upper.resize((upper.width // 2, upper.height // 2), Image.Resampling.LANCZOS)


def make_drawing(number: int) -> Image.Image:
    """One of the drawings of the animation, RGB of SIZE."""
    name = "sylvie_green_normal.png" if number % 6 in (3, 4) else "sylvie_green_smile.png"
    with Image.open(ART / "bg_uni.jpg") as background, Image.open(ART / name) as figure:
        scene = background.convert("RGB")
        sway = round(10 * np.sin(2 * np.pi * number / DRAWINGS))
        scene.paste(figure, (375 + sway, 80), mask=figure)
    return scene.resize(SIZE, Image.Resampling.LANCZOS, box=(322, 72, 898, 504))


def write_clip(path: Path) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=RATE, options={"crf": "16", "preset": "slow"})
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, RATE)
        for number in range(FRAMES):
            frame = av.VideoFrame.from_image(make_drawing(number // 2))
            frame.pts, frame.time_base = number, stream.time_base
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


if __name__ == "__main__":
    DEMO.mkdir(exist_ok=True)
    shutil.copy(ART / "demo.png", DEMO / "apisr_demo.png")
    make_sprite().save(DEMO / "apisr_sprite.png", optimize=True)
    write_clip(DEMO / "apisr_demo.mp4")
