"""What is learned from the memory that tiles take, without resetting torch's counters, which others read too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import Facts, Halo, load_model
from apisr_pack.apisr_archs.facts import bytes_per_pixel
from apisr_pack.engine import devices, estimate, plan, upscale
from apisr_pack.tests import trained
from apisr_pack.tests.standins import FACTS, Nearest, NearestModel, StandIn, on_meta

BUNDLED = trained.ROOT / "models" / "realesr-animevideov3.safetensors"
SMALL, LARGE = 100 * 100, 300 * 300
"""Input pixels of a tile; workspaces of a constant size are most of what a small one takes."""


class Device:
    """A device's allocator as torch shows it: its peak only rises. (The real one can be reset, for everybody.)"""

    def __init__(self, allocated: int = 0, peak: int = 0) -> None:
        self.allocated, self.peak = allocated, max(allocated, peak)

    def memory_stats(self, _: torch.device) -> dict[str, int]:
        return {"allocated_bytes.all.current": self.allocated, "allocated_bytes.all.peak": self.peak}

    def take_for_a_while(self, size: int) -> None:
        self.peak = max(self.peak, self.allocated + size)


@pytest.fixture
def xpu(monkeypatch: pytest.MonkeyPatch) -> Device:
    """`torch.xpu`'s memory figures; resetting its peak fails the test."""
    device = Device(allocated=700)
    monkeypatch.setattr(torch.xpu, "memory_stats", device.memory_stats)
    for name in ("reset_peak_memory_stats", "reset_accumulated_memory_stats", "empty_cache"):
        monkeypatch.setattr(torch.xpu, name, lambda *_: pytest.fail("these counters are not ours alone"))
    return device


def test_the_peak_of_a_tile_is_what_it_took_beside_the_rest(xpu: Device) -> None:
    with devices.measured(torch.device("xpu")) as peak:
        xpu.take_for_a_while(300)
        xpu.take_for_a_while(500)
    assert peak.bytes == 500


def test_below_an_earlier_peak_nothing_is_known(xpu: Device) -> None:
    """A picture was made on this device before, with a model that took far more."""
    xpu.take_for_a_while(5000)
    with devices.measured(torch.device("xpu")) as peak:
        xpu.take_for_a_while(4999)
    assert peak.bytes is None


def test_a_device_that_was_not_used_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch gives no numbers then, not zeros."""
    answers: Iterator[dict[str, int]] = iter([{}, Device(peak=400).memory_stats(torch.device("xpu"))])
    monkeypatch.setattr(torch.xpu, "memory_stats", lambda _: next(answers))
    with devices.measured(torch.device("xpu")) as peak:
        pass
    assert peak.bytes == 400


def test_real_counters(device: str) -> None:
    """A CPU has none. A GPU's show what was allocated inside, and the highest peak is kept."""
    on_gpu, where = device == "cuda", torch.device(device)
    highest = torch.cuda.max_memory_allocated() if on_gpu else 0
    with devices.measured(where) as peak:
        torch.empty(highest + 2**20, dtype=torch.uint8, device=where)
    assert peak.bytes == (highest + 2**20 if on_gpu else None)
    if on_gpu:
        with devices.measured(where) as peak:
            torch.empty(2**20, dtype=torch.uint8, device=where)
        assert peak.bytes is None
        assert torch.cuda.max_memory_allocated() > highest


def test_a_picture_teaches_about_its_device(device: str) -> None:
    """On a GPU it learns the actual need, which is near what the facts say; on a CPU nothing."""
    model: Any = load_model(BUNDLED, device=device)
    before = model.facts
    side = 256 if device == "cuda" else 80  # a small tile does not teach a GPU that it takes more
    upscale(model, torch.rand(1, side, side, 3))
    after = model.facts.bytes_of(torch.float32) / before.bytes_of(torch.float32)
    assert 0.3 < after < 3 if device == "cuda" else model.facts is before


@pytest.mark.parametrize(
    ("peak", "pixels", "factor"),
    [
        (1.2, LARGE, 1.2 * 1.08),
        (0.5, LARGE, 0.5 * 1.08),
        (0.01, LARGE, 0.01 * 1.08),
        (90, LARGE, 5),  # something else ran beside it
        (0.5, SMALL, 0.5 * 1.08),  # workspaces included: it is certainly no more
        (0.01, SMALL, 0.2),  # another library may be at work in large ones
        (1.2, SMALL, 1),
        (90, SMALL, 1),
        (0.95, SMALL, 1),  # 1.026 with the margin
    ],
)
def test_how_far_one_tile_corrects_an_estimate(peak: float, pixels: int, factor: float) -> None:
    unknown = Facts(4, 1, Halo(8, 8), 16, bytes_per_pixel(10_000))
    facts = estimate.learned(unknown, torch.float16, 10**9, round(peak * 10**9), pixels)
    assert facts.bytes_per_pixel[torch.float16] == round(5000 * factor)
    assert facts.bytes_per_pixel[torch.float32] == 10_000, "the other dtypes are not touched"


class Tiles:
    """Replaces `devices.measured`: tiles take `per_pixel` bytes and a workspace; records which were measured."""

    def __init__(self, model: NearestModel, per_pixel: int, workspace: int = 0) -> None:
        self.model, self.per_pixel, self.workspace = model, per_pixel, workspace
        self.measured: list[int] = []

    @contextmanager
    def __call__(self, _: torch.device) -> Iterator[devices.Peak]:
        peak = devices.Peak()
        yield peak
        height, width = self.model.model.calls[-1][-2:]
        self.measured.append(height * width)
        peak.bytes = height * width * self.per_pixel + self.workspace


def counted(monkeypatch: pytest.MonkeyPatch, per_pixel: int, workspace: int = 0) -> tuple[NearestModel, Tiles]:
    model = NearestModel(facts=FACTS)
    counted = Tiles(model, per_pixel, workspace)
    monkeypatch.setattr(devices, "measured", counted)
    return model, counted


def test_what_the_first_tile_took_does_not_split_the_next_ones(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The budget is just the plan's, as ComfyUI's manager was asked; the tile takes a little more."""
    model, _ = counted(monkeypatch, per_pixel=1100)
    upscale(model, torch.rand(3, 300, 300, 3), budget=plan(300, 300, FACTS).bytes, reuse_frames=False)
    assert len(model.model.calls) == 3
    assert "Out of memory" not in caplog.text
    assert model.facts.bytes_per_pixel[torch.float32] == pytest.approx(1000 * 1.1 * estimate.MARGIN, rel=0.01)


def test_a_small_picture_does_not_teach_that_large_ones_take_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 40 MB of workspace it takes five times as much as by its pixels; large pictures do not."""
    model, _ = counted(monkeypatch, per_pixel=1000, workspace=40 * 10**6)
    upscale(model, torch.rand(1, 100, 100, 3))
    assert model.facts is FACTS
    upscale(model, torch.rand(1, 300, 300, 3), budget=150 * 10**6)
    assert model.model.calls[1:] == [torch.Size((1, 3, 300, 300))], "whole: 90 MB by what is known"


def test_only_larger_tiles_are_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clip whose frames are computed in parts, and then one as a whole; the smallest parts say nothing."""
    model, counted_ = counted(monkeypatch, per_pixel=500)
    images = torch.rand(1, 300, 280, 3).repeat(6, 1, 1, 1)
    for frame in range(1, 6):
        images[frame, 4:8, 4:8] = frame / 10
    images[3] = torch.rand(300, 280, 3)
    upscale(model, images)
    assert counted_.measured == [300 * 280]
    counted_.measured.clear()
    for side in (50, 80, 200, 80):
        upscale(model, torch.rand(1, side, side, 3))
    assert counted_.measured == [80 * 80, 200 * 200, 80 * 80], "anew in each call, but never below 64x64"


def test_a_tile_that_teaches_makes_room_for_larger_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown network takes a fifth of what was assumed: the second frame needs fewer tiles, and teaches more."""
    model, counted_ = counted(monkeypatch, per_pixel=200)
    budget = 130 * 130 * 1000
    upscale(model, torch.rand(2, 300, 280, 3), budget=budget, reuse_frames=False)
    sizes = [height * width for _, _, height, width in model.model.calls]
    assert sizes[0] * 2 < sizes[-1]
    assert counted_.measured == [sizes[0], sizes[-1]]
    assert all(size * 200 <= budget for size in sizes), "and all fit"


def test_what_the_cpu_took_is_not_the_gpu_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts that were learned after the CPU had taken over stay with that call."""
    model = NearestModel(facts=FACTS, fails=on_meta, device=torch.device("meta"))
    monkeypatch.setattr(devices, "measured", Tiles(model, per_pixel=300))
    upscale(model, torch.rand(1, 300, 280, 3), budget=10**9, cpu_fallback=True)
    assert model.facts is FACTS


def test_a_model_that_takes_no_facts_is_upscaled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed(StandIn):
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "facts" and hasattr(self, "facts"):
                raise AttributeError(name)
            super().__setattr__(name, value)

    model = Fixed(Nearest())
    monkeypatch.setattr(devices, "measured", Tiles(model, per_pixel=1500))
    assert upscale(model, torch.rand(1, 300, 280, 3)).shape == (1, 600, 560, 3)
