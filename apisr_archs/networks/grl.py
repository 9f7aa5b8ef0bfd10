"""GRL in the only configuration that APISR ships ("tiny2"), 4x.

Source: "Efficient and Explicit Modelling of Image Hierarchies for Image Restoration" (Li et al., CVPR 2023; code MIT).
In each block, half of the channels attend within 8x8 windows. The other half attend through anchors: the tokens of a
2x-pooled image mediate between queries and keys (section 3.2, "anchored stripe attention"). In APISR the stripes are
8x8 and never shift. A checkpoint does not reliably tell these sizes, so they are constants here; the network is
recognized by its keys.

Tokens stay in image layout (B, H, W, C); convolutions see them as channels-last (B, C, H, W) views.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..facts import Facts, Halo, Strips, bytes_per_pixel
from .parts import tail
from .parts.layers import Conv2d, FilledNetwork, LayerNorm, Linear
from .parts.layout import channels_last, image, tokens
from .parts.tail import enlarge
from .parts.way import WHOLE, Way
from .parts.windows import Window, attend, from_windows, relative_index, shift_masks, to_windows

WINDOW: Window = (8, 8)
SHIFT: Window = (4, 4)
STRIPE: Window = (8, 8)
ANCHOR_FACTOR = 2
ANCHOR: Window = (STRIPE[0] // ANCHOR_FACTOR, STRIPE[1] // ANCHOR_FACTOR)
RGB_MEAN = (0.4488, 0.4371, 0.4040)
MAX_LOGIT_SCALE = math.log(100.0)


@dataclass(frozen=True)
class GRLConfig:
    dim: int = 64
    stages: int = 4
    blocks: int = 4
    heads: int = 2
    """Heads of the window attention; the stripe attention has the same number."""
    mlp_ratio: int = 2
    features: int = 64
    """Channels of the upsampling tail."""
    scale: int = 4
    channels: int = 3


def read_config(weights: Mapping[str, Tensor]) -> GRLConfig | None:
    """The config if the keys are those of APISR's GRL, else None: window and stripe sizes of other GRLs are unknown."""
    needed = ("norm_start.weight", "conv_up1.weight", "layers.0.blocks.0.attn.stripe_attn.attn_transform1.logit_scale")
    if any(key not in weights for key in needed):
        return None
    tables = {"table_w": (1, 15, 15, 2), "table_sh": (1, 11, 11, 2)}  # 8x8 windows; 8x8 stripes, 4x4 anchors
    if any(key in weights and tuple(weights[key].shape) != shape for key, shape in tables.items()):
        return None
    return GRLConfig()


def is_derived(name: str) -> bool:
    """Whether this is a buffer that training code saves but that can be computed from the constants above."""
    return name.startswith(("table_", "index_", "mask_"))


def tags(config: GRLConfig) -> list[str]:
    return ["tiny2", f"{config.dim}dim", f"w{WINDOW[0]}df{ANCHOR_FACTOR}", f"s{STRIPE[0]}x{STRIPE[1]}"]


def facts(config: GRLConfig) -> Facts:
    """A halo of 32 is exact to 1e-7 with random weights, but 0.5/255 off with weights sharpened for maximum reach."""
    return Facts(
        scale=config.scale,
        alignment=WINDOW[0],
        halo=Halo(exact=40, fast=16),
        feather=16,
        bytes_per_pixel=bytes_per_pixel(9900),
        strips=Strips(multiple=1, halo=tail.HALO, redone=2, trunk=0.33, kept=0.105, strip=0.95),
        padding=WINDOW[0],
    )


class RelativeAttention(nn.Module):
    """Cosine attention with a log-spaced continuous position bias (Swin v2, Liu et al. 2022, section 3.3).

    The bias depends only on the weights, so it is computed once, in fp32, when they are loaded.
    """

    def __init__(self, heads: int, query: Window, key: Window, shift: Window | None = None) -> None:
        super().__init__()
        self.query, self.key, self.shift = query, key, shift
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.cpb_mlp = nn.Sequential(Linear(2, 512), nn.ReLU(), Linear(512, heads, bias=False))
        self.register_buffer("bias", torch.empty(0), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module.derive())

    @torch.no_grad()
    def derive(self) -> None:
        """Compute `bias`, (1 or 4, heads, Nq, Nk), from the weights."""
        weight = self.logit_scale
        table = relative_coordinates(self.query, self.key).to(weight.device)  # ((hq+hk-1) * (wq+wk-1), 2)
        logits = self.cpb_mlp(table.to(weight.dtype))[relative_index(self.query, self.key)]  # (Nq, Nk, heads)
        bias = 16 * torch.sigmoid(logits).permute(2, 0, 1).unsqueeze(0)
        if self.shift:
            bias = bias + shift_masks(self.query, self.shift).unsqueeze(1).to(bias)
        self.bias = bias.contiguous()

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q: (B, rows, columns, heads, Nq, d); k, v: the same with Nk. Returns the shape of q."""
        scale = self.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()  # (heads, 1, 1)
        return attend(_normalize(q) * scale, _normalize(k), v, self.bias, scale=1.0)


def relative_coordinates(query: Window, key: Window) -> Tensor:
    """Log-spaced positions of key tokens relative to query tokens: ((hq + hk - 1) * (wq + wk - 1), 2).

    The smaller window (the anchors) is centered in the larger one. The largest distance maps to log2(9) / 3.
    """
    axes = []
    for q, k in zip(query, key, strict=True):
        large, small = max(q, k), min(q, k)
        longest = large - 1 - (large - small) // 2
        distance = torch.arange(-(small - 1) - (large - small) // 2, longest + 1, device="cpu") * 8 / longest
        axes.append(torch.sign(distance) * torch.log2(distance.abs() + 1) / math.log2(8))
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1)


def _normalize(x: Tensor) -> Tensor:
    eps = max(1e-12, torch.finfo(x.dtype).tiny)  # 1e-12 is 0 in fp16
    return F.normalize(x, dim=-1, eps=eps)


class WindowAttention(nn.Module):
    def __init__(self, heads: int, shifted: bool) -> None:
        super().__init__()
        self.heads = heads
        self.shift = SHIFT if shifted else None
        self.attn_transform = RelativeAttention(heads, WINDOW, WINDOW, self.shift)

    def forward(self, qkv: Tensor) -> Tensor:
        """(B, H, W, 3 * C) -> (B, H, W, C)."""
        if self.shift:
            qkv = qkv.roll((-self.shift[0], -self.shift[1]), dims=(1, 2))
        q, k, v = (to_windows(x, WINDOW, self.heads) for x in qkv.chunk(3, dim=-1))
        out = from_windows(self.attn_transform(q, k, v), WINDOW)
        return out.roll(self.shift, dims=(1, 2)) if self.shift else out


class StripeAttention(nn.Module):
    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attn_transform1 = RelativeAttention(heads, query=ANCHOR, key=STRIPE)
        self.attn_transform2 = RelativeAttention(heads, query=STRIPE, key=ANCHOR)

    def forward(self, qkv: Tensor, anchor: Tensor) -> Tensor:
        """qkv: (B, H, W, 3 * C); anchor: (B, H / 2, W / 2, C). Returns (B, H, W, C)."""
        q, k, v = (to_windows(x, STRIPE, self.heads) for x in qkv.chunk(3, dim=-1))  # 64 tokens per stripe
        anchors = to_windows(anchor, ANCHOR, self.heads)  # 16 tokens per stripe
        gathered = self.attn_transform1(anchors, k, v)
        return from_windows(self.attn_transform2(q, anchors, gathered), STRIPE)


class QKV(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.body = Linear(dim, 3 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, 3 * C)."""
        return self.body(x)


class PooledLinear(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = Linear(dim, dim // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H / 2, W / 2, C / 2)."""
        return self.reduction(tokens(F.avg_pool2d(image(x), ANCHOR_FACTOR)))


class Anchor(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(PooledLinear(dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class MixedAttention(nn.Module):
    """Window attention on one half of the channels, anchored stripe attention on the other."""

    def __init__(self, config: GRLConfig, shifted: bool) -> None:
        super().__init__()
        self.qkv = QKV(config.dim)
        self.anchor = Anchor(config.dim)
        self.window_attn = WindowAttention(config.heads, shifted)
        self.stripe_attn = StripeAttention(config.heads)
        self.proj = Linear(config.dim, config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        window, stripe = self.qkv(x).chunk(2, dim=-1)  # 2 x (B, H, W, 3 * C / 2)
        return self.proj(torch.cat((self.window_attn(window), self.stripe_attn(stripe, self.anchor(x))), dim=-1))


class MLP(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden)
        self.fc2 = Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention and MLP, each followed by a norm (Swin v2) and added to its input."""

    def __init__(self, config: GRLConfig, shifted: bool) -> None:
        super().__init__()
        self.attn = MixedAttention(config, shifted)
        self.norm1 = LayerNorm(config.dim)
        self.mlp = MLP(config.dim, config.dim * config.mlp_ratio)
        self.norm2 = LayerNorm(config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = x + self.norm1(self.attn(x))
        return x + self.norm2(self.mlp(x))


class Stage(nn.Module):
    def __init__(self, config: GRLConfig) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(config, shifted=i % 2 == 0) for i in range(config.blocks)))
        self.conv = Conv2d(config.dim, config.dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        return x + tokens(self.conv(image(self.blocks(x))))


class GRL(FilledNetwork):
    """(B, 3, H, W) in [0, 1] -> (B, 3, H * 4, W * 4), not clamped. Any H and W from 1."""

    mean: Tensor

    def __init__(self, config: GRLConfig) -> None:
        super().__init__()
        dim, features = config.dim, config.features
        self.scale = config.scale
        self.conv_first = Conv2d(3, dim, 3, padding=1)
        self.norm_start = LayerNorm(dim)
        self.layers = nn.Sequential(*(Stage(config) for _ in range(config.stages)))
        self.norm_end = LayerNorm(dim)
        self.conv_after_body = Conv2d(dim, dim, 3, padding=1)
        self.conv_before_upsample = nn.Sequential(Conv2d(dim, features, 3, padding=1), nn.LeakyReLU(0.01))
        self.conv_up1 = Conv2d(features, features, 3, padding=1)
        self.conv_up2 = Conv2d(features, features, 3, padding=1)
        self.conv_hr = Conv2d(features, features, 3, padding=1)
        self.conv_last = Conv2d(features, 3, 3, padding=1)
        self.register_buffer("mean", torch.empty(1, 3, 1, 1), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module.derive())

    def derive(self) -> None:
        self.mean = torch.tensor(RGB_MEAN, device="cpu").view(1, 3, 1, 1).to(self.conv_first.weight)

    def forward(self, x: Tensor, way: Way = WHOLE) -> Tensor:
        height, width = x.shape[-2:]
        x = _pad_to_windows(x) - self.mean
        shallow = self.conv_first(channels_last(x))  # (B, C, H, W)
        deep = self.norm_end(self.layers(self.norm_start(tokens(shallow))))  # (B, H, W, C)
        x = self.conv_after_body(image(deep)) + shallow
        x = self.conv_before_upsample(x)
        x = enlarge(x, (self.conv_up1, self.conv_up2), self.conv_hr, self.conv_last, way.rows)
        x += self.mean
        return x[..., : height * self.scale, : width * self.scale]


def _pad_to_windows(x: Tensor) -> Tensor:
    """Pad (B, C, H, W) at the right and bottom to whole windows, by reflection.

    If one side is too short for that, both axes are padded with zeros. This is what the authors' code does.
    """
    height, width = x.shape[-2:]
    bottom, right = -height % WINDOW[0], -width % WINDOW[1]
    return F.pad(x, (0, right, 0, bottom), mode="reflect" if bottom < height and right < width else "constant")
