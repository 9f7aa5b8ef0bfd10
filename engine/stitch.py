"""Writes tiles directly into the output tensor, blended across the seams.

A blend is a linear interpolation between the existing value and the new tile's. So the weights of each pixel always sum
to one, equal tiles give exactly their common value, and no full-size buffer for weights is needed.
"""

import torch
from torch import Tensor

from .tiling import Plan, Segment


class Stitcher:
    """Writes the tiles of one image into `output`. Tiles must come in raster order.

    Within a row of tiles, each tile is blended with its left neighbor. The band of the row that overlaps the row above
    is kept separately until the row is complete, then blended as a whole, so that corners where four tiles meet are
    right.
    """

    def __init__(self, output: Tensor, plan: Plan) -> None:
        """output: (H, W, C), written by `put`; any float dtype, any device."""
        self.output = output
        self.plan = plan
        self.band = output[:0]

    def put(self, tile: Tensor, row: int, column: int, skipped: int = 0) -> None:
        """Write a tile (h * scale, w * scale, C), of any float dtype, on the device of the output.

        skipped: if `tile` is only some rows of the tile, the number of rows above them. Pieces of a tile must come in
            order from the top.
        """
        rows, columns = self.plan.rows[row], self.plan.columns[column]
        # in rows of the tile: the first one to keep, the end of the blend with the tiles above, the end
        first = rows.first - rows.start * self.plan.scale
        blend_end, last = first + rows.fade, rows.last - rows.start * self.plan.scale
        given = range(skipped, skipped + len(tile))
        if column == 0 and first in given:
            self.band = torch.empty_like(self.output[: rows.fade])
        for target, start, end in (
            (self.band, first, blend_end),
            (self.output[rows.first + rows.fade : rows.last], blend_end, last),
        ):
            top, bottom = max(start, given.start), min(end, given.stop)
            if top < bottom:
                part = tile[top - skipped : bottom - skipped]
                _blend_across(target[top - start : bottom - start], part, columns, self.plan.scale)
        if column == len(self.plan.columns) - 1 and rows.fade and blend_end - 1 in given:
            above = self.output[rows.first : rows.first + rows.fade]
            above.lerp_(self.band, ramp(rows.fade, above).view(-1, 1, 1))  # in place: needs no additional memory


def _blend_across(strip: Tensor, tile: Tensor, columns: Segment, scale: int) -> None:
    """Write rows of a tile, (h, w, C), into full rows of the picture, (h, W, C), blended with the tile to the left."""
    left = columns.first - columns.start * scale
    right = columns.last - columns.start * scale
    edge = columns.first + columns.fade
    strip[:, edge : columns.last] = tile[:, left + columns.fade : right]
    if columns.fade:
        existing = strip[:, columns.first : edge]
        existing.lerp_(tile[:, left : left + columns.fade].to(existing), ramp(columns.fade, existing).view(1, -1, 1))


def ramp(width: int, like: Tensor) -> Tensor:
    """Weights of the new tile across a blend, (width,): rising linearly between 0 and 1, without reaching either."""
    return (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) / width
