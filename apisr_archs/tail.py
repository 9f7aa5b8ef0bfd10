"""The upsampling tail that RRDB and GRL share: nearest-neighbour enlarging and convolutions, 4x (Real-ESRGAN).

It works at up to 16 times the pixels of the trunk, so it takes most of the memory; hence the row strips.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layout import channels_last
from .strips import in_strips

HALO = 2
"""Input rows that a strip of the tail sees beyond itself: 1 1/2 from the convolutions at 2x and 4x, rounded up."""


def enlarge_4x(
    x: Tensor,
    conv_up1: nn.Conv2d,
    conv_up2: nn.Conv2d,
    conv_hr: nn.Conv2d,
    conv_last: nn.Conv2d,
    rows: int | None = None,
) -> Tensor:
    """(B, F, H, W) -> (B, C, 4 * H, 4 * W), `rows` input rows at a time; None: all at once."""
    kernels = [subpixel_kernel(conv.weight) for conv in (conv_up1, conv_up2)]

    def compute(top: int, bottom: int) -> Tensor:
        strip = channels_last(x[:, :, top:bottom])
        for kernel, conv in zip(kernels, (conv_up1, conv_up2), strict=True):
            strip = lrelu(enlarge_2x(strip, kernel, conv.bias))
        return conv_last(lrelu(conv_hr(strip)))

    return in_strips(compute, x.shape[2], rows, HALO, scale=4)


def enlarge_2x(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """A 3x3 convolution of the picture enlarged 2x (nearest), without making that: 4/9 of the arithmetic.

    Each output pixel sees two input pixels along each axis, so the nine taps fall together to four (Shi et al. 2016,
    "Is the deconvolution layer the same as a convolutional layer?"). (B, F, H, W) -> (B, F', 2 * H, 2 * W).
    """
    return F.conv_transpose2d(x, kernel, bias, stride=2, padding=1)


def subpixel_kernel(weight: Tensor) -> Tensor:
    """(F', F, 3, 3) of the convolution -> (F, F', 4, 4) for `enlarge_2x`. Summed up in fp32."""
    kernel = _phases(_phases(weight.float(), 2), 3)  # (F', F, 4, 4)
    return channels_last(kernel.transpose(0, 1).to(weight.dtype))


def _phases(weight: Tensor, axis: int) -> Tensor:
    """The three taps along an axis, summed up to four: two for each of the two output pixels."""
    first, middle, last = weight.unbind(axis)
    return torch.stack((last, middle + last, first + middle, first), axis)


def lrelu(x: Tensor) -> Tensor:
    """LeakyReLU with slope 0.2, in place: for a fresh convolution output that nobody else holds."""
    return F.leaky_relu_(x, negative_slope=0.2)
