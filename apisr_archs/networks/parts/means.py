"""Means over all pixels, for networks with global statistics, even when the picture is computed in tiles."""

from collections.abc import Sequence

from torch import Tensor
from typing_extensions import override


class Means:
    """The means that a network uses when its input is the whole picture: its own.

    In each run a network calls `begin`, then computes its means, always in the same order. It computes each mean over
    `part` of its pixels, passes it to `share`, and uses the value returned.
    """

    area: tuple[int, int, int, int] | None = None
    """Top, bottom, left and right of the pixels to average (bottom and right are one past the last); None: all."""

    def begin(self) -> None:
        """Called by the network before its first mean."""

    def share(self, own: Tensor) -> Tensor:
        """Return the mean to use, given the network's own mean over the area, (B, ...)."""
        return own

    def part(self, x: Tensor, top: int = 0) -> Tensor:
        """The pixels of a strip, (B, h, W, C), that are in the area, possibly none. `top`: the strip's first row."""
        if self.area is None:
            return x
        first, last, left, right = self.area
        return x[:, max(0, first - top) : max(0, last - top), left:right]

    def pixels(self, height: int, width: int) -> int:
        """The number of pixels in the area, for an input of the given size."""
        first, last, left, right = self.area or (0, height, 0, width)
        return (last - first) * (right - left)


class TileMeans(Means):
    """The means that a network uses when its input is one tile; it also records the tile's own means."""

    def __init__(self, shared: Sequence[Tensor] = (), area: tuple[int, int, int, int] | None = None) -> None:
        """shared: the means over the picture, in the order in which the network uses them; empty: not known yet, so the
            tile's own means are used.

        area: the part of the tile over which its own means are taken; None: all of it.
        """
        self.shared = shared
        self.area = area
        self.own: list[Tensor] = []

    @override
    def begin(self) -> None:
        self.own = []  # a tile that overflows in half precision runs twice

    @override
    def share(self, own: Tensor) -> Tensor:
        self.own.append(own.float())
        return self.shared[len(self.own) - 1].to(own) if self.shared else own
