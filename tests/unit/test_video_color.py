"""The conversion between YUV and RGB, against whole-picture formulas in fp64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from apisr_pack.video import color
from apisr_pack.video.color import BT709, BT2020, SMPTE170M, WEIGHTS, Color, Layout, from_rgb, to_rgb
from hypothesis import given
from hypothesis import strategies as st

MATRICES = (BT709, SMPTE170M, BT2020)
LAYOUTS = st.builds(Layout, st.sampled_from((8, 10, 12)), st.sampled_from((1, 2)), st.sampled_from((1, 2)))
COLORS = st.builds(Color, st.sampled_from(MATRICES), st.booleans())


def scales(layout: Layout, colors: Color) -> tuple[float, float, float, float]:
    """Black, white - black, no colour, and the span of chroma (H.273, equations 20 to 25 and 30 to 35)."""
    top, step = 2**layout.bits - 1, 2 ** (layout.bits - 8)
    return (0, top, 128 * step, top) if colors.is_full_range else (16 * step, 219 * step, 128 * step, 224 * step)


def yuv(rgb: np.ndarray, colors: Color) -> np.ndarray:
    """E'Y, E'PB and E'PR of RGB (..., 3) in fp64 (H.273, equations 38 to 40)."""
    kr, kb = WEIGHTS[colors.matrix]
    y = kr * rgb[..., 0] + (1 - kr - kb) * rgb[..., 1] + kb * rgb[..., 2]
    return np.stack([y, (rgb[..., 2] - y) / (2 * (1 - kb)), (rgb[..., 0] - y) / (2 * (1 - kr))], -1)


@given(
    st.integers(1, 40), st.integers(1, 40), LAYOUTS, COLORS, st.integers(0, 2**31), st.sampled_from((1, 64, 300, 32000))
)
def test_planes_are_those_of_the_formulas(
    rows: int, columns: int, layout: Layout, colors: Color, seed: int, block: int
) -> None:
    """Luma and full-size chroma exactly; of smaller chroma the mean, since the filter's weights add up to 1."""
    size = rows * layout.down, columns * layout.across
    rgb = np.random.default_rng(seed).random((*size, 3), dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(color, "BLOCK", block)
        planes = from_rgb(torch.from_numpy(rgb), layout, colors)
    black, span, zero, chroma_span = scales(layout, colors)
    wanted = yuv(rgb.astype(np.float64), colors)
    for plane, values, (offset, scale) in zip(
        planes, np.moveaxis(wanted, -1, 0), ((black, span), (zero, chroma_span), (zero, chroma_span)), strict=True
    ):
        assert plane.dtype == layout.dtype
        if plane.shape == values.shape:
            assert np.abs(plane - np.clip(values * scale + offset, 0, 2**layout.bits - 1)).max() <= 0.501
        else:
            assert plane.min() >= (values.min() * scale + offset) - 0.501
            assert plane.max() <= (values.max() * scale + offset) + 0.501


@given(LAYOUTS, COLORS, st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3))
def test_flat_colours_come_back(layout: Layout, colors: Color, rgb: list[float]) -> None:
    picture = torch.tensor(rgb).expand(4 * layout.down, 6 * layout.across, 3)
    back = to_rgb(from_rgb(picture, layout, colors), layout, colors)
    # half a step of luma, and of chroma times its largest factor in any matrix
    assert (back - picture).abs().max() <= (0.5 + 0.5 * 1.89 * 219 / 224) / (219 * 2 ** (layout.bits - 8)) + 1e-6


@given(st.integers(1, 30), st.integers(1, 30), LAYOUTS, COLORS, st.integers(0, 2**31), st.sampled_from((1, 50, 200)))
def test_blocks_give_what_the_whole_gives(
    height: int, width: int, layout: Layout, colors: Color, seed: int, block: int
) -> None:
    random = np.random.default_rng(seed)
    small = -(-height // layout.down), -(-width // layout.across)
    planes = [random.integers(0, 2**layout.bits, size, layout.dtype) for size in ((height, width), small, small)]
    whole = to_rgb(planes, layout, colors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(color, "BLOCK", block)
        assert torch.equal(to_rgb(planes, layout, colors), whole)


@pytest.mark.parametrize("mode", [False, True])
def test_threads_give_the_same(mode: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, colors = Layout(10, 2, 2), Color(BT709)
    with torch.inference_mode(mode):
        picture = torch.rand(700, 300, 3)
        planes = from_rgb(picture, layout, colors)
        back = to_rgb(planes, layout, colors)
        monkeypatch.setattr(color, "THREADS", 3)
        for one, other in zip(from_rgb(picture, layout, colors), planes, strict=True):
            assert np.array_equal(one, other)
        assert torch.equal(to_rgb(planes, layout, colors), back)
