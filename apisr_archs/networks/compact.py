"""Compact (SRVGGNetCompact): plain convolutions at LR, one pixel-shuffle, and the nearest-enlarged input added.

Source: Real-ESRGAN's video networks (Wang et al. 2021, github.com/xinntao/Real-ESRGAN, BSD-3-Clause). Parameter names
are the official ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import isqrt

import torch.nn.functional as F
from torch import Tensor, nn

from ..facts import Facts, Halo, Strips, bytes_per_pixel
from .parts.layers import Conv2d, FilledNetwork
from .parts.layout import channels_last
from .parts.strips import convolved_rows, in_strips
from .parts.way import WHOLE, Way


@dataclass(frozen=True)
class CompactConfig:
    scale: int = 4
    features: int = 64
    convs: int = 16
    """Number of convolutions between the first and the last one, each followed by a PReLU."""
    channels: int = 3


def read_config(weights: Mapping[str, Tensor]) -> CompactConfig | None:
    """The config that these weights look like, or None. Reads only keys and shapes."""
    layers = {int(key.split(".")[1]) for key in weights if _is_body_weight(key)}
    # convolutions and PReLUs alternate, each with a weight; a missing or extra layer is reported later, by its keys
    last = max((layer for layer in layers if layer % 2 == 0 and layer - 1 in layers), default=0)
    if not 4 <= last <= 2 * len(layers) or 0 not in layers:
        return None
    first_shape, last_shape = weights["body.0.weight"].shape, weights[f"body.{last}.weight"].shape
    if len(first_shape) != 4 or len(last_shape) != 4:
        return None
    scale = isqrt(last_shape[0] // first_shape[1])
    if not scale:
        return None
    return CompactConfig(scale, first_shape[0], convs=(last - 2) // 2, channels=first_shape[1])


def _is_body_weight(key: str) -> bool:
    parts = key.split(".")
    return len(parts) == 3 and parts[0] == "body" and parts[1].isdecimal() and parts[2] == "weight"


def tags(config: CompactConfig) -> list[str]:
    return [f"{config.features}nf", f"{config.convs}nc"]


def facts(config: CompactConfig) -> Facts:
    """Each convolution adds one pixel on each side, so the receptive field is finite and known."""
    radius = config.convs + 2
    exact = -(-radius // 8) * 8
    # elements held per pixel: by two consecutive layers of the body; by the last layer and the result
    colors, detail = config.channels, config.channels * config.scale**2
    body, result = 2 * config.features + colors, config.features + detail + colors
    most = max(body, result + detail)
    return Facts(
        scale=config.scale,
        alignment=1,
        halo=Halo(exact=exact, fast=exact // 2),
        feather=16,
        bytes_per_pixel=bytes_per_pixel(1.08 * 4 * most),
        strips=Strips(
            multiple=1,
            halo=1,
            redone=0.1,
            trunk=body / most,
            kept=result / most,
            strip=3 * detail / most,
            trunk_strip=2.75 * config.features / most,
        ),
    )


class Compact(FilledNetwork):
    """(B, C, H, W) in [0, 1] -> (B, C, H * scale, W * scale), not clamped."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.scale = config.scale
        layers: list[nn.Module] = [Conv2d(config.channels, config.features, 3, padding=1)]
        for _ in range(config.convs):
            layers += [nn.PReLU(config.features), Conv2d(config.features, config.features, 3, padding=1)]
        out_channels = config.channels * config.scale**2
        layers += [nn.PReLU(config.features), Conv2d(config.features, out_channels, 3, padding=1)]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor, way: Way = WHOLE) -> Tensor:
        x = channels_last(x)
        features = self._features(x, way.rows)

        def enlarge(top: int, bottom: int) -> Tensor:
            detail = self.body[-1](channels_last(features[:, :, top:bottom]))
            # nearest-neighbor enlarging as repeated channels, which the pixel-shuffle turns into copies of the pixel
            detail += x[:, :, top:bottom].repeat_interleave(self.scale**2, dim=1)
            return F.pixel_shuffle(detail, self.scale)  # (B, C * s^2, h, W) -> (B, C, h * s, W * s)

        return in_strips(enlarge, x.shape[2], way.rows, halo=1, scale=self.scale)

    def _features(self, x: Tensor, rows: int | None) -> Tensor:
        """All but the last convolution: (B, C, H, W) -> (B, F, H, W)."""
        if rows is None:
            return self.body[:-1](x)
        buffers: list[Tensor | None] = [None, None]  # each layer reads one and writes the other
        for index in range(0, len(self.body) - 1, 2):
            layer = partial(convolved_rows, self.body[index], self.body[index + 1], x)
            x = in_strips(layer, x.shape[2], rows, halo=1, out=buffers[0])
            buffers = [buffers[1], x]
        return x
