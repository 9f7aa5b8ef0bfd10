"""Tile placement: image size + network facts + memory budget -> tiles of equal shape. Integers only.

The output must not depend on the tiling. Therefore:
- Each tile reads a halo around the area it keeps, as wide as the network's effective receptive field.
- Tiles start at multiples of the network's alignment.
- There is no halo at the image borders. The last tile ends exactly where the image ends, so that the network pads it
  just as it would pad the whole image. For this, the difference between the lengths of image and tile is a multiple of
  the alignment, not the tile's length itself.

Neighboring tiles meet in the middle of their overlap, where they are blended over a few output pixels. (A blend over
the whole overlap, as in core ComfyUI, gives weight to a tile's outermost pixels, which are wrong at any overlap.)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from ..apisr_archs import Facts
from . import arguments
from .estimate import bytes_for, fast_strip, least_strip, strip_within

PRESETS = ("exact", "fast")
"""How wide the overlap is: wide enough that no seam shows, or about half of that."""
MEANS_ROUNDS = 3
"""For a network with global statistics: how many times all tiles are computed just to gather means (engine/means.py).
On trained DAT-light each round adds about 8 dB."""
MIN_KEPT = 64
"""Tiles of an automatic plan advance by at least this many input pixels; smaller ones would be nearly all halo."""
MIN_KEPT_BY_HAND = 16
"""The same for a tile size chosen by the user."""


@dataclass(frozen=True)
class Limits:
    """The user's settings for tiles; see `plan`."""

    tile: int | None = None
    overlap: int | None = None
    preset: str = "exact"


@dataclass(frozen=True)
class Segment:
    """One tile along one axis."""

    start: int
    """First input pixel that the tile reads."""
    length: int
    """Number of input pixels that it reads."""
    first: int
    """First output pixel that it writes."""
    last: int
    """One past the last output pixel that it writes."""
    fade: int
    """Number of output pixels, starting at `first`, that are blended with the previous tile's."""


class Place(NamedTuple):
    """Where something lies in a picture, as fractions of its height and width."""

    top: float
    left: float
    bottom: float
    right: float


@dataclass(frozen=True)
class Plan:
    """The tiles of one image: every row segment crossed with every column segment. All tiles have the same shape."""

    rows: tuple[Segment, ...]
    columns: tuple[Segment, ...]
    scale: int
    strip: int | None
    """Input rows per strip, if each tile is computed in strips; None if it is computed at once."""
    bytes: int
    """Peak activation memory of one tile, estimated from the network's facts."""

    @property
    def tile(self) -> tuple[int, int]:
        """Height and width of each tile, in input pixels."""
        return self.rows[0].length, self.columns[0].length

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the output, in pixels."""
        return self.rows[-1].last, self.columns[-1].last

    def places(self) -> Iterator[tuple[int, int]]:
        """(row, column) of each tile, in order of computation."""
        return product(range(len(self.rows)), range(len(self.columns)))

    def read(self, picture: Tensor, row: int, column: int) -> Tensor:
        """The part of the picture (H, W, C) that a tile reads, as a view."""
        y, x = self.rows[row], self.columns[column]
        return picture[y.start : y.start + y.length, x.start : x.start + x.length]

    def place(self, row: int, column: int) -> Place:
        """Where a tile lies."""
        y, x = self.rows[row], self.columns[column]
        height, width = (side / self.scale for side in self.size)
        return Place(y.start / height, x.start / width, (y.start + y.length) / height, (x.start + x.length) / width)

    def __len__(self) -> int:
        """The number of tiles."""
        return len(self.rows) * len(self.columns)

    def __str__(self) -> str:
        height, width = self.tile
        tiles = "whole image" if len(self) == 1 else f"{len(self)} tiles of {width}x{height}"
        return f"{tiles} in strips of {self.strip} rows" if self.strip else tiles


def plan(
    height: int,
    width: int,
    facts: Facts,
    *,
    budget: int | None = None,
    dtype: torch.dtype = torch.float32,
    tile: int | None = None,
    overlap: int | None = None,
    preset: str = "exact",
    strip_bytes: int | None = None,
) -> Plan:
    """Plan the tiles and strips of an image so that as few pixels as possible are computed.

    That is the whole image at once, or in strips where they are faster. If memory is short it is strips, which compute
    few rows twice; and only then tiles, whose halos cost more.

    Args:
        height, width: size of the image in pixels, at least 1.
        budget: bytes of activation memory that one tile may take in `dtype`; None for no limit. If even the smallest
            allowed tile takes more, that tile is planned.
        tile: longest side of a tile in input pixels; None for no limit. Raised, if necessary, to the smallest side
            that leaves room for the halo.
        overlap: input pixels shared by neighboring tiles; None for twice the network's halo, plus the blend.
        preset: one of `PRESETS`; it selects the halo.
        strip_bytes: size of the strips that are fastest on the device; None if strips are no faster than the whole.

    Raises ValueError: the image has no pixels, `tile` is below 1, `overlap` below 0, or the preset is unknown.
    """
    if height < 1 or width < 1:
        raise ValueError(f"The image is {width}x{height}; expected at least 1x1.")
    arguments.one_of(preset, "preset", PRESETS)
    tile = None if tile is None else arguments.whole(tile, "tile", least=1)
    overlap = None if overlap is None else arguments.whole(overlap, "overlap", least=0)
    rows, columns = _axes(height, width, facts, Limits(tile, overlap, preset))
    rounds = 1 + (MEANS_ROUNDS if gathers_means(facts, preset) else 0)
    cheapest = _cheapest(rows, columns, facts, dtype, budget, strip_bytes, rounds)
    row_axis, column_axis, strip = cheapest or _smallest(rows, columns, facts, dtype)
    return Plan(
        rows=_segments(row_axis, facts),
        columns=_segments(column_axis, facts),
        scale=facts.scale,
        strip=strip,
        bytes=bytes_for(row_axis.length, column_axis.length, facts, dtype, strip),
    )


def _axes(height: int, width: int, facts: Facts, limits: Limits) -> tuple[list["_Axis"], list["_Axis"]]:
    """The tilings of the rows and those of the columns that the limits allow."""
    half_a_blend = -(-facts.feather // (2 * facts.scale))  # input pixels of the blend beyond the seam
    exact_or_fast = getattr(facts.halo, limits.preset) + half_a_blend
    halo = exact_or_fast if limits.overlap is None else -(-limits.overlap // 2)
    kept = max(facts.alignment, MIN_KEPT if limits.tile is None else MIN_KEPT_BY_HAND)
    shortest = max(2 * halo + kept, facts.minimum)
    longest = max(limits.tile, shortest) if limits.tile and facts.tiling else max(height, width)
    rows = _no_longer_than(longest, list(_tilings(height, halo, facts.alignment, shortest)))
    columns = _no_longer_than(longest, list(_tilings(width, halo, facts.alignment, shortest)))
    return (rows, columns) if facts.tiling else (rows[:1], columns[:1])


def gathers_means(facts: Facts, preset: str) -> bool:
    """Whether tiles use means over the whole picture (engine/means.py), which takes `MEANS_ROUNDS` extra rounds.

    Only our own networks with global statistics accept such means; all of these can run in strips.
    """
    return facts.global_statistics and facts.strips is not None and preset == "exact"


@dataclass(frozen=True)
class _Axis:
    """The tiles along one axis, in input pixels. All have the same length."""

    size: int
    length: int
    starts: tuple[int, ...]

    @property
    def read(self) -> int:
        """Total number of pixels that the tiles read."""
        return self.length * len(self.starts)


def _tilings(size: int, halo: int, alignment: int, shortest: int) -> Iterator[_Axis]:
    """The tilings of an axis with 1, 2, 3, ... tiles, each with the shortest tiles possible for that number.

    With n tiles, let the image be m steps of `alignment` longer than a tile. The tile starts divide these m steps into
    n - 1 gaps; the largest gap is c = ceil(m / (n - 1)) steps. Neighbors overlap by at least two halos if the largest
    gap is at most a tile's length minus two halos, that is, if m + c steps fit into size - 2 * halo. If u steps fit
    there, the largest such m is u - ceil(u / n).
    """
    shortest_yet = size
    yield _Axis(size, size, (0,))
    steps_that_fit = (size - 2 * halo) // alignment
    for count in range(2, steps_that_fit + 1):
        steps = steps_that_fit - -(-steps_that_fit // count)
        length = size - steps * alignment
        if length < shortest:
            return
        if length < shortest_yet:  # otherwise the extra tile has no benefit
            shortest_yet = length
            yield _Axis(size, length, tuple(alignment * (i * steps // (count - 1)) for i in range(count)))


def _no_longer_than(longest: int, tilings: list[_Axis]) -> list[_Axis]:
    """The tilings with tiles up to the length `longest`; if there are none, the one with the shortest tiles."""
    return [axis for axis in tilings if axis.length <= longest] or tilings[-1:]


_Choice = tuple["_Axis", "_Axis", int | None]
"""The tiling of the rows, the tiling of the columns, and the rows per strip."""


def _cheapest(
    rows: list[_Axis],
    columns: list[_Axis],
    facts: Facts,
    dtype: torch.dtype,
    budget: int | None,
    strip_bytes: int | None,
    rounds: int,
) -> _Choice | None:
    """The choice that computes the fewest pixels within the budget; None if nothing fits.

    rounds: how often each tile is computed if there is more than one tile.
    """
    best, least = None, float("inf")
    columns = sorted(columns, key=lambda axis: axis.read)  # usually, but not always, in order already
    for row in rows:
        for column in columns:
            if row.read * column.read >= least:
                break
            found = _strip(row.length, column.length, facts, dtype, budget, strip_bytes)
            if found is None:
                continue
            strip, redone = found
            cost = row.read * column.read * (1 + redone)
            if len(row.starts) * len(column.starts) > 1:
                cost *= rounds
            if cost < least:
                best, least = (row, column, strip), cost
    return best


def _strip(
    height: int, width: int, facts: Facts, dtype: torch.dtype, budget: int | None, strip_bytes: int | None
) -> tuple[int | None, float] | None:
    """Rows per strip for a tile (None: computed at once), and the share of its pixels that strip halos compute twice.

    The share is 0 for strips chosen for speed: their halos must not make tiles look cheaper. It counts only for strips
    that are needed to fit into the budget. Returns None if the tile does not fit at all.
    """
    fast = fast_strip(strip_bytes, height, width, facts, dtype) if strip_bytes else None
    for strip in (fast, None):
        if budget is None or bytes_for(height, width, facts, dtype, strip) <= budget:
            return strip, 0.0
    narrow = strip_within(budget, height, width, facts, dtype) if budget is not None else None
    return (narrow, facts.strips.redone / narrow) if facts.strips and narrow else None


def _smallest(rows: list[_Axis], columns: list[_Axis], facts: Facts, dtype: torch.dtype) -> _Choice:
    """The choice that takes the least memory: the smallest tiles, in strips if those take less."""
    size = rows[-1].length, columns[-1].length
    least = facts.strips and least_strip(facts.strips)
    strips = (None, least) if least and least < size[0] else (None,)
    return rows[-1], columns[-1], min(strips, key=lambda strip: bytes_for(*size, facts, dtype, strip))


def _segments(axis: _Axis, facts: Facts) -> tuple[Segment, ...]:
    """Add the output range of each tile: from seam to seam, plus half a blend on both sides."""
    scale = facts.scale
    blends = [(0, 0)]  # (first output pixel, width) of the blend at each tile's start
    for previous, start in zip(axis.starts, axis.starts[1:], strict=False):
        shared = previous + axis.length - start
        width = min(facts.feather, shared * scale)
        seam = (start * scale + (previous + axis.length) * scale) // 2
        blends.append((seam - width // 2, width))
    ends = [first + width for first, width in blends[1:]] + [axis.size * scale]
    return tuple(
        Segment(start, axis.length, first, end, fade)
        for start, (first, fade), end in zip(axis.starts, blends, ends, strict=True)
    )
