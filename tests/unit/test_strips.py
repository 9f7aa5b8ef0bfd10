"""Networks in row strips: the same picture as at once and as the reference's, in the memory that the facts promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import UpscaleModel, Way
from apisr_pack.apisr_archs.networks.registry import load_weights
from apisr_pack.engine import bytes_for, plan
from apisr_pack.engine.estimate import least_strip
from apisr_pack.tests import peaks, reference
from torch import Tensor, nn

Make = Callable[[], tuple[nn.Module, dict[str, Tensor]]]
MIB = 2**20
ROWS = (16, 32, 64)


def dat(size: str = "small", **changes: Any) -> Make:
    return lambda: reference.with_weights(lambda: reference.dat(size, **changes))


SHORT = {"depth": [3, 3], "num_heads": [6, 6], "embed_dim": 60}
"""Two groups of three blocks hold every kind of DAT block: even and odd groups shift their windows differently."""
SHUFFLE = {**SHORT, "upsampler": "pixelshuffle"}
SMALL: dict[str, Make] = {
    "RRDB 4x": lambda: reference.rrdb(blocks=1),
    "RRDB 2x": lambda: reference.rrdb(in_channels=12, blocks=1),
    "RRDB 1x": lambda: reference.rrdb(in_channels=48, blocks=1),
    "GRL": reference.ZOO["4x_APISR_GRL_GAN_generator"],
    "Compact 4x": lambda: reference.with_weights(reference.compact),
    "Compact 2x": lambda: reference.with_weights(lambda: reference.compact(upscale=2, num_conv=8, num_feat=24)),
    "Compact 1x": lambda: reference.with_weights(lambda: reference.compact(upscale=1, num_conv=4)),
    "DAT direct": dat(**SHORT),
    "DAT 2x": dat(**SHUFFLE, upscale=2),
    "DAT 3x": dat(**SHUFFLE, upscale=3),
    "DAT 4x": dat(**SHUFFLE),
    "DAT wide windows": dat(**{**SHUFFLE, "split_size": [8, 32], "expansion_factor": 4}),
    "DAT low windows": dat(**{**SHORT, "split_size": [16, 8]}),
    "DAT-light": dat("light", depth=[6]),
    "DAT-light 3x, no qkv bias": dat("light", depth=[2], upscale=3, qkv_bias=False),
}
"""Every kind of network, with the fewest layers that include every kind of layer."""


def strips_of(model: UpscaleModel, heights: tuple[int, ...] = ROWS) -> list[int]:
    assert model.facts.strips
    return [rows for rows in heights if rows % model.facts.strips.multiple == 0]


def difference(got: Tensor, expected: Tensor) -> float:
    """Largest difference, in parts of the output's range."""
    assert got.shape == expected.shape
    return float((got.float() - expected).abs().max() / (expected.max() - expected.min()).clamp_min(1e-6))


def check(make: Make, *shapes: tuple[int, int, int], heights: tuple[int, ...] = ROWS) -> None:
    """In strips of these heights against at once, and against the reference. shapes: batch, height, width."""
    theirs, weights = make()
    model = load_weights(dict(weights))
    for batch, height, width in shapes:
        images = torch.rand(batch, 3, height, width)
        with torch.inference_mode():
            expected, whole = theirs(images), model.model(images)
            in_strips = {rows: model.model(images, Way(rows)) for rows in strips_of(model, heights)}
        assert in_strips
        for rows, got in in_strips.items():
            assert got.isfinite().all(), "every row is written"
            assert difference(got, whole) <= 1e-5, (images.shape, rows)
            assert difference(got, expected) <= 1e-5, (images.shape, rows)


@pytest.mark.parametrize("name", [name for name in SMALL if name not in ("DAT 2x", "DAT 4x", "DAT-light")])
def test_in_strips_as_at_once_and_as_the_reference(name: str) -> None:
    """The three left out add nothing to the others."""
    lower_than_windows_are_shifted = (1, 5, 9)
    check(SMALL[name], (1, 67, 9), lower_than_windows_are_shifted, heights=(32,))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("shape", [(2, 37, 41), (1, 67, 53), (1, 17, 90)], ids=str)
def test_every_kind_of_size(name: str, shape: tuple[int, int, int]) -> None:
    check(SMALL[name], shape)


@pytest.mark.slow
@pytest.mark.parametrize("name", reference.ZOO)
def test_the_zoo_in_strips(name: str) -> None:
    check(reference.ZOO[name], (1, 67, 53), heights=(32,))


@pytest.mark.parametrize("rows", [67, 1000])
@pytest.mark.parametrize("name", ["RRDB 2x", "Compact 2x", "DAT low windows"])
def test_strips_as_high_as_the_picture(name: str, rows: int) -> None:
    theirs, weights = SMALL[name]()
    model, image = load_weights(dict(weights)), torch.rand(1, 3, 67, 9)
    multiple = model.facts.strips.multiple
    with torch.inference_mode():
        assert difference(model.model(image, Way(-(-rows // multiple) * multiple)), theirs(image)) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_bf16_strips(name: str) -> None:
    check_half(name, torch.bfloat16, (67, 9), tolerance=0.02)


@pytest.mark.parametrize("name", [pytest.param("DAT direct", marks=pytest.mark.slow), "DAT-light"])
def test_fp16_strips(name: str) -> None:
    """Only those with few convolutions, which are slow in fp16 on a CPU."""
    check_half(name, torch.float16, (40, 16), tolerance=0.005)


def check_half(name: str, dtype: torch.dtype, size: tuple[int, int], tolerance: float) -> None:
    theirs, weights = SMALL[name]()
    model = load_weights(dict(weights))
    image = torch.rand(1, 3, *size)
    with torch.inference_mode():
        expected = theirs(image)
        model.to(dtype)
        got = model.model(image.to(dtype), Way(strips_of(model)[0]))
    assert got.dtype == dtype
    assert got.isfinite().all()
    assert (got.float() - expected).norm() <= tolerance * expected.norm()


# Memory


def peak_bytes(network: nn.Module, image: Tensor, *way: Way) -> int:
    """The most that was allocated at once during one forward pass, weights and input not counted."""
    with torch.inference_mode():
        return peaks.peak_bytes(lambda: network(image, *way))


MEASURED: dict[str, tuple[Make, tuple[int, int]]] = {
    "RRDB 4x": (SMALL["RRDB 4x"], (96, 96)),
    "RRDB 2x": (SMALL["RRDB 2x"], (160, 160)),
    "GRL": (SMALL["GRL"], (96, 96)),
    "Compact": (SMALL["Compact 4x"], (128, 128)),
    "DAT direct": (dat(depth=[2], num_heads=[6]), (128, 128)),
    "DAT wide windows": (
        dat(depth=[2], num_heads=[6], split_size=[8, 32], upsampler="pixelshuffle", expansion_factor=4),
        (128, 128),
    ),
    "DAT-light": (dat("light", depth=[2]), (192, 192)),
}
"""Networks and pictures large enough for their activations to matter and small enough for a test."""


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASURED)
@pytest.mark.parametrize("strips", [None, 1, 2], ids=["at once", "narrowest", "twice as high"])
def test_the_peak_is_what_the_facts_say(name: str, strips: int | None) -> None:
    make, (height, width) = MEASURED[name]
    model = load_weights(dict(make()[1]))
    rows = strips and strips * least_strip(model.facts.strips)
    expected = bytes_for(height, width, model.facts, torch.float32, rows)
    measured = peak_bytes(model.model, torch.rand(1, 3, height, width), *([Way(rows)] if rows else []))
    assert 0.75 <= measured / expected <= 1.25, f"{measured / MIB:.0f} MB, {expected / MIB:.0f} in the facts"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"depth": [2, 2], "num_heads": [6, 6]}, (192, 128)),
        ({"size": "light", "depth": [2]}, (256, 256)),
    ],
    ids=str,
)
def test_dat_needs_far_less_than_the_reference(changes: dict[str, Any], size: tuple[int, int]) -> None:
    """The same result, of the whole picture, at 1 / 2.5 of the peak or less."""
    theirs, weights = dat(**changes)()
    model, image = load_weights(dict(weights)), torch.rand(1, 3, *size)
    rows = least_strip(model.facts.strips)
    assert peak_bytes(model.model, image, Way(rows)) <= peak_bytes(theirs, image) / 2.5


SHARES = {"RRDB 4x": 0.35, "RRDB 2x": 0.35, "GRL": 0.4, "Compact 4x": 0.85, "DAT direct": 0.45, "DAT 4x": 0.45}
"""Nearly all of Compact is its trunk, which strips do not make smaller."""


@pytest.mark.parametrize("name", SHARES)
def test_strips_fit_into_a_part_of_the_memory(name: str) -> None:
    """A budget of that share of what a picture takes at once is met without tiles."""
    facts = load_weights(dict(SMALL[name]()[1])).facts
    budget = int(bytes_for(512, 512, facts, torch.float32) * SHARES[name])
    tiles = plan(512, 512, facts, budget=budget)
    assert len(tiles) == 1
    assert tiles.strip
    assert tiles.bytes <= budget
