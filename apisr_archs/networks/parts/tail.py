"""The upsampling tail that RRDB and GRL share: nearest-neighbour enlarging by 2, as often as need be, and convolutions
(Real-ESRGAN).

At 4x it works at 16 times the pixels of the trunk, so it takes most of the memory; hence the row strips.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layout import channels_last
from .strips import in_strips

HALO = 2
"""Input rows that a strip of the tail sees beyond itself, for any number of enlargements: the two convolutions at the
final size see one pixel each there, and the one after the k-th enlargement one pixel of 1/2^k. At 1x that is 2 rows, at
2x 1 1/2, at 4x 1 1/4."""


def enlarge(
    x: Tensor, ups: Sequence[nn.Conv2d], conv_hr: nn.Conv2d, conv_last: nn.Conv2d, rows: int | None = None
) -> Tensor:
    """(B, F, H, W) -> (B, C, H * s, W * s), `rows` input rows at a time; None: all at once.

    ups: the convolutions after each enlargement by 2, so that s is 2 ** len(ups).
    """
    kernels = [subpixel_kernel(conv.weight) for conv in ups]

    def compute(top: int, bottom: int) -> Tensor:
        strip = channels_last(x[:, :, top:bottom])
        for kernel, conv in zip(kernels, ups, strict=True):
            strip = lrelu(enlarge_2x(strip, kernel, conv.bias))
        return conv_last(lrelu(conv_hr(strip)))

    return in_strips(compute, x.shape[2], rows, HALO, scale=2 ** len(ups))


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
