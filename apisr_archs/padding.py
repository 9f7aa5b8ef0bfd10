"""Padding of images to the multiples that a network works in. Always right and bottom, as the authors do."""

import torch.nn.functional as F
from torch import Tensor


def pad_to_multiple(x: Tensor, multiple: int, fallback: str = "replicate") -> Tensor:
    """Pad (B, C, H, W) at the right and bottom until H and W are multiples of `multiple`.

    Reflects, as the reference implementations do. Reflection needs more pixels than it adds; a smaller image is padded
    with the mode `fallback` ("replicate" or "constant", which is zeros).
    """
    height, width = x.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if not bottom and not right:
        return x
    mode = "reflect" if bottom < height and right < width else fallback
    return F.pad(x, (0, right, 0, bottom), mode=mode)
