"""Checks that the disk has room for the parts and for the result."""

import shutil
from pathlib import Path

from .codecs import Encoding
from .errors import NotEnoughDisk

MARGIN = 64 * 2**20
"""Bytes to leave free."""
BITS_PER_PIXEL = {"ffv1": 1.0, "prores": 0.5, "lossless": 0.2, "lossy": 0.005}
"""Low, so that no run is refused that would fit: a drawn scene in motion took 7.9, 0.9 to 6, 1.0, and 0.01 to 0.15.
Once a part is finished, its size is used instead."""


def bytes_per_frame(encoding: Encoding, height: int, width: int) -> float:
    """A low estimate."""
    kind = "lossless" if encoding.is_lossless else "lossy"
    return height * width * BITS_PER_PIXEL.get(encoding.codec, BITS_PER_PIXEL[kind]) / 8


def require_space(parts: Path, target: Path, written: float, total: float) -> None:
    """Check that the rest of the parts and the result, which is as large as all parts, fit onto the disk.

    parts, target: folders. written, total: bytes of the parts that are finished, and of all.

    Raises:
        NotEnoughDisk: they do not fit.
    """
    parts, target = _existing(parts), _existing(target)
    rest = max(0.0, total - written)
    needs = {parts: rest, target: total}
    if parts.stat().st_dev == target.stat().st_dev:
        needs = {target: rest + total}
    for folder, needed in needs.items():
        free = shutil.disk_usage(folder).free
        if free < needed + MARGIN:
            raise NotEnoughDisk(
                f"The video needs about {_size(needed)} of disk space, but {_size(free)} are free in {folder}. "
                "Free some space, or choose a lower quality or another codec; finished parts are kept."
            )


def _existing(folder: Path) -> Path:
    """A folder, or the innermost one around it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"
