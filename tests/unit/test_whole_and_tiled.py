"""Real networks: the picture does not depend on the tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import UpscaleModel, load_model
from apisr_pack.apisr_archs.networks.registry import load_weights
from apisr_pack.engine import plan, upscale
from apisr_pack.tests import reference, trained
from torch import Tensor

BUNDLED = trained.ROOT / "models" / "realesr-animevideov3.safetensors"


def _whole_and_tiled(model: UpscaleModel, picture: Tensor, tile: int, device: str) -> tuple[Tensor, Tensor]:
    assert len(plan(*picture.shape[1:3], model.facts, tile=tile)) > 1
    model.to(device)
    with torch.inference_mode():
        whole = model(picture.to(device).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return whole.cpu(), upscale(model, picture, tile=tile)


def test_trained_compact_in_tiles_is_exact(device: str) -> None:
    picture = trained.art("demo.png")[:, 90:181, 170:245]
    for tile in (56, 64):
        whole, tiled = _whole_and_tiled(load_model(BUNDLED), picture, tile, device)
        assert (whole - tiled).abs().max() <= 1e-5, "the receptive field is within the halo"


@pytest.mark.slow
def test_trained_rrdb_in_tiles_is_within_half_a_step(device: str, tmp_path: Path) -> None:
    torch.save(trained.trained_state_dict("realesrgan-x4plus-anime"), tmp_path / "a.pth")
    picture = trained.art("demo.png")[:, 60:241, 100:290]
    whole, tiled = _whole_and_tiled(load_model(tmp_path / "a.pth"), picture, tile=160, device=device)
    assert (whole - tiled).abs().max() <= 0.5 / 255


@pytest.mark.slow
@pytest.mark.parametrize("size", [(120, 128), (117, 123)])
def test_grl_in_tiles_is_within_half_a_step(device: str, size: tuple[int, int], tmp_path: Path) -> None:
    """Random weights, scaled to use the whole range: no trained ones exist. Odd sizes are padded like the picture."""
    _, weights = reference.ZOO["4x_APISR_GRL_GAN_generator"]()
    torch.save(weights, tmp_path / "a.pth")
    picture = trained.art("demo.png")[:, 80 : 80 + size[0], 120 : 120 + size[1]]
    whole, tiled = _whole_and_tiled(load_model(tmp_path / "a.pth"), picture, tile=96, device=device)
    assert whole.std() > 0.1
    assert (whole - tiled).abs().max() <= 0.5 / 255


@pytest.mark.slow
@pytest.mark.parametrize("widest", [False, True])
def test_grl_that_looks_far_in_tiles_is_within_half_a_step(device: str, widest: bool) -> None:
    """With a halo of 32 instead of 40, the one that looks farthest is off by more."""
    picture = trained.crop(trained.art("bg_uni.jpg"), 300, 400, 131, 117)
    whole, tiled = _whole_and_tiled(load_weights(reference.far_seeing_grl(widest)), picture, tile=105, device=device)
    assert whole.std() > 0.1
    assert (whole - tiled).abs().max() <= 0.25 / 255


@pytest.mark.slow
def test_rrdb_2x_in_tiles_is_within_half_a_step(device: str) -> None:
    picture = trained.crop(trained.art("bg_uni.jpg"), 300, 400, 311, 97)
    whole, tiled = _whole_and_tiled(load_weights(trained.rrdb_2x_state_dict()), picture, tile=281, device=device)
    assert (whole - tiled).abs().max() <= 0.5 / 255


def test_exact_at_1x_where_the_blend_is_widest(device: str, tmp_path: Path) -> None:
    """16 output pixels of blend are 8 input pixels beyond the seam there."""
    _, weights = reference.with_weights(lambda: reference.compact(upscale=1, num_conv=22))
    torch.save(weights, tmp_path / "a.pth")
    whole, tiled = _whole_and_tiled(load_model(tmp_path / "a.pth"), torch.rand(1, 150, 33, 3), tile=80, device=device)
    assert whole.std() > 0.1
    assert (whole - tiled).abs().max() <= 1e-5


def test_the_descriptor_s_own_call_agrees_with_the_engine() -> None:
    model: Any = load_model(BUNDLED)
    picture = trained.art("demo.png")[:, :33, :47]
    expected = model(picture.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert (upscale(model, picture) - expected).abs().max() <= 1e-5  # another memory format, another summation order
