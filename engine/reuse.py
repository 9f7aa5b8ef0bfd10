"""Frames of a batch: what need not be computed again, because the frame before had it."""

from dataclasses import dataclass

from torch import Tensor

from ..apisr_archs import Facts

WORTHWHILE = 0.7
"""A part of a frame is computed alone if it reads at most this part of the frame's pixels."""
GRID = 32
"""Parts begin and end at multiples of this, in input pixels, so that there are few shapes."""


@dataclass(frozen=True)
class Area:
    """A rectangle of pixels; `bottom` and `right` are one past the last."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def pixels(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)

    def of(self, picture: Tensor, scale: int = 1) -> Tensor:
        """This part of (H, W, C), or of a picture `scale` times as large: a view."""
        rows, columns = (
            slice(first * scale, last * scale) for first, last in ((self.top, self.bottom), (self.left, self.right))
        )
        return picture[rows, columns]

    def wider(self, margin: int, height: int, width: int, grid: int = 1) -> "Area":
        """With a margin on all sides and out to a grid, inside a picture of that size."""
        return Area(
            top=max(0, self.top - margin) // grid * grid,
            bottom=min(height, -(-(self.bottom + margin) // grid) * grid),
            left=max(0, self.left - margin) // grid * grid,
            right=min(width, -(-(self.right + margin) // grid) * grid),
        )

    def within(self, other: "Area") -> "Area":
        """The same in coordinates that begin where the other area does."""
        return Area(self.top - other.top, self.bottom - other.top, self.left - other.left, self.right - other.left)


@dataclass(frozen=True)
class Part:
    """A part of a frame to compute: what is read, and what of the result is taken over, both in input pixels."""

    read: Area
    taken: Area


def changed(picture: Tensor, before: Tensor) -> Area:
    """The smallest rectangle with all pixels of (H, W, C) that differ from the frame before; some do."""
    different = (picture != before).any(dim=-1)  # (H, W)
    rows, columns = different.any(dim=1).nonzero(), different.any(dim=0).nonzero()
    return Area(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


def part_to_compute(area: Area, height: int, width: int, facts: Facts) -> Part | None:
    """What must be computed anew when an area has changed; None if the whole frame may as well be.

    The change shows as far as the network looks; and to compute that, as much again must be read.
    """
    halo = facts.halo.exact  # with any preset: frames in part are not seen either
    if facts.global_statistics or not facts.tiling:
        return None
    taken = area.wider(halo, height, width)
    grid = -(-GRID // facts.alignment) * facts.alignment
    read = taken.wider(halo, height, width, grid)
    if read.bottom - read.top < min(facts.minimum, height) or read.right - read.left < min(facts.minimum, width):
        return None  # the network would pad the part where it does not pad the frame
    return Part(read, taken) if read.pixels <= WORTHWHILE * height * width else None
