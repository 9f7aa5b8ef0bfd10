"""Row strips: what only looks near can be computed some rows at a time, with the same result and less memory."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from .layout import channels_last


def strips(height: int, rows: int | None) -> Iterator[tuple[int, int]]:
    """(first row, one past the last) of strips of `rows` rows, the last one shorter; None: one strip of all rows."""
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
    """Assemble a picture (B, C, height * scale, W) from strips of it.

    Args:
        compute: gives (B, C, (bottom - top) * scale, W) for the input rows from top to bottom.
        height: of the input, in rows.
        rows: input rows of a strip; None for all at once.
        halo: input rows that `compute` must see beyond the strip on each side; their results are cut off.
        scale: output rows per input row.
        out: room for the picture. On CPUs fresh memory costs as much time as the arithmetic that fills it.
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
    """A convolution and an activation on some rows of (B, C, H, W): (B, F, bottom - top, W)."""
    return activation(conv(channels_last(x[:, :, top:bottom])))


def _empty_like_rows(strip: Tensor, height: int) -> Tensor:
    """Room for (B, C, height, W), with the channels last in memory, as networks and pictures want them."""
    b, c, _, width = strip.shape
    return strip.new_empty((b, height, width, c)).permute(0, 3, 1, 2)


def before_update(x: Tensor, rows: int | None) -> Iterator[tuple[int, int, Tensor]]:
    """Strips of (B, H, W, C) for 3x3 filters whose result replaces the strip at once.

    Yields the strip's first row, one past its last row, and the strip with one more row on either side (none at the
    picture's border). The row above is remembered from before its own strip was replaced.
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
    """(B, H, W, C) computed from a source of `before_update`, cut down to the rows from top to bottom."""
    return strip[:, 1 : 1 + bottom - top] if top else strip[:, : bottom - top]


def take_rows(x: Tensor, first: int, last: int, period: int) -> tuple[Tensor, int, Tensor, int]:
    """Rows `first` to `last` of (B, H, W, C), as if padded to `period` rows and then repeated for ever.

    With H = 5 and a period of 8 the rows 3 to 10 are

        0 1 2 3 4 - - - 0 1 2 3 4 - - - ...     (-: padding)
              |-----------|

    Returns the rows before the padding (3 4), the number of padded ones (3), the rows after it (0 1), and how many more
    padded ones follow these (0), as they do where the picture is lower than the range is long.
    """
    height = x.shape[1]
    missing = max(0, min(last, period) - max(first, height))
    start, end = max(0, first - period), max(0, last - period)
    return x[:, first:last], missing, x[:, start:end], end - max(start, min(end, height))


def put_rows(x: Tensor, first: int, rows: Tensor, period: int) -> None:
    """Write rows that `take_rows` gave, from `first` on, back to where they came from in x, (B, H, W, C).

    Padded ones are dropped.
    """
    height, last = x.shape[1], first + rows.shape[1]
    if first < height:
        x[:, first : min(last, height)] = rows[:, : min(last, height) - first]
    if last > period:
        start, end = max(first, period), min(last, period + height)
        x[:, start - period : end - period] = rows[:, start - first : end - first]
