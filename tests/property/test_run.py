"""For any picture, limits and failures: the right picture or the right error, and no work done twice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import WHOLE, Facts, Halo, NotEnoughMemory, Strips, Way
from apisr_pack.apisr_archs.facts import bytes_per_pixel
from apisr_pack.engine import PRESETS, Cancelled, plan, upscale
from apisr_pack.engine.tiling import MEANS_ROUNDS, MIN_KEPT_BY_HAND
from apisr_pack.tests.standins import HalfModel, Nearest, enlarged
from apisr_pack.tests.strategies import row_strips
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

PER_PIXEL = 1000
"""Bytes that a stand-in says it takes for each input pixel."""
STEP = 2**-16
"""Red counts the pixels in these steps, so that a stand-in knows which pixels it gets; exact in fp32."""
UNLIMITED = 10**9


@dataclass(frozen=True)
class Region:
    """What a network was called with."""

    top: int
    left: int
    height: int
    width: int
    rows: int | None

    def inside(self, top: int, left: int, height: int, width: int) -> bool:
        ends_inside = self.top + self.height <= top + height and self.left + self.width <= left + width
        return top <= self.top and left <= self.left and ends_inside


class Placed:
    """A model that tells from the red of `numbered` which region it gets, checks how it is called and fails on demand.

    The engine sees no layers of it, so `on_tile` is called at the beginnings of tiles only.
    """

    def __init__(self, facts: Facts, columns: int = 1, fails: set[int] | range = range(0)) -> None:
        """columns: of the picture; fails: which attempts run out of memory, counted from 0."""
        self.facts, self.columns, self.fails = facts, columns, fails
        self.scale = facts.scale
        self.network = Nearest(facts.scale)
        self.attempts: list[Region] = []
        self.done: list[tuple[int, Region]] = []
        self.tile = 0  # of the whole picture, see `on_tile`

    def on_tile(self, done: float, _: int) -> None:
        self.tile = int(done)

    def __call__(self, image: Tensor, way: Way = WHOLE) -> Tensor:
        assert image.is_contiguous()
        first = round(float(image[0, 0, 0, 0]) / STEP)
        region = Region(*divmod(first, self.columns), *image.shape[-2:], way.rows)
        self.attempts.append(region)
        self._mind(region)
        if len(self.attempts) - 1 in self.fails:
            raise torch.OutOfMemoryError("out of memory")
        result = self.network(image)
        self.done.append((self.tile, region))
        return result

    def _mind(self, region: Region) -> None:
        assert region.top % self.facts.alignment == region.left % self.facts.alignment == 0
        if region.rows is not None:
            assert self.facts.strips, "only who can run in strips is asked to"
            assert region.rows in range(self.facts.strips.multiple, region.height, self.facts.strips.multiple)


@st.composite
def networks(draw: st.DrawFn, scales: tuple[int, ...] = (1, 2, 3, 4)) -> Facts:
    exact = draw(st.integers(0, 12))
    return Facts(
        scale=draw(st.sampled_from(scales)),
        alignment=draw(st.sampled_from([1, 2, 3, 8, 16])),
        halo=Halo(exact, exact // 2),
        feather=draw(st.sampled_from([0, 1, 8, 16])),
        bytes_per_pixel=bytes_per_pixel(PER_PIXEL),
        tiling=draw(st.integers(0, 9)) > 0,
        strips=draw(st.none() | row_strips([1, 2, 8, 16], 4, st.floats(0.01, 1))),
    )


@st.composite
def limits(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of `plan` and `upscale`; often None (no limit)."""
    return {
        "tile": draw(st.none() | st.integers(1, 100)),
        "overlap": draw(st.none() | st.integers(0, 40)),
        "preset": draw(st.sampled_from(PRESETS)),
    }


sides = st.integers(1, 120)


def numbered(height: int, width: int, channels: int = 3, count: int = 1) -> Tensor:
    """Pictures whose red (or grey) tells the place; opaque if they have alpha."""
    images = torch.randint(0, 257, (count, height, width, channels)) / 256
    images[..., 0] = torch.arange(height * width).view(height, width) * STEP
    if channels == 4:
        images[..., 3] = 1
    return images


@given(sides, sides, networks(), limits(), st.integers(0, 15_000), st.sampled_from([1, 3, 4]))
@settings(deadline=None, max_examples=80)
def test_any_plan_gives_the_picture_enlarged(
    height: int, width: int, facts: Facts, how: dict[str, Any], pixels: int, channels: int
) -> None:
    images, model = numbered(height, width, channels), Placed(facts, width)
    budget = pixels * PER_PIXEL
    assert torch.equal(upscale(model, images, budget=budget, **how), enlarged(images, facts.scale))
    tiles = plan(height, width, facts, budget=budget, **how)
    assert len(tiles) == 1 or facts.tiling
    assert [(r.height, r.width, r.rows) for r in model.attempts] == [(*tiles.tile, tiles.strip)] * len(tiles)


@given(sides, sides, networks((1, 2)), limits(), st.sets(st.integers(0, 14), max_size=8))
@settings(deadline=None, max_examples=80)
def test_out_of_memory_at_any_calls(
    height: int, width: int, facts: Facts, how: dict[str, Any], fails: set[int]
) -> None:
    images, model = numbered(height, width), Placed(facts, width, fails)
    try:
        result = upscale(model, images, budget=UNLIMITED, on_tile=model.on_tile, **how)
    except NotEnoughMemory:
        last = model.attempts[-1]
        smallest = plan(last.height, last.width, facts, budget=1, **{**how, "tile": 1})
        assert len(smallest) == 1, "it gives up only with what cannot be made smaller"
        assert smallest.strip is None or (last.rows or last.height) <= smallest.strip
    else:
        assert torch.equal(result, enlarged(images, facts.scale))
    check_nothing_is_done_twice(model, plan(height, width, facts, budget=UNLIMITED, **how))


def check_nothing_is_done_twice(model: Placed, tiles: Any) -> None:
    """Every call serves the tile of the first plan that is due, and a tile that is complete is not touched again."""
    read = [(tiles.rows[y].start, tiles.columns[x].start, *tiles.tile) for y, x in tiles.places()]
    indices = [index for index, _ in model.done]
    assert indices == sorted(indices)
    for index, region in model.done:
        assert region.inside(*read[index])
        assert (region.height, region.width) != tiles.tile or indices.count(index) == 1
    # nor any of its parts; with wide steps, parts of neighbors may by chance be the same part of what both read
    if model.facts.alignment <= MIN_KEPT_BY_HAND // 4:
        regions = [(index, r.top, r.left, r.height, r.width) for index, r in model.done]
        assert len(set(regions)) == len(regions)


@given(sides, sides, networks((1, 2)), limits(), st.integers(0, 5))
@settings(deadline=None, max_examples=40)
def test_memory_that_never_comes_back(height: int, width: int, facts: Facts, how: dict[str, Any], after: int) -> None:
    """It ends soon: each attempt is for fewer pixels or narrower strips than the one before."""
    images, model = numbered(height, width), Placed(facts, width, fails=range(after, 10**6))
    if after < len(plan(height, width, facts, budget=UNLIMITED, **how)):
        with pytest.raises(NotEnoughMemory, match=r"a tile of \d+x\d+ pixels .* \d+ MB; .* GB seem to be free"):
            upscale(model, images, budget=UNLIMITED, **how)
    failed = [(r.height * r.width, r.rows or r.height) for r in model.attempts[after:]]
    assert failed == sorted(set(failed), reverse=True)


def test_several_frames_through_a_shortage() -> None:
    """What has failed once is not tried again with the next frames, and no frame is computed anew."""
    facts = Facts(2, 1, Halo(4, 4), 8, bytes_per_pixel(PER_PIXEL))
    images = numbered(200, 220, count=4)
    images[..., 1] += torch.arange(4).view(4, 1, 1) / 1024
    model = Placed(facts, 220, fails={1})
    result = upscale(model, images.clamp(0, 1), budget=UNLIMITED, reuse_frames=False)
    assert torch.equal(result, enlarged(images.clamp(0, 1), 2))
    whole = [region for _, region in model.done if region.height == 200 and region.width == 220]
    assert len(whole) == 1, "the first frame, before memory ran out in the second"
    assert len(model.attempts) - len(model.done) == 1


def half(facts: Facts, spoilt: set[int]) -> HalfModel:
    """In two layers, because cancelling is checked after each layer."""
    return HalfModel(Nearest(facts.scale, layers=2), facts, spoilt)


@given(sides, sides, networks((1, 2)), limits(), st.sets(st.integers(0, 8)))
@settings(deadline=None, max_examples=40)
def test_nan_at_any_calls(height: int, width: int, facts: Facts, how: dict[str, Any], spoilt: set[int]) -> None:
    images, model, told = torch.randint(0, 257, (1, height, width, 3)) / 256, half(facts, spoilt), []
    result = upscale(model, images, budget=UNLIMITED, tell=told.append, **how)
    assert torch.equal(result, enlarged(images, facts.scale))
    tiles = len(plan(height, width, facts, budget=UNLIMITED, dtype=torch.float16, **how))
    assert model.calls == tiles
    assert model.reruns == sum(call < tiles for call in spoilt)
    assert sum("NaN" in line for line in told) == bool(model.reruns), "told once"
    assert model.dtype == torch.float16, "the weights are as they were"


@given(st.integers(1, 120), networks((1, 2)), limits(), st.integers(0, 30), st.sets(st.integers(0, 8)))
@settings(deadline=None, max_examples=40)
def test_cancelling_at_any_moment(side: int, facts: Facts, how: dict[str, Any], after: int, spoilt: set[int]) -> None:
    """It stops within one layer; no hooks are left on the network, and it can be used again at once."""
    images, model, asked = torch.randint(0, 257, (1, side, side, 3)) / 256, half(facts, spoilt), []

    def is_cancelled() -> bool:
        asked.append(model.calls)
        return len(asked) > after

    try:
        upscale(model, images, budget=UNLIMITED, is_cancelled=is_cancelled, **how)
    except Cancelled:
        assert len(asked) == after + 1
        assert model.calls <= asked[-1], "nothing is begun afterwards"
    else:
        assert len(asked) <= after
    assert model.dtype == torch.float16
    assert not any(module._forward_hooks for module in model.model.modules())
    assert torch.equal(upscale(model, images, budget=UNLIMITED, **how), enlarged(images, facts.scale))


class Looks(Placed):
    """Takes means over the whole picture, and keeps those that it goes on with once all are gathered."""

    def __init__(self, facts: Facts, columns: int, fails: set[int], gathering: int) -> None:
        """gathering: tiles that are computed for the means alone."""
        super().__init__(facts, columns, fails)
        self.gathering = gathering
        self.means: list[tuple[Tensor, Tensor]] = []

    def __call__(self, image: Tensor, way: Way = WHOLE) -> Tensor:
        tokens, means = image.permute(0, 2, 3, 1), way.means
        means.begin()
        pixels = means.pixels(*tokens.shape[1:3])
        mean, square = (means.share(means.part(x).sum(dim=(1, 2)) / pixels) for x in (tokens, tokens.square()))
        result = super().__call__(image, way)
        if self.tile >= self.gathering:
            self.means.append((mean, square))
        return result


TAKES_MEANS = Strips(1, 1, 1.0, 0.1, 0.1, 0.9)
"""Of networks that are told the means over the whole picture."""


@given(st.integers(80, 110), st.integers(80, 110), networks((1, 2)), st.integers(45, 60), st.data())
@settings(deadline=None, max_examples=25)
def test_tiles_get_the_means_of_the_picture(h: int, w: int, facts: Facts, tile: int, data: st.DataObject) -> None:
    """This includes the tiles that a tile is split into when memory runs out."""
    facts = replace(facts, alignment=4, tiling=True, global_statistics=True, strips=TAKES_MEANS, halo=Halo(8, 4))
    tiles = len(plan(h, w, facts, tile=tile))
    assert tiles > 1
    fails = data.draw(st.sets(st.integers(0, (MEANS_ROUNDS + 1) * tiles - 1), max_size=1))
    images, model = numbered(h, w), Looks(facts, w, fails, MEANS_ROUNDS * tiles)
    result = upscale(model, images, budget=UNLIMITED, tile=tile, on_tile=model.on_tile)
    assert torch.equal(result, enlarged(images, facts.scale))
    assert len(model.means) >= tiles
    for mean, square in model.means:
        assert torch.allclose(mean, images.mean(dim=(1, 2)), rtol=1e-4)
        assert torch.allclose(square, images.square().mean(dim=(1, 2)), rtol=1e-4)
