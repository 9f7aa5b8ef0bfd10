"""The upsampling tail of RRDB and GRL (from Real-ESRGAN): repeated nearest-neighbor enlarging by 2, with convolutions.

At 4x it processes 16 times as many pixels as the trunk and takes most of the memory. That is why it runs in row strips.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layout import channels_last
from .strips import in_strips

HALO = 2
"""Input rows that the tail reads beyond a strip, for any number of enlargements. The two convolutions at the final size
read one pixel of that size each, and the one after the k-th enlargement one pixel of size 1/2^k. In sum that is 2 rows
at 1x, 1 1/2 at 2x, and 1 1/4 at 4x."""


def enlarge(
    x: Tensor, ups: Sequence[nn.Conv2d], conv_hr: nn.Conv2d, conv_last: nn.Conv2d, rows: int | None = None
) -> Tensor:
    """(B, F, H, W) -> (B, C, H * s, W * s), `rows` input rows at a time; None: all at once.

    ups: the convolutions after each enlargement by 2; the scale s is 2 ** len(ups).
    """
    kernels = [subpixel_kernel(conv.weight) for conv in ups]

    def compute(top: int, bottom: int) -> Tensor:
        strip = channels_last(x[:, :, top:bottom])
        for kernel, conv in zip(kernels, ups, strict=True):
            strip = lrelu(enlarge_2x(strip, kernel, conv.bias))
        return conv_last(lrelu(conv_hr(strip)))

    return in_strips(compute, x.shape[2], rows, HALO, scale=2 ** len(ups))


def enlarge_2x(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """Nearest-neighbor enlarging by 2 and a 3x3 convolution in one step, with 4/9 of the arithmetic.

    Each output pixel depends on two input pixels along each axis, so the nine taps reduce to four (Shi et al. 2016,
    "Is the deconvolution layer the same as a convolutional layer?"). (B, F, H, W) -> (B, F', 2 * H, 2 * W).
    """
    return F.conv_transpose2d(x, kernel, bias, stride=2, padding=1)


def subpixel_kernel(weight: Tensor) -> Tensor:
    """Convert a convolution's weight, (F', F, 3, 3), to the kernel of `enlarge_2x`, (F, F', 4, 4). Sums are in fp32."""
    kernel = _phases(_phases(weight.float(), 2), 3)  # (F', F, 4, 4)
    return channels_last(kernel.transpose(0, 1).to(weight.dtype))


def _phases(weight: Tensor, axis: int) -> Tensor:
    """Sum the three taps along an axis to four: two taps for each of the two output pixels."""
    first, middle, last = weight.unbind(axis)
    return torch.stack((last, middle + last, first + middle, first), axis)


def lrelu(x: Tensor) -> Tensor:
    """LeakyReLU with slope 0.2, in place: only for a convolution's output that is not used elsewhere."""
    return F.leaky_relu_(x, negative_slope=0.2)
