"""One picture's tiles and memory: estimates, going on with the CPU, and errors with numbers."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import Facts, NotEnoughMemory, Strips, is_finite
from apisr_pack.apisr_archs.facts import bytes_per_pixel
from apisr_pack.engine import Callbacks, bytes_for, devices, estimate, pixels, plan, prepare, upscale
from apisr_pack.engine.deliver import AtOnce
from apisr_pack.engine.frames import Frames
from apisr_pack.engine.progress import Progress
from apisr_pack.engine.tiles import Tiler
from apisr_pack.tests.standins import FACTS, NearestModel, at, enlarged, larger_than, on_meta
from apisr_pack.tests.strategies import row_strips
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

SEEING_ALL = replace(FACTS, global_statistics=True, strips=Strips(1, 1, 1.0, 0.1, 0.1, 0.9))
"""Of a network that takes means over the whole picture, like DAT."""


def model_of(facts: Facts = FACTS, **options: Any) -> NearestModel:
    return NearestModel(facts=facts, **{"device": torch.device("cpu"), **options})


# The CPU instead


def nowhere(facts: Facts = FACTS, **options: Any) -> NearestModel:
    """A model on a device with no memory at all."""
    return model_of(facts, fails=on_meta, device=torch.device("meta"), **options)


@pytest.mark.parametrize("facts", [FACTS, SEEING_ALL])
def test_the_cpu_goes_on_where_the_device_has_no_memory(facts: Facts) -> None:
    images, told = torch.rand(2, 200, 180, 3), []
    result = upscale(nowhere(facts), images, tile=150, device="meta", budget=10**9, cpu_fallback=True, tell=told.append)
    assert torch.equal(result, enlarged(images, 2))
    assert sum("Out of memory on meta: going on with the CPU" in line for line in told) == 1


def test_the_cpu_computes_in_fp32() -> None:
    """The CPU computes in fp32, even if the device used half precision."""
    model = nowhere(dtype=torch.float16)
    upscale(model, torch.rand(1, 60, 50, 3), device="meta", budget=10**9, cpu_fallback=True)
    seen = {attempt.image.dtype for attempt in model.attempts if not attempt.image.is_meta}
    assert seen == {torch.float32}


def test_the_cpu_begins_with_the_tiles_that_were_asked_for() -> None:
    """Not with the smallest, which were tried on the device, and are slow."""
    model, images = nowhere(), torch.rand(2, 200, 180, 3)
    upscale(model, images, tile=150, device="meta", budget=10**9, cpu_fallback=True, reuse_frames=False)
    tiles = plan(200, 180, FACTS, tile=150)
    assert len(tiles) == 4
    assert [tuple(shape[-2:]) for shape in model.model.calls[-4:]] == [tiles.tile] * 4, "the second picture"


@pytest.mark.parametrize("facts", [FACTS, SEEING_ALL])
def test_an_error_with_numbers_where_the_cpu_is_not_wanted(facts: Facts) -> None:
    says = r"on meta: a tile of \d+x\d+ pixels .* \d+ MB\. .*cpu_fallback"
    with pytest.raises(NotEnoughMemory, match=says):
        upscale(nowhere(facts), torch.rand(1, 300, 300, 3), tile=250, device="meta", budget=10**9)


def test_the_cpu_itself_has_no_fallback() -> None:
    full = model_of(fails=larger_than(0), error=MemoryError)
    with pytest.raises(NotEnoughMemory, match=r"^(?!.*cpu_fallback).*Choose a smaller model") as caught:
        upscale(full, torch.rand(1, 200, 200, 3), cpu_fallback=True)
    assert isinstance(caught.value.__cause__, MemoryError)


def test_no_room_for_the_result() -> None:
    """No machine has 2 ** 50 bytes; the error comes before anything is computed."""
    model = model_of()
    with pytest.raises(NotEnoughMemory, match=r"1 x \d+x\d+ pixels take [\d.]+ GB .* [\d.]+ GB seem to be free.* or "):
        upscale(model, torch.rand(1, 8, 8, 3), size=(2**24, 2**24))


def test_a_whole_picture_goes_on_in_its_own_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one of the same size would be most of the memory, just when there is little."""

    def second(*_: Any) -> Tensor:
        raise AssertionError("room for a second picture")

    monkeypatch.setattr(Tiler, "_in_smaller_tiles", second)
    images = torch.rand(1, 200, 180, 3)
    assert torch.equal(upscale(model_of(fails=at({0}), error=MemoryError), images), enlarged(images, 2))


@pytest.mark.parametrize("step", ["to_network", "from_network"])
@pytest.mark.parametrize("fails", [{0}, {1}, {0, 2}])
def test_out_of_memory_on_the_way_to_and_from_the_network(
    step: str, fails: set[int], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, original = [], getattr(pixels, step)

    def scarce(*arguments: Any, **keywords: Any) -> Tensor:
        calls.append(1)
        if len(calls) - 1 in fails:
            raise torch.OutOfMemoryError("out of memory")
        return original(*arguments, **keywords)

    monkeypatch.setattr(pixels, step, scarce)
    images = torch.rand(2, 200, 180, 3)
    assert torch.equal(upscale(model_of(), images, tile=150, device=device), enlarged(images, 2))
    assert len(calls) > max(fails)


def test_a_canvas_that_does_not_fit_on_the_device_is_the_computer_s() -> None:
    """This machine has no such device, which stands for one without memory."""
    images, output, model = torch.rand(2, 40, 30, 3), torch.empty(2, 50, 40, 3), NearestModel(facts=FACTS)
    job = prepare(model, images.shape, size=(50, 40))
    absent = torch.device("xpu" if torch.cuda.is_available() else "cuda")

    def enlarge(picture: Tensor, canvas: Tensor, *_: Any) -> None:
        canvas.copy_(enlarged(picture[None], 2)[0])

    frames = Frames(job, enlarge, AtOnce(), Progress(None, None), absent, Callbacks(is_out_of_memory=lambda _: True))
    for picture, result in zip(images, output, strict=True):
        frames.upscale(picture, result, None)
    for picture, result in zip(images, output, strict=True):
        assert torch.equal(result, pixels.resize(enlarged(picture[None], 2)[0], (50, 40)))


# Estimates

any_strips = row_strips([1, 2, 16, 32], 8, st.floats(0.01, 1))


def test_estimates_are_for_the_picture_as_the_network_pads_it() -> None:
    facts = replace(FACTS, padding=16)
    assert bytes_for(17, 1, facts, torch.float32) == bytes_for(32, 16, facts, torch.float32) == 32 * 16 * 1000


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [("cpu", "cpu", True), ("mps", "cpu", True), ("cuda:0", "cpu", False), ("cuda", "cuda:1", True)],
)
def test_which_devices_share_their_memory(one: str, other: str, shared: bool) -> None:
    assert devices.share_memory(torch.device(one), torch.device(other)) == shared


@given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    any_strips,
)
@settings(deadline=None)
def test_strips_for_speed(height: int, width: int, strips: Strips) -> None:
    """As few as fit into a piece each, of about equal height, and only for pictures much larger than a piece."""
    facts, piece = replace(FACTS, strips=strips), 10_000_000
    rows, step = estimate.fast_strip(piece, height, width, facts, torch.float32), estimate.least_strip(strips)

    def bytes_of_strip(rows: int) -> float:
        return (rows + 2 * strips.halo) * width * 1000 * max(strips.strip, strips.trunk_strip)

    if rows is None:
        one_is_enough = bytes_of_strip(height - 1) <= piece or height <= 2 * step
        assert bytes_for(height, width, facts, torch.float32) <= 3 * piece or one_is_enough
        return
    assert bytes_for(height, width, facts, torch.float32) > 3 * piece
    assert 0 < rows < height
    assert rows % step == 0
    assert rows == step or bytes_of_strip(rows - step) < piece, "within a piece, but for rounding"
    count = ceil(height / rows)
    assert (rows - step) * count < height, "lower ones of the same number would not reach the end"
    assert count == 2 or bytes_of_strip(ceil(height / (count - 1))) > piece, "fewer ones would be larger"


@given(
    st.integers(1, 2000),
    st.integers(1, 2000),
    any_strips,
    st.floats(0.01, 1.2),
    st.sampled_from([torch.float32, torch.float16]),
)
@settings(deadline=None)
def test_strips_stay_within_the_budget_and_are_the_highest(
    height: int, width: int, strips: Strips, share: float, dtype: torch.dtype
) -> None:
    facts = replace(FACTS, strips=strips)
    budget = int(bytes_for(height, width, facts, dtype) * share)
    rows, step = estimate.strip_within(budget, height, width, facts, dtype), estimate.least_strip(strips)
    assert step % strips.multiple == 0
    if rows is None:
        # only where even the lowest would be too much, or would be all of the picture
        lowest = bytes_for(height, width, facts, dtype, step)
        assert lowest > budget or step + 2 * strips.halo >= height
        return
    assert 0 < rows < height
    assert rows % step == 0
    assert bytes_for(height, width, facts, dtype, rows) <= budget
    higher = rows + step + 1  # one row more, because of rounding
    assert higher + 2 * strips.halo >= height or bytes_for(height, width, facts, dtype, higher) > budget


def test_without_strips() -> None:
    assert estimate.strip_within(10**9, 100, 100, FACTS, torch.float32) is None
    assert bytes_for(100, 50, FACTS, torch.float16, strip=16) == 100 * 50 * 500


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_not_finite_is_seen(dtype: torch.dtype, bad: float) -> None:
    result = torch.rand(1, 3, 20, 30).to(dtype)
    assert is_finite(result)
    result[0, 1, 7, 9] = bad
    assert not is_finite(result)


def test_a_cpu_computes_in_strips_for_speed() -> None:
    """Also where memory is plentiful; other devices do not gain by it."""
    facts = replace(FACTS, bytes_per_pixel=bytes_per_pixel(100_000), strips=Strips(1, 1, 1.0, 0.1, 0.1, 0.9))
    model = model_of(facts)
    upscale(model, torch.rand(1, 90, 40, 3), budget=10**12)
    assert model.rows == [estimate.fast_strip(devices.CPU_STRIP_BYTES, 90, 40, facts, torch.float32)] != [None]
    assert devices.fast_strip_bytes(torch.device("cuda")) is None
