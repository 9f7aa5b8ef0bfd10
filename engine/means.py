"""Means over a whole picture from its tiles, for networks that would look at all of it at once (DAT).

Such a network normalises and weighs channels by means over all pixels. A tile that used its own would get other colours
than its neighbours. So all tiles are computed some times, only for their means, each time with those that the time
before gave; the first time with their own. Then the picture is computed with means that are nearly the whole's.
"""

from collections.abc import Callable

from torch import Tensor

from ..apisr_archs import Means, TileMeans
from .tiling import MEANS_ROUNDS, Plan


def gather_means(
    plan: Plan,
    compute: Callable[[int, int, Means], None],
    on_tile: Callable[[int, int], None] | None = None,
) -> list[Tensor]:
    """The means over the picture, in fp32, in the order in which the network takes them.

    Args:
        compute: runs the network on the tile at (row, column), with these means.
        on_tile: called before each tile with how many are done and how many there are, those of the picture included.
    """
    shared: list[Tensor] = []
    for number in range(MEANS_ROUNDS):
        sums: list[Tensor] = []
        all_pixels = 0
        for index, (row, column) in enumerate(plan.places()):
            if on_tile:
                on_tile(number * len(plan) + index, (MEANS_ROUNDS + 1) * len(plan))
            # in the first round a tile is better off with the means over all that it sees
            tile = TileMeans(shared, _kept_area(plan, row, column) if shared else None)
            compute(row, column, tile)
            pixels = tile.pixels(*plan.tile)
            all_pixels += pixels
            weighted = [own * pixels for own in tile.own]
            sums = [total + own for total, own in zip(sums, weighted, strict=True)] if sums else weighted
        shared = [total / all_pixels for total in sums]
    return shared


def _kept_area(plan: Plan, row: int, column: int) -> tuple[int, int, int, int]:
    """What a tile keeps, to the middle of the blends: top, bottom, left, right in input pixels of the tile."""
    edges: list[int] = []
    for segments, index in ((plan.rows, row), (plan.columns, column)):
        here = segments[index]
        fade_after = segments[index + 1].fade if index + 1 < len(segments) else 0
        edges.append((here.first + here.fade // 2) // plan.scale - here.start)
        edges.append((here.last - fade_after + fade_after // 2) // plan.scale - here.start)
    return edges[0], edges[1], edges[2], edges[3]
