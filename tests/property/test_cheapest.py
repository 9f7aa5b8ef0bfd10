"""Whole, in strips or in tiles: the plan is the cheapest of all that there are, found by trying them all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import ceil, inf

import pytest
import torch
from apisr_pack.apisr_archs import Facts, Halo, Strips
from apisr_pack.apisr_archs.facts import bytes_per_pixel
from apisr_pack.engine import PRESETS, bytes_for, plan
from apisr_pack.engine.estimate import least_strip
from apisr_pack.engine.tiling import MEANS_ROUNDS, MIN_KEPT
from apisr_pack.tests.strategies import row_strips
from hypothesis import given, settings
from hypothesis import strategies as st

sides = st.integers(1, 900)


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    halo = draw(st.integers(0, 60))
    return Facts(
        scale=draw(st.sampled_from([1, 2, 4])),
        alignment=draw(st.sampled_from([1, 4, 8, 16, 32])),
        halo=Halo(halo, halo // 2),
        feather=draw(st.sampled_from([0, 16, 64])),
        bytes_per_pixel=bytes_per_pixel(1000),
        global_statistics=draw(st.booleans()),
        strips=draw(st.none() | row_strips([1, 2, 16], 8, st.floats(0, 1))),
    )


def ways(size: int, halo: int, network: Facts) -> Iterator[tuple[int, int]]:
    """(number, length) of tiles along an axis: for each number the shortest that share two halos."""
    yield 1, size
    step = network.alignment
    for count in range(2, size // step + 2):
        lengths = range(size % step or step, size, step)
        shared = (length - ceil((size - length) / step / (count - 1)) * step for length in lengths)
        shortest = next((length for length, both in zip(lengths, shared, strict=True) if both >= 2 * halo), 0)
        if shortest < 2 * halo + max(step, MIN_KEPT):
            return
        yield count, shortest


def redone(height: int, width: int, network: Facts, budget: int) -> float | None:
    """The part of a tile's pixels that strips compute twice, 0 if it needs none; None if it does not fit."""
    if bytes_for(height, width, network, torch.float32) <= budget:
        return 0
    if network.strips is None:
        return None
    step = least_strip(network.strips)
    fit = (r for r in range(step, height, step) if bytes_for(height, width, network, torch.float32, r) <= budget)
    highest = max(fit, default=None)
    return network.strips.redone / highest if highest else None


def rounds(network: Facts, preset: str) -> int:
    """How often a tile is computed if there are several: only our own networks, in the exact preset, gather means."""
    return 1 + (MEANS_ROUNDS if network.global_statistics and network.strips and preset == "exact" else 0)


@given(sides, sides, facts(), st.floats(0.02, 1), st.sampled_from(PRESETS))
@settings(deadline=None, max_examples=200)
def test_no_choice_is_cheaper(h: int, w: int, network: Facts, share: float, preset: str) -> None:
    budget = int(share * bytes_for(h, w, network, torch.float32))
    halo = getattr(network.halo, preset) + ceil(network.feather / 2 / network.scale)
    costs: list[float] = [inf]
    for (rows, height), (columns, width) in product(ways(h, halo, network), ways(w, halo, network)):
        again = redone(height, width, network, budget)
        if again is not None:
            many = rounds(network, preset) if rows * columns > 1 else 1
            costs.append(rows * height * columns * width * (1 + again) * many)
    chosen = plan(h, w, network, budget=budget, preset=preset)
    again = redone(*chosen.tile, network, budget)
    if again is None:
        assert min(costs) == inf, "it fits in another way"
        return
    many = rounds(network, preset) if len(chosen) > 1 else 1
    cost = len(chosen) * chosen.tile[0] * chosen.tile[1] * (1 + again) * many
    assert cost == pytest.approx(min(costs), rel=1e-3), "strips are a step lower where floats round so"


def test_strips_whose_halos_reach_beyond_the_tile_are_not_taken_for_too_large() -> None:
    strips = Strips(multiple=1, halo=1, redone=0, trunk=0, kept=0, strip=0.5)
    network = replace(SEES_ALL, scale=1, alignment=32, halo=Halo(0, 0), feather=0, strips=strips)
    chosen = plan(17, 96, network, budget=bytes_for(17, 96, network, torch.float32) // 2)
    assert (len(chosen), chosen.strip) == (1, 16)


SEES_ALL = Facts(
    scale=4,
    alignment=8,
    halo=Halo(16, 8),
    feather=16,
    bytes_per_pixel=bytes_per_pixel(1000),
    global_statistics=True,
    strips=Strips(multiple=8, halo=4, redone=16, trunk=0.3, kept=0.1, strip=0.9),
)
"""Strips of 16 rows compute everything twice: more than tiles that share a little, less than four rounds of these."""


@pytest.mark.parametrize(
    ("changes", "preset", "tiles"),
    [
        ({}, "exact", False),
        ({}, "fast", True),  # no means are gathered
        ({"global_statistics": False}, "exact", True),
    ],
)
def test_strips_against_tiles(changes: dict[str, bool], preset: str, tiles: bool) -> None:
    """The picture fits either way; which one is cheaper depends on the rounds for the means."""
    network = replace(SEES_ALL, **changes)
    budget = bytes_for(600, 600, network, torch.float32, 16)
    chosen = plan(600, 600, network, budget=budget, preset=preset)
    assert (len(chosen) > 1) == tiles
    assert tiles or chosen.strip
