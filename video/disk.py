"""Checks that the disk has room for the parts and for the result."""

import shutil
from pathlib import Path

from .codecs import Encoding
from .errors import NotEnoughDisk

MARGIN = 64 * 2**20
"""Bytes to leave free."""
BITS_PER_PIXEL = {"prores": 2.0, "lossless": 3.0, "lossy": 0.02}
"""Low estimates, measured on drawn pictures. Once a part is finished, its size is used instead."""


def bytes_per_frame(encoding: Encoding, height: int, width: int) -> float:
    """A low estimate."""
    kind = "lossless" if encoding.is_lossless else encoding.codec
    return height * width * BITS_PER_PIXEL.get(kind, BITS_PER_PIXEL["lossy"]) / 8


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
