"""For any image, network and limits: the tiles cover the image, have one shape and enough halo."""

from __future__ import annotations

from itertools import pairwise
from math import ceil, prod

import pytest
import torch
from apisr_pack.apisr_archs import Facts, Halo
from apisr_pack.apisr_archs.facts import bytes_per_pixel
from apisr_pack.engine import Plan, Segment, bytes_for, plan
from apisr_pack.engine.estimate import fast_strip
from apisr_pack.engine.stitch import Stitcher, ramp
from apisr_pack.engine.tiling import MIN_KEPT, MIN_KEPT_BY_HAND
from apisr_pack.tests.strategies import row_strips
from hypothesis import given, settings
from hypothesis import strategies as st

sides = st.integers(1, 1500)
limits = st.one_of(st.none(), st.integers(1, 1200))


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    halo = draw(st.integers(0, 100))
    return Facts(
        scale=draw(st.sampled_from([1, 2, 3, 4, 8])),
        alignment=draw(st.sampled_from([1, 2, 4, 8, 16, 32])),
        halo=Halo(halo, halo),
        feather=draw(st.sampled_from([0, 1, 16, 64])),
        bytes_per_pixel=bytes_per_pixel(1000),
        strips=draw(st.none() | row_strips([1, 2, 16, 32], 8, st.floats(0, 1))),
    )


def margin(network: Facts) -> int:
    """What a tile reads beyond the seam: the halo, and half the blend, which lies beyond it too."""
    return network.halo.exact + ceil(network.feather / 2 / network.scale)


def axes(tiles: Plan, height: int, width: int) -> list[tuple[tuple[Segment, ...], int]]:
    return [(tiles.rows, height), (tiles.columns, width)]


@given(sides, sides, facts(), limits, limits)
@settings(deadline=None)
def test_one_shape_aligned_and_inside(h: int, w: int, network: Facts, tile: int | None, overlap: int | None) -> None:
    tiles = plan(h, w, network, tile=tile, overlap=overlap)
    for segments, size in axes(tiles, h, w):
        assert len({s.length for s in segments}) == 1
        assert all(s.start % network.alignment == 0 for s in segments)
        assert segments[0].start == 0
        assert segments[-1].start + segments[-1].length == size
        assert (size - segments[0].length) % network.alignment == 0


@given(sides, sides, facts(), limits, limits)
@settings(deadline=None)
def test_every_output_pixel_is_written_and_has_its_halo(
    h: int, w: int, network: Facts, tile: int | None, overlap: int | None
) -> None:
    tiles = plan(h, w, network, tile=tile, overlap=overlap)
    asked = 0 if overlap is None else overlap / 2
    exact = network.halo.exact if overlap is None else 0
    for segments, size in axes(tiles, h, w):
        assert segments[0].first == 0
        assert segments[0].fade == 0
        assert segments[-1].last == size * network.scale
        for before, after in pairwise(segments):
            assert before.start < after.start
            assert after.first + after.fade == before.last, "the blend lies between the two"
            seam = after.first + after.fade / 2
            # what a tile writes beyond the seam, half a blend, comes out of the halo
            assert seam - after.start * network.scale >= asked * network.scale - 1
            assert (before.start + before.length) * network.scale - seam >= asked * network.scale - 1
            assert after.first >= (after.start + exact) * network.scale, "all that it shows is exact"
            assert before.last <= (before.start + before.length - exact) * network.scale


@given(sides, sides, facts(), st.integers(1, 2_000_000_000))
@settings(deadline=None)
def test_within_budget_or_the_smallest(h: int, w: int, network: Facts, budget: int) -> None:
    tiles = plan(h, w, network, budget=budget)
    smallest = plan(h, w, network, budget=1)
    assert tiles.bytes == bytes_for(*tiles.tile, network, torch.float32, tiles.strip)
    assert tiles.bytes <= max(budget, smallest.bytes)
    if bytes_for(h, w, network, torch.float32) <= budget:
        assert len(tiles) == 1, "the whole image fits"
        assert tiles.strip is None
    if tiles.strip:
        assert network.strips
        assert tiles.strip % network.strips.multiple == 0
        assert tiles.strip < tiles.tile[0]
        assert bytes_for(*tiles.tile, network, torch.float32) > budget, "strips only where they are needed"
    # a tile keeps MIN_KEPT pixels of its own: at most that and the alignment above the halo
    longest = 2 * margin(network) + max(network.alignment, MIN_KEPT) + network.alignment
    assert all(smallest.tile[i] <= min((h, w)[i], 2 * longest) for i in range(2))


@given(sides, sides, facts(), st.none() | st.integers(1, 2_000_000_000), limits, st.integers(1, 50_000_000))
@settings(deadline=None)
def test_strips_for_speed_are_no_reason_for_tiles(
    h: int, w: int, network: Facts, budget: int | None, overlap: int | None, piece: int
) -> None:
    tiles = plan(h, w, network, budget=budget, overlap=overlap, strip_bytes=piece)
    plain = plan(h, w, network, budget=budget, overlap=overlap)
    assert len(tiles) * prod(tiles.tile) <= len(plain) * prod(plain.tile)
    if budget is None or bytes_for(h, w, network, torch.float32) <= budget:
        assert len(tiles) == 1
        assert tiles.strip == fast_strip(piece, h, w, network, torch.float32) or (budget and tiles.strip is None)
    assert budget is None or tiles.bytes <= max(budget, plan(h, w, network, budget=1, overlap=overlap).bytes)


@given(sides, sides, facts(), st.integers(1, 1000))
@settings(deadline=None)
def test_a_tile_size_is_kept_or_raised_to_the_smallest(h: int, w: int, network: Facts, tile: int) -> None:
    tiles = plan(h, w, network, tile=tile)
    shortest = 2 * margin(network) + max(network.alignment, MIN_KEPT_BY_HAND)
    for length, size in zip(tiles.tile, (h, w), strict=True):
        assert length <= min(size, max(tile, shortest)) or length < 2 * shortest


@given(sides, sides, facts(), st.integers(10_000_000, 1_000_000_000))
@settings(deadline=None, max_examples=30)
def test_no_plan_with_these_counts_is_cheaper(h: int, w: int, network: Facts, budget: int) -> None:
    """The shortest tiles for a count, found by trying all of them: the formula in tiling.py finds no longer ones."""
    tiles = plan(h, w, network, budget=budget)
    halo, align = margin(network), network.alignment
    for segments, size in axes(tiles, h, w):
        count, length = len(segments), segments[0].length
        if count == 1:
            continue
        shorter = length - align
        gap = -(-((size - shorter) // align) // (count - 1)) * align
        assert gap > shorter - 2 * halo, "tiles one step shorter would still share two halos"


@given(
    st.integers(1, 70), st.integers(1, 70), st.integers(1, 3), st.sampled_from([1, 2, 4]), st.integers(0, 6), st.data()
)
@settings(deadline=None)
def test_tiles_that_agree_give_exactly_their_common_picture(
    h: int, w: int, channels: int, scale: int, halo: int, data: st.DataObject
) -> None:
    network = Facts(scale, data.draw(st.sampled_from([1, 2, 8])), Halo(halo, halo), 16, bytes_per_pixel(1))
    tiles = plan(h, w, network, tile=data.draw(st.integers(1, 40)))
    picture = torch.rand(h * scale, w * scale, channels, generator=torch.Generator().manual_seed(h * 71 + w))
    output = torch.full_like(picture, float("nan"))
    stitcher = Stitcher(output, tiles)
    for y, row in enumerate(tiles.rows):
        for x, column in enumerate(tiles.columns):
            top, left = row.start * scale, column.start * scale
            stitcher.put(picture[top : top + row.length * scale, left : left + column.length * scale], y, x)
    assert torch.equal(output, picture)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 12), st.sampled_from([1, 2]), st.data())
@settings(deadline=None)
def test_tiles_that_come_in_pieces_are_blended_as_whole_ones(
    h: int, w: int, rows: int, scale: int, data: st.DataObject
) -> None:
    """Tiles in half precision that disagree, blended into a picture in full precision."""
    network = Facts(scale, data.draw(st.sampled_from([1, 2, 8])), Halo(4, 4), 16, bytes_per_pixel(1))
    tiles = plan(h, w, network, tile=data.draw(st.integers(1, 40)))
    whole, pieces = (torch.full((h * scale, w * scale, 2), float("nan")) for _ in range(2))
    at_once, bit_by_bit = Stitcher(whole, tiles), Stitcher(pieces, tiles)
    generator = torch.Generator().manual_seed(h * 71 + w)
    for y, x in tiles.places():
        tile = torch.rand(*(side * scale for side in tiles.tile), 2, generator=generator).half()
        at_once.put(tile.float(), y, x)
        for top in range(0, len(tile), rows):
            bit_by_bit.put(tile[top : top + rows], y, x, skipped=top)
    assert torch.equal(pieces, whole)


@given(st.integers(1, 60), st.sampled_from([torch.float32, torch.float16]))
def test_weights_of_a_blend(width: int, dtype: torch.dtype) -> None:
    weights = ramp(width, torch.zeros(1, dtype=dtype)).float()
    assert ((weights > 0) & (weights < 1)).all()
    assert torch.allclose(weights + weights.flip(0), torch.ones(width), atol=1e-3), "half of it each side"


def test_tiles_that_disagree_are_blended_evenly() -> None:
    """Four constant tiles: the seams lie in the middle and rise evenly, and the center is their mean."""
    network = Facts(1, 1, Halo(16, 16), 16, bytes_per_pixel(1))
    tiles = plan(200, 200, network, tile=130)
    assert (len(tiles.rows), len(tiles.columns)) == (2, 2)
    output = torch.zeros(200, 200, 1)
    stitcher = Stitcher(output, tiles)
    for y in range(2):
        for x in range(2):
            stitcher.put(torch.full((*tiles.tile, 1), 2.0 * y + x), y, x)
    assert output[0, :92].unique() == 0
    assert output[0, 108:].unique() == 1
    assert (output[0, 92:108].diff(dim=0) > 0).all()
    assert output[99:101, 99:101].mean() == pytest.approx(1.5)


def test_sizes_below_one() -> None:
    network = Facts(1, 1, Halo(1, 1), 1, bytes_per_pixel(1))
    with pytest.raises(ValueError, match="0x5"):
        plan(5, 0, network)
    with pytest.raises(ValueError, match="tile is 0; expected at least 1"):
        plan(5, 5, network, tile=0)
    with pytest.raises(ValueError, match="overlap is -8; expected at least 0"):
        plan(5, 5, network, overlap=-8)


def test_networks_that_must_see_everything() -> None:
    network = Facts(1, 1, Halo(1, 1), 1, bytes_per_pixel(1), tiling=False)
    assert len(plan(500, 500, network, budget=100, tile=64)) == 1
