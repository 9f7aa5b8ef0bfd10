"""Masks beside pictures become their alpha, and what is opaque or transparent stays exactly that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from apisr_pack.engine import ALPHA_MODES, upscale, with_mask
from apisr_pack.engine.alpha import restore_extremes
from apisr_pack.tests.standins import NearestModel
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

PICTURES = torch.linspace(0, 1, 2 * 4 * 6 * 3).reshape(2, 4, 6, 3)


def ramp(*shape: int) -> Tensor:
    return torch.linspace(0, 1, int(np.prod(shape))).reshape(shape)


# Which pictures and masks go together


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_result_is_rgba_with_the_mask_as_its_alpha(channels: int, dtype: torch.dtype) -> None:
    pictures = torch.rand(2, 4, 6, channels).to(dtype)
    mask = ramp(2, 4, 6)
    result = with_mask(pictures, mask)
    assert result.dtype == dtype
    assert torch.equal(result[..., :3], pictures[..., :3].expand(2, 4, 6, 3))
    assert torch.equal(result[..., 3], (1 - mask).to(dtype))


@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6), (1, 1, 4, 6), (1, 4, 6, 1)], ids=str)
def test_one_mask_serves_all_pictures(shape: tuple[int, ...]) -> None:
    result = with_mask(PICTURES, ramp(4, 6).reshape(shape))
    assert torch.equal(result[..., 3], (1 - ramp(4, 6)).expand(2, 4, 6))


@pytest.mark.parametrize("shape", [(2, 4, 6), (2, 1, 4, 6), (2, 4, 6, 1)], ids=str)
def test_each_picture_has_its_mask(shape: tuple[int, ...]) -> None:
    assert torch.equal(with_mask(PICTURES, ramp(2, 4, 6).reshape(shape))[..., 3], 1 - ramp(2, 4, 6))


@pytest.mark.parametrize("count", [0, 2])
def test_a_batch_without_pictures_stays_empty(count: int) -> None:
    mask = torch.zeros(1, 64, 64)
    assert with_mask(torch.zeros(0, 0, 0, 3), mask).shape == (0, 0, 0, 4)
    assert with_mask(torch.zeros(0, 4, count, 3), mask).shape == (0, 4, count, 4)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (None, r"mask is None; expected a tensor of masks, \(batch, height, width\)"),
        ([torch.zeros(4, 6)], "mask is a list of 1; expected"),
        (np.zeros((4, 6)), "mask is a numpy array"),
        (torch.zeros(6), r"mask has the shape \(6,\); expected \(batch, height, width\)"),
        (torch.zeros(2, 4, 6, 3), r"mask has the shape \(2, 4, 6, 3\)"),
        (torch.zeros(1, 2, 4, 6, 1), "mask has the shape"),
        (torch.zeros(1, 0, 6), "at least one pixel"),
        (torch.zeros(0, 4, 6), "mask has the shape"),
        (torch.zeros(3, 4, 6), "mask has 3 masks, and there are 2 pictures; expected one mask, or one for each"),
        (torch.zeros(2, 4, 6, dtype=torch.uint8), "mask is torch.uint8; expected floats.* Divide by 255"),
        (torch.zeros(2, 4, 6, dtype=torch.int64), "mask is torch.int64; expected floats"),
        (torch.zeros(2, 4, 6, dtype=torch.complex64), "mask is torch.complex64; expected floats"),
    ],
)
def test_one_sentence_for_what_is_no_mask(mask: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        with_mask(PICTURES, mask)


# Values


def test_odd_values_have_a_meaning() -> None:
    mask = torch.tensor([[float("nan"), float("inf"), -float("inf"), 2.0, -1.0, 0.25]])
    expected = [1.0, 0.0, 1.0, 0.0, 1.0, 0.75]
    assert with_mask(torch.zeros(1, 1, 6, 3), mask)[0, 0, :, 3].tolist() == expected
    booleans = torch.tensor([[True, False]])
    assert with_mask(torch.zeros(1, 1, 2, 3), booleans)[0, 0, :, 3].tolist() == [0.0, 1.0]


def test_the_caller_s_tensors_are_left_alone() -> None:
    mask = torch.tensor([[float("nan"), 2.0]])
    pictures = torch.zeros(1, 1, 2, 3)
    with_mask(pictures, mask).fill_(9)
    assert mask[0, 1] == 2
    assert mask[0, 0].isnan()
    assert not pictures.any()


# Other sizes


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 50), st.integers(1, 50), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_mask_of_another_size_is_resized(height: int, width: int, rows: int, columns: int, seed: int) -> None:
    mask = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed))
    result = with_mask(torch.zeros(1, height, width, 3), mask)[0, ..., 3]
    reference = Image.fromarray(mask.numpy()).resize((width, height), Image.Resampling.BICUBIC)
    assert np.abs(result.numpy() - (1 - np.asarray(reference).clip(0, 1))).max() < 1e-4


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("size", [(64, 64), (7, 13), (500, 3)], ids=str)
def test_constant_mask_stays_exactly_constant(value: float, size: tuple[int, int]) -> None:
    """A rounding error would make opaque pictures slightly transparent, and cost a run of the model."""
    result = with_mask(torch.zeros(1, 48, 37, 3), torch.full(size, value))
    assert (result[..., 3] == 1 - value).all()


# Opaque and transparent areas, after a network or a filter


@pytest.mark.parametrize("upright", [False, True], ids=["columns", "rows"])
@pytest.mark.parametrize("size", [(60, 80), (30, 40), (23, 97), (7, 9), (1, 1)], ids=str)
def test_extremes_come_back_where_there_is_nothing_else_near(size: tuple[int, int], upright: bool) -> None:
    source = torch.full((15, 20, 1), 0.5)
    source[:, :6] = 0
    source[:, 12:] = 1
    enlarged = torch.full((*size, 1), 0.3)
    if upright:
        turned = enlarged.transpose(0, 1).contiguous()
        restore_extremes(turned, source.transpose(0, 1))
        enlarged = turned.transpose(0, 1)
    else:
        restore_extremes(enlarged, source)
    reach = 2 * max(1, -(-20 // size[1]))
    for column, value in enumerate(enlarged[0, :, 0].tolist()):
        at = column * 20 // size[1]
        near = source[0, max(0, at - reach) : at + reach + 1, 0]
        expected = float(near[0]) if near[0] in (0, 1) and (near == near[0]).all() else 0.3
        assert value == pytest.approx(expected), column
    assert torch.equal(enlarged, enlarged[:1].expand_as(enlarged))


class Dull(NearestModel):
    """Nearly the identity, enlarged: what a trained network makes of black and white."""

    def __call__(self, image: Tensor) -> Tensor:
        return super().__call__(image) * 0.98 + 0.01


@pytest.mark.parametrize("alpha_by", ALPHA_MODES)
@pytest.mark.parametrize("size", [None, (100, 90), (11, 13)], ids=str)
def test_opaque_stays_opaque(alpha_by: str, size: tuple[int, int] | None) -> None:
    mask = torch.zeros(24, 30)
    mask[:, :15] = 1
    pictures = with_mask(torch.rand(1, 24, 30, 3), mask)
    alpha = upscale(Dull(2), pictures, size=size, alpha_by=alpha_by)[0, ..., 3]
    width = alpha.shape[1]
    assert (alpha[:, : width // 5] == 0).all()
    assert (alpha[:, -(width // 5) :] == 1).all()
    assert ((alpha > 0) & (alpha < 1)).any() or size is None
