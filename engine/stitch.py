"""From tiles to a picture: written straight into the final tensor, blended across the seams.

A blend is a linear interpolation between what is there and what comes. So the weights of a pixel sum to one whatever
the tiles, tiles that agree give exactly their common value, and no second, full-size buffer for weights is needed.
"""

import torch
from torch import Tensor

from .plan import Plan, Segment


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

    def put(self, tile: Tensor, row: int, column: int) -> None:
        """Place the tile (h * scale, w * scale, C), in the dtype and on the device of the output."""
        rows, columns = self.plan.rows[row], self.plan.columns[column]
        top = rows.first - rows.start * self.plan.scale
        bottom = rows.last - rows.start * self.plan.scale
        if column == 0 and rows.fade:
            self.band = torch.empty_like(self.output[: rows.fade])
        if rows.fade:
            _blend_across(self.band, tile[top : top + rows.fade], columns, self.plan.scale)
        _blend_across(
            self.output[rows.first + rows.fade : rows.last], tile[top + rows.fade : bottom], columns, self.plan.scale
        )
        if column == len(self.plan.columns) - 1 and rows.fade:
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
        there.lerp_(tile[:, left : left + columns.fade], ramp(columns.fade, there).view(1, -1, 1))


def ramp(width: int, like: Tensor) -> Tensor:
    """Weights of the newcomer across a blend: rising evenly between 0 and 1, neither of them reached. (width,)."""
    return (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) / width
