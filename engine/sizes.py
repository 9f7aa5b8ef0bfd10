"""From what the user asks for to an output size in pixels."""

from math import ceil, floor, sqrt

from . import arguments

RESIZE_MODES = ("model scale", "factor", "longer side", "shorter side", "megapixels")
"""What `amount` counts: nothing, times the input, pixels, pixels, and units of 1024 x 1024 pixels."""
MAX_SIDE = 65536
"""Beyond this an amount is a typing error."""
STRETCH = 1.25
"""A filter stretches the network's result up to this factor. Who wants more means to run the network twice."""


def target_size(
    height: int, width: int, scale: int, resize_to: str = "model scale", amount: float = 1.0, multiple_of: int = 1
) -> tuple[int, int]:
    """Height and width of the output for an input of (height, width), keeping its shape.

    Raises:
        ValueError: for an unknown mode, an amount that cannot be meant, or a multiple that is no whole number.
    """
    arguments.one_of(resize_to, "resize_to", RESIZE_MODES)
    amount = arguments.positive(amount, "amount")
    multiple_of = arguments.whole(multiple_of, "multiple_of", least=1)
    if resize_to in ("longer side", "shorter side") and amount < 16:
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
            f"The result would be {size[1]:.7g}x{size[0]:.7g} pixels; at most {MAX_SIDE} a side. "
            f"Check resize_to ({resize_to!r}, {amount:g})."
        )
    return size


def _rounded(length: float, multiple: int) -> int:
    """The nearest multiple, the larger of two equally near, at least one."""
    length = min(length, 1e300)  # no amount makes it infinite
    return max(1, floor(length / multiple + 0.5)) * multiple


def passes(height: int, width: int, scale: int, size: tuple[int, int]) -> list[tuple[int, int]]:
    """The sizes (height, width in pixels) that the network's results are resized to, pass by pass; the last is `size`.

    One pass, or two if one would leave it to a filter to enlarge its result by more than `STRETCH`. The first of two
    makes just what the second needs; what two cannot give, a filter does between them.
    """
    stretch = max(size[0] / (height * scale), size[1] / (width * scale))
    if scale == 1 or stretch <= STRETCH:
        return [size]
    return [(max(height, ceil(size[0] / scale)), max(width, ceil(size[1] / scale))), size]
