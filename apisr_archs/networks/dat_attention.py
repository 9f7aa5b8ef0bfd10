"""The two kinds of attention in DAT (Chen et al., ICCV 2023): in rectangular windows, and between channels.

Both can run in row strips; see dat.py. Tokens stay in image layout (B, H, W, C).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts.layers import BatchNorm2d, Conv2d, LayerNorm, Linear
from .parts.layout import image, tokens
from .parts.strips import before_update, put_rows, strips, take_rows, without_halo
from .parts.way import Way
from .parts.windows import Window, attend, from_windows, relative_index, shift_masks, to_windows

BATCH_NORM_EPS = 1e-5
"""torch's default, which DAT was trained with."""


GRAM_PIECES = 256
"""Pieces in which `gram_matrices` is computed on a GPU. A matrix of 30x30 keeps few of its processors busy: on an H200,
256 products of 1024 pixels take 0.5 ms, one of all 262,144 pixels 2.9 ms."""


class PositionBias(nn.Module):
    """Dynamic relative position bias (CrossFormer, Wang et al. 2022): an MLP over relative positions."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        hidden = dim // 4
        self.pos_proj = Linear(2, hidden)
        self.pos1 = self._layer(hidden, hidden)
        self.pos2 = self._layer(hidden, hidden)
        self.pos3 = self._layer(hidden, heads)

    @staticmethod
    def _layer(hidden: int, out: int) -> nn.Sequential:
        return nn.Sequential(LayerNorm(hidden), nn.ReLU(), Linear(hidden, out))

    def forward(self, window: Window) -> Tensor:
        """The bias for each pair of tokens in a window (h, w): (1, heads, h * w, h * w)."""
        h, w = window
        weight = self.pos_proj.weight
        grid = torch.meshgrid(torch.arange(1 - h, h, device="cpu"), torch.arange(1 - w, w, device="cpu"), indexing="ij")
        positions = torch.stack(grid, dim=-1).flatten(0, 1).to(weight)  # ((2h-1) * (2w-1), 2)
        table = self.pos3(self.pos2(self.pos1(self.pos_proj(positions))))
        return table[relative_index(window, window)].permute(2, 0, 1).unsqueeze(0)


class WindowAttention(nn.Module):
    """One half of the heads of a spatial block. Its bias is computed once, in fp32, when the weights are loaded."""

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
        """Compute `bias`, (1 or 4, heads, N, N), from the weights."""
        bias = self.pos(self.window)
        if self.shift:
            bias = bias + shift_masks(self.window, self.shift).unsqueeze(1).to(bias)
        self.bias = bias.contiguous()

    def forward(self, q: Tensor, k: Tensor, v: Tensor, last_row: bool) -> Tensor:
        """Attend within the windows of some rows; returns (B, H, W, C), rolled like the input.

        Args:
            q, k, v: (B, H, W, C), H and W multiples of the window. If windows are shifted, the rows are already rolled
                by the vertical shift; columns are not rolled yet.
            last_row: whether the last of these windows are the last ones of the image.
        """
        shift = self.shift[1] if self.shift else 0  # in columns
        if shift:
            q, k, v = (x.roll(-shift, dims=2) for x in (q, k, v))
        q, k, v = (to_windows(x, self.window, self.heads) for x in (q, k, v))
        out = from_windows(attend(q, k, v, self.bias, self.scale, last_row), self.window)
        return out.roll(shift, dims=2) if shift else out


class Interaction(nn.Module):
    """Base of both kinds of attention: a parallel convolution, and gates between the two branches (section 3.3).

    BatchNorms are folded into the convolutions before them when weights are loaded.
    """

    def __init__(self, dim: int, qkv_bias: bool) -> None:
        super().__init__()
        self.qkv = Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = Linear(dim, dim)
        self.dwconv = nn.Sequential(Conv2d(dim, dim, 3, padding=1, groups=dim), BatchNorm2d(dim), nn.GELU())
        self.channel_interaction = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            Conv2d(dim, dim // 8, 1),
            BatchNorm2d(dim // 8),
            nn.GELU(),
            Conv2d(dim // 8, dim, 1),
        )
        self.spatial_interaction = nn.Sequential(
            Conv2d(dim, dim // 16, 1), BatchNorm2d(dim // 16), nn.GELU(), Conv2d(dim // 16, 1, 1)
        )
        for name in ("conv", "channel", "spatial"):
            self.register_buffer(f"{name}_weight", torch.empty(0), persistent=False)
            self.register_buffer(f"{name}_bias", torch.empty(0), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module.fold())

    @torch.no_grad()
    def fold(self) -> None:
        """Compute the buffers of the folded convolutions from the weights."""
        self.conv_weight, self.conv_bias = _folded(self.dwconv[0], self.dwconv[1])
        self.channel_weight, self.channel_bias = _folded(self.channel_interaction[1], self.channel_interaction[2])
        self.spatial_weight, self.spatial_bias = _folded(self.spatial_interaction[0], self.spatial_interaction[1])

    def convolve(self, v: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        out = F.conv2d(image(v), self.conv_weight, self.conv_bias, padding=1, groups=v.shape[-1])
        return F.gelu(tokens(out))

    def channel_gate(self, mean: Tensor) -> Tensor:
        """The mean over all pixels (B, C) -> (B, 1, 1, C)."""
        hidden = F.gelu(F.linear(mean, self.channel_weight.flatten(1), self.channel_bias))
        weight, bias = (self.get_parameter(f"channel_interaction.4.{name}") for name in ("weight", "bias"))
        return torch.sigmoid(F.linear(hidden, weight.flatten(1), bias))[:, None, None]

    def spatial_gate(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, 1)."""
        hidden = F.gelu(F.linear(x, self.spatial_weight.flatten(1), self.spatial_bias))
        weight, bias = (self.get_parameter(f"spatial_interaction.3.{name}") for name in ("weight", "bias"))
        return torch.sigmoid(F.linear(hidden, weight.flatten(1), bias))


def _folded(conv: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with the following BatchNorm folded in."""
    old, state = conv.state_dict(), norm.state_dict()
    factor = state["weight"] * (state["running_var"] + BATCH_NORM_EPS).rsqrt()
    return old["weight"] * factor.view(-1, 1, 1, 1), (old["bias"] - state["running_mean"]) * factor + state["bias"]


class SpatialAttention(Interaction):
    """Attention in windows: half of the heads in (h, w) windows, half in (w, h)."""

    def __init__(self, dim: int, heads: int, qkv_bias: bool, split: Window, shifted: bool) -> None:
        super().__init__(dim, qkv_bias)
        self.multiple = max(split)
        windows = (split, (split[1], split[0]))
        self.attns = nn.ModuleList(WindowAttention(dim // 2, heads // 2, window, shifted) for window in windows)
        self.shifts = [window[0] // 2 if shifted else 0 for window in windows]  # vertical shift of each half, in rows

    def forward(self, x: Tensor, norm: nn.Module, way: Way) -> None:
        """Apply attention to norm(x), and add the result to x, (B, H, W, C), in place."""
        rows, means = way.rows, way.means
        v, attended = self._attend(x, norm, rows)
        for top, bottom, source in before_update(v, rows):
            v[:, top:bottom] = without_halo(self.convolve(source), top, bottom)
        convolved = v
        channel_gate = self.channel_gate(means.share(means.part(convolved).mean(dim=(1, 2))))
        for top, bottom in strips(x.shape[1], rows):
            strip = attended[:, top:bottom]
            spatial_gate = self.spatial_gate(strip)
            out = (strip * channel_gate).addcmul_(convolved[:, top:bottom], spatial_gate)
            x[:, top:bottom] += self.proj(out)

    def _attend(self, x: Tensor, norm: nn.Module, rows: int | None) -> tuple[Tensor, Tensor]:
        """The values v and the output of the attention, both (B, H, W, C).

        Attention in windows shifted by s rows equals attention in plain windows after rolling the padded rows up by s.
        Nothing is actually rolled here: strips start at row s, and rows beyond the padding wrap around to the top.
        With H = 10 rows, windows of 4 rows (padded to 12) and s = 2, in strips of 4:

            rows                  0 1 2 3 4 5 6 7 8 9 - -     (-: padding)
            strip 0                   2 3 4 5
            strip 1                           6 7 8 9
            strip 2               0 1                 - -     taken in the order - - 0 1
        """
        height, width, c = x.shape[1:]
        padded = height + -height % self.multiple
        v, attended = torch.empty_like(x), torch.empty_like(x)
        for top, bottom in strips(padded, rows):
            # the two halves of the heads have different shifts: these rows cover both
            first, last = top + min(self.shifts), bottom + max(self.shifts)
            qkv = self._project(x, norm, first, last, padded)  # (B, last - first, W + padding, 3 * C)
            put_rows(v, first, qkv[:, : bottom - top, :width, 2 * c :], padded)
            for i, (attn, shift) in enumerate(zip(self.attns, self.shifts, strict=True)):
                part = qkv[:, top + shift - first : bottom + shift - first]
                q, k, v_half = (part[..., j * c + i * c // 2 :][..., : c // 2] for j in range(3))
                out = attn(q, k, v_half, last_row=bottom == padded)
                put_rows(attended[..., i * c // 2 :][..., : c // 2], top + shift, out[:, :, :width], padded)
        return v, attended

    def _project(self, x: Tensor, norm: nn.Module, first: int, last: int, padded: int) -> Tensor:
        """q, k and v of the rows `first` to `last`, with zeros for padding.

        The zeros are added after the projection and are not masked: padded tokens take part in the softmax, as in the
        authors' code.
        """
        lower, padding, upper, more_padding = take_rows(x, first, last, padded)
        qkv = self.qkv(norm(torch.cat((lower, upper), dim=1) if upper.shape[1] else lower))
        if padding or more_padding:
            gaps = [qkv.new_zeros(qkv.shape[0], rows, *qkv.shape[2:]) for rows in (padding, more_padding)]
            qkv = torch.cat((qkv[:, : lower.shape[1]], gaps[0], qkv[:, lower.shape[1] :], gaps[1]), dim=1)
        return F.pad(qkv, (0, 0, 0, -x.shape[2] % self.multiple))


class ChannelAttention(Interaction):
    """Attention between channels: for each head, the d x d Gram matrix of q and k over all pixels."""

    def __init__(self, dim: int, heads: int, qkv_bias: bool) -> None:
        super().__init__(dim, qkv_bias)
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))

    def forward(self, x: Tensor, norm: nn.Module, way: Way) -> None:
        """Apply attention to norm(x), and add the result to x, (B, H, W, C), in place."""
        rows, means = way.rows, way.means
        height = x.shape[1]
        v = torch.empty_like(x)
        sums = [torch.zeros((), device=x.device)] * 3
        for top, bottom in strips(height, rows):
            q, k, v_strip = self.qkv(norm(x[:, top:bottom])).chunk(3, dim=-1)
            v[:, top:bottom] = v_strip
            products = self._products(means.part(q, top), means.part(k, top))
            sums = [total + product for total, product in zip(sums, products, strict=True)]
        pixels = means.pixels(*x.shape[1:3])
        gram, q_square, k_square = (means.share(total / pixels) for total in sums)
        norms = q_square.sqrt().clamp_min(1e-12).unsqueeze(-1) * k_square.sqrt().clamp_min(1e-12).unsqueeze(-2)
        attention = (gram / norms * self.temperature).softmax(dim=-1).to(x.dtype)  # (B, heads, d, d)
        mean = means.share(means.part(v).mean(dim=(1, 2)))
        # mixing is linear: the mean of the mixed v is the mixed mean of v
        channel_gate = self.channel_gate(self._mix(attention, mean[:, None, None]).flatten(1))
        for top, bottom in strips(height, rows):
            source = v[:, max(0, top - 1) : bottom + 1]
            convolved = without_halo(self.convolve(source), top, bottom)
            out = self._mix(attention, v[:, top:bottom]) * self.spatial_gate(convolved)
            x[:, top:bottom] += self.proj(out.addcmul_(convolved, channel_gate))

    def _products(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For each head, sums of q^T k, q^2 and k^2 over the pixels: (B, heads, d, d) and twice (B, heads, d), fp32."""
        q, k = (x.flatten(1, 2).unflatten(-1, (self.heads, -1)) for x in (q, k))  # (B, N, heads, d)
        # the squares of some activations are beyond fp16
        q_norm, k_norm = (torch.linalg.vector_norm(x, dim=1, dtype=torch.float32) for x in (q, k))
        # dividing q by its norm keeps the product in the range of fp16 for any number of pixels
        smallest = 1e-4 if q.dtype == torch.float16 else 1e-12  # its reciprocal must be finite
        divisor = q_norm.clamp_min(smallest)
        unit = q * divisor.reciprocal().to(q.dtype).unsqueeze(1)
        gram = gram_matrices(unit, k, GRAM_PIECES if q.device.type == "cuda" else 1)
        return gram * divisor.unsqueeze(-1), q_norm.square(), k_norm.square()

    def _mix(self, attention: Tensor, v: Tensor) -> Tensor:
        """Mix the channels of each head by its attention matrix: (B, H, W, C) -> (B, H, W, C)."""
        b, height, width, c = v.shape
        v = v.reshape(b, height * width, self.heads, c // self.heads).transpose(1, 2)  # (B, heads, N, d)
        return (v @ attention.transpose(-2, -1)).transpose(1, 2).reshape(b, height, width, c)


def gram_matrices(q: Tensor, k: Tensor, pieces: int) -> Tensor:
    """q^T k of each head, in pieces of the pixels: twice (B, N, heads, d) -> (B, heads, d, d), fp32."""
    whole = q.shape[1] // pieces * pieces
    # (B, pieces, N / pieces, heads, d) -> (B, heads, d, d)
    gram = _products_of_pixels(*(x[:, :whole].unflatten(1, (pieces, -1)) for x in (q, k))).sum(1, dtype=torch.float32)
    if whole < q.shape[1]:
        gram = gram + _products_of_pixels(q[:, whole:], k[:, whole:]).float()
    return gram


def _products_of_pixels(q: Tensor, k: Tensor) -> Tensor:
    """(..., N, heads, d) -> (..., heads, d, d)."""
    return q.movedim(-3, -1) @ k.transpose(-3, -2)
