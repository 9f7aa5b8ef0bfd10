"""Gathers means over the whole picture from its tiles, for networks with global statistics (DAT).

Such a network normalizes and weighs channels by means over all pixels. With means over a tile alone, neighboring tiles
would get different colors. So before the picture is computed, all tiles are computed MEANS_ROUNDS times only to gather
means. In the first round each tile uses its own means; in each later round all tiles use the averages of the previous
round. The result is close to the means of the whole picture.
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
    """The means over the picture, in fp32, in the order in which the network uses them.

    Args:
        compute: runs the network on the tile at (row, column), with the given means.
        on_tile: called before each tile with the number of tiles done and the total, which includes the tiles that will
            be computed for the picture itself.
    """
    shared: list[Tensor] = []
    for number in range(MEANS_ROUNDS):
        sums: list[Tensor] = []
        all_pixels = 0
        for index, (row, column) in enumerate(plan.places()):
            if on_tile:
                on_tile(number * len(plan) + index, (MEANS_ROUNDS + 1) * len(plan))
            # in the first round a tile uses means over all of its pixels: its halo makes them better
            tile = TileMeans(shared, _kept_area(plan, row, column) if shared else None)
            compute(row, column, tile)
            pixels = tile.pixels(*plan.tile)
            all_pixels += pixels
            weighted = [own * pixels for own in tile.own]
            sums = [total + own for total, own in zip(sums, weighted, strict=True)] if sums else weighted
        shared = [total / all_pixels for total in sums]
    return shared


def _kept_area(plan: Plan, row: int, column: int) -> tuple[int, int, int, int]:
    """The area that a tile keeps, up to the middle of its blends: top, bottom, left, right.

    In input pixels, relative to the tile.
    """
    edges: list[int] = []
    for segments, index in ((plan.rows, row), (plan.columns, column)):
        segment = segments[index]
        next_fade = segments[index + 1].fade if index + 1 < len(segments) else 0
        edges.append((segment.first + segment.fade // 2) // plan.scale - segment.start)
        edges.append((segment.last - next_fade + next_fade // 2) // plan.scale - segment.start)
    return edges[0], edges[1], edges[2], edges[3]
