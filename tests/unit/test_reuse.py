"""Frames of a batch: what is reused from the previous frame equals what computing it again would give."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import UpscaleModel, load_model
from apisr_pack.apisr_archs.networks.registry import load_weights
from apisr_pack.engine import passes, upscale
from apisr_pack.engine.reuse import Area, part_to_compute
from apisr_pack.tests import reference, trained
from apisr_pack.tests.standins import BlurModel, Counted
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

BUNDLED = trained.ROOT / "models" / "realesr-animevideov3.safetensors"
REPORT = re.compile(r"(\d+) of (\d+) frames copied(?:, (\d+) computed in part)?: (\d+)% of the work saved")


def with_and_without(model: Any, frames: Tensor, **how: Any) -> tuple[Tensor, Tensor, Counted, str]:
    """The frames with reuse and without; what was computed with it, and what the report says."""
    told: list[str] = []
    counted = Counted(model)
    got = upscale(counted, frames, tell=told.append, **how)
    expected = upscale(model, frames, reuse_frames=False, **how)
    reports = [line for line in told if "frames" in line and "saved" in line]
    return got, expected, counted, "".join(reports)


def check_report(report: str, counted: Counted, frames: Tensor) -> re.Match[str]:
    """The share that is reported is the share that was not computed."""
    found = REPORT.search(report)
    assert found, report
    count, height, width = frames.shape[:3]
    saved = 1 - counted.pixels / (count * height * width)
    assert int(found[2]) == count
    assert int(found[4]) == pytest.approx(100 * saved, abs=1)
    return found


# A cartoon


def cartoon(height: int, width: int, moves: list[tuple[str, int, int]]) -> Tensor:
    """Frames with one background; for each, (the figure's mouth, its top, its left)."""
    behind = trained.crop(trained.art("bg_uni.jpg"), 300, 400, height, width)
    mouths = {name: trained.crop(trained.art(f"sylvie_green_{name}.png"), 130, 165, 44, 52) for name in _MOUTHS}
    return torch.cat([trained.on_background(mouths[mouth], behind, top, left) for mouth, top, left in moves])


_MOUTHS = ("normal", "smile")
MOVES = [
    ("normal", 0, 0),
    ("normal", 0, 0),  # held
    ("smile", 0, 0),  # the mouth alone
    ("smile", 0, 10),  # a step
    ("normal", 68, 108),  # a cut: too much changes
]


@pytest.fixture(scope="module")
def bundled() -> UpscaleModel:
    return load_model(BUNDLED)


@pytest.mark.slow
def test_a_cartoon_is_as_if_all_of_it_were_computed(bundled: UpscaleModel) -> None:
    frames = cartoon(112, 160, MOVES)
    got, expected, counted, report = with_and_without(bundled, frames)
    assert (got - expected).abs().max() <= 1e-5
    found = check_report(report, counted, frames)
    assert found[1] == "1", "held"
    assert found[3] == "2", "the mouth, the step"
    assert counted.shapes.count((112, 160)) == 2, "the first and the last"
    assert counted.pixels < 0.7 * frames.shape[0] * 112 * 160


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["tile", "budget"])
def test_a_cartoon_in_tiles_and_in_strips(bundled: UpscaleModel, limit: str) -> None:
    frames = cartoon(160, 176, MOVES[1:4])
    at_once = upscale(bundled, frames, reuse_frames=False)
    budget = 120 * 120 * bundled.facts.bytes_per_pixel[torch.float32]
    limits: dict[str, Any] = {"tile": 90} if limit == "tile" else {"budget": budget}
    counted = Counted(bundled)
    assert (upscale(counted, frames, **limits) - at_once).abs().max() <= 1e-5
    assert len(counted.shapes) > len(frames) or counted.rows[0], "so it was in tiles, or in strips"


@pytest.mark.slow
def test_a_cartoon_through_trained_rrdb() -> None:
    """Its halo is wide: only a change in a corner leaves enough of a frame as small as these."""
    model = load_weights(trained.trained_state_dict("realesrgan-x4plus-anime"))
    frames = cartoon(208, 256, MOVES[1:3])
    counted = Counted(model)
    got = upscale(counted, frames)
    assert counted.shapes == [(208, 256), (192, 192)]
    assert (got[1:] - upscale(model, frames[1:])).abs().max() <= 0.5 / 255


def test_networks_that_look_at_everything_get_whole_frames() -> None:
    model = load_weights(dict(reference.with_weights(lambda: reference.dat("light", depth=[2]))[1]))
    assert model.facts.global_statistics
    frames = torch.rand(1, 64, 48, 3).repeat(3, 1, 1, 1)
    frames[2, 0, 0] = 0
    got, expected, counted, report = with_and_without(model, frames)
    assert torch.equal(got, expected)
    assert counted.shapes == [(64, 48)] * 2
    assert check_report(report, counted, frames)[1] == "1"


def test_networks_that_cannot_be_tiled_get_whole_frames() -> None:
    model = BlurModel()
    model.facts = replace(model.facts, tiling=False)
    frames = torch.rand(1, 128, 128, 3).repeat(2, 1, 1, 1)
    frames[1, 5, 5] = 0
    got, expected, counted, _ = with_and_without(model, frames)
    assert torch.equal(got, expected)
    assert counted.shapes == [(128, 128)] * 2


@pytest.mark.parametrize(
    ("minimum", "size", "changed", "is_computed_alone"),
    [
        (32, (400, 400), (1, 1), True),
        (33, (400, 400), (1, 1), False),
        (40, (400, 40), (1, 40), False),  # too low
        (40, (40, 400), (40, 1), False),  # too narrow
        (64, (400, 40), (57, 40), True),  # as narrow as the frame, which the network pads as well
        (64, (40, 400), (40, 57), True),
    ],
)
def test_no_part_is_smaller_than_what_the_network_pads(
    minimum: int, size: tuple[int, int], changed: tuple[int, int], is_computed_alone: bool
) -> None:
    """It would pad the part, but not the frame. One changed pixel means reading 32x32."""
    area = Area(0, changed[0], 0, changed[1])
    part = part_to_compute(area, *size, replace(BlurModel().facts, minimum=minimum))
    assert (part is not None) == is_computed_alone


# Everywhere in a frame


sides = st.integers(1, 160)


@given(sides, sides, st.data(), st.sampled_from([1, 3, 4]), st.sampled_from([None, 64]))
@settings(deadline=None, max_examples=25)
def test_any_sequence_of_changes(height: int, width: int, data: st.DataObject, channels: int, tile: int | None) -> None:
    """Rectangles of any size anywhere, also at the borders and in the corners."""
    frames = torch.rand(1, height, width, channels).repeat(4, 1, 1, 1)
    for later in range(1, 4):
        for _ in range(data.draw(st.integers(0, 2))):
            top, left = (data.draw(st.integers(0, side - 1)) for side in (height, width))
            bottom, right = (data.draw(st.sampled_from([first + 1, first + 9, 999])) for first in (top, left))
            frames[later:, top:bottom, left:right] *= 0.5
    got, expected, counted, report = with_and_without(BlurModel(), frames, tile=tile)
    assert torch.allclose(got, expected, atol=1e-6)
    if report and channels != 4 and not tile:
        check_report(report, counted, frames)


PLACES = [(0, 0), (0, 99), (0, -1), (99, 0), (99, 99), (99, -1), (-1, 0), (-1, 99), (-1, -1)]


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(200, 200), (201, 198)], ids=str)
def test_one_pixel_at_every_border_and_corner(place: tuple[int, int], channels: int, size: tuple[int, int]) -> None:
    frames = torch.rand(1, *size, channels).repeat(2, 1, 1, 1)
    frames[1, place[0], place[1], -1] += 1e-3  # in one channel alone
    got, expected, counted, report = with_and_without(BlurModel(), frames.clamp(0, 1))
    assert torch.allclose(got, expected, atol=1e-6)
    assert counted.pixels <= (1 + 0.2) * size[0] * size[1]
    assert check_report(report, counted, frames)[3] == "1"


# Values, channels and sizes


def test_frames_with_alpha_are_copied_or_computed_as_a_whole() -> None:
    frames = torch.rand(1, 160, 160, 4).repeat(4, 1, 1, 1)
    frames[2:, 8:20, 8:20, 3] = 0  # only alpha
    got, expected, counted, report = with_and_without(BlurModel(), frames)
    assert torch.equal(got, expected)
    assert counted.shapes == [(160, 160)] * 2
    assert check_report(report, counted, frames)[1] == "2"


RESIZES: dict[str, Callable[[int, int], tuple[int, int]]] = {
    "smaller": lambda h, w: (h, w),
    "uneven": lambda h, w: (h * 3 // 2, w - 5),
    "a little larger": lambda h, w: (h * 2 + h // 5, w * 2 + w // 5),
    "two passes": lambda h, w: (h * 4, w * 4),
    "two passes and a resize": lambda h, w: (h * 3, w * 3 - 1),
}


@pytest.mark.parametrize("name", RESIZES)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_frames_that_are_resized(name: str, channels: int) -> None:
    frames = torch.rand(1, 97, 96, channels).repeat(5, 1, 1, 1)
    frames[2:, 3:9, -7:] *= 0.5
    frames[3, 60, 60] = 0  # and back again
    size = RESIZES[name](97, 96)
    got, expected, counted, report = with_and_without(BlurModel(), frames, size=size)
    assert got.shape == (5, *size, channels)
    assert torch.allclose(got, expected, atol=1e-6)
    times = len(passes(97, 96, 2, size))
    assert times == (2 if "two" in name else 1)
    found = REPORT.search(report)
    assert found
    assert found[1] == "1"
    if times == 2 or channels == 4:
        assert not found[3]
    else:
        assert found[3] == "3"
        assert counted.pixels < 3 * 97 * 96


def test_output_in_half_precision() -> None:
    """A new part lies next to pixels that were rounded before: it must be rounded the same way."""
    frames = torch.rand(1, 160, 160, 3).repeat(2, 1, 1, 1)
    frames[1, 80:90, 80:90] = 1
    got, expected, _, report = with_and_without(BlurModel(), frames, output_dtype=torch.float16)
    assert "1 computed in part" in report
    assert (got.float() - expected.float()).abs().max() <= 2**-11
