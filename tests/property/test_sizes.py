"""From what the user asks for to pixels."""

from __future__ import annotations

import pytest
from apisr_pack.engine import RESIZE_MODES, target_size
from hypothesis import given
from hypothesis import strategies as st

sides = st.integers(10, 4000)
AMOUNTS = {
    "model scale": st.just(2.0),
    "factor": st.floats(0.1, 8),
    "longer side": st.floats(16, 8000),
    "shorter side": st.floats(16, 64),
    "megapixels": st.floats(0.1, 4),
}


def test_every_mode_is_tested() -> None:
    assert tuple(AMOUNTS) == RESIZE_MODES


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


@pytest.mark.parametrize("mode", AMOUNTS)
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
    ],
)
def test_amounts_that_cannot_be_meant(mode: str, amount: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        target_size(100, 100, 4, mode, amount)
