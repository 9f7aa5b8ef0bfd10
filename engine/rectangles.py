"""Groups the cells of a frame that must be computed into few rectangles: integers, no pictures."""

from torch import Tensor

from .job import Job
from .reuse import Area, Part, Parts, is_worthwhile, part_around

MOST_PARTS = 64
"""If more separate places than this differ, the whole frame is computed: small parts use a device badly, and grouping
many of them takes as long as computing them."""


def parts_around(stale: Tensor, cell: int, job: Job) -> Parts:
    """The parts that compute all cells marked in `stale`, (rows, columns) on the CPU.

    cell: side length of the cells in input pixels, a multiple of the network's alignment.
    """
    cells = components(stale)
    if len(cells) > MOST_PARTS:
        return None
    areas = [_in_pixels(each, cell, job) for each in cells]
    parts = merged([part_around(area, job.height, job.width, job.facts) for area in areas], job)
    return tuple(parts) if is_worthwhile(parts, job.height, job.width, job.facts) else None


def components(marked: Tensor) -> list[Area]:
    """The bounding boxes of the groups of marked cells that touch each other, also at corners. In cells."""
    left = {(row, column) for row, column in marked.nonzero().tolist()}
    boxes: list[Area] = []
    while left:
        group = [left.pop()]
        for row, column in group:  # grows while it is read
            near = {(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)} & left
            left -= near
            group += near
        rows, columns = zip(*group, strict=True)
        boxes.append(Area(min(rows), max(rows) + 1, min(columns), max(columns) + 1))
    return boxes


def merged(parts: list[Part], job: Job) -> list[Part]:
    """The parts, joined as long as two of them overlap, or as reading one large part is no more than reading both."""
    pending, done = list(parts), list[Part]()
    while pending:
        part = pending.pop()
        for other in done:
            joined = part_around(part.taken.joined(other.taken), job.height, job.width, job.facts)
            is_cheaper = joined.read.pixels <= part.read.pixels + other.read.pixels
            if is_cheaper or part.taken.overlaps(other.taken):
                done.remove(other)
                pending.append(joined)
                break
        else:
            done.append(part)
    return done


def _in_pixels(area: Area, cell: int, job: Job) -> Area:
    return Area(
        area.top * cell,
        min(job.height, area.bottom * cell),
        area.left * cell,
        min(job.width, area.right * cell),
    )
