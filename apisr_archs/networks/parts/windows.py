"""Window attention as GRL and DAT use it, on tokens that stay in image layout (B, H, W, C).

Swin's shifted windows (Liu et al. 2021, section 3.2) mask attention between pixels that were not adjacent before the
cyclic shift. The mask depends only on whether a window is in the last row, in the last column, in both or in neither,
so four masks are enough for every image size. They are added to the relative position bias when weights are loaded.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

Window = tuple[int, int]
"""Height and width of a window, in tokens."""

FORBIDDEN = -100.0
"""Added to the logits of masked pairs; the same value as in the reference implementations."""


def to_windows(x: Tensor, window: Window, heads: int) -> Tensor:
    """(B, H, W, heads * d) -> (B, H/h, W/w, heads, h * w, d); H and W are multiples of the window (h, w)."""
    b, height, width, c = x.shape
    h, w = window
    x = x.reshape(b, height // h, h, width // w, w, heads, c // heads)
    x = x.permute(0, 1, 3, 5, 2, 4, 6)  # (B, H/h, W/w, heads, h, w, d)
    return x.reshape(b, height // h, width // w, heads, h * w, c // heads)


def from_windows(x: Tensor, window: Window) -> Tensor:
    """(B, H/h, W/w, heads, h * w, d) -> (B, H, W, heads * d), the inverse of `to_windows`."""
    b, rows, columns, heads, _, d = x.shape
    h, w = window
    x = x.reshape(b, rows, columns, heads, h, w, d)
    x = x.permute(0, 1, 4, 2, 5, 3, 6)  # (B, H/h, h, W/w, w, heads, d)
    return x.reshape(b, rows * h, columns * w, heads * d)


@cache
def relative_index(query: Window, key: Window) -> Tensor:
    """Index of each (query, key) pair into a flattened table of relative positions: (Nq, Nk), int64, on the CPU.

    The table has (hq + hk - 1) x (wq + wk - 1) entries, in raster order.
    """
    rows = _differences(query[0], key[0])
    columns = _differences(query[1], key[1])
    index = rows[:, None, :, None] * (query[1] + key[1] - 1) + columns[None, :, None, :]  # (hq, wq, hk, wk)
    return index.reshape(query[0] * query[1], key[0] * key[1])


def _differences(query: int, key: int) -> Tensor:
    """q - k for all pairs along one axis, offset to start at 0: (query, key)."""
    return torch.arange(query, device="cpu")[:, None] - torch.arange(key, device="cpu")[None, :] + key - 1


@cache
def shift_masks(window: Window, shift: Window) -> Tensor:
    """The masks that are added to the logits in shifted windows: (4, N, N), 0 or `FORBIDDEN`, on the CPU.

    In order, for windows inside the image, in the last column, in the last row, and in the last row and column.
    """
    h, w = window
    below = (torch.arange(h, device="cpu") >= h - shift[0])[:, None].expand(h, w).reshape(-1)  # (N,)
    right = (torch.arange(w, device="cpu") >= w - shift[1])[None, :].expand(h, w).reshape(-1)
    across_rows = below[:, None] != below[None, :]  # (N, N)
    across_columns = right[:, None] != right[None, :]
    inside = torch.zeros_like(across_rows)
    forbidden = torch.stack((inside, across_columns, across_rows, across_columns | across_rows))
    return forbidden.float() * FORBIDDEN


MOST_WINDOWS = 65535
"""Maximum number of windows in one call of CUDA's fused attention, in torch before 2.8."""


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float, last_row: bool = True) -> Tensor:
    """softmax(scale * q k^T + bias) v within each window.

    Args:
        q: (B, rows, columns, heads, Nq, d).
        k, v: the same with Nk.
        bias: (1, heads, Nq, Nk), the same for all windows; or (4, heads, Nq, Nk) for shifted windows, in the order of
            `shift_masks`.
        last_row: whether the last row of windows is the last row of the image.

    Returns:
        A tensor of the shape of q.

    For shifted windows, all windows are computed as if they were inside the image; then those at its borders are
    computed again. This costs a few percent, but separating them first would copy all the others.
    """
    out = _attend(q, k, v, bias[:1], scale)
    if bias.shape[0] == 1:
        return out
    rows = q.shape[1] - 1 if last_row else q.shape[1]  # without the image's last row
    borders = (
        (slice(0, rows), slice(-1, None)),
        (slice(rows, None), slice(0, -1)),
        (slice(rows, None), slice(-1, None)),
    )
    for (y, x), border_bias in zip(borders, bias[1:].unsqueeze(1), strict=True):
        part = slice(None), y, x
        if out[part].numel():
            out[part] = _attend(q[part], k[part], v[part], border_bias, scale)
    return out


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
    shape = q.shape
    # SDPA wants one batch dimension: (B, rows, columns, heads, N, d) -> (B * rows * columns, heads, N, d)
    q, k, v = (x.flatten(0, 2) for x in (q, k, v))
    d = shape[-1]
    if q.device.type == "cuda" and d % 8:  # required by the fused kernels; zeros change nothing
        q, k, v = (F.pad(x, (0, -d % 8)) for x in (q, k, v))
    parts = zip(*(x.split(MOST_WINDOWS) for x in (q, k, v)), strict=True)
    outs = [F.scaled_dot_product_attention(*part, attn_mask=bias, scale=scale) for part in parts]
    out = outs[0] if len(outs) == 1 else torch.cat(outs)
    return out[..., :d].reshape(shape)
