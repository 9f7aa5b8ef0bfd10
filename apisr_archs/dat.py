"""DAT: dual aggregation transformer, in every published size and with both upsamplers.

Source: "Dual Aggregation Transformer for Image Super-Resolution" (Chen et al., ICCV 2023; code Apache-2.0). Blocks
alternate between attention in rectangular windows (section 3.2, DSTB) and attention between channels (DCTB); each is
joined with a convolution by the adaptive interaction module (section 3.3). APISR ships DAT-small at 4x.

The channel attention and the pooled gates look at every pixel: DAT has no finite receptive field.
Tokens stay in image layout (B, H, W, C); convolutions see them as channels-last (B, C, H, W) views.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .facts import Facts, Halo, bytes_per_pixel
from .windows import Window, attend, from_windows, relative_index, shift_masks, to_windows

RGB_MEAN = (0.4488, 0.4371, 0.4040)
LARGEST_WINDOW = 64
"""Twice the largest that was published; the biases of a larger one could fill the memory."""
DERIVED = ("rpe_biases", "relative_position_index", "attn_mask_0", "attn_mask_1")
"""Last parts of the names of buffers that training code saves and that follow from the config."""


@dataclass(frozen=True)
class DATConfig:
    depths: tuple[int, ...]
    """Blocks in each residual group."""
    heads: tuple[int, ...]
    """Attention heads in each residual group."""
    dim: int = 180
    split: Window = (8, 16)
    """Window of the first half of the heads; the second half uses it transposed."""
    hidden: int = 360
    """Channels inside the feed-forward network."""
    scale: int = 4
    channels: int = 3
    features: int = 64
    """Channels of the upsampling tail; unused by the direct upsampler."""
    upsampler: Literal["pixelshuffle", "pixelshuffledirect"] = "pixelshuffle"
    residual: Literal["1conv", "3conv"] = "1conv"
    qkv_bias: bool = True


def read_config(weights: Mapping[str, Tensor]) -> DATConfig | None:
    """The config that these weights look like, or None. The window size comes from `rpe_biases` if the file has it."""
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
    positions = weights.get("layers.0.blocks.0.attn.attns.0.rpe_biases")  # ((2h-1) * (2w-1), 2), the last is (h-1, w-1)
    if positions is not None:
        height, width = (int(v) + 1 for v in positions[-1].tolist())
        expected = ((2 * height - 1) * (2 * width - 1), 2)
        if tuple(positions.shape) != expected or not 1 <= min(height, width) <= max(height, width) <= LARGEST_WINDOW:
            raise ValueError(f"rpe_biases of shape {tuple(positions.shape)} do not belong to windows {height}x{width}.")
        return height, width
    # Without the buffer DAT-small and DAT-2 look alike; APISR's is DAT-small. The others have wide windows.
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
    """No halo makes DAT's tiles exact; aligned to the windows, 32 comes near, and a wide blend hides the rest."""
    return Facts(
        scale=config.scale,
        alignment=max(config.split),
        halo=Halo(exact=32, normal=32, fast=32),
        feather=64,
        bytes_per_pixel=bytes_per_pixel(70 * config.dim),
        global_statistics=True,
    )


class PositionBias(nn.Module):
    """Dynamic relative position bias (CrossFormer, Wang et al. 2022): an MLP over relative positions."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        hidden = dim // 4
        self.pos_proj = nn.Linear(2, hidden)
        self.pos1 = self._layer(hidden, hidden)
        self.pos2 = self._layer(hidden, hidden)
        self.pos3 = self._layer(hidden, heads)

    @staticmethod
    def _layer(hidden: int, out: int) -> nn.Sequential:
        return nn.Sequential(nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, out))

    def forward(self, window: Window) -> Tensor:
        """The bias of each pair of tokens of a window (h, w): (1, heads, h * w, h * w)."""
        h, w = window
        weight = self.pos_proj.weight
        grid = torch.meshgrid(torch.arange(1 - h, h), torch.arange(1 - w, w), indexing="ij")
        positions = torch.stack(grid, dim=-1).flatten(0, 1).to(weight)  # ((2h-1) * (2w-1), 2)
        table = self.pos3(self.pos2(self.pos1(self.pos_proj(positions))))
        return table[relative_index(window, window)].permute(2, 0, 1).unsqueeze(0)


class WindowAttention(nn.Module):
    """One half of the heads of a spatial block. Its bias follows from the weights: derived once, at load, in fp32."""

    def __init__(self, dim: int, heads: int, window: Window, shifted: bool) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.scale = (dim // heads) ** -0.5
        self.shift = (window[0] // 2, window[1] // 2) if shifted else None
        self.pos = PositionBias(dim // 4, heads)
        self.register_buffer("bias", torch.empty(0), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module.derive())

    @torch.no_grad()
    def derive(self) -> None:
        """Fill `bias`, (1 or 4, heads, N, N), from the weights."""
        bias = self.pos(self.window)
        if self.shift:
            bias = bias + shift_masks(self.window, self.shift).unsqueeze(1).to(bias)
        self.bias = bias.contiguous()

    def forward(self, qkv: Iterable[Tensor]) -> Tensor:
        """q, k, v: (B, H, W, C), H and W multiples of the window -> (B, H, W, C)."""
        if self.shift:
            up_left = (-self.shift[0], -self.shift[1])
            qkv = (x.roll(up_left, dims=(1, 2)) for x in qkv)
        q, k, v = (to_windows(x, self.window, self.heads) for x in qkv)
        out = from_windows(attend(q, k, v, self.bias, self.scale), self.window)
        return out.roll(self.shift, dims=(1, 2)) if self.shift else out


class Interaction(nn.Module):
    """What both kinds of attention share: a convolution beside them, and gates across (section 3.3)."""

    def __init__(self, config: DATConfig) -> None:
        super().__init__()
        dim = config.dim
        self.qkv = nn.Linear(dim, 3 * dim, bias=config.qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.dwconv = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1, groups=dim), nn.BatchNorm2d(dim), nn.GELU())
        self.channel_interaction = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(dim, dim // 8, 1),
            nn.BatchNorm2d(dim // 8),
            nn.GELU(),
            nn.Conv2d(dim // 8, dim, 1),
        )
        self.spatial_interaction = nn.Sequential(
            nn.Conv2d(dim, dim // 16, 1), nn.BatchNorm2d(dim // 16), nn.GELU(), nn.Conv2d(dim // 16, 1, 1)
        )

    def convolve(self, v: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, C, H, W)."""
        return self.dwconv(v.permute(0, 3, 1, 2))


class SpatialAttention(Interaction):
    """Attention in windows, half of the heads in (h, w), half in (w, h)."""

    def __init__(self, config: DATConfig, heads: int, shifted: bool) -> None:
        super().__init__(config)
        self.multiple = max(config.split)
        windows = (config.split, (config.split[1], config.split[0]))
        self.attns = nn.ModuleList(WindowAttention(config.dim // 2, heads // 2, w, shifted) for w in windows)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        height, width = x.shape[1:3]
        qkv = self.qkv(x)
        v = qkv.chunk(3, dim=-1)[2]
        # Zeros after the projection, not masked: padded tokens take part in the softmax, as in the authors' code.
        padded = F.pad(qkv, (0, 0, 0, -width % self.multiple, 0, -height % self.multiple))
        halves = zip(*(part.chunk(2, dim=-1) for part in padded.chunk(3, dim=-1)), strict=True)
        attended = torch.cat([attn(half) for attn, half in zip(self.attns, halves, strict=True)], dim=-1)
        attended = attended[:, :height, :width].permute(0, 3, 1, 2)  # (B, C, H, W)
        convolved = self.convolve(v)
        out = attended * torch.sigmoid(self.channel_interaction(convolved))
        out = out + convolved * torch.sigmoid(self.spatial_interaction(attended))
        return self.proj(out.permute(0, 2, 3, 1))


class ChannelAttention(Interaction):
    """Attention between channels: each head's d x d Gram matrix of q and k over all pixels."""

    def __init__(self, config: DATConfig, heads: int) -> None:
        super().__init__(config)
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        b, height, width, c = x.shape
        d = c // self.heads
        qkv = self.qkv(x)
        v_image = qkv[..., 2 * c :]
        qkv = qkv.reshape(b, height * width, 3, self.heads, d).permute(2, 0, 3, 1, 4)  # (3, B, heads, N, d)
        q, k, v = qkv.unbind(0)
        attention = self._gram(q, k).softmax(dim=-1).to(v.dtype)  # (B, heads, d, d)
        attended = v @ attention.transpose(-2, -1)  # (B, heads, N, d)
        attended = attended.permute(0, 2, 1, 3).reshape(b, height, width, c).permute(0, 3, 1, 2)  # (B, C, H, W)
        convolved = self.convolve(v_image)
        out = attended * torch.sigmoid(self.spatial_interaction(convolved))
        out = out + convolved * torch.sigmoid(self.channel_interaction(attended))
        return self.proj(out.permute(0, 2, 3, 1))

    def _gram(self, q: Tensor, k: Tensor) -> Tensor:
        """temperature * normalize(q)^T normalize(k) over the tokens: (B, heads, d, d), fp32.

        The norm of k divides the small product, not the large tensor; normalised q keeps that product within fp16.
        """
        k_norm = torch.linalg.vector_norm(k, dim=-2, dtype=torch.float32).clamp_min(1e-12)  # (B, heads, d)
        smallest = 1e-4 if q.dtype == torch.float16 else 1e-12  # its reciprocal must be finite
        q_norm = torch.linalg.vector_norm(q, dim=-2, dtype=torch.float32).clamp_min(smallest)
        q = q * q_norm.reciprocal().unsqueeze(-2).to(q.dtype)
        gram = (q.transpose(-2, -1) @ k).float()
        return gram / k_norm.unsqueeze(-2) * self.temperature


class SpatialGate(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, 2 * C) -> (B, H, W, C): the first half of the channels, gated by the second."""
        content, gate = x.chunk(2, dim=-1)
        gate = self.conv(self.norm(gate).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return content * gate


class FeedForward(nn.Module):
    """Spatial-gate feed-forward network (section 3.4)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.sg = SpatialGate(hidden // 2)
        self.fc2 = nn.Linear(hidden // 2, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        return self.fc2(self.sg(F.gelu(self.fc1(x))))


class Block(nn.Module):
    def __init__(self, config: DATConfig, attention: Interaction) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim)
        self.attn = attention
        self.ffn = FeedForward(config.dim, config.hidden)
        self.norm2 = nn.LayerNorm(config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class ResidualGroup(nn.Module):
    """Spatial and channel blocks in turn, a convolution, and a skip around them."""

    def __init__(self, config: DATConfig, group: int) -> None:
        super().__init__()
        heads = config.heads[group]
        blocks = []
        for i in range(config.depths[group]):
            if i % 2:
                attention: Interaction = ChannelAttention(config, heads)
            else:
                # every second spatial block shifts its windows; odd groups begin with a shifted one
                shifted = i % 4 == (0 if group % 2 else 2)
                attention = SpatialAttention(config, heads, shifted)
            blocks.append(Block(config, attention))
        self.blocks = nn.Sequential(*blocks)
        self.conv = _residual_conv(config)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        out = self.conv(self.blocks(x).permute(0, 3, 1, 2))
        return x + out.permute(0, 2, 3, 1)


def _residual_conv(config: DATConfig) -> nn.Module:
    dim = config.dim
    if config.residual == "1conv":
        return nn.Conv2d(dim, dim, 3, padding=1)
    return nn.Sequential(
        nn.Conv2d(dim, dim // 4, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(dim // 4, dim // 4, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(dim // 4, dim, 3, padding=1),
    )


def _upsampler(config: DATConfig) -> nn.Sequential:
    if config.upsampler == "pixelshuffledirect":
        direct = nn.Conv2d(config.dim, config.channels * config.scale**2, 3, padding=1)
        return nn.Sequential(direct, nn.PixelShuffle(config.scale))
    steps = [3] if config.scale == 3 else [2] * (config.scale.bit_length() - 1)
    layers: list[nn.Module] = []
    for step in steps:
        layers += [nn.Conv2d(config.features, config.features * step**2, 3, padding=1), nn.PixelShuffle(step)]
    return nn.Sequential(*layers)


class DAT(nn.Module):
    """(B, C, H, W) in [0, 1] -> (B, C, H * scale, W * scale), not clamped. Any H and W from 1."""

    mean: Tensor

    def __init__(self, config: DATConfig) -> None:
        super().__init__()
        self.config = config
        self.conv_first = nn.Conv2d(config.channels, config.dim, 3, padding=1)
        # index 0 is a change of layout in the authors' code
        self.before_RG = nn.Sequential(nn.Identity(), nn.LayerNorm(config.dim))
        self.layers = nn.Sequential(*(ResidualGroup(config, i) for i in range(len(config.depths))))
        self.norm = nn.LayerNorm(config.dim)
        self.conv_after_body = _residual_conv(config)
        self.upsample = _upsampler(config)
        if config.upsampler == "pixelshuffle":
            conv = nn.Conv2d(config.dim, config.features, 3, padding=1)
            self.conv_before_upsample = nn.Sequential(conv, nn.LeakyReLU(0.01))
            self.conv_last = nn.Conv2d(config.features, config.channels, 3, padding=1)
        self.register_buffer("mean", torch.empty(0), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module.derive())

    def derive(self) -> None:
        mean = RGB_MEAN if self.config.channels == 3 else (0.0,) * self.config.channels
        self.mean = torch.tensor(mean).view(1, -1, 1, 1).to(self.conv_first.weight)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.conv_first(x - self.mean)  # (B, C, H, W)
        deep = self.norm(self.layers(self.before_RG(shallow.permute(0, 2, 3, 1))))  # (B, H, W, C)
        x = self.conv_after_body(deep.permute(0, 3, 1, 2)) + shallow
        if self.config.upsampler == "pixelshuffledirect":
            return self.upsample(x) + self.mean
        return self.conv_last(self.upsample(self.conv_before_upsample(x))) + self.mean
