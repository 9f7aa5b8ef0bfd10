"""Creates tests/art/demo.png, the small anime picture that the demo and the tests upscale.

    python tools/make_demo_picture.py

A sprite is pasted on a background as in the game, cropped from the head to the waist, and scaled down to two thirds
with an antialiased filter, so that a 4x upscale has detail to restore. Needs Pillow.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

ART = Path(__file__).resolve().parent.parent / "tests" / "art"
FRAME = (322, 72, 898, 504)  # left, top, right, bottom in the 1280x720 background
SPRITE_AT = (375, 80)
SIZE = (384, 288)


def make_demo_picture() -> Image.Image:
    """Return the cropped scene as an RGB picture of SIZE."""
    with Image.open(ART / "bg_uni.jpg") as background, Image.open(ART / "sylvie_green_smile.png") as sprite:
        scene = background.convert("RGB")
        scene.paste(sprite, SPRITE_AT, mask=sprite)
    return scene.resize(SIZE, Image.Resampling.LANCZOS, box=FRAME)


if __name__ == "__main__":
    make_demo_picture().save(ART / "demo.png", optimize=True)
