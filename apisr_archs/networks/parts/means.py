"""Means over all pixels, for networks that look at the whole picture at once, also where it is computed in tiles."""

from collections.abc import Sequence

from torch import Tensor
from typing_extensions import override


class Means:
    """The means that a network takes of what it sees: the whole picture.

    A network calls `begin`, then takes its means one after the other, always in the same order, each over `part` of its
    pixels, and goes on with what `share` makes of them.
    """

    area: tuple[int, int, int, int] | None = None
    """Top, bottom, left and right (one past the last) of the pixels that count; None for all."""

    def begin(self) -> None:
        """Called before the first mean of a run."""

    def share(self, own: Tensor) -> Tensor:
        """From a mean over the area, (B, ...), to the one to go on with."""
        return own

    def part(self, x: Tensor, top: int = 0) -> Tensor:
        """Those of (B, h, W, C), the rows from `top` on of what the network sees, that lie in the area; maybe none."""
        if self.area is None:
            return x
        first, last, left, right = self.area
        return x[:, max(0, first - top) : max(0, last - top), left:right]

    def pixels(self, height: int, width: int) -> int:
        """How many of the pixels that the network sees lie in the area."""
        first, last, left, right = self.area or (0, height, 0, width)
        return (last - first) * (right - left)


class TileMeans(Means):
    """The means of a picture of which the network sees one tile; keeps those of the tile itself."""

    def __init__(self, shared: Sequence[Tensor] = (), area: tuple[int, int, int, int] | None = None) -> None:
        """shared: the means over the picture, in the order in which they are taken; empty: not known yet.

        area: the pixels that this tile answers for.
        """
        self.shared = shared
        self.area = area
        self.own: list[Tensor] = []

    @override
    def begin(self) -> None:
        self.own = []  # a tile that overflowed in half precision is computed twice

    @override
    def share(self, own: Tensor) -> Tensor:
        self.own.append(own.float())
        return self.shared[len(self.own) - 1].to(own) if self.shared else own
