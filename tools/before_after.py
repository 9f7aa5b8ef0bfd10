"""before_after.py BEFORE AFTER OUT: both pictures side by side at the size of AFTER.

BEFORE is enlarged by repeating pixels, so that the picture shows the model's actual input.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image


def side_by_side(before: Path, after: Path, out: Path) -> None:
    """Write `out`, twice as wide as `after`, with transparent areas on white."""
    right = _on_white(after)
    left = _on_white(before).resize(right.size, Image.Resampling.NEAREST)
    both = Image.new("RGB", (2 * right.width, right.height))
    both.paste(left, (0, 0))
    both.paste(right, (right.width, 0))
    both.save(out)


def _on_white(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        rgba = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


if __name__ == "__main__":
    side_by_side(*map(Path, sys.argv[1:4]))
