"""Means over all pixels, for networks that look at the whole picture at once, where that is computed in tiles."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


def as_it_is(mean: Tensor) -> Tensor:
    return mean


def nothing() -> None:
    pass


@dataclass(frozen=True)
class Statistics:
    """How a network that sees one tile gets the means over the whole picture.

    As it is for a network that sees the whole picture. A network calls `begin`, then takes its means one after the
    other, always in the same order, each over `part` of its pixels, and goes on with what `share` makes of them. It may
    run more than once with the same object.
    """

    share: Callable[[Tensor], Tensor] = as_it_is
    """From a mean over the area, (B, ...), to the one over the whole picture."""
    area: tuple[int, int, int, int] | None = None
    """Top, bottom, left and right (one past the last) of the pixels that this tile answers for; None for all."""
    begin: Callable[[], None] = nothing
    """Called before the first mean of a run."""

    def part(self, x: Tensor, top: int = 0) -> Tensor:
        """Those of (B, h, W, C), the tile's rows from `top` on, that lie in the area. There may be none."""
        if self.area is None:
            return x
        first, last, left, right = self.area
        return x[:, max(0, first - top) : max(0, last - top), left:right]

    def pixels(self, height: int, width: int) -> int:
        """How many pixels of a tile of that size lie in the area."""
        first, last, left, right = self.area or (0, height, 0, width)
        return (last - first) * (right - left)


WHOLE = Statistics()
"""For a network that sees the whole picture."""
