"""Padding of images to the multiples that a network works in. Always right and bottom, as the authors do."""

import torch.nn.functional as F
from torch import Tensor


def pad_to_multiple(x: Tensor, multiple: int, fallback: str = "replicate") -> Tensor:
    """Pad (B, C, H, W) at the right and bottom until H and W are multiples of `multiple`; see `pad`."""
    height, width = x.shape[-2:]
    return pad(x, -width % multiple, -height % multiple, fallback)


def pad(x: Tensor, right: int, bottom: int, fallback: str = "replicate") -> Tensor:
    """Pad (B, C, H, W) by so many pixels.

    Reflects, as the reference implementations do. Reflection needs more pixels than it adds; a smaller image is padded
    with the mode `fallback` ("replicate" or "constant", which is zeros).
    """
    if not bottom and not right:
        return x
    mode = "reflect" if bottom < x.shape[-2] and right < x.shape[-1] else fallback
    return F.pad(x, (0, right, 0, bottom), mode=mode)
