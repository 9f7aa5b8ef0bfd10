"""Estimates the memory that a tile needs, in integers, from the facts of its network."""

import torch

from ..apisr_archs import Facts, Strips

LEAST_STRIP = 16
"""Input rows of the smallest strip; with fewer, the halos cost more than smaller tiles would."""

LEARN_FROM = 64 * 64
"""Tiles from this many input pixels on may lower the estimate for other tiles."""
LEARN_ALL_FROM = 256 * 256
"""Tiles from this many input pixels on may also raise it. Libraries allocate workspaces of constant size (cuDNN more
than 100 MB), which dominate the peak of a small tile but hardly matter for a large one."""
LEAST_FACTOR, MOST_FACTOR = 0.2, 5.0
"""Limits of the factor by which one tile may change the estimate: other programs may be using the device."""
MARGIN = 1.08
"""Factor on a measured peak (8 %), since tiles of other shapes differ slightly."""


def bytes_for(height: int, width: int, facts: Facts, dtype: torch.dtype, strip: int | None = None) -> int:
    """Peak activation memory of a tile, in bytes.

    Args:
        height, width: size of the tile in input pixels.
        strip: rows per strip; None if the tile is computed at once.
    """
    height, width = facts.padded(height, width)
    per_pixel = facts.bytes_of(dtype)
    strips = facts.strips
    if strips is None or strip is None or strip >= height:
        return height * width * per_pixel
    rows = min(height, strip + 2 * strips.halo)
    trunk = strips.trunk * height + strips.trunk_strip * rows
    tail = strips.kept * height + strips.strip * rows
    return int(max(trunk, tail) * width * per_pixel)


def strip_within(budget: int, height: int, width: int, facts: Facts, dtype: torch.dtype) -> int | None:
    """Rows of the tallest strips with which a tile stays within `budget` bytes; None if there are none."""
    strips = facts.strips
    if strips is None:
        return None
    padded_height, padded_width = facts.padded(height, width)
    per_row = padded_width * facts.bytes_of(dtype)  # if the tile is computed at once
    rows = (budget / per_row - strips.kept * padded_height) / strips.strip
    if strips.trunk_strip:
        rows = min(rows, (budget / per_row - strips.trunk * padded_height) / strips.trunk_strip)
    step = least_strip(strips)
    # a strip whose halos reach beyond the tile takes no more than all rows of the tile
    rows = height - 1 if rows >= padded_height else min(int(rows - 2 * strips.halo), height - 1)
    rows = rows // step * step
    return rows if rows > 0 and bytes_for(height, width, facts, dtype, rows) <= budget else None


def fast_strip(size: int, height: int, width: int, facts: Facts, dtype: torch.dtype) -> int | None:
    """Rows of strips of about `size` bytes, all of equal height.

    None if the tile is not much larger than one such strip, or the network does not run in strips.
    """
    strips = facts.strips
    if strips is None or bytes_for(height, width, facts, dtype) <= 3 * size:
        return None
    step = least_strip(strips)
    per_row = facts.padded(height, width)[1] * facts.bytes_of(dtype) * max(strips.strip, strips.trunk_strip)
    rows = max(step, int(size / per_row) - 2 * strips.halo)
    count = -(-height // rows)
    rows = -(-height // (count * step)) * step
    return rows if rows < height else None


def least_strip(strips: Strips) -> int:
    """Rows of the smallest strips that a network may run in."""
    return strips.multiple * -(-LEAST_STRIP // strips.multiple)


def learned(facts: Facts, dtype: torch.dtype, expected: int, peak: int, pixels: int) -> Facts:
    """Correct the facts by the measured peak of a tile.

    Args:
        expected: the estimate for the tile, in bytes.
        peak: the measured peak in bytes, including workspaces of libraries. For a small tile it is therefore only an
            upper bound, and can only lower the estimate.
        pixels: input pixels of the tile.
    """
    factor = min(MARGIN * peak / expected, MOST_FACTOR)
    if pixels < LEARN_ALL_FROM:
        factor = min(max(factor, LEAST_FACTOR), 1.0)
    return facts.corrected(dtype, factor)
