"""Arguments of `upscale`: pictures of every shape, and a clear error for wrong pictures, models and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from apisr_pack.engine import upscale
from apisr_pack.tests.standins import Nearest, NearestModel
from torch import nn


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.rand(4, 4), r"\(4, 4\); expected .batch, height, width, channels"),
        (torch.rand(1, 1, 4, 4, 3), r"\(1, 1, 4, 4, 3\); expected .batch, height, width, channels"),
        (
            torch.rand(1, 3, 4, 4)[..., :2],
            r"like .batch, channels, height, width.: use images.permute\(0, 2, 3, 1\)",
        ),
        (torch.rand(1, 4, 4, 2), r"\(1, 4, 4, 2\)"),
        (torch.rand(1, 0, 4, 3), "at least one pixel"),
        (torch.zeros(1, 4, 4, 3, dtype=torch.uint8), "uint8.*Divide by 255"),
        (torch.zeros(1, 4, 4, 3, dtype=torch.complex64), "complex64; expected floats"),
        (None, "images is None; expected a tensor"),
        (np.zeros((1, 4, 4, 3), np.float32), r"numpy array of the shape \(1, 4, 4, 3\).*torch.from_numpy"),
        ([torch.rand(4, 4, 3)], "a list of 1; expected a tensor.*torch.stack"),
        ({"samples": torch.rand(1, 4, 4, 4)}, "of the type dict; expected a tensor"),
        ("picture.png", "of the type str; expected a tensor"),
    ],
)
def test_what_is_no_picture(images: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        upscale(NearestModel(), images)


@pytest.mark.parametrize("size", [(0, 5), (5, float("nan")), (float("inf"), 5), (5, 4.5), ("5", 5), (5, None)])
def test_an_impossible_size(size: Any) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        upscale(NearestModel(), torch.rand(1, 4, 4, 3), size=size)


@pytest.mark.parametrize(
    ("shape", "taken_as"), [((6, 5, 3), (1, 6, 5, 3)), ((2, 6, 5), (2, 6, 5, 1)), ((6, 5, 1), (1, 6, 5, 1))]
)
def test_three_dimensions_are_one_picture_or_grey_ones(shape: tuple[int, ...], taken_as: tuple[int, ...]) -> None:
    images = torch.rand(shape)
    result = upscale(NearestModel(), images)
    assert result.shape == (taken_as[0], 12, 10, taken_as[3])
    assert torch.equal(result, upscale(NearestModel(), images.view(taken_as)))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (None, "model is None; expected an upscale model"),
        ("4x.pth", "of the type str; expected an upscale model"),
        ([NearestModel()], "a list of 1; expected an upscale model"),
        (Nearest(2), r"a bare network \(Nearest\); expected an upscale model"),
        (nn.Conv2d(3, 3, 1), r"a bare network \(Conv2d\); expected an upscale model"),
        (print, "expected an upscale model"),
        (NearestModel(scale=0), "of the type NearestModel; expected an upscale model"),
    ],
)
def test_what_is_no_model(model: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        upscale(model, torch.rand(1, 4, 4, 3))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -8, 1.5, "64", [64]])
@pytest.mark.parametrize("name", ["tile", "overlap"])
def test_tiles_are_whole_numbers(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is .*; expected at least [01], and a whole number"):
        upscale(NearestModel(), torch.rand(1, 4, 4, 3), **{name: value})


@pytest.mark.parametrize("value", [None, ["exact"], 1, torch.ones(2)])
@pytest.mark.parametrize("name", ["preset", "alpha_by"])
def test_choices_are_texts(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is .*; expected one of: "):
        upscale(NearestModel(), torch.rand(1, 4, 4, 3), **{name: value})


def test_networks_with_other_channels() -> None:
    with pytest.raises(ValueError, match="4 channels into 4"):
        upscale(NearestModel(channels=4), torch.rand(1, 4, 4, 3))


def test_a_result_of_whole_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"output_dtype is torch.uint8; expected floats"):
        upscale(NearestModel(), torch.rand(1, 8, 8, 3), output_dtype=torch.uint8)
