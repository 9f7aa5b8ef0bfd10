"""Results that must be resized are collected beside the output, in memory that is reused and counted."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
import pytest
import torch
from apisr_pack.apisr_archs import Facts, Halo
from apisr_pack.apisr_archs.facts import bytes_per_pixel
from apisr_pack.engine import devices, pixels, plan, prepare, system_memory, upscale
from apisr_pack.tests.peaks import peak_bytes
from apisr_pack.tests.standins import BlurModel, NearestModel, enlarged
from PIL import Image
from torch import Tensor


@pytest.fixture
def canvases(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The canvases that were resized; kept alive, so that no address is reused by chance."""
    seen: list[Tensor] = []
    resize = pixels.resize

    def watched(picture: Tensor, size: tuple[int, int]) -> Tensor:
        seen.append(picture)
        return resize(picture, size)

    monkeypatch.setattr(pixels, "resize", watched)
    return seen


@pytest.mark.parametrize(
    ("channels", "how", "count"),
    [
        (3, {}, 1),
        (1, {}, 1),
        (4, {"alpha_by": "model"}, 2),  # colors, then alpha
        (4, {"alpha_by": "model", "output_dtype": torch.float16}, 2),
        (3, {"size": (153, 121)}, 2),  # two passes, both resized
    ],
    ids=str,
)
def test_all_pictures_use_the_same_canvas(
    channels: int, how: dict[str, Any], count: int, canvases: list[Tensor]
) -> None:
    upscale(NearestModel(), torch.rand(3, 36, 30, channels), **{"size": (50, 40), **how})
    assert len(canvases) == 3 * count
    kept = {canvas.data_ptr() for canvas in canvases[count - 1 :]}
    assert len(kept) == 1, "the largest, made for the first picture, also has room for the others"


@pytest.mark.parametrize("size", [(5, 1), (21, 1), (1, 1), (1, 5)], ids=str)
def test_results_that_are_one_pixel_wide(size: tuple[int, int]) -> None:
    """PyTorch 2.11's filter repeats their first row."""
    picture = torch.rand(1, 9, 4, 1)
    result = upscale(NearestModel(), picture, size=size)[0, ..., 0]
    pillow = Image.fromarray(enlarged(picture, 2)[0, ..., 0].numpy())
    expected = np.array(pillow.resize((size[1], size[0]), Image.Resampling.BICUBIC)).clip(0, 1)
    assert np.abs(result.numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("how", [{}, {"alpha_by": "model"}, {"output_dtype": torch.float16}], ids=str)
def test_nothing_of_one_picture_is_seen_in_the_next(channels: int, how: dict[str, Any]) -> None:
    images = torch.rand(3, 36, 30, channels)
    for size in ((50, 40), (153, 121)):
        alone = [upscale(BlurModel(), image[None], size=size, **how) for image in images]
        assert torch.equal(upscale(BlurModel(), images, size=size, **how), torch.cat(alone))


def test_between_two_passes_nothing_is_rounded() -> None:
    images = torch.rand(1, 36, 30, 3).half()
    assert torch.equal(
        upscale(BlurModel(), images, size=(144, 120)), upscale(BlurModel(), images.float(), size=(144, 120))
    )


def test_what_is_planned_is_told_of_each_pass() -> None:
    """The second has a larger picture, which has no room in one tile."""
    model, told = NearestModel(), []
    upscale(model, torch.rand(1, 60, 50, 3), size=(240, 200), tile=72, tell=told.append)
    second = plan(120, 100, model.facts, tile=72)
    assert len(second) > 1
    assert told[0].endswith(f"1 x 50x60 to 200x240 in two passes: whole image, then {second}")
    assert len(model.model.calls) == 1 + len(second)


# Bytes that are not for the network

HEIGHT, WIDTH = 200, 300
PIXELS = HEIGHT * WIDTH
RESIZED = (430, 630)
RESULT = 4 * 4 * PIXELS * 3
"""Bytes of the network's result, twice as high and as wide, in fp32."""
CANVAS = 3 * RESULT
"""The canvas, its copy for the filter, and the filter's result, which is about as large or smaller."""


def computes_whole(per_pixel: int, **how: Any) -> bool:
    """Whether a picture that takes this many bytes per pixel is computed at once."""
    model: Any = NearestModel()
    model.facts = Facts(2, 1, Halo(8, 8), 16, bytes_per_pixel(per_pixel))
    upscale(model, torch.rand(1, HEIGHT, WIDTH, 3), **how)
    return model.model.calls == [torch.Size((1, 3, HEIGHT, WIDTH))]


@pytest.mark.parametrize(
    ("per_pixel", "size", "beside"),
    [
        (1000, None, 0),
        (1000, RESIZED, CANVAS),
        (300, RESIZED, CANVAS),  # more than the network takes: the canvas goes to the CPU's memory
    ],
)
def test_a_budget_is_for_the_network_and_the_canvas(
    per_pixel: int, size: tuple[int, int] | None, beside: int, device: str
) -> None:
    needed = per_pixel * PIXELS
    if device == "cuda" and beside > needed / 3:
        beside = 0
    assert computes_whole(per_pixel, size=size, device=device, budget=needed + beside)
    assert not computes_whole(per_pixel, size=size, device=device, budget=needed + beside - 1)


@pytest.mark.parametrize(
    ("how", "beside"),
    [
        ({}, RESULT),
        ({"output_dtype": torch.float16}, RESULT // 2),
        ({"size": RESIZED}, 4 * 430 * 630 * 3 + CANVAS),
        ({"size": RESIZED, "output_dtype": torch.float16}, 2 * 430 * 630 * 3 + CANVAS),
    ],
    ids=str,
)
def test_what_is_free_is_also_for_the_result(how: dict[str, Any], beside: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is allocated but not touched yet: the system still counts it as free."""
    just_enough = ceil((1000 * PIXELS + beside) / devices.SHARE)
    for free, is_enough in ((just_enough + 1, True), (just_enough - 3, False)):
        monkeypatch.setattr(system_memory, "free_bytes", lambda free=free: free)
        assert computes_whole(1000, **how) == is_enough


@pytest.mark.parametrize(
    ("inputs", "steps", "expected"),
    [
        ([(HEIGHT, WIDTH)], [(2 * HEIGHT, 2 * WIDTH)], 0),
        ([(HEIGHT, WIDTH)], [RESIZED], CANVAS),
        ([(50, 60), (90, 100)], [(90, 100), (180, 200)], 3 * 12 * 100 * 120),  # only the first is resized
        ([(50, 60), (90, 110)], [(90, 110), (170, 200)], 3 * 12 * 180 * 220),  # never both at a time
    ],
)
def test_canvas_bytes(inputs: list[tuple[int, int]], steps: list[tuple[int, int]], expected: int) -> None:
    job = replace(prepare(NearestModel(), (1, *inputs[0], 3)), sizes=tuple(steps))
    assert list(job.inputs) == inputs
    assert job.canvas_bytes == expected


@pytest.mark.parametrize("size", [RESIZED, (399, 599), (100, 150)], ids=str)
def test_what_a_canvas_really_takes(size: tuple[int, int]) -> None:
    """The result, which is counted separately, is written last."""

    def collect_and_resize() -> None:
        canvas = torch.empty(2 * HEIGHT, 2 * WIDTH, 3)
        pixels.resize(canvas, size)

    counted = prepare(NearestModel(), (1, HEIGHT, WIDTH, 3), size=size).canvas_bytes
    assert counted / 3 <= peak_bytes(collect_and_resize) <= 1.25 * counted
