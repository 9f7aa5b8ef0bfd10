"""Complete one-block networks through the engine: their facts are what plans, strips and parts need.

Other tests' stand-ins give the same picture for any tile origin and any padding. These networks do not.
Each is compared with spandrel's module or descriptor, which sees the picture as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import facts_of
from apisr_pack.engine import bytes_for, plan, upscale
from apisr_pack.tests import tiny
from torch import Tensor

HALF_A_STEP = 0.5 / 255


@dataclass(frozen=True)
class Case:
    make: Callable[[Path], tuple[Any, tiny.Reference]]
    size: tuple[int, int]
    """Of a picture that the network must pad, and whose size no tile divides."""
    tile: int
    changed: tuple[int, int]
    """Rows of the picture that a second frame changes; the part around them is not at a multiple of the alignment."""


CASES = {
    "GRL": Case(tiny.one_block_grl, (301, 5), 110, (149, 151)),
    "RRDB 2x": Case(tiny.one_block_rrdb_2x, (757, 7), 301, (377, 379)),
    "adopted, multiple of 4": Case(tiny.adopted_multiple_of_4, (757, 7), 301, (377, 379)),
    "foreign, multiple of 4": Case(tiny.foreign_multiple_of_4, (757, 7), 301, (377, 379)),
    "unknown, windows of 8": Case(tiny.unknown_windows_of_8, (251, 20), 160, (120, 122)),
    "unknown, windows of 7": Case(tiny.unknown_windows_of_7, (251, 20), 160, (120, 122)),
}


@cache
def picture_of(name: str) -> Tensor:
    """(1, H, W, 3), the same for all tests of a network."""
    return torch.rand(1, *CASES[name].size, 3, generator=torch.Generator().manual_seed(1))


def whole(theirs: tiny.Reference, images: Tensor) -> Tensor:
    """What the reference makes of each picture, in the engine's layout."""
    with torch.inference_mode():
        results = [theirs(image[None].permute(0, 3, 1, 2)).permute(0, 2, 3, 1) for image in images]
    result = torch.cat(results)
    assert result.std() > 0.03
    assert (result[0, -8:, -8:].std(dim=(0, 1)) > 0.01).all(), "its borders are not clamped away"
    return result.clamp(0, 1)


def difference(got: Tensor, expected: Tensor) -> float:
    assert got.shape == expected.shape
    return float((got - expected).abs().max())


@pytest.mark.parametrize("name", CASES)
def test_whole_and_in_tiles(name: str, device: str, tmp_path: Path) -> None:
    case, picture = CASES[name], picture_of(name)
    model, theirs = case.make(tmp_path)
    expected = whole(theirs, picture)
    tiles = plan(*case.size, facts_of(model), tile=case.tile)
    assert len(tiles.rows) > 1
    assert difference(upscale(model, picture, device=device), expected) <= 1e-4
    assert difference(upscale(model, picture, tile=case.tile, device=device), expected) <= HALF_A_STEP


@pytest.mark.parametrize("share", [0.7, 0.3])
@pytest.mark.parametrize("name", CASES)
def test_in_a_part_of_the_memory(name: str, share: float, tmp_path: Path) -> None:
    """In strips where the network can, in tiles where not."""
    case, picture = CASES[name], picture_of(name)
    model, theirs = case.make(tmp_path)
    facts = facts_of(model)
    budget = int(share * bytes_for(*case.size, facts, torch.float32))
    tiles = plan(*case.size, facts, budget=budget)
    assert tiles.strip if facts.strips else len(tiles) > 1
    assert difference(upscale(model, picture, budget=budget), whole(theirs, picture)) <= HALF_A_STEP


@pytest.mark.parametrize("name", CASES)
def test_parts_of_frames(name: str, tmp_path: Path) -> None:
    """A few rows of a clip change and change back: only they and the pixels that see them are computed."""
    case, told = CASES[name], []
    frames = picture_of(name).repeat(3, 1, 1, 1)
    frames[1, slice(*case.changed)] = 1 - frames[1, slice(*case.changed)]
    model, theirs = case.make(tmp_path)
    expected = whole(theirs, frames)
    assert difference(upscale(model, frames, tell=told.append), expected) <= HALF_A_STEP
    assert ("2 computed in part" in "".join(told)) != facts_of(model).global_statistics


@pytest.mark.parametrize("size", [(2, 3), (5, 9), (22, 37), (37, 22)], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_padding(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    """Each side by its own amount, and what was added is cut off again."""
    model, theirs = CASES[name].make(tmp_path)
    image = torch.rand(2, 3, *size)
    with torch.inference_mode():
        expected = theirs(image).clamp(0, 1)
    assert difference(model(image), expected) <= 1e-4
    assert difference(upscale(model, image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), expected) <= 1e-4
