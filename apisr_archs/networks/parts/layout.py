"""Memory layout: the channels of a pixel lie together, for convolutions as for tokens.

Tokens are (B, H, W, C); a convolution's image of them, (B, C, H, W), is the same memory seen channels-last. On Macs,
whose backend is not to be trusted with such views, images are copied to plain contiguous ones.
"""

import torch
from torch import Tensor


def channels_last(x: Tensor) -> Tensor:
    """An image (B, C, H, W) with its channels last in memory; on Macs contiguous."""
    return x.contiguous() if x.device.type == "mps" else x.contiguous(memory_format=torch.channels_last)


def image(tokens: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W) for a convolution, without a copy but on Macs."""
    view = tokens.permute(0, 3, 1, 2)
    return view.contiguous() if view.device.type == "mps" else view


def tokens(image: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W, C), contiguous; without a copy where the channels are last in memory."""
    return image.permute(0, 2, 3, 1).contiguous()
