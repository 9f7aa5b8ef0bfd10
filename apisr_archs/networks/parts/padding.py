"""Pads images to sizes that a network accepts; always at the right and bottom, as the authors do."""

import torch.nn.functional as F
from torch import Tensor


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (B, C, H, W) at the right and bottom until H and W are multiples of `multiple`; see `pad`."""
    height, width = x.shape[-2:]
    return pad(x, -width % multiple, -height % multiple)


def pad(x: Tensor, right: int, bottom: int) -> Tensor:
    """Pad (B, C, H, W) by `right` columns and `bottom` rows, as spandrel's descriptors do.

    Each axis is padded by reflection up to its length minus one, and beyond that by repeating the last row or column.
    """
    height, width = x.shape[-2:]
    reflected = min(right, width - 1), min(bottom, height - 1)
    for (columns, rows), mode in ((reflected, "reflect"), ((right - reflected[0], bottom - reflected[1]), "replicate")):
        if columns or rows:
            x = F.pad(x, (0, columns, 0, rows), mode=mode)
    return x
