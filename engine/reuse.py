"""Finds the part of a frame that differs from the previous frame, so that only this part is computed."""

from dataclasses import dataclass

from torch import Tensor

from ..apisr_archs import Facts

WORTHWHILE = 0.7
"""A part of a frame is computed alone only if it reads at most this share of the frame's pixels."""
GRID = 32
"""Parts start and end at multiples of this, in input pixels, so that there are few different shapes."""


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
        """This area of (H, W, C), or of a picture `scale` times as large, as a view."""
        rows, columns = (
            slice(first * scale, last * scale) for first, last in ((self.top, self.bottom), (self.left, self.right))
        )
        return picture[rows, columns]

    def wider(self, margin: int, height: int, width: int, grid: int = 1) -> "Area":
        """The area with a margin on all sides, extended to a grid and limited to a picture of the given size."""
        return Area(
            top=max(0, self.top - margin) // grid * grid,
            bottom=min(height, -(-(self.bottom + margin) // grid) * grid),
            left=max(0, self.left - margin) // grid * grid,
            right=min(width, -(-(self.right + margin) // grid) * grid),
        )

    def within(self, other: "Area") -> "Area":
        """The area in coordinates relative to the top left corner of another area."""
        return Area(self.top - other.top, self.bottom - other.top, self.left - other.left, self.right - other.left)


@dataclass(frozen=True)
class Part:
    """A part of a frame to compute: the area to read, and the area of the result to use. Both in input pixels."""

    read: Area
    taken: Area


def changed(picture: Tensor, previous: Tensor) -> Area:
    """The bounding box of the pixels of (H, W, C) that differ from the previous frame; there must be some."""
    different = (picture != previous).any(dim=-1)  # (H, W)
    rows, columns = different.any(dim=1).nonzero(), different.any(dim=0).nonzero()
    return Area(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


def part_to_compute(area: Area, height: int, width: int, facts: Facts) -> Part | None:
    """The part to compute if an area has changed; None if the whole frame must be, or might as well be.

    The change affects the output within one halo around the area; to compute that, another halo must be read.
    """
    halo = facts.halo.exact  # for any preset: borders of parts must never show
    if facts.global_statistics or not facts.tiling:
        return None
    taken = area.wider(halo, height, width)
    grid = -(-GRID // facts.alignment) * facts.alignment
    read = taken.wider(halo, height, width, grid)
    if read.bottom - read.top < min(facts.minimum, height) or read.right - read.left < min(facts.minimum, width):
        return None  # the network would pad the part, but not the frame
    return Part(read, taken) if read.pixels <= WORTHWHILE * height * width else None
