"""Where the tiles lie. Integers only: image size + facts + budget -> tiles of one shape.

The picture must not depend on the tiling. So each tile reads a halo around what it keeps, as wide as the network looks;
tiles begin at multiples of the network's alignment; and there is no halo at the image's own borders: the last tile ends
exactly where the image ends, so that the network pads there just as it would pad the whole image. For this the tiles'
length is not rounded to the alignment but differs from the image's by a multiple of it.

Neighbours meet in the middle of their overlap and are blended over a few output pixels there. (A blend over the whole
overlap, as core ComfyUI does it, gives weight to the outermost pixels of a tile, which are wrong at any overlap.)
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ..apisr_archs import Facts

MIN_KEPT = 64
"""Tiles of an automatic plan advance by at least this many input pixels: less is nearly all halo."""
MIN_KEPT_BY_HAND = 16
"""The same for a tile size that the user chose."""


@dataclass(frozen=True)
class Segment:
    """One tile along one axis."""

    start: int
    """First input pixel that the tile reads."""
    length: int
    """Input pixels that it reads."""
    first: int
    """First output pixel that it writes."""
    last: int
    """One past the last output pixel that it writes."""
    fade: int
    """How many output pixels from `first` on are blended with what the tile before wrote there."""


@dataclass(frozen=True)
class Plan:
    """The tiles of one image: every row of tiles crossed with every column. All tiles have one shape."""

    rows: tuple[Segment, ...]
    columns: tuple[Segment, ...]
    scale: int

    @property
    def tile(self) -> tuple[int, int]:
        """Height and width of each tile, in input pixels."""
        return self.rows[0].length, self.columns[0].length

    @property
    def tile_pixels(self) -> int:
        return self.rows[0].length * self.columns[0].length

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the output, in pixels."""
        return self.rows[-1].last, self.columns[-1].last

    def __len__(self) -> int:
        """The number of tiles."""
        return len(self.rows) * len(self.columns)

    def __str__(self) -> str:
        height, width = self.tile
        return "whole image" if len(self) == 1 else f"{len(self)} tiles of {width}x{height}"


def plan(
    height: int,
    width: int,
    facts: Facts,
    *,
    max_pixels: int | None = None,
    tile: int | None = None,
    overlap: int | None = None,
) -> Plan:
    """The cheapest tiling of an image: the one that computes the fewest pixels.

    Args:
        height, width: of the image, in pixels, at least 1.
        max_pixels: input pixels that one tile may have; None for no limit. If even the smallest sensible tile is
            larger, that one is planned.
        tile: longest side of a tile in input pixels; None for no limit. Raised, if need be, to the smallest side that
            leaves room for the halo.
        overlap: input pixels that neighbours share; None for twice the exact halo of the network, and the blend.
    """
    if height < 1 or width < 1:
        raise ValueError(f"The image is {width}x{height}; expected at least 1x1.")
    half_a_blend = -(-facts.feather // (2 * facts.scale))  # a tile shows that far beyond the seam
    halo = facts.halo.exact + half_a_blend if overlap is None else -(-overlap // 2)
    kept = max(facts.alignment, MIN_KEPT if tile is None else MIN_KEPT_BY_HAND)
    shortest = 2 * halo + kept
    longest = max(tile, shortest) if tile else max(height, width)
    if not facts.tiling:
        longest, max_pixels = max(height, width), None

    rows = _no_longer_than(longest, list(_tilings(height, halo, facts.alignment, shortest)))
    columns = _no_longer_than(longest, list(_tilings(width, halo, facts.alignment, shortest)))
    choice = _cheapest(rows, columns, max_pixels or height * width)
    row_axis, column_axis = choice or (rows[-1], columns[-1])
    return Plan(
        rows=_segments(row_axis, facts),
        columns=_segments(column_axis, facts),
        scale=facts.scale,
    )


@dataclass(frozen=True)
class _Axis:
    """A tiling of one axis, in input pixels."""

    size: int
    length: int
    starts: tuple[int, ...]

    @property
    def read(self) -> int:
        """Pixels that the tiles read together."""
        return self.length * len(self.starts)


def _tilings(size: int, halo: int, alignment: int, shortest: int) -> Iterator[_Axis]:
    """The tilings of an axis with 1, 2, 3, ... tiles, each with the shortest tiles that so many allow.

    With n tiles, let the image be m steps of `alignment` longer than a tile. The starts divide m into n - 1 gaps, the
    largest of c = ceil(m / (n - 1)) steps; neighbours share enough if a gap leaves two halos of a tile's length, that
    is if (m + c) steps fit into size - 2 * halo. The largest such m is u - ceil(u / n) with u the steps that fit.
    """
    shortest_yet = size
    yield _Axis(size, size, (0,))
    steps_that_fit = (size - 2 * halo) // alignment
    for count in range(2, steps_that_fit + 1):
        steps = steps_that_fit - -(-steps_that_fit // count)
        length = size - steps * alignment
        if length < shortest:
            return
        if length < shortest_yet:  # else one more tile would gain nothing
            shortest_yet = length
            yield _Axis(size, length, tuple(alignment * (i * steps // (count - 1)) for i in range(count)))


def _no_longer_than(longest: int, tilings: list[_Axis]) -> list[_Axis]:
    """The tilings whose tiles are short enough; if none is, the one with the shortest."""
    return [axis for axis in tilings if axis.length <= longest] or tilings[-1:]


def _cheapest(rows: list[_Axis], columns: list[_Axis], max_pixels: int) -> tuple[_Axis, _Axis] | None:
    """The pair that reads the fewest pixels with tiles of at most `max_pixels`; None if there is no such pair."""
    best: tuple[_Axis, _Axis] | None = None
    for row in rows:
        # more tiles along an axis read more pixels: the first that is small enough is the cheapest
        column = next((c for c in columns if row.length * c.length <= max_pixels), None)
        if column and (best is None or row.read * column.read < best[0].read * best[1].read):
            best = row, column
    return best


def _segments(axis: _Axis, facts: Facts) -> tuple[Segment, ...]:
    """Add to a tiling what each tile writes: from seam to seam, and half a blend beyond."""
    scale = facts.scale
    blends = [(0, 0)]  # (first output pixel, width) of the blend at each tile's beginning
    for before, start in zip(axis.starts, axis.starts[1:], strict=False):
        shared = before + axis.length - start
        width = min(facts.feather, shared * scale)
        seam = (start * scale + (before + axis.length) * scale) // 2
        blends.append((seam - width // 2, width))
    ends = [first + width for first, width in blends[1:]] + [axis.size * scale]
    return tuple(
        Segment(start, axis.length, first, end, fade)
        for start, (first, fade), end in zip(axis.starts, blends, ends, strict=True)
    )
