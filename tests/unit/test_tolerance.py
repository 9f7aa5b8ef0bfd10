"""Reuse with a tolerance: every pixel of a result is as if computed from a picture within the tolerance."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from apisr_pack.engine import Callbacks, prepare, session, upscale
from apisr_pack.engine.cells import MOST_REUSES, Grid, block_differences
from apisr_pack.engine.rectangles import MOST_PARTS, components, merged, parts_around
from apisr_pack.engine.reuse import Area, part_around
from apisr_pack.tests.standins import REACH, BlurModel, Counted
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

STEP = 1 / 255
REPORT = re.compile(r"(\d+) of (\d+) frames copied(?:, (\d+) computed in part)?: (\d+)% of the work saved")
EXACTLY = 1e-5
"""Rounding errors of `Blur`."""


def streamed(model: Any, frames: Sequence[Tensor] | Tensor, tolerance: float, **how: Any) -> tuple[list[Tensor], float]:
    """The results of a session, and the share of the work that it says it saved."""
    job = prepare(model, (len(frames), *frames[0].shape), **how)
    with session(model, job, tolerance=tolerance) as upscale_one:
        results = [upscale_one(picture) for picture in frames]
        return results, upscale_one.reused


def errors(results: Sequence[Tensor], frames: Tensor, **how: Any) -> list[float]:
    """The largest error of each result, in steps of 1/255. `Blur` passes errors of its input on, not enlarged."""
    expected = upscale(BlurModel(), frames, reuse_frames=False, **how)
    return [float((got - right).abs().max()) / STEP for got, right in zip(results, expected, strict=True)]


def levels(*shape: int) -> Tensor:
    """Random pictures of 8 bits, with room for a few steps up and down."""
    return torch.randint(20, 235, shape) * STEP


def noisy(frames: Tensor, steps: int) -> Tensor:
    return frames + torch.randint(-steps, steps + 1, frames.shape) * STEP


def changes_of(results: Sequence[Tensor]) -> int:
    return sum(one is not other for one, other in pairwise(results))


# Held pictures


@pytest.mark.parametrize("how", [{}, {"size": (150, 140)}, {"size": (400, 360)}], ids=str)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_noise_on_a_held_picture_is_computed_once_in_a_while(how: dict[str, Any], channels: int) -> None:
    frames = noisy(levels(1, 100, 90, channels).repeat(2 * MOST_REUSES + 2, 1, 1, 1), 1)
    results, reused = streamed(BlurModel(), frames, 2, **how)
    new = [n for n in range(1, len(results)) if results[n] is not results[n - 1]]
    assert new == [MOST_REUSES + 1]
    assert reused == pytest.approx(1 - 2 / len(frames))


def test_noise_beyond_the_tolerance_is_computed() -> None:
    frames = noisy(levels(1, 100, 90, 3).repeat(6, 1, 1, 1), 2)
    results, reused = streamed(BlurModel(), frames, 1)
    assert reused == 0
    assert max(errors(results, frames)) < EXACTLY / STEP


def test_a_picture_that_stays_the_same_is_never_computed_again() -> None:
    frames = levels(1, 100, 90, 3).repeat(3 * MOST_REUSES, 1, 1, 1)
    results, _ = streamed(BlurModel(), frames, 1)
    assert changes_of(results) == 0


def test_a_small_change_that_stays_gets_into_the_picture() -> None:
    """Within the tolerance, and only in one place; its neighbours are right in the end as well."""
    frames = levels(1, 200, 220, 3).repeat(3 * MOST_REUSES + 6, 1, 1, 1)
    frames[1:, 90:100, 90:100] += STEP
    counted = Counted(BlurModel())
    results, _ = streamed(counted, frames, 1)
    found = errors(results, frames)
    assert found[1] == pytest.approx(1, abs=0.01)
    assert found[MOST_REUSES] == pytest.approx(1, abs=0.01)
    assert max(found[MOST_REUSES + 1 :]) < EXACTLY / STEP
    assert len(counted.shapes) == 2
    assert counted.pixels < 1.5 * 200 * 220, "a part"
    assert changes_of(results[MOST_REUSES + 1 :]) == 0


def test_the_reference_belongs_to_the_session() -> None:
    """It is moved in place, and the caller's pictures stay what they are."""
    frames = levels(3, 200, 220, 3)
    frames[1:] = frames[0]
    frames[1:, :9, :9] = 0
    before = frames.clone()
    streamed(BlurModel(), frames, 1)
    assert torch.equal(frames, before)


def test_values_outside_0_to_1_are_compared_as_the_network_gets_them() -> None:
    frames = torch.rand(3, 60, 50, 3)
    frames[0, 5, 5] = torch.tensor([2.0, float("inf"), float("-inf")])
    frames[1:] = frames[0]
    frames[1, 5, 5, 0] = 1
    results, _ = streamed(BlurModel(), frames, 1)
    assert changes_of(results) == 0


# Slow changes


@pytest.mark.parametrize("tolerance", [0.5, 1, 2.5, 6])
@pytest.mark.parametrize("how", [{}, {"size": (400, 360)}], ids=["parts", "whole"])
def test_a_fade_is_never_off_by_more_than_the_tolerance(tolerance: float, how: dict[str, Any]) -> None:
    """96 frames, 1.5 steps each: no reuse adds to the error of the one before."""
    frames = (levels(1, 100, 90, 3) * torch.linspace(1, 0.4, 96)[:, None, None, None]).contiguous()
    results, reused = streamed(BlurModel(), frames, tolerance, **how)
    assert max(errors(results, frames, **how)) <= tolerance + EXACTLY / STEP
    assert (reused > 0.2) == (tolerance > 2), "so there was something to be wrong"


def test_a_fade_has_all_the_steps_that_the_tolerance_leaves() -> None:
    shades = torch.arange(96) * 0.5 + 60  # in steps
    frames = (shades * STEP)[:, None, None, None].expand(-1, 40, 50, 3)
    results, _ = streamed(BlurModel(), frames, 1)
    seen = torch.stack([result[40, 50, 0] for result in results]) / STEP
    assert (seen - shades).abs().max() <= 1.01
    assert changes_of(results) == 31, "each third: 1.5 steps are too much"


def test_a_slow_pan_is_never_off_by_more_than_the_tolerance() -> None:
    """Each frame alone differs little from the one before."""
    wide = torch.linspace(0, 1, 600)[None, :, None].expand(90, -1, 3).contiguous()
    wide[30:60] += 0.02 * torch.sin(torch.arange(600) / 9)[None, :, None]
    frames = torch.stack([wide[:, shift : shift + 500] for shift in range(60)])
    results, reused = streamed(BlurModel(), frames, 2)
    assert max(errors(results, frames)) <= 2.01
    assert reused > 0.05
    assert changes_of(results) >= 59 * 255 / 600 / 2 - 1, "as many steps as the ramp makes"


# Parts


@pytest.mark.parametrize("size", [None, (500, 600)], ids=["native", "resized"])
def test_two_changes_far_apart_are_two_rectangles(size: tuple[int, int] | None) -> None:
    frames = levels(1, 320, 400, 3).repeat(2, 1, 1, 1)
    frames[1, 5:20, 7:20] = 0
    frames[1, 300:310, 380:390] = 0
    counted = Counted(BlurModel())
    seen, told = list[float](), list[str]()
    job = prepare(counted, frames.shape, size=size)
    callbacks = Callbacks(on_tile=lambda done, total: seen.append(done / total), tell=told.append)
    with session(counted, job, callbacks=callbacks, tolerance=1) as upscale_one:
        results = [upscale_one(picture) for picture in frames]
        reused = upscale_one.reused
    assert len(counted.shapes) == 3
    assert counted.pixels < 1.15 * 320 * 400
    assert max(errors(results, frames, size=size)) < EXACTLY / STEP
    saved = 2 - counted.pixels / (320 * 400)
    assert reused == pytest.approx(saved / 2)
    found = REPORT.search(told[-1])
    assert found
    assert found.groups() == ("0", "2", "1", f"{50 * saved:.0f}")
    assert seen == sorted(seen), "the parts are one pass of the progress"
    assert seen[-1] == 1


def test_a_part_that_the_network_would_pad_is_not_computed_alone() -> None:
    frames = levels(1, 320, 400, 3).repeat(2, 1, 1, 1)
    frames[1, 5:20, 7:20] = 0
    for minimum, alone in ((64, True), (65, False)):
        model = BlurModel()
        model.facts = replace(model.facts, minimum=minimum)
        streamed(model, frames, 1)
        assert (model.shapes[1] != (320, 400)) == alone


@pytest.mark.parametrize("change", [{"tiling": False}, {"global_statistics": True}], ids=str)
def test_networks_that_need_the_whole_frame(change: dict[str, Any]) -> None:
    model = BlurModel()
    model.facts = replace(model.facts, **change)
    frames = levels(1, 320, 400, 3).repeat(3, 1, 1, 1)
    frames[1:, 5, 7] += STEP
    frames[2, 5, 7] += STEP
    results, _ = streamed(model, frames, 1)
    assert results[0] is results[1]
    assert max(errors(results, frames)) <= 1.01
    assert model.shapes == [(320, 400)] * 2


def test_too_many_places_are_the_whole_frame() -> None:
    job = prepare(BlurModel(), (1, 4000, 4000, 3))
    stale = torch.zeros(125, 125, dtype=torch.bool)
    stale[::12, ::12] = True
    assert int(stale.sum()) > MOST_PARTS
    assert parts_around(stale, 32, job) is None
    stale[60:] = False
    assert len(parts_around(stale, 32, job) or ()) == int(stale.sum())


def test_cells_that_touch_are_one_group() -> None:
    marked = torch.tensor([[1, 0, 0, 0, 1], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]], dtype=torch.bool)
    boxes = {(box.top, box.bottom, box.left, box.right) for box in components(marked)}
    assert boxes == {(0, 2, 0, 2), (0, 2, 4, 5), (3, 4, 0, 1)}


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 4), min_size=1, max_size=8))
def test_merged_parts_cover_all_do_not_overlap_and_read_no_more(boxes: list[tuple[int, int, int, int]]) -> None:
    job = prepare(BlurModel(), (1, 400, 400, 3))
    areas = [Area(32 * t, 32 * (t + h % 3 + 1), 32 * left, 32 * (left + w % 3 + 1)) for t, h, left, w in boxes]
    parts = [part_around(area, 400, 400, job.facts) for area in areas]
    found = merged(parts, job)
    taken = [part.taken for part in found]
    assert all(any(area.joined(each) == each for each in taken) for area in areas)
    for index, one in enumerate(found):
        for other in found[:index]:
            assert not one.taken.overlaps(other.taken)
            joined = part_around(one.taken.joined(other.taken), 400, 400, job.facts)
            assert joined.read.pixels > one.read.pixels + other.read.pixels


# Everywhere


@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([(32, 8), (32, 3), (32, 0), (12, 40), (70, 0)]))
@settings(deadline=None)
def test_regions_are_cells_with_their_halo(height: int, width: int, sizes: tuple[int, int]) -> None:
    grid = Grid(*sizes)
    pixels = torch.rand(height, width)
    blocks = block_differences(pixels[..., None], torch.zeros(height, width, 1), grid.block)
    got = grid.in_regions(blocks)
    for row in range(-(-height // grid.cell)):
        for column in range(-(-width // grid.cell)):
            top, left = row * grid.cell, column * grid.cell
            area = Area(top, min(height, top + grid.cell), left, min(width, left + grid.cell))
            assert got[row, column] == area.wider(grid.halo, height, width).of(pixels).max()
    assert got.shape == (-(-height // grid.cell), -(-width // grid.cell))


@given(st.data(), st.sampled_from([1.0, 2.0, 3.5]), st.booleans(), st.integers(0, 2**16))
@settings(deadline=None, max_examples=60)
def test_no_pixel_is_ever_off_by_more_than_the_tolerance(
    data: st.DataObject, tolerance: float, one_way: bool, seed: int
) -> None:
    """Small changes in small places, which also add up; near the borders of cells, where neighbours see them."""
    generator = torch.Generator().manual_seed(seed)
    height, width = (data.draw(st.sampled_from([96, 101, 160])) for _ in range(2))
    picture = torch.full((height, width, 1), 0.5)
    frames = [picture]
    places = st.one_of(st.integers(28, 36), st.integers(60, 68), st.integers(0, 95))
    for _ in range(data.draw(st.integers(4, 14))):
        picture = picture.clone()
        for _ in range(data.draw(st.integers(0, 3))):
            top, left = data.draw(places), data.draw(places)
            bottom, right = (first + data.draw(st.sampled_from([1, 4, 40])) for first in (top, left))
            amount = data.draw(st.sampled_from([0.4, 0.9, 1.0, 2.0])) * STEP
            area = picture[top:bottom, left:right]
            area += amount * (1 if one_way else torch.randint(-1, 2, area.shape, generator=generator))
        frames.append(picture)
    results, _ = streamed(BlurModel(), frames, tolerance)
    assert max(errors(results, torch.stack(frames))) <= tolerance + 0.01


def test_the_first_pixel_that_the_halo_reaches_counts() -> None:
    """A cell is computed for a change in its halo alone, and not for one beyond it."""
    frames = levels(1, 320, 320, 3).repeat(2, 1, 1, 1)
    for distance, cells in ((REACH, 2), (REACH + 1, 1)):
        frames[1] = frames[0]
        frames[1, 100, 95 + distance] = 0  # right of a cell that ends at 96
        model = BlurModel()
        results, _ = streamed(model, frames, 1)
        assert max(errors(results, frames)) < EXACTLY / STEP
        assert model.shapes[1][1] == (cells + 2) * 32
