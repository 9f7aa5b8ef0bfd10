"""Finds the parts of a frame that must be computed, because they differ from what the previous result was made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..apisr_archs import Facts
from .job import Job

WORTHWHILE = 0.7
"""Parts of a frame are computed alone only if they read at most this share of the frame's pixels."""
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

    def in_cells(self, cell: int) -> "Area":
        """The area in units of cells with this side length, those that it touches."""
        return Area(self.top // cell, -(-self.bottom // cell), self.left // cell, -(-self.right // cell))

    def overlaps(self, other: "Area") -> bool:
        rows = self.top < other.bottom and other.top < self.bottom
        return rows and self.left < other.right and other.left < self.right

    def joined(self, other: "Area") -> "Area":
        """The bounding box of both."""
        return Area(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
        )


@dataclass(frozen=True)
class Part:
    """A part of a frame to compute: the area to read, and the area of the result to use. Both in input pixels."""

    read: Area
    taken: Area


Parts = tuple[Part, ...] | None
"""What must be computed of a frame: these parts; nothing, if there are none; the whole frame, if it is None."""


class Comparison(Protocol):
    """Compares each picture of a stream with what the result so far was computed from."""

    def parts(self, picture: Tensor) -> Parts:
        """What must be computed of a picture, (H, W, C) without NaN. Later ones are compared as if it had been."""
        ...

    def forget(self) -> None:
        """Let the next picture be computed as a whole."""
        ...


class Exact:
    """Reuses what is identical to the previous picture, bit for bit."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.previous: Tensor | None = None

    def parts(self, picture: Tensor) -> Parts:
        previous, self.previous = self.previous, picture
        if previous is None:
            return None
        if torch.equal(picture, previous):
            return ()
        if not has_parts(self.job):
            return None
        part = part_to_compute(changed(picture, previous), self.job.height, self.job.width, self.job.facts)
        return (part,) if part else None

    def forget(self) -> None:
        self.previous = None


def has_parts(job: Job) -> bool:
    """Whether a part of a picture can be computed alone: in one pass, and with the same result as in the picture."""
    return len(job.sizes) == 1 and job.channels != 4 and job.facts.tiling and not job.facts.global_statistics


def changed(picture: Tensor, previous: Tensor) -> Area:
    """The bounding box of the pixels of (H, W, C) that differ from the previous frame; there must be some."""
    different = (picture != previous).any(dim=-1)  # (H, W)
    rows, columns = different.any(dim=1).nonzero(), different.any(dim=0).nonzero()
    return Area(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


def part_to_compute(area: Area, height: int, width: int, facts: Facts) -> Part | None:
    """The part to compute if an area has changed; None if the whole frame must be, or might as well be.

    The change affects the output within one halo around the area; to compute that, another halo must be read.
    """
    part = part_around(area.wider(facts.halo.exact, height, width), height, width, facts)
    return part if is_worthwhile([part], height, width, facts) else None


def part_around(taken: Area, height: int, width: int, facts: Facts) -> Part:
    """The part whose result is used in the area `taken`."""
    # the exact halo for any preset: borders of parts must never show
    return Part(taken.wider(facts.halo.exact, height, width, grid_of(facts)), taken)


def grid_of(facts: Facts) -> int:
    """`GRID`, rounded up to the alignment of the network."""
    return -(-GRID // facts.alignment) * facts.alignment


def is_worthwhile(parts: Sequence[Part], height: int, width: int, facts: Facts) -> bool:
    """Whether these parts of a frame are computed alone, instead of the whole frame."""
    rows, columns = min(facts.minimum, height), min(facts.minimum, width)
    for read in (part.read for part in parts):
        if read.bottom - read.top < rows or read.right - read.left < columns:
            return False  # the network would pad the part, but not the frame
    return sum(part.read.pixels for part in parts) <= WORTHWHILE * height * width
