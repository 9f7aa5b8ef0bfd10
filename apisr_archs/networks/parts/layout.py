"""Memory layout: the channels of a pixel are adjacent in memory, for tokens and for convolutions.

Tokens are (B, H, W, C). For a convolution they are viewed as a channels-last image (B, C, H, W) of the same memory. On
MPS (Macs), which is unreliable with such views, images are copied to contiguous ones.
"""

import torch
from torch import Tensor


def channels_last(x: Tensor) -> Tensor:
    """An image (B, C, H, W) in channels-last memory format; on MPS contiguous."""
    return x.contiguous() if x.device.type == "mps" else x.contiguous(memory_format=torch.channels_last)


def image(tokens: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W) for a convolution; copied only on MPS."""
    view = tokens.permute(0, 3, 1, 2)
    return view.contiguous() if view.device.type == "mps" else view


def tokens(image: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W, C), contiguous; not copied if the image is channels-last."""
    return image.permute(0, 2, 3, 1).contiguous()
