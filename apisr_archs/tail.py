"""The upsampling tail that RRDB and GRL share: nearest-neighbour enlarging and convolutions, 4x (Real-ESRGAN).

It works at up to 16 times the pixels of the trunk, so it takes most of the memory; hence the row strips.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from .layers import Conv2d
from .layout import channels_last
from .strips import in_strips

HALO = 2
"""Input rows that a strip of the tail sees beyond itself: 1 1/2 from the convolutions at 2x and 4x, rounded up."""

PHASES = ((0, 0, 1), (0, 1, 1), (1, 1, 0), (1, 0, 0))
"""Which of the three taps of a convolution each of the four taps of `EnlargingConv2d` sums up, along one axis."""


class EnlargingConv2d(Conv2d):
    """A 3x3 convolution of the picture enlarged 2x (nearest), without making that: 4/9 of the arithmetic.

    Each output pixel sees two input pixels along each axis, so the nine taps fall together to four (Shi et al. 2016,
    "Is the deconvolution layer the same as a convolutional layer?"). The kernel follows from the weights: derived once,
    at load, in fp32.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)
        self.register_buffer("kernel", torch.empty(0), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module.derive())

    @torch.no_grad()
    def derive(self) -> None:
        """Fill `kernel`, (F, F', 4, 4), from the weight, (F', F, 3, 3)."""
        phases = torch.tensor(PHASES, dtype=torch.float32, device=self.weight.device)
        kernel = torch.einsum("ak,oikl,bl->ioab", phases, self.weight.float(), phases)
        self.kernel = channels_last(kernel.to(self.weight.dtype))

    @override
    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) -> (B, F', 2 * H, 2 * W)."""
        return F.conv_transpose2d(x, self.kernel, self.bias, stride=2, padding=1)


def enlarge_4x(
    x: Tensor,
    conv_up1: EnlargingConv2d,
    conv_up2: EnlargingConv2d,
    conv_hr: nn.Conv2d,
    conv_last: nn.Conv2d,
    rows: int | None = None,
) -> Tensor:
    """(B, F, H, W) -> (B, C, 4 * H, 4 * W), `rows` input rows at a time; None: all at once."""

    def compute(top: int, bottom: int) -> Tensor:
        strip = channels_last(x[:, :, top:bottom])
        for conv in (conv_up1, conv_up2):
            strip = lrelu(conv(strip))
        return conv_last(lrelu(conv_hr(strip)))

    return in_strips(compute, x.shape[2], rows, HALO, scale=4)


def lrelu(x: Tensor) -> Tensor:
    """LeakyReLU with slope 0.2, in place: for a fresh convolution output that nobody else holds."""
    return F.leaky_relu_(x, negative_slope=0.2)
