"""NaN pixels count as black, and do not affect the pixels around them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import load_model
from apisr_pack.apisr_archs.networks.registry import load_weights
from apisr_pack.engine import ALPHA_MODES, pixels, upscale
from apisr_pack.engine.alpha import extended_colors
from apisr_pack.tests import reference, trained
from apisr_pack.tests.standins import BlurModel, Counted
from torch import Tensor

BUNDLED = trained.ROOT / "models" / "realesr-animevideov3.safetensors"
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
NAN, INF = float("nan"), float("inf")
PLACES = [(0, 0), (17, 9), (29, 27)]


def spoilt(images: Tensor, values: tuple[float, ...] = (NAN,)) -> tuple[Tensor, Tensor]:
    """The pictures with these values in some places, in all channels or in one; and with the values they count as."""
    bad, good = images.clone(), images.clone()
    for number, (y, x) in enumerate(PLACES):
        value = values[number % len(values)]
        channels = slice(None) if number else slice(0, 1)
        bad[:, y, x, channels] = value
        good[:, y, x, channels] = 1.0 if value == INF else 0.0
    return bad, good


WAYS: dict[str, dict[str, Any]] = {
    "at once": {},
    "tiles": {"tile": 24},
    "smaller": {"size": (21, 20)},
    "two passes": {"size": (130, 120)},
    "alpha by the model": {"alpha_by": "model"},
}


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("how", WAYS)
def test_nan_counts_as_black(channels: int, how: str, device: str) -> None:
    told: list[str] = []
    bad, good = spoilt(torch.rand(2, 30, 28, channels))
    before = bad.clone()
    got = upscale(BlurModel(), bad, tell=told.append, device=device, **WAYS[how])
    assert torch.equal(got, upscale(BlurModel(), good, device=device, **WAYS[how]))
    assert torch.equal(bad.nan_to_num(nan=2.0), before.nan_to_num(nan=2.0)), "the caller's pictures are left alone"
    assert sum("not numbers (NaN)" in line for line in told) == 1, "told once"
    assert "Picture 1 of 2" in "".join(told)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("values", [(NAN,), (INF,), (-INF,), (NAN, INF, -INF)], ids=str)
def test_every_dtype(dtype: torch.dtype, channels: int, values: tuple[float, ...]) -> None:
    """Infinity is clamped; in any memory layout."""
    bad, good = spoilt(torch.rand(1, channels, 30, 28).permute(0, 2, 3, 1).to(dtype), values)
    assert torch.equal(upscale(BlurModel(), bad), upscale(BlurModel(), good))


def test_pictures_without_are_not_copied() -> None:
    picture = torch.rand(5, 7, 3)
    picture[2, 3] = torch.tensor([INF, -INF, 7.0])
    assert pixels.without_nan(picture) is picture
    picture[4, 6, 2] = NAN
    cleaned = pixels.without_nan(picture)
    assert picture[4, 6, 2].isnan()
    picture[4, 6, 2] = 0
    assert torch.equal(cleaned, picture.nan_to_num(posinf=1.0, neginf=0.0))


def test_only_its_own_picture_of_a_batch_is_harmed() -> None:
    told: list[str] = []
    images = torch.rand(4, 30, 28, 3)
    expected = upscale(BlurModel(), images)
    images[2, 5, 5] = NAN
    got = upscale(BlurModel(), images, tell=told.append)
    assert torch.equal(got[[0, 1, 3]], expected[[0, 1, 3]])
    assert got.isfinite().all()
    assert [line for line in told if "Picture 3 of 4" in line]


def test_numbers_are_not_told_of() -> None:
    told: list[str] = []
    upscale(BlurModel(), torch.tensor([-INF, 0.5, INF]).expand(1, 8, 8, 3), tell=told.append)
    assert not any("NaN" in line for line in told)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [None, (112, 150)])
def test_frames_with_nan_at_the_same_places_are_copied(channels: int, size: tuple[int, int] | None) -> None:
    """NaN differs from itself, black does not; and a part with NaN is computed like any other part."""
    frames = torch.rand(1, 101, 110, channels).repeat(5, 1, 1, 1)
    frames[1:4, 20, 20, 0] = NAN
    frames[3, 22, 20, 0] = NAN
    counted = Counted(BlurModel())
    got = upscale(counted, frames, size=size)
    cleaned = frames.nan_to_num(nan=0.0)
    expected = upscale(BlurModel(), cleaned, size=size, reuse_frames=False)
    assert torch.allclose(got, expected, atol=1e-6)
    assert len(counted.shapes) == 4, "all but the third"
    if channels != 4:
        assert (101, 110) not in counted.shapes[1:], "of the others, parts"


# Transparent pixels


@pytest.mark.parametrize("alpha_by", ALPHA_MODES)
@pytest.mark.parametrize("rubbish", [NAN, INF, -INF])
def test_rubbish_under_alpha_0_does_not_show(rubbish: float, alpha_by: str) -> None:
    """Dividing colors by their alpha, as many programs do, leaves such values there."""
    images = torch.rand(1, 30, 28, 4)
    images[..., 3] = 0
    images[0, 8:20, 9:17, 3] = 1
    expected = upscale(BlurModel(), images, alpha_by=alpha_by)
    images[..., :3] = torch.where(images[..., 3:] > 0, images[..., :3], rubbish)
    assert torch.allclose(upscale(BlurModel(), images, alpha_by=alpha_by), expected, atol=1e-6)


@pytest.mark.parametrize("channel", [0, 3])
def test_nan_in_a_transparent_picture(channel: int) -> None:
    """NaN in alpha is transparent: the color there comes from its neighbors."""
    bad = torch.rand(1, 30, 28, 4).clamp_min(0.1)
    bad[0, 5, 5, channel] = NAN
    good = bad.nan_to_num(nan=0.0)
    assert torch.equal(upscale(BlurModel(), bad), upscale(BlurModel(), good))


@pytest.mark.parametrize("value", [1e30, -1e30, INF, -INF])
def test_a_value_far_outside_does_not_outweigh_its_neighbours(value: float) -> None:
    """It is clamped to 0 or 1, also where colors are extended from it."""
    picture = torch.full((12, 14, 4), 0.5)
    picture[..., 3] = 0
    picture[3:7, 4:9, 3] = 1
    picture[4, 5, :3] = value
    clamped = picture.clamp(0, 1)
    assert torch.allclose(extended_colors(picture).clamp(0, 1), extended_colors(clamped), atol=1e-6)


# Networks


def test_the_bundled_network() -> None:
    model = load_model(BUNDLED)
    bad, good = spoilt(trained.art("demo.png")[:, 60:90, 100:128])
    assert torch.equal(upscale(model, bad), upscale(model, good))


def test_means_over_the_whole_picture() -> None:
    """One NaN pixel would spread to all pixels, even in other tiles."""
    weights = reference.with_weights(lambda: reference.dat("light", depth=[2]))[1]
    picture = torch.rand(1, 208, 2, 3)
    picture[0, 9, 1] = 0
    model = load_weights(dict(weights))
    expected = upscale(model, picture, tile=176)
    assert expected.isfinite().all()
    picture[0, 9, 1] = NAN
    assert torch.equal(upscale(model, picture, tile=176), expected)
