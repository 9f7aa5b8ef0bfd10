"""Row strips: operations with a small receptive field run on a few rows at a time, which takes less memory.

The result is the same.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from .layout import channels_last


def strips(height: int, rows: int | None) -> Iterator[tuple[int, int]]:
    """(first row, one past the last row) of strips of `rows` rows; the last may be shorter. None: one strip."""
    step = rows or height
    for top in range(0, height, step):
        yield top, min(top + step, height)


def in_strips(
    compute: Callable[[int, int], Tensor],
    height: int,
    rows: int | None,
    halo: int,
    scale: int = 1,
    out: Tensor | None = None,
) -> Tensor:
    """Compute a picture (B, C, height * scale, W) strip by strip.

    Args:
        compute: called with (top, bottom); returns (B, C, (bottom - top) * scale, W) for these input rows.
        height: number of input rows.
        rows: input rows per strip; None for all at once.
        halo: input rows that `compute` needs beyond the strip on each side; their results are cropped.
        scale: output rows per input row.
        out: a buffer for the result. On CPUs newly allocated memory costs as much time as the arithmetic that fills it.
    """
    if out is None and (rows is None or rows >= height):
        return compute(0, height)
    whole = torch.empty(0) if out is None else out
    for top, bottom in strips(height, rows):
        first, last = max(0, top - halo), min(height, bottom + halo)
        strip = compute(first, last)[:, :, (top - first) * scale : (bottom - first) * scale]
        if top == 0 and out is None:
            whole = _empty_like_rows(strip, height * scale)
        whole[:, :, top * scale : bottom * scale] = strip
    return whole


def convolved_rows(conv: nn.Module, activation: Callable[[Tensor], Tensor], x: Tensor, top: int, bottom: int) -> Tensor:
    """A convolution and an activation on the rows `top` to `bottom` of (B, C, H, W): (B, F, bottom - top, W)."""
    return activation(conv(channels_last(x[:, :, top:bottom])))


def _empty_like_rows(strip: Tensor, height: int) -> Tensor:
    """An uninitialized (B, C, height, W) like `strip`, in channels-last memory format."""
    b, c, _, width = strip.shape
    return strip.new_empty((b, height, width, c)).permute(0, 3, 1, 2)


def before_update(x: Tensor, rows: int | None) -> Iterator[tuple[int, int, Tensor]]:
    """Strips of (B, H, W, C) for 3x3 filters whose result immediately overwrites the strip.

    Yields the strip's first row, one past its last row, and the strip with one more row on each side (none at the
    picture's border). The row above is a copy from before its own strip was overwritten.
    """
    height = x.shape[1]
    above = x[:, :0]
    for top, bottom in strips(height, rows):
        below = x[:, top : bottom + 1]
        source = torch.cat((above, below), dim=1) if top else below
        if bottom < height:
            above = x[:, bottom - 1 : bottom].clone()
        yield top, bottom, source


def without_halo(strip: Tensor, top: int, bottom: int) -> Tensor:
    """Crop (B, H, W, C), computed from a strip of `before_update`, to the rows `top` to `bottom`."""
    return strip[:, 1 : 1 + bottom - top] if top else strip[:, : bottom - top]


def take_rows(x: Tensor, first: int, last: int, period: int) -> tuple[Tensor, int, Tensor, int]:
    """Rows `first` to `last` (one past the last) of (B, H, W, C), padded to `period` rows and repeated indefinitely.

    For example with H = 5, a period of 8, and the rows 3 to 10:

        0 1 2 3 4 - - - 0 1 2 3 4 - - - ...     (-: padding)
              |-----------|

    Returns the rows before the padding (here 3 4), the number of padding rows (3), the rows after the padding (0 1),
    and the number of padding rows after those (0; more only if x is so short that the range reaches the padding twice).
    """
    height = x.shape[1]
    padding = max(0, min(last, period) - max(first, height))
    start, end = max(0, first - period), max(0, last - period)
    return x[:, first:last], padding, x[:, start:end], end - max(start, min(end, height))


def put_rows(x: Tensor, first: int, rows: Tensor, period: int) -> None:
    """Write rows in the order of `take_rows`, starting at `first`, back to their places in x, (B, H, W, C).

    Padding rows are dropped.
    """
    height, last = x.shape[1], first + rows.shape[1]
    if first < height:
        x[:, first : min(last, height)] = rows[:, : min(last, height) - first]
    if last > period:
        start, end = max(first, period), min(last, period + height)
        x[:, start - period : end - period] = rows[:, start - first : end - first]
