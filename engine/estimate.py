"""How much memory a tile needs: integers, from the facts of its network."""

import torch

from ..apisr_archs import Facts, Strips

LEAST_STRIP = 16
"""Input rows of the narrowest strip: below, the halos cost more than smaller tiles do."""

LEARN_FROM = 64 * 64
"""Input pixels of the smallest tile whose peak says something about larger ones: that they need less."""
LEARN_ALL_FROM = 256 * 256
"""Input pixels of the smallest tile that may say anything else. Libraries take workspaces of a constant size (cuDNN
more than 100 MB), which are most of a small tile's peak and next to nothing of a large one's."""
LEAST_FACTOR, MOST_FACTOR = 0.2, 5.0
"""How much one tile changes an estimate at most, relative to it: other work may have shared the device."""
MARGIN = 1.08
"""Added to a peak that was seen (8 %), since tiles of other shapes differ a little."""


def bytes_for(height: int, width: int, facts: Facts, dtype: torch.dtype, strip: int | None = None) -> int:
    """Peak activation memory of a tile, in bytes.

    Args:
        height, width: of the tile, in input pixels.
        strip: rows of the strips in which it is computed; None for all at once.
    """
    height, width = facts.padded(height, width)
    per_pixel = facts.bytes_of(dtype)
    strips = facts.strips
    if strips is None or strip is None or strip >= height:
        return height * width * per_pixel
    rows = min(height, strip + 2 * strips.halo)
    trunk = strips.trunk * height + strips.trunk_strip * rows
    tail = strips.kept * height + strips.strip * rows
    return int(min(height, max(trunk, tail)) * width * per_pixel)  # never more than at once


def strip_within(budget: int, height: int, width: int, facts: Facts, dtype: torch.dtype) -> int | None:
    """Rows of the highest strips with which a tile stays within `budget` bytes; None if there are none."""
    strips = facts.strips
    if strips is None:
        return None
    padded_height, padded_width = facts.padded(height, width)
    per_row = padded_width * facts.bytes_of(dtype)  # of a tile that is computed at once
    rows = (budget / per_row - strips.kept * padded_height) / strips.strip
    if strips.trunk_strip:
        rows = min(rows, (budget / per_row - strips.trunk * padded_height) / strips.trunk_strip)
    if padded_height * per_row <= budget:  # all at once would fit too
        rows = height + 2 * strips.halo
    step = least_strip(strips)
    rows = min(int(rows - 2 * strips.halo), height - 1) // step * step
    return rows if rows > 0 and bytes_for(height, width, facts, dtype, rows) <= budget else None


def fast_strip(size: int, height: int, width: int, facts: Facts, dtype: torch.dtype) -> int | None:
    """Rows of strips of about `size` bytes, all of one height. None for a tile that is not much larger than one, and
    for a network that does not run in strips."""
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
    """Rows of the narrowest strips."""
    return strips.multiple * -(-LEAST_STRIP // strips.multiple)


def learned(facts: Facts, dtype: torch.dtype, expected: int, peak: int, pixels: int) -> Facts:
    """The facts, corrected by the peak that a tile of so many pixels took where `expected` bytes had been planned.

    peak: in bytes, workspaces included. A small tile's is therefore an upper bound: it can show that tiles need less
    than was expected, never that they need more.
    """
    factor = min(MARGIN * peak / expected, MOST_FACTOR)
    if pixels < LEARN_ALL_FROM:
        factor = min(max(factor, LEAST_FACTOR), 1.0)
    return facts.corrected(dtype, factor)
