"""From tiles to a picture: written straight into the final tensor, blended across the seams.

A blend is a linear interpolation between what is there and what comes. So the weights of a pixel sum to one whatever
the tiles, tiles that agree give exactly their common value, and no second, full-size buffer for weights is needed.
"""

import torch
from torch import Tensor

from .tiling import Plan, Segment


class Stitcher:
    """Collects the tiles of one image, row by row from the top, each row from the left, into `output`.

    Along a row of tiles each tile blends with its left neighbour. What lies in the blend with the row above is kept
    aside until its row is complete, then blended as one band: so corners, where four tiles meet, come out right.
    """

    def __init__(self, output: Tensor, plan: Plan) -> None:
        """output: (H, W, C), filled by `put`; any float dtype, any device."""
        self.output = output
        self.plan = plan
        self.band = output[:0]

    def put(self, tile: Tensor, row: int, column: int, skipped: int = 0) -> None:
        """Place the tile (h * scale, w * scale, C), of any float dtype, on the device of the output.

        skipped: the tile's rows above these, if these are only some of them; they come in order from the top.
        """
        rows, columns = self.plan.rows[row], self.plan.columns[column]
        # in rows of the tile: where what it keeps begins, where the blend with the tiles above ends, and all ends
        first = rows.first - rows.start * self.plan.scale
        below, last = first + rows.fade, rows.last - rows.start * self.plan.scale
        here = range(skipped, skipped + len(tile))
        if column == 0 and first in here:
            self.band = torch.empty_like(self.output[: rows.fade])
        for room, start, end in (
            (self.band, first, below),
            (self.output[rows.first + rows.fade : rows.last], below, last),
        ):
            top, bottom = max(start, here.start), min(end, here.stop)
            if top < bottom:
                part = tile[top - skipped : bottom - skipped]
                _blend_across(room[top - start : bottom - start], part, columns, self.plan.scale)
        if column == len(self.plan.columns) - 1 and rows.fade and below - 1 in here:
            above = self.output[rows.first : rows.first + rows.fade]
            above.lerp_(self.band, ramp(rows.fade, above).view(-1, 1, 1))  # in place: takes no memory that may lack


def _blend_across(strip: Tensor, tile: Tensor, columns: Segment, scale: int) -> None:
    """Write the rows of a tile (h, w, C) into a strip (h, W, C) as wide as the picture, blending at the left."""
    left = columns.first - columns.start * scale
    right = columns.last - columns.start * scale
    edge = columns.first + columns.fade
    strip[:, edge : columns.last] = tile[:, left + columns.fade : right]
    if columns.fade:
        there = strip[:, columns.first : edge]
        there.lerp_(tile[:, left : left + columns.fade].to(there), ramp(columns.fade, there).view(1, -1, 1))


def ramp(width: int, like: Tensor) -> Tensor:
    """Weights of the newcomer across a blend: rising evenly between 0 and 1, neither of them reached. (width,)."""
    return (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) / width
