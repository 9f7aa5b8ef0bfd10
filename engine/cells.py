"""Reuse with a tolerance: finds the cells of a frame that differ too much from what their result was computed from.

A frame is divided into cells. The result in a cell depends on its region, the cell and one halo around it. The
reference is a picture that holds for each pixel what it was when its own cell was last computed. So the pixels that a
cell's result was computed from may differ from the reference in its halo; by how much at most is the cell's `drift`:

    - when a cell is computed, its drift becomes the largest difference between frame and new reference in its region
      (that of the neighbouring cells that are not computed);
    - when it is reused while the reference moves in its region, the largest such move is added.

A cell is reused as long as the difference between frame and reference in its region, plus the drift, is at most the
tolerance: by the triangle inequality no pixel that its result was computed from differs from the frame by more. The
reference moves only in cells that are computed, so that slow changes do not get lost, and errors do not add up.
"""

from dataclasses import dataclass
from math import gcd

import torch
import torch.nn.functional as F
from torch import Tensor

from .job import Job
from .rectangles import parts_around
from .reuse import Area, Parts, grid_of, has_parts

MOST_REUSES = 24
"""A cell whose region differs at all is computed after being reused this many times in a row: about once a second of a
film. So small differences that are there to stay, like the end of a fade, do get into the picture."""
ROUNDING = 1e-6
"""Added to the tolerance: in fp32, two neighbouring levels of 8 bits can be a little more than 1/255 apart."""


@dataclass(frozen=True)
class Grid:
    """How frames are divided: sizes in input pixels. The last row and column of cells may reach beyond the frame."""

    cell: int
    """Side length of the cells."""
    halo: int
    """How far around a cell its region reaches."""

    @property
    def block(self) -> int:
        """Side length of the largest squares of which both cells and regions consist."""
        return gcd(self.cell, self.halo)

    def in_regions(self, blocks: Tensor) -> Tensor:
        """The maximum in each cell's region: (block rows, block columns) -> (rows, columns)."""
        cell, halo = self.cell // self.block, self.halo // self.block
        return F.max_pool2d(blocks[None], cell + 2 * halo, stride=cell, padding=halo, ceil_mode=True)[0]

    def in_blocks(self, cells: Tensor, blocks: Tensor) -> Tensor:
        """The value of the cell around each block: (rows, columns) -> the shape of `blocks`."""
        times = self.cell // self.block
        spread = cells.repeat_interleave(times, dim=0).repeat_interleave(times, dim=1)
        return spread[: blocks.shape[0], : blocks.shape[1]]


@dataclass(frozen=True)
class Cells:
    """What is known of each cell, apart from the reference: (rows, columns), on the CPU."""

    drift: Tensor
    """How far the reference may be from what the cell's result was computed from, in its region; 1 is white."""
    age: Tensor
    """How many times in a row the cell has been reused although something differed."""


def grid_for(job: Job) -> Grid:
    """The grid for a job; one cell for the whole frame if parts of it cannot be computed alone."""
    if not has_parts(job):
        return Grid(max(job.height, job.width), 0)
    return Grid(grid_of(job.facts), job.facts.halo.exact)


def block_differences(picture: Tensor, reference: Tensor, block: int) -> Tensor:
    """The largest difference of any channel in each block: two (H, W, C) -> (block rows, block columns) on the CPU."""
    differences = (picture - reference).abs_().permute(2, 0, 1)  # (C, H, W)
    return F.max_pool2d(differences[None].float(), block, ceil_mode=True)[0].amax(dim=0).cpu()


def stale(near: Tensor, cells: Cells, limit: float) -> Tensor:
    """Which cells must be computed, (rows, columns).

    near: the largest difference between frame and reference in each cell's region. limit: the tolerance; 1 is white.
    """
    return differing(near, cells) & ((near + cells.drift > limit) | (cells.age >= MOST_REUSES))


def differing(near: Tensor, cells: Cells) -> Tensor:
    """In which cells the frame may differ at all from what their result was computed from, (rows, columns)."""
    return (near > 0) | (cells.drift > 0)


def reused(near: Tensor, cells: Cells) -> Cells:
    """The cells after a frame in which nothing was computed. near: see `stale`."""
    return Cells(cells.drift, cells.age + differing(near, cells))


def updated(computed: Tensor, blocks: Tensor, cells: Cells, grid: Grid) -> Cells:
    """The cells after a frame in which those marked in `computed` were computed, and the reference moved there.

    blocks: the differences between the frame and the reference before it moved.
    """
    has_moved = grid.in_blocks(computed, blocks)
    moves = grid.in_regions(blocks * has_moved)
    left = grid.in_regions(blocks * ~has_moved)
    older = reused(grid.in_regions(blocks), cells)
    return Cells(
        drift=torch.where(computed, left, cells.drift + moves),
        age=torch.where(computed, 0, older.age),
    )


class Tolerant:
    """Reuses what differs by no more than a tolerance."""

    def __init__(self, job: Job, tolerance: float) -> None:
        """tolerance: in steps of 1/255."""
        self.job = job
        self.limit = tolerance / 255 + ROUNDING
        self.grid = grid_for(job)
        self.state: tuple[Tensor, Cells] | None = None  # the reference, (H, W, C), and the cells

    def parts(self, picture: Tensor) -> Parts:
        picture = picture.clamp(0, 1)  # as networks get it. A copy: the reference must not be the caller's
        if self.state is None:
            rows, columns = (-(-side // self.grid.cell) for side in picture.shape[:2])
            self.state = picture, Cells(torch.zeros(rows, columns), torch.zeros(rows, columns, dtype=torch.int64))
            return None
        reference, cells = self.state
        blocks = block_differences(picture, reference, self.grid.block)
        near = self.grid.in_regions(blocks)
        needed = stale(near, cells, self.limit)
        if not needed.any():
            self.state = reference, reused(near, cells)
            return ()
        parts = parts_around(needed, self.grid.cell, self.job)
        whole = Area(0, self.job.height, 0, self.job.width)
        areas = [whole] if parts is None else [part.taken for part in parts]
        computed = torch.zeros_like(needed)
        for area in areas:
            area.of(reference).copy_(area.of(picture))
            area.in_cells(self.grid.cell).of(computed).fill_(True)
        self.state = reference, updated(computed, blocks, cells, self.grid)
        return parts

    def forget(self) -> None:
        self.state = None
