"""DAT: dual aggregation transformer, in every published size and with both upsamplers.

Source: "Dual Aggregation Transformer for Image Super-Resolution" (Chen et al., ICCV 2023; code Apache-2.0). Blocks
alternate between attention in rectangular windows (section 3.2, DSTB) and attention between channels (DCTB). The
adaptive interaction module (section 3.3) combines each attention with a convolution. APISR ships DAT-small at 4x.

The channel attention and the pooled gates depend on every pixel, so DAT has no finite receptive field.
Tokens stay in image layout (B, H, W, C); convolutions see them as channels-last (B, C, H, W) views.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt, lcm
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UnsupportedWeights
from ..facts import Facts, Halo, Strips, bytes_per_pixel
from .dat_attention import ChannelAttention, SpatialAttention
from .parts.layers import Conv2d, FilledNetwork, LayerNorm, Linear
from .parts.layout import channels_last, image, tokens
from .parts.strips import before_update, in_strips, without_halo
from .parts.way import WHOLE, Way
from .parts.windows import Window

RGB_MEAN = (0.4488, 0.4371, 0.4040)
LARGEST_WINDOW = 64
"""Twice the largest published window; the biases of a larger one could exhaust the memory."""
DERIVED = ("rpe_biases", "relative_position_index", "attn_mask_0", "attn_mask_1")
"""Last parts of the names of buffers that training code saves but that can be computed from the config."""
HALO_OF_RESIDUAL_CONV = 2
"""Rows that `_residual_conv` reads beyond a strip: one for each 3x3 convolution."""
HALO_OF_TAIL = 6
"""The same for everything after the groups: at most four 3x3 convolutions in a row at LR, and two at larger sizes."""


@dataclass(frozen=True)
class DATConfig:
    depths: tuple[int, ...]
    """Blocks in each residual group."""
    heads: tuple[int, ...]
    """Attention heads in each residual group."""
    dim: int = 180
    split: Window = (8, 16)
    """Window size for the first half of the heads; the second half uses it transposed."""
    hidden: int = 360
    """Hidden channels of the feed-forward network."""
    scale: int = 4
    channels: int = 3
    features: int = 64
    """Channels of the upsampling tail; unused by the direct upsampler."""
    upsampler: Literal["pixelshuffle", "pixelshuffledirect"] = "pixelshuffle"
    residual: Literal["1conv", "3conv"] = "1conv"
    qkv_bias: bool = True


def read_config(weights: Mapping[str, Tensor]) -> DATConfig | None:
    """The config that these weights look like, or None. The window size is read from `rpe_biases` if it is there."""
    block = "layers.0.blocks.0"
    needed = ("conv_first.weight", "before_RG.1.weight", f"{block}.attn.qkv.weight", f"{block}.ffn.fc1.weight")
    if any(key not in weights for key in needed) or weights["conv_first.weight"].ndim != 4:
        return None
    dim, channels = weights["conv_first.weight"].shape[:2]
    groups = _count(weights, "layers.")
    depths = tuple(_count(weights, f"layers.{i}.blocks.") for i in range(groups))
    last_of_bias_mlp = [f"layers.{i}.blocks.0.attn.attns.0.pos.pos3.2.weight" for i in range(groups)]
    if any(key not in weights for key in last_of_bias_mlp):
        return None
    hidden = weights[f"{block}.ffn.fc1.weight"].shape[0]
    direct = "conv_last.weight" not in weights
    scale, features = _read_upsampler(weights, direct, channels)
    return DATConfig(
        depths=depths,
        heads=tuple(2 * weights[key].shape[0] for key in last_of_bias_mlp),
        dim=dim,
        split=_read_split(weights, dim, hidden),
        hidden=hidden,
        scale=scale,
        channels=channels,
        features=features,
        upsampler="pixelshuffledirect" if direct else "pixelshuffle",
        residual="1conv" if "conv_after_body.weight" in weights else "3conv",
        qkv_bias=f"{block}.attn.qkv.bias" in weights,
    )


def _count(weights: Mapping[str, Tensor], prefix: str) -> int:
    return len({key[len(prefix) :].split(".", 1)[0] for key in weights if key.startswith(prefix)})


def _read_split(weights: Mapping[str, Tensor], dim: int, hidden: int) -> Window:
    positions = weights.get(
        "layers.0.blocks.0.attn.attns.0.rpe_biases"
    )  # ((2h-1) * (2w-1), 2); the last one is (h-1, w-1)
    if positions is not None:
        height, width = (int(v) + 1 for v in positions[-1].tolist())
        expected = ((2 * height - 1) * (2 * width - 1), 2)
        if tuple(positions.shape) != expected or not 1 <= min(height, width) <= max(height, width) <= LARGEST_WINDOW:
            raise UnsupportedWeights(
                f"looks like DAT, but its rpe_biases of shape {tuple(positions.shape)} do not belong to windows of "
                f"{height}x{width}. Get the file again."
            )
        return height, width
    # Without the buffer, DAT-small and DAT-2 look the same; APISR's is DAT-small. All other sizes use wide windows.
    return (8, 16) if (dim, hidden) == (180, 360) else (8, 32)


def _read_upsampler(weights: Mapping[str, Tensor], direct: bool, channels: int) -> tuple[int, int]:
    """Scale and channels of the tail."""
    convs = [weights[key] for key in weights if key.startswith("upsample.") and key.endswith(".weight")]
    if direct:
        return (isqrt(convs[0].shape[0] // channels), 64) if convs else (1, 64)
    scale = 1
    for conv in convs:
        scale *= isqrt(conv.shape[0] // conv.shape[1])
    return scale, weights["conv_last.weight"].shape[1]


def is_derived(name: str) -> bool:
    return name.rsplit(".", 1)[-1] in DERIVED


def tags(config: DATConfig) -> list[str]:
    h, w = config.split
    return [f"s{h}x{w}", f"{config.dim}dim", f"{config.hidden / config.dim:g}ef", config.residual, config.upsampler]


def facts(config: DATConfig) -> Facts:
    """No halo makes DAT's tiles exact. With shared means, a halo of 64 and a wide blend they get close (70 dB)."""
    tail = 9 * config.features * config.scale**2 if config.upsampler == "pixelshuffle" else 0
    most = max(46 * config.dim, tail)
    return Facts(
        scale=config.scale,
        alignment=lcm(*config.split),
        halo=Halo(exact=64, fast=32),
        feather=64,
        bytes_per_pixel=bytes_per_pixel(most),
        global_statistics=True,
        strips=Strips(
            multiple=max(config.split),
            halo=1,
            redone=2,
            trunk=0.0,
            kept=(17 * config.dim + 100) / most,
            strip=max(41 * config.dim, tail) / most,
        ),
    )


class SpatialGate(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = LayerNorm(dim)
        self.conv = Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, 2 * C) -> (B, H, W, C): the first half of the channels, gated by the second."""
        content, gate = x.chunk(2, dim=-1)
        return tokens(self.conv(image(self.norm(gate)))).mul_(content)


class FeedForward(nn.Module):
    """Spatial-gate feed-forward network (section 3.4)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden)
        self.sg = SpatialGate(hidden // 2)
        self.fc2 = Linear(hidden // 2, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        return self.fc2(self.sg(F.gelu(self.fc1(x))))


class Block(nn.Module):
    def __init__(self, config: DATConfig, attention: SpatialAttention | ChannelAttention) -> None:
        super().__init__()
        self.norm1 = LayerNorm(config.dim)
        self.attn = attention
        self.ffn = FeedForward(config.dim, config.hidden)
        self.norm2 = LayerNorm(config.dim)

    def forward(self, x: Tensor, way: Way) -> None:
        """Update x, (B, H, W, C), in place."""
        self.attn(x, self.norm1, way)
        for top, bottom, source in before_update(x, way.rows):
            x[:, top:bottom] += without_halo(self.ffn(self.norm2(source)), top, bottom)


class ResidualGroup(nn.Module):
    """Alternating spatial and channel blocks, then a convolution, with a skip connection around them."""

    def __init__(self, config: DATConfig, group: int) -> None:
        super().__init__()
        heads = config.heads[group]
        blocks = []
        for i in range(config.depths[group]):
            if i % 2:
                attention: SpatialAttention | ChannelAttention = ChannelAttention(config.dim, heads, config.qkv_bias)
            else:
                # every second spatial block has shifted windows; odd groups start with a shifted one
                shifted = i % 4 == (0 if group % 2 else 2)
                attention = SpatialAttention(config.dim, heads, config.qkv_bias, config.split, shifted)
            blocks.append(Block(config, attention))
        self.blocks = nn.Sequential(*blocks)
        self.conv = _residual_conv(config)

    def forward(self, x: Tensor, way: Way) -> None:
        """Update x, (B, H, W, C), in place."""
        deep = x.clone()
        for block in self.blocks:
            block(deep, way)
        halo = HALO_OF_RESIDUAL_CONV
        x += tokens(in_strips(lambda top, bottom: self.conv(image(deep[:, top:bottom])), x.shape[1], way.rows, halo))


def _residual_conv(config: DATConfig) -> nn.Module:
    dim = config.dim
    if config.residual == "1conv":
        return Conv2d(dim, dim, 3, padding=1)
    return nn.Sequential(
        Conv2d(dim, dim // 4, 3, padding=1),
        nn.LeakyReLU(0.2),
        Conv2d(dim // 4, dim // 4, 1),
        nn.LeakyReLU(0.2),
        Conv2d(dim // 4, dim, 3, padding=1),
    )


def _upsampler(config: DATConfig) -> nn.Sequential:
    if config.upsampler == "pixelshuffledirect":
        direct = Conv2d(config.dim, config.channels * config.scale**2, 3, padding=1)
        return nn.Sequential(direct, nn.PixelShuffle(config.scale))
    steps = [3] if config.scale == 3 else [2] * (config.scale.bit_length() - 1)
    layers: list[nn.Module] = []
    for step in steps:
        layers += [Conv2d(config.features, config.features * step**2, 3, padding=1), nn.PixelShuffle(step)]
    return nn.Sequential(*layers)


class DAT(FilledNetwork):
    """(B, C, H, W) in [0, 1] -> (B, C, H * scale, W * scale), not clamped. Any H and W from 1."""

    mean: Tensor

    def __init__(self, config: DATConfig) -> None:
        super().__init__()
        self.config = config
        self.conv_first = Conv2d(config.channels, config.dim, 3, padding=1)
        # in the authors' code, index 0 is a change of layout
        self.before_RG = nn.Sequential(nn.Identity(), LayerNorm(config.dim))
        self.layers = nn.Sequential(*(ResidualGroup(config, i) for i in range(len(config.depths))))
        self.norm = LayerNorm(config.dim)
        self.conv_after_body = _residual_conv(config)
        self.upsample = _upsampler(config)
        if config.upsampler == "pixelshuffle":
            conv = Conv2d(config.dim, config.features, 3, padding=1)
            self.conv_before_upsample = nn.Sequential(conv, nn.LeakyReLU(0.01))
            self.conv_last = Conv2d(config.features, config.channels, 3, padding=1)
        self.register_buffer("mean", torch.empty(0), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module.derive())

    def derive(self) -> None:
        mean = RGB_MEAN if self.config.channels == 3 else (0.0,) * self.config.channels
        self.mean = torch.tensor(mean, device="cpu").view(1, -1, 1, 1).to(self.conv_first.weight)

    def forward(self, x: Tensor, way: Way = WHOLE) -> Tensor:
        way.means.begin()
        x = channels_last(x - self.mean)
        deep = self.before_RG(tokens(self.conv_first(x)))  # (B, H, W, C)
        for group in self.layers:
            group(deep, way)

        def enlarge(top: int, bottom: int) -> Tensor:
            strip = self.conv_after_body(image(self.norm(deep[:, top:bottom])))
            strip += self.conv_first(x[:, :, top:bottom])  # computed again: cheaper than keeping it in memory
            if self.config.upsampler == "pixelshuffle":
                strip = self.conv_last(self.upsample(self.conv_before_upsample(strip)))
            else:
                strip = self.upsample(strip)
            return strip.add_(self.mean)

        return in_strips(enlarge, x.shape[2], way.rows, HALO_OF_TAIL, self.config.scale)
