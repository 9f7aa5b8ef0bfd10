"""Transparent pictures: colors under alpha 0 do no harm, and alpha costs no more than necessary."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import UpscaleModel, load_model
from apisr_pack.engine import ALPHA_MODES, upscale
from apisr_pack.engine.alpha import extended_colors, is_constant
from apisr_pack.tests import trained
from apisr_pack.tests.standins import FACTS, NearestModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

BUNDLED = trained.ROOT / "models" / "realesr-animevideov3.safetensors"
sides = st.integers(1, 40)


# Colors of transparent pixels


@given(sides, sides, st.floats(0.001, 0.999), st.sampled_from([torch.float32, torch.float16]), st.integers(0, 99))
@settings(deadline=None)
def test_seen_pixels_stay_and_others_get_colors_like_them(
    height: int, width: int, share: float, dtype: torch.dtype, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    picture = torch.rand(height, width, 4, generator=generator).to(dtype)
    seen = torch.rand(height, width, generator=generator) < share
    seen[0, 0] = True
    picture[..., :3] = (0.3 + 0.4 * picture[..., :3]) * seen[..., None]  # black elsewhere
    picture[..., 3] = seen * picture[..., 3].clamp_min(0.01)
    before = picture.clone()
    colors = extended_colors(picture)
    assert torch.equal(picture, before), "the caller's picture is left alone"
    assert colors.shape == (height, width, 3)
    assert colors.dtype == dtype
    assert torch.equal(colors[seen], picture[..., :3][seen])
    shown = colors[seen].float()
    least, most = shown.amin(dim=0) - 1e-3, shown.amax(dim=0) + 1e-3
    assert ((colors.float() >= least) & (colors.float() <= most)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (1, 64), (33, 1), (17, 31)], ids=str)
@pytest.mark.parametrize("at", [(0, 0), (-1, -1)], ids=["first", "last"])
def test_one_seen_pixel_colors_everything(size: tuple[int, int], at: tuple[int, int]) -> None:
    picture = torch.zeros(*size, 4)
    picture[at] = torch.tensor([0.25, 0.5, 1.0, 0.1])
    expected = torch.tensor([0.25, 0.5, 1.0]).expand(*size, 3)
    assert torch.allclose(extended_colors(picture), expected, atol=1e-6)


def test_the_nearest_colors_are_taken() -> None:
    picture = torch.zeros(32, 64, 4)
    picture[8:24, 2:6] = torch.tensor([1.0, 0.0, 0.0, 1.0])
    picture[8:24, -6:-2] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    colors = extended_colors(picture)
    assert torch.allclose(colors[16, 0], torch.tensor([1.0, 0.0, 0.0]), atol=0.05)
    assert torch.allclose(colors[16, -1], torch.tensor([0.0, 0.0, 1.0]), atol=0.05)
    assert (colors[10:22, 6:28, 0] > colors[10:22, 6:28, 2]).all()


@pytest.mark.parametrize("alpha", [0.0, 0.004, 1.0])
def test_nothing_or_everything_is_seen(alpha: float) -> None:
    picture = torch.rand(13, 9, 4)
    picture[..., 3] = alpha
    assert torch.equal(extended_colors(picture), picture[..., :3])


@pytest.mark.parametrize("rubbish", [float("nan"), float("inf"), -1e30])
def test_rubbish_under_alpha_0_is_not_looked_at(rubbish: float) -> None:
    """Dividing colors by their alpha, as many programs do, leaves NaN where that is 0."""
    picture = torch.full((12, 14, 4), rubbish)
    picture[..., 3] = 0
    picture[3:7, 4:9] = torch.tensor([0.25, 0.5, 0.75, 1.0])
    expected = torch.tensor([0.25, 0.5, 0.75]).expand(12, 14, 3)
    assert torch.allclose(extended_colors(picture), expected, atol=1e-6)


# The cost of alpha


@pytest.mark.parametrize("alpha_by", ALPHA_MODES)
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_alpha_costs_nothing(alpha_by: str, value: float) -> None:
    images, model = torch.rand(2, 20, 30, 4), NearestModel(facts=FACTS)
    images[..., 3] = value
    result = upscale(model, images, alpha_by=alpha_by)
    assert len(model.attempts) == 2
    assert (result[..., 3] == value).all()


@pytest.mark.parametrize(("alpha_by", "calls"), [("filter", 1), ("model", 2)])
def test_other_alpha_costs_what_was_chosen(alpha_by: str, calls: int) -> None:
    images, model = torch.rand(1, 20, 30, 4).clamp_min(0.1), NearestModel(facts=FACTS)
    images[0, -1, -1, 3] = 0.05
    assert not is_constant(images[0, ..., 3:])
    result = upscale(model, images, alpha_by=alpha_by)
    assert len(model.attempts) == calls
    if alpha_by == "model":
        grey = images[..., 3:].permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
        assert torch.equal(model.attempts[1].image, grey), "alpha as a grey picture"
        enlarged = images[..., 3].repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
        assert torch.allclose(result[..., 3], enlarged, atol=1e-6)


@pytest.mark.parametrize("alpha_by", ALPHA_MODES)
def test_alpha_in_two_passes_and_resized(alpha_by: str) -> None:
    images, model = torch.rand(1, 40, 30, 4).clamp_min(0.1), NearestModel(facts=FACTS)
    seen: list[float] = []
    result = upscale(
        model, images, size=(157, 119), alpha_by=alpha_by, on_tile=lambda done, total: seen.append(done / total)
    )
    assert result.shape == (1, 157, 119, 4)
    assert ((result >= 0) & (result <= 1)).all()
    assert len(model.attempts) == (4 if alpha_by == "model" else 2)
    assert seen[-1] == 1


# Sprites


@pytest.fixture(scope="module")
def bundled() -> UpscaleModel:
    return load_model(BUNDLED)


def over_white(picture: Tensor) -> Tensor:
    return picture[..., :3] * picture[..., 3:] + 1 - picture[..., 3:]


def sprite(name: str, top: int, left: int, light: bool) -> Tensor:
    """An edge of a sprite, black where it is transparent. light: inverted, because dark lines would hide dark rims."""
    picture = trained.crop(trained.art(name), top, left, 96, 96).clone()
    if light:
        picture[..., :3] = 1 - picture[..., :3]
    picture[..., :3] *= picture[..., 3:] > 0
    return picture


def nearest_seen(picture: Tensor) -> Tensor:
    """(1, H, W, 4) -> (1, H, W, 3): transparent pixels take the color of the nearest visible pixel."""
    seen = picture[0, ..., 3] > 0
    colors, places = picture[0, ..., :3].clone(), seen.nonzero()
    nearest = torch.cdist((~seen).nonzero().float(), places.float()).argmin(dim=1)
    colors[~seen] = colors[seen][nearest]
    return colors[None]


EDGES = [("sylvie_green_normal.png", 0, 120), ("sylvie_green_smile.png", 300, 300)]


@pytest.mark.parametrize("light", [pytest.param(False, marks=pytest.mark.slow), True], ids=["as drawn", "light lines"])
@pytest.mark.parametrize("edge", EDGES, ids=["hair", "arm"])
def test_no_dark_rims(bundled: UpscaleModel, edge: tuple[str, int, int], light: bool) -> None:
    """Over white, 99 % of the rim is no darker than with colors extended by another method."""
    picture = sprite(*edge, light)
    got = upscale(bundled, picture)
    alpha = got[..., 3:]
    rim = ((alpha > 0) & (alpha < 1))[0, ..., 0]
    assert rim.sum() > 1000
    expected = over_white(torch.cat((upscale(bundled, nearest_seen(picture)), alpha), dim=-1))
    black = over_white(torch.cat((upscale(bundled, picture[..., :3]), alpha), dim=-1))
    ours, unextended = (
        float((shown - expected)[0].mean(dim=-1)[rim].quantile(0.01)) for shown in (over_white(got), black)
    )
    assert ours >= -8 / 255
    assert unextended < -7 / 255, "as it would be without the extension"
    assert ours > unextended / 2


@pytest.mark.parametrize("alpha_by", ALPHA_MODES)
def test_a_white_disc_stays_white(bundled: UpscaleModel, alpha_by: str) -> None:
    """Only its edge is soft. Here the right answer is known: with black around it the network would darken it."""
    y, x = torch.meshgrid(torch.arange(32) - 15.5, torch.arange(32) - 15.5, indexing="ij")
    alpha = (10 - (y**2 + x**2).sqrt()).clamp(0, 1)[..., None]
    color = torch.tensor([0.9, 0.85, 0.8])
    picture = torch.cat((color * (alpha > 0), alpha), dim=-1)[None]
    plain = upscale(bundled, color.expand(1, 32, 32, 3))[0, 64, 64]
    got: Any = upscale(bundled, picture, alpha_by=alpha_by)[0]
    shown = got[..., 3] > 0.02
    assert (got[shown][:, :3] - plain).abs().max() <= 2 / 255
    black = upscale(bundled, picture[..., :3])[0]
    assert (black[shown] - plain).min() < -30 / 255, "as it would be without the extension"


@pytest.mark.slow
@pytest.mark.parametrize("edge", EDGES, ids=["hair", "arm"])
def test_the_model_makes_sharper_edges_than_the_filter(bundled: UpscaleModel, edge: tuple[str, int, int]) -> None:
    soft: dict[str, float] = {}
    picture = sprite(*edge, light=False)
    for alpha_by in ALPHA_MODES:
        alpha = upscale(bundled, picture, alpha_by=alpha_by)[..., 3]
        assert ((alpha >= 0) & (alpha <= 1)).all()
        assert abs(alpha.mean() - picture[..., 3].mean()) < 0.01, "no larger and no smaller"
        soft[alpha_by] = float(((alpha > 0.05) & (alpha < 0.95)).float().mean())
    assert soft["model"] < 0.6 * soft["filter"]


@pytest.mark.parametrize("alpha_by", ALPHA_MODES)
@pytest.mark.parametrize("rubbish", [float("nan"), float("inf"), -1e30])
def test_a_picture_of_which_nothing_is_seen(rubbish: float, alpha_by: str) -> None:
    picture = torch.zeros(1, 20, 20, 4)
    picture[..., :3] = rubbish
    result = upscale(NearestModel(), picture, alpha_by=alpha_by)
    assert result.isfinite().all()
    assert not result[..., 3].any()
