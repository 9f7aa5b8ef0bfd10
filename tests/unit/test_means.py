"""Networks that look at the whole picture, in tiles: the tiles learn the means over the picture from each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import WHOLE, Facts, Halo, Means, Strips, Way
from apisr_pack.apisr_archs.facts import bytes_per_pixel
from apisr_pack.apisr_archs.networks.registry import load_weights
from apisr_pack.engine import plan, upscale
from apisr_pack.engine.means import gather_means
from apisr_pack.engine.tiling import MEANS_ROUNDS
from apisr_pack.tests import reference, trained
from apisr_pack.tests.standins import Counted, HalfModel, StandIn
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

FACTS = Facts(
    scale=2,
    alignment=1,
    halo=Halo(8, 8),
    feather=16,
    bytes_per_pixel=bytes_per_pixel(1000),
    global_statistics=True,
    strips=Strips(1, 1, 1.0, 0.1, 0.1, 0.9),
)


class Bright(nn.Module):
    """Enlarges, and adds the mean over the picture to each pixel: a tile that used its own mean would be visible."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor, way: Way = WHOLE) -> Tensor:
        tokens = x.permute(0, 2, 3, 1)
        way.means.begin()
        mean = way.means.share(way.means.part(tokens).mean(dim=(1, 2)))
        return self.layer(x / 2) + mean.to(x)[:, :, None, None] / 2


def brightened(images: Tensor) -> Tensor:
    """What `Bright` should return."""
    enlarged = images.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    return enlarged / 2 + images.mean(dim=(1, 2), keepdim=True) / 2


def gradient(height: int, width: int) -> Tensor:
    """A picture whose parts have other means than the whole."""
    return (torch.rand(1, height, width, 3) + torch.linspace(0, 1, height).view(-1, 1, 1)) / 2


def test_tiles_get_the_means_of_the_picture() -> None:
    images = gradient(200, 150)
    result = upscale(StandIn(Bright(), FACTS), images, tile=100)
    assert (result - brightened(images)).abs().max() <= 1e-5
    fast = upscale(StandIn(Bright(), FACTS), images, tile=100, preset="fast")
    assert (fast - brightened(images)).abs().max() > 0.05, "they would not by themselves"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_means_of_many_pixels_in_half_precision(dtype: torch.dtype) -> None:
    """Their sums are far beyond what fp16 can hold, and too large for bf16 to add to."""
    tiles = plan(1000, 1000, FACTS, tile=300)

    def means(dtype: torch.dtype) -> Tensor:
        def compute(row: int, column: int, tile: Means) -> None:
            tile.begin()
            tile.share(torch.full((1, 4), 1 + (row + column) / 8, dtype=dtype))

        return gather_means(tiles, compute)[0].float()

    assert torch.allclose(means(dtype), means(torch.float32), rtol=3e-3)


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([1, 2, 3, 4]), st.integers(1, 64), st.data())
@settings(deadline=None)
def test_each_pixel_counts_once(height: int, width: int, scale: int, feather: int, data: st.DataObject) -> None:
    """The areas that tiles count do not overlap, for any blend."""
    facts = replace(FACTS, scale=scale, feather=feather, alignment=data.draw(st.sampled_from([1, 2, 8])))
    tile, overlap = data.draw(st.integers(1, 80)), data.draw(st.none() | st.integers(0, 40))
    tiles, counted = plan(height, width, facts, tile=tile, overlap=overlap), torch.zeros(height, width)

    def compute(row: int, column: int, tile: Means) -> None:
        if tile.area:  # from the second round on
            y, x = tiles.rows[row].start, tiles.columns[column].start
            top, bottom, left, right = tile.area
            counted[y + top : y + bottom, x + left : x + right] += 1
        tile.begin()
        tile.share(torch.ones(1, 1))

    gather_means(tiles, compute)
    assert (counted == MEANS_ROUNDS - 1).all()


CALLS = 4 * (MEANS_ROUNDS + 1)
"""For four tiles."""


@pytest.mark.parametrize("spoilt", [{0}, {1, 2}, {4}, {7, 9}, {CALLS - 1}, {0, CALLS - 2}, set(range(CALLS))], ids=str)
def test_a_rerun_in_fp32_takes_the_same_means(spoilt: set[int]) -> None:
    """What overflows in half precision is computed again, and then takes its means for the second time."""
    images = (gradient(150, 150) * 256).round() / 256
    assert len(plan(150, 150, FACTS, tile=100)) == 4
    model = HalfModel(Bright(), FACTS, spoilt)
    result = upscale(model, images, tile=100)
    assert model.calls == CALLS
    assert (result - brightened(images)).abs().max() <= 2e-3


def tiny_dat() -> Any:
    """In tiles of 176 rows and up; with few columns it is quick."""
    return load_weights(dict(reference.with_weights(lambda: reference.dat("light", depth=[2]))[1]))


@pytest.mark.parametrize(
    "spoilt", [pytest.param({0}, marks=pytest.mark.slow), pytest.param({3}, marks=pytest.mark.slow), {7}], ids=str
)
def test_our_own_models_do_the_rerun_themselves(spoilt: set[int]) -> None:
    model, picture, calls = tiny_dat(), torch.rand(1, 208, 2, 3), []

    def overflow(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        if output.dtype == torch.float32:
            return output
        calls.append(1)
        return output * float("inf") if len(calls) - 1 in spoilt else output

    assert len(plan(208, 2, model.facts, tile=176)) == 2
    expected = upscale(model, picture, tile=176)
    model.to(torch.bfloat16)
    model.model.upsample.register_forward_hook(overflow)
    got = upscale(model, picture, tile=176)
    assert len(calls) == 2 * (MEANS_ROUNDS + 1)
    assert (got - expected).abs().mean() < 0.02


def test_progress_rises_while_means_are_gathered() -> None:
    seen: list[float] = []
    upscale(
        StandIn(Bright(), FACTS),
        torch.rand(2, 200, 200, 3),
        tile=120,
        on_tile=lambda done, total: seen.append(done / total),
    )
    assert len(set(seen)) > 2 * 4 * MEANS_ROUNDS
    assert seen == sorted(seen)
    assert seen[-1] == 1


def psnr(got: Tensor, expected: Tensor) -> float:
    return float(-10 * ((got - expected).square().mean() + 1e-20).log10())


@pytest.mark.parametrize("height", [pytest.param(208, marks=pytest.mark.slow), 229])
def test_random_dat_in_tiles_is_as_one(height: int) -> None:
    """Of 229 rows, tiles that ignored where the windows lie would begin at row 42."""
    model, picture = tiny_dat(), torch.rand(1, height, 20, 3)
    whole = upscale(model, picture)
    assert whole.std() > 0.05
    exact, fast = (psnr(upscale(model, picture, tile=176, preset=preset), whole) for preset in ("exact", "fast"))
    assert exact >= 90
    assert exact > fast + 10


@pytest.mark.slow
def test_trained_dat_in_tiles_is_nearly_as_one() -> None:
    """Issue 3: 70 dB or more. Both presets see the same picture; only the exact one gathers means."""
    model = load_weights(torch.load(trained.dat_light_path(4), weights_only=True)["params"])
    picture = trained.crop(trained.art("bg_uni.jpg"), 300, 400, 256, 64)
    assert len(plan(256, 64, model.facts, tile=224)) == 2
    whole = upscale(model, picture)
    exact, fast = (psnr(upscale(model, picture, tile=224, preset=preset), whole) for preset in ("exact", "fast"))
    assert exact >= 70
    assert fast < exact - 10


def test_parts_of_a_tile_use_the_means_of_the_picture() -> None:
    """Memory runs out when the picture itself is computed: its parts are as exact as the tiles would have been."""
    model, picture = tiny_dat(), torch.rand(1, 416, 6, 3)
    model.facts = replace(model.facts, strips=replace(model.facts.strips, multiple=10**4))  # no strips: smaller tiles
    tiles = plan(416, 6, model.facts, tile=288)
    assert len(tiles) == 2
    gathering = MEANS_ROUNDS * len(tiles)
    short = Counted(model, fails=lambda attempt: attempt.number >= gathering and attempt.size[0] > 250)
    got = upscale(short, picture, tile=288)
    heights = [height for height, _ in short.shapes]
    assert max(heights) > 250 > heights[-1]
    assert psnr(got, upscale(model, picture)) >= 90
