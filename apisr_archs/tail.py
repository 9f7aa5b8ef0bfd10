"""The upsampling tail that RRDB and GRL share: nearest-neighbour enlarging and convolutions, 4x (Real-ESRGAN)."""

import torch.nn.functional as F
from torch import Tensor, nn


def enlarge_4x(x: Tensor, conv_up1: nn.Conv2d, conv_up2: nn.Conv2d, conv_hr: nn.Conv2d, conv_last: nn.Conv2d) -> Tensor:
    """(B, F, H, W) -> (B, C, 4 * H, 4 * W)."""
    x = lrelu(conv_up1(F.interpolate(x, scale_factor=2, mode="nearest")))
    x = lrelu(conv_up2(F.interpolate(x, scale_factor=2, mode="nearest")))
    return conv_last(lrelu(conv_hr(x)))


def lrelu(x: Tensor) -> Tensor:
    """LeakyReLU with slope 0.2, in place: for a fresh convolution output that nobody else holds."""
    return F.leaky_relu_(x, negative_slope=0.2)
