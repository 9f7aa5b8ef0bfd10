"""RRDB: residual-in-residual dense blocks (ESRGAN, Wang et al. 2018, section 3.1; Real-ESRGAN, Wang et al. 2021).

APISR trains it with 6 blocks, for 4x and, with a pixel-unshuffle in front, for 2x. Most other anime upscalers are RRDBs
too, in various sizes and scales. Parameter names are the official ones of Real-ESRGAN (BasicSR, Apache-2.0);
`official_names` translates older ones.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import isqrt
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..facts import Facts, Halo, Strips, bytes_per_pixel
from .parts import tail
from .parts.layers import Conv2d, FilledNetwork
from .parts.layout import channels_last
from .parts.padding import pad_to_multiple
from .parts.strips import convolved_rows, in_strips
from .parts.tail import enlarge, lrelu
from .parts.way import WHOLE, Way

RESIDUAL_SCALE = 0.2
"""Residual scaling beta (ESRGAN, section 3.1)."""
BODY_ROWS, BODY_PIXELS = 4, 43_000
"""Limits on the strips of the body. They have up to BODY_ROWS times as many rows as strips of the tail, where a row
needs ten times the memory; and up to BODY_PIXELS pixels, whose features fill the 32 MB that malloc keeps for reuse."""

UNSHUFFLES = (1, 2, 4, 8)
MAX_ENLARGEMENTS = 4
"""Maximum number of enlargements by 2: 16x is the largest scale of any known model."""


@dataclass(frozen=True)
class RRDBConfig:
    blocks: int = 6
    unshuffle: int = 1
    """Pixel-unshuffle before the first convolution: 1 for the 4x network, 2 for 2x, 4 for 1x."""
    features: int = 64
    growth: int = 32
    channels: int = 3
    enlargements: int = 2
    """Number of enlargements by 2 in the tail."""

    @property
    def scale(self) -> int:
        return 2**self.enlargements // self.unshuffle


def official_names(weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Translate names from the original ESRGAN or BSRGAN to Real-ESRGAN's; other names are kept.

    The original ESRGAN numbers its layers. `model.0` is the first convolution. `model.1.sub.N` are the RRDBs; the last
    N is the convolution after them. Every third number from there on is a convolution after an enlargement. The last
    two numbers are the final convolutions.
    """
    layers = {int(match[1]) for key in weights if (match := re.match(r"model\.(\d+)\.(?:weight|bias)$", key))}
    *ups, hr, last = sorted(layers - {0}) if len(layers) >= 3 else (-1, -1)
    numbered = {0: "conv_first", hr: "conv_hr", last: "conv_last"}
    numbered |= {layer: f"conv_up{count}" for count, layer in enumerate(ups, start=1)}
    named: dict[str, Tensor] = {}
    for key, value in weights.items():
        name = _official_name(key, numbered)
        taken = name in named or (name != key and name in weights)  # both names exist: overwrite neither
        named[key if taken else name] = value
    return named


def _official_name(key: str, numbered: Mapping[int, str]) -> str:
    top = re.match(r"model\.(\d+)\.(weight|bias)$", key)
    if top and int(top[1]) in numbered:
        return f"{numbered[int(top[1])]}.{top[2]}"
    for old, new in OLD_NAMES:
        key = re.sub(old, new, key)
    return key


OLD_NAMES = (
    (r"^(?:model\.1\.sub|RRDB_trunk)\.(\d+)\.RDB(\d)\.", r"body.\1.rdb\2."),
    (r"^(body\.\d+\.rdb\d\.conv\d)\.0\.", r"\1."),
    (r"^(?:model\.1\.sub\.\d+|trunk_conv)\.(weight|bias)$", r"conv_body.\1"),
    (r"^HRconv\.", "conv_hr."),
    (r"^upconv(\d)\.", r"conv_up\1."),
)
"""Patterns of names in older files, and their replacements."""
OLD_PARTS = ("model", "RRDB_trunk", "trunk_conv", "HRconv", "upconv")
"""First parts of names in older files."""


def read_config(weights: Mapping[str, Tensor]) -> RRDBConfig | None:
    """The config that these weights look like, or None. Only keys and shapes are read."""
    needed = ("conv_first.weight", "body.0.rdb1.conv1.weight", "conv_hr.weight", "conv_last.weight")
    if any(key not in weights or weights[key].ndim != 4 for key in needed):
        return None
    features, in_channels = weights["conv_first.weight"].shape[:2]
    channels = weights["conv_last.weight"].shape[0]
    unshuffle = isqrt(in_channels // channels)
    if in_channels != channels * unshuffle**2:  # one of the two is from another network: try 3, then 1
        channels = next((c for c in (3, 1) if in_channels in [c * u**2 for u in UNSHUFFLES]), channels)
        unshuffle = isqrt(in_channels // channels)
    enlargements = sum(1 for key in weights if re.fullmatch(r"conv_up\d\.weight", key))
    if unshuffle not in UNSHUFFLES or enlargements > MAX_ENLARGEMENTS or 2**enlargements < unshuffle:
        return None
    blocks = len({key.split(".")[1] for key in weights if key.startswith("body.")})
    growth = weights["body.0.rdb1.conv1.weight"].shape[0]
    return RRDBConfig(blocks, unshuffle, features, growth, channels, enlargements)


def tags(config: RRDBConfig) -> list[str]:
    unshuffle = ["unshuffle"] if config.unshuffle > 1 else []
    return [f"{config.features}nf", f"{config.blocks}nb", *unshuffle]


def facts(config: RRDBConfig) -> Facts:
    """The halo was measured on trained weights: 64 for 6 blocks (48 is up to 1.1/255 off), 96 for 23.

    After a pixel-unshuffle, the halo counts the network's own larger pixels, so it is multiplied by the factor.
    """
    u = config.unshuffle
    exact = -(-(48 + 2 * config.blocks) // 8) * 8
    # fp32 bytes per feature and pixel of the network (after the unshuffle): `body` for the whole body at once; then for
    # body and tail in strips, `*_kept` per pixel of all rows and `*_strip` per pixel of one strip
    body, body_kept, body_strip = 40.0, 30.3, 42.6 if config.enlargements > 1 else 25.0  # all are measured
    tail_kept, tail_strip = 8.1, 147 * 4.0 ** (config.enlargements - 2)
    peak = max(body, tail_strip)
    return Facts(
        scale=config.scale,
        alignment=u,
        halo=Halo(exact=exact * u, fast=exact // 2 * u),
        feather=16,
        bytes_per_pixel=bytes_per_pixel(peak * config.features / u**2),
        strips=Strips(
            multiple=u,
            halo=tail.HALO * u,
            redone=u,
            trunk=body_kept / peak,
            kept=tail_kept / peak,
            strip=tail_strip / peak,
            trunk_strip=body_strip / peak,
        ),
        padding=u,
    )


class DenseBlock(nn.Module):
    """Five convolutions, each with the outputs of all previous ones as its input. (B, F, H, W) -> (B, F, H, W)."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv1 = _conv(features, growth)
        self.conv2 = _conv(features + growth, growth)
        self.conv3 = _conv(features + 2 * growth, growth)
        self.conv4 = _conv(features + 3 * growth, growth)
        self.conv5 = _conv(features + 4 * growth, features)

    def forward(self, x: Tensor) -> Tensor:
        x1 = lrelu(self.conv1(x))
        x2 = lrelu(self.conv2(torch.cat((x, x1), dim=1)))
        x3 = lrelu(self.conv3(torch.cat((x, x1, x2), dim=1)))
        x4 = lrelu(self.conv4(torch.cat((x, x1, x2, x3), dim=1)))
        return torch.add(x, self.conv5(torch.cat((x, x1, x2, x3, x4), dim=1)), alpha=RESIDUAL_SCALE)

    def run_in_strips(self, x: Tensor, rows: int, features: Tensor) -> Tensor:
        """Same as `forward`, but `rows` rows at a time.

        features: a buffer for x and all outputs but the last one, (B, F + 4 * G, H, W). Each block overwrites it.
        """
        height, filled = x.shape[2], x.shape[1]
        features[:, :filled] = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            output = features[:, filled : filled + conv.out_channels]
            in_strips(partial(convolved_rows, conv, lrelu, features[:, :filled]), height, rows, halo=1, out=output)
            filled += conv.out_channels

        def last(top: int, bottom: int) -> Tensor:
            detail = self.conv5(channels_last(features[:, :, top:bottom]))
            return torch.add(x[:, :, top:bottom], detail, alpha=RESIDUAL_SCALE)

        return in_strips(last, height, rows, halo=1)


class ResidualDenseBlocks(nn.Module):
    """One RRDB: three dense blocks with a residual connection. (B, F, H, W) -> (B, F, H, W)."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(features, growth)
        self.rdb2 = DenseBlock(features, growth)
        self.rdb3 = DenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=RESIDUAL_SCALE)

    def run_in_strips(self, x: Tensor, rows: int, features: Tensor) -> Tensor:
        """Same as `forward`, in strips; see `DenseBlock.run_in_strips`."""
        y = x
        for block in (self.rdb1, self.rdb2, self.rdb3):
            y = block.run_in_strips(y, rows, features)
        return torch.add(x, y, alpha=RESIDUAL_SCALE)


class RRDBNet(FilledNetwork):
    """(B, C, H, W) in [0, 1] -> (B, C, H * scale, W * scale), not clamped. Any H and W from 1."""

    def __init__(self, config: RRDBConfig) -> None:
        super().__init__()
        features = config.features
        self.scale = config.scale
        self.unshuffle = config.unshuffle
        self.dense_channels = features + 4 * config.growth
        self.conv_first = _conv(config.channels * config.unshuffle**2, features)
        self.body = nn.Sequential(*(ResidualDenseBlocks(features, config.growth) for _ in range(config.blocks)))
        self.conv_body = _conv(features, features)
        self.ups = [f"conv_up{count}" for count in range(1, config.enlargements + 1)]
        for name in self.ups:
            self.add_module(name, _conv(features, features))
        self.conv_hr = _conv(features, features)
        self.conv_last = _conv(features, config.channels)

    def forward(self, x: Tensor, way: Way = WHOLE) -> Tensor:
        height, width = x.shape[-2:]
        if self.unshuffle > 1:
            # (B, C, H, W) -> (B, C * u^2, H / u, W / u)
            x = F.pixel_unshuffle(pad_to_multiple(x, self.unshuffle), self.unshuffle)
        rows = way.rows and way.rows // self.unshuffle
        x = self.conv_first(channels_last(x))  # (B, F, H / u, W / u)
        x = x + self.conv_body(self._body_in_strips(x, rows) if rows else self.body(x))
        x = enlarge(x, [getattr(self, name) for name in self.ups], self.conv_hr, self.conv_last, rows)
        return x[..., : height * self.scale, : width * self.scale]

    def _body_in_strips(self, x: Tensor, rows: int) -> Tensor:
        """(B, F, H, W) -> (B, F, H, W)."""
        b, _, height, width = x.shape
        features = x.new_empty(b, height, width, self.dense_channels).permute(0, 3, 1, 2)  # channels last
        rows *= max(1, min(BODY_ROWS, BODY_PIXELS // (rows * width)))
        for block in self.body:
            x = cast(ResidualDenseBlocks, block).run_in_strips(x, rows, features)
        return x


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return Conv2d(in_channels, out_channels, 3, padding=1)
