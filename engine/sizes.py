"""From the requested size to the output size in pixels, and the passes of the network that lead to it."""

from math import ceil, floor, sqrt

from . import arguments

RESIZE_MODES = ("model scale", "factor", "longer side", "shorter side", "megapixels")
"""The meaning of `amount`: none, multiples of the input size, pixels (both sides), units of 1024 x 1024 pixels."""
PIXEL_MODES = ("longer side", "shorter side")
"""Modes whose amount is a length in pixels."""
MAX_SIDE = 65536
"""Longest side in pixels; a larger amount must be a typing error."""
STRETCH = 1.25
"""Up to this factor the network's result is enlarged by a filter; beyond it, the network runs twice."""


def target_size(
    height: int, width: int, scale: int, resize_to: str = "model scale", amount: float = 1.0, multiple_of: int = 1
) -> tuple[int, int]:
    """Height and width of the output for an input of (height, width), keeping the aspect ratio.

    Raises:
        ValueError: the mode is unknown, the amount is out of range, or `multiple_of` is not a whole number from 1.
    """
    arguments.one_of(resize_to, "resize_to", RESIZE_MODES)
    amount = arguments.positive(amount, "amount")
    multiple_of = arguments.whole(multiple_of, "multiple_of", least=1)
    if resize_to in PIXEL_MODES and amount < 16:
        raise ValueError(
            f"resize_to is {resize_to!r}, of {amount:g} pixels; expected the side in pixels, at least 16, like 2048."
        )
    factor = {
        "model scale": float(scale),
        "factor": amount,
        "longer side": amount / max(height, width),
        "shorter side": amount / min(height, width),
        "megapixels": sqrt(amount * 1024 * 1024 / (height * width)),
    }[resize_to]
    size = _rounded(height * factor, multiple_of), _rounded(width * factor, multiple_of)
    if resize_to != "model scale" and max(size) > MAX_SIDE:
        raise ValueError(
            f"{size[1]:.7g}x{size[0]:.7g} pixels are too many: at most {MAX_SIDE} a side. "
            f"Check resize_to ({resize_to!r}, {amount:g})."
        )
    return size


def _rounded(length: float, multiple: int) -> int:
    """The nearest multiple, but at least one; halves are rounded up."""
    length = min(length, 1e300)  # `floor` fails on infinity
    return max(1, floor(length / multiple + 0.5)) * multiple


def passes(height: int, width: int, scale: int, size: tuple[int, int]) -> list[tuple[int, int]]:
    """The sizes (height, width in pixels) to which the result of each pass is resized; the last one is `size`.

    One pass, or two if after one pass a filter would have to enlarge the result by more than `STRETCH`. The result of
    the first pass is resized so that the second one reaches `size` directly, even if that takes an enlarging filter.
    """
    stretch = max(size[0] / (height * scale), size[1] / (width * scale))
    if scale == 1 or stretch <= STRETCH:
        return [size]
    return [(max(height, ceil(size[0] / scale)), max(width, ceil(size[1] / scale))), size]
