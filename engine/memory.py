"""How much memory a tile needs, how much there is, and what running out of it looks like."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ..apisr_archs import Facts, Strips
from . import system_memory

SHARE = 0.8
"""Part of the free memory that a plan may use: the rest covers fragmentation and other programs."""
UNKNOWN_FREE = 2 * 1024**3
"""Assumed where neither torch nor the system tells."""
LEAST_STRIP = 16
"""Input rows of the narrowest strip: below, the halos cost more than smaller tiles do."""

CPU_PIECE = 48 * 2**20
"""Bytes of a strip with which CPUs are fastest: what is larger than 32 MB the C library gets from the system and gives
back each time, and then the first touch of each page costs as much as the arithmetic on it."""

LEARN_FROM = 64 * 64
"""Input pixels of the smallest tile whose peak says something about larger ones: that they need less."""
LEARN_ALL_FROM = 256 * 256
"""Input pixels of the smallest tile that may say anything else. Libraries take workspaces of a constant size (cuDNN
more than 100 MB), which are most of a small tile's peak and next to nothing of a large one's."""
LEAST_FACTOR, MOST_FACTOR = 0.2, 5.0
"""How much an estimate is changed by one tile at most, in parts of it: other work may have shared the device."""
MARGIN = 1.08
"""On top of a peak that was seen, since tiles of other shapes differ a little."""

ALLOCATED, HIGHEST = "allocated_bytes.all.current", "allocated_bytes.all.peak"
"""Bytes in torch's `memory_stats`: what is allocated now, and the most that ever was."""


def bytes_for(height: int, width: int, facts: Facts, dtype: torch.dtype, strip: int | None = None) -> int:
    """Peak activation memory of a tile of so many input pixels, in bytes; in strips of so many rows, or at once."""
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
    height_of_all, padded_width = facts.padded(height, width)
    per_row = padded_width * facts.bytes_of(dtype)  # of a tile that is computed at once
    rows = (budget / per_row - strips.kept * height_of_all) / strips.strip
    if strips.trunk_strip:
        rows = min(rows, (budget / per_row - strips.trunk * height_of_all) / strips.trunk_strip)
    if height_of_all * per_row <= budget:  # all at once would fit too
        rows = height + 2 * strips.halo
    step = least_strip(strips)
    rows = min(int(rows - 2 * strips.halo), height - 1) // step * step
    return rows if rows > 0 and bytes_for(height, width, facts, dtype, rows) <= budget else None


def piece_for(device: torch.device) -> int | None:
    """Bytes that a strip had better take at most for the sake of speed; None where it does not matter."""
    return CPU_PIECE if device.type == "cpu" else None


def swift_strip(piece: int, height: int, width: int, facts: Facts, dtype: torch.dtype) -> int | None:
    """Rows of strips of about `piece` bytes, of one height; None for a tile that is not much more, or has no strips."""
    strips = facts.strips
    if strips is None or bytes_for(height, width, facts, dtype) <= 3 * piece:
        return None
    step = least_strip(strips)
    per_row = facts.padded(height, width)[1] * facts.bytes_of(dtype) * max(strips.strip, strips.trunk_strip)
    rows = max(step, int(piece / per_row) - 2 * strips.halo)
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


@dataclass
class Peak:
    """The most that was allocated at once, beyond what was allocated before; None if that is not known."""

    bytes: int | None = None


@contextmanager
def measured(device: torch.device) -> Iterator[Peak]:
    """The peak of what is done inside, known afterwards.

    It is read from torch's counter of the process's highest peak, which is not reset, since others may be measuring
    too. So it is known only where it was the highest so far, and only on devices that count.
    """
    peak = Peak()
    if device.type not in ("cuda", "xpu"):
        yield peak
        return
    statistics: Any = getattr(torch, device.type).memory_stats
    before = statistics(device)
    yield peak
    highest = statistics(device).get(HIGHEST, 0)
    if highest > before.get(HIGHEST, 0):
        peak.bytes = highest - before.get(ALLOCATED, 0)


def free_bytes(device: torch.device) -> int | None:
    """Free memory of a device, in bytes, for callers without a memory manager; None where nobody tells."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return system_memory.free_bytes() if device.type == "cpu" else None


def usable_bytes(device: torch.device) -> int:
    """What a plan may use of it."""
    free = free_bytes(device)
    return UNKNOWN_FREE if free is None else int(free * SHARE)


def said_free(device: torch.device) -> str:
    """For an error: how much is free."""
    free = free_bytes(device)
    return "" if free is None else f"; {free / 2**30:.1f} GB seem to be free"


def share_memory(one: torch.device, other: torch.device) -> bool:
    """Whether two devices take from the same memory: a device and itself, a Mac's CPU and GPU."""
    return same_device(one, other) or {one.type, other.type} == {"cpu", "mps"}


def is_the_computer_s(error: BaseException) -> bool:
    """Whether it was not a GPU's memory that ran out."""
    return isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)


def same_device(one: torch.device, other: torch.device) -> bool:
    """Whether two names mean one device: "mps" and "mps:0" do, as "cuda" may be any of its GPUs."""
    return one.type == other.type and (one.index == other.index or None in (one.index, other.index))


def release_cached(device: torch.device) -> None:
    """Give memory that torch's allocator keeps for a device back to it."""
    empty_cache = getattr(getattr(torch, device.type, None), "empty_cache", None)
    if empty_cache:
        empty_cache()
