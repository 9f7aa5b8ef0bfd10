"""From what the user asks for to pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from apisr_pack.apisr_archs import Facts, Halo
from apisr_pack.apisr_archs.facts import bytes_per_pixel
from apisr_pack.engine import RESIZE_MODES, passes, target_size, upscale
from apisr_pack.engine.sizes import PIXEL_MODES, STRETCH
from apisr_pack.tests.standins import StandIn
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

sides = st.integers(10, 4000)
# sides of 10 to 4000 may stretch 400 times: the amounts keep the longest below MAX_SIDE
AMOUNTS = {
    "model scale": st.just(2.0),
    "factor": st.floats(0.1, 8),
    "longer side": st.floats(16, 8000),
    "shorter side": st.floats(16, 64),
    "megapixels": st.floats(0.1, 4),
}


def test_each_mode_has_amounts_to_be_tried() -> None:
    assert tuple(AMOUNTS) == RESIZE_MODES
    assert set(PIXEL_MODES) <= set(RESIZE_MODES)


@pytest.mark.parametrize(
    ("size", "mode", "amount", "multiple", "expected"),
    [
        ((1216, 832), "model scale", 2.0, 1, (4864, 3328)),
        ((1216, 832), "factor", 1.5, 8, (1824, 1248)),  # the hi-res fix
        ((720, 1280), "longer side", 1920, 1, (1080, 1920)),
        ((720, 1280), "shorter side", 1080, 2, (1080, 1920)),
        ((512, 512), "megapixels", 1.0, 1, (1024, 1024)),
        ((67, 53), "factor", 1.0, 1, (67, 53)),
        ((67, 53), "factor", 0.5, 1, (34, 27)),
        ((104, 152), "factor", 1.5, 8, (160, 232)),  # 156 and 228 lie halfway: both go up
        ((5, 5), "model scale", 2.0, 64, (64, 64)),
        ((20000, 800), "model scale", 2.0, 1, (80000, 3200)),  # a page of a web comic
    ],
)
def test_sizes(size: tuple[int, int], mode: str, amount: float, multiple: int, expected: tuple[int, int]) -> None:
    assert target_size(*size, 4, mode, amount, multiple) == expected


@pytest.mark.parametrize("mode", RESIZE_MODES)
@given(sides, sides, st.sampled_from([1, 2, 8, 64]), st.data())
def test_multiples_and_shape(mode: str, height: int, width: int, multiple: int, data: st.DataObject) -> None:
    h, w = target_size(height, width, 4, mode, data.draw(AMOUNTS[mode]), multiple)
    assert h % multiple == w % multiple == 0
    assert min(h, w) >= multiple
    # the shape is kept as well as the rounding of both sides allows
    assert abs(h * width - w * height) <= multiple * (height + width)


@pytest.mark.parametrize(
    ("mode", "amount", "words"),
    [
        ("factor", 0.0, "more than 0"),
        ("longer side", 2.0, "in pixels, at least 16"),
        ("shorter side", 1.5, "in pixels"),
        ("factor", 16384, "at most"),
        ("bigger", 2, "expected one of"),
        (None, 2, "resize_to is None; expected one of"),
        (["factor"], 2, "resize_to is a list of 1; expected one of"),
        ("factor", float("nan"), "amount is nan; expected more than 0"),
        ("factor", float("inf"), "amount is inf; expected more than 0, and a finite number"),
        ("model scale", float("nan"), "amount is nan"),
        ("megapixels", -1, "amount is -1; expected more than 0"),
        ("factor", "2", "amount is '2'; expected more than 0"),
        ("factor", None, "amount is None"),
        ("factor", 1e308, "at most"),
        pytest.param("factor", 10**400, "amount is 1000.*; expected more than 0", id="more than any float"),
    ],
)
def test_amounts_that_cannot_be_meant(mode: Any, amount: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        target_size(100, 100, 4, mode, amount)


@pytest.mark.parametrize("multiple", [0, -8, 1.5, float("nan"), float("inf"), "8", None, [8]])
def test_multiples_that_cannot_be_meant(multiple: Any) -> None:
    with pytest.raises(ValueError, match=r"^multiple_of is .*; expected at least 1, and a whole number"):
        target_size(100, 100, 4, "factor", 2.0, multiple)


def test_whole_numbers_of_any_type() -> None:
    numbers: list[tuple[Any, Any]] = [(2, 8), (2.0, 8.0), (np.float32(2), np.int64(8))]
    sizes = {target_size(10, 10, 4, "factor", two, eight) for two, eight in numbers}
    assert sizes == {(24, 24)}
    assert {type(side) for size in sizes for side in size} == {int}


# Once through the network, or twice


@pytest.mark.parametrize(
    ("size", "scale", "mode", "amount", "steps"),
    [
        ((1216, 832), 4, "factor", 1.5, [(1824, 1248)]),  # the hi-res fix: 4x, then smaller
        ((1216, 832), 4, "model scale", 1.0, [(4864, 3328)]),
        ((60, 40), 2, "factor", 4, [(120, 80), (240, 160)]),
        ((60, 40), 2, "factor", 2.2, [(132, 88)]),
        ((60, 40), 2, "factor", 2.5, [(150, 100)]),  # the most that the filter may have to enlarge
        ((60, 40), 2, "factor", 2.6, [(78, 52), (156, 104)]),  # the first pass makes what the second needs
        ((60, 40), 4, "factor", 5.1, [(77, 51), (306, 204)]),
        ((60, 40), 2, "factor", 10, [(300, 200), (600, 400)]),
        ((60, 40), 1, "factor", 4, [(240, 160)]),  # a second pass of a 1x network would be no help
        ((60, 40), 2, "factor", 0.5, [(30, 20)]),
    ],
)
def test_passes(size: tuple[int, int], scale: int, mode: str, amount: float, steps: list[tuple[int, int]]) -> None:
    assert passes(*size, scale, target_size(*size, scale, mode, amount)) == steps


@given(sides, sides, st.sampled_from([1, 2, 3, 4]), st.floats(0.2, 10), st.sampled_from([1, 8, 64]))
def test_passes_end_with_the_size_and_leave_little_to_the_filter(
    height: int, width: int, scale: int, factor: float, multiple: int
) -> None:
    size = target_size(height, width, scale, "factor", factor, multiple)
    steps = passes(height, width, scale, size)
    assert steps[-1] == size
    assert 1 <= len(steps) <= 2
    stretch = max(size[0] / (height * scale), size[1] / (width * scale))
    if len(steps) == 1:
        assert stretch <= STRETCH or scale == 1
        return
    assert stretch > STRETCH
    (between, _) = steps
    for had, got, wanted in zip((height, width), between, size, strict=True):
        assert got >= had
        assert got * scale >= wanted, "the second pass is not enlarged by a filter"
        assert (got - 1) * scale < wanted or got == had, "and no larger than that"


def sharpened(image: Tensor) -> Tensor:
    """A 2x network that changes the picture, so that two passes differ from one pass and a filter."""
    enlarged = image.repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)
    return (enlarged * 1.5 - 0.25 * enlarged.roll((1, -1), dims=(-2, -1))).clamp(0, 1)


def sharp() -> StandIn:
    return StandIn(sharpened, Facts(2, 1, Halo(2, 2), 4, bytes_per_pixel(1000)))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_two_passes_are_the_network_run_twice(channels: int) -> None:
    images, model, told = torch.rand(2, 30, 20, channels), sharp(), []
    if channels == 4:
        images[..., 3] = 0.5
    result = upscale(model, images, size=(120, 80), tell=told.append)
    assert model.shapes == [(30, 20), (60, 40)] * 2
    assert torch.equal(result, upscale(sharp(), upscale(sharp(), images)))
    assert "two passes" in told[0], "it says so"


def test_one_pass_and_a_filter() -> None:
    images, model, told = torch.rand(1, 30, 20, 3), sharp(), []
    result = upscale(model, images, size=(66, 44), tell=told.append)
    assert model.shapes == [(30, 20)]
    assert result.shape == (1, 66, 44, 3)
    assert "two passes" not in told[0]


def test_the_hi_res_fix() -> None:
    """The sizes above, with fewer pixels, in an actual run."""
    images, model = torch.rand(1, 152, 104, 3), sharp()
    size = target_size(152, 104, 2, "factor", 1.5)
    assert size == (228, 156)
    assert upscale(model, images, size=size).shape == (1, 228, 156, 3)
    assert model.shapes == [(152, 104)]
