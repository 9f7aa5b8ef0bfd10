"""Memory that runs out outside of the network, and reused frames."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import NotEnoughMemory, is_out_of_memory, load_model
from apisr_pack.engine import output, pixels, upscale
from apisr_pack.tests import trained
from apisr_pack.tests.standins import NearestModel, enlarged
from torch import Tensor

BUNDLED = trained.ROOT / "models" / "realesr-animevideov3.safetensors"


def test_out_of_memory_beside_the_network_says_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("no room for the filter")

    monkeypatch.setattr(pixels, "resize", none_left)
    with pytest.raises(NotEnoughMemory, match=r"on cpu while putting the picture together; [\d.]+ GB seem to be free"):
        upscale(NearestModel(), torch.rand(1, 8, 8, 3), size=(5, 5))


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (MemoryError(), "cpu"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), "cpu"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), "xpu"),
        (RuntimeError("MPS backend out of memory"), "xpu"),
    ],
)
def test_it_is_said_which_memory_ran_out(error: Exception, where: str) -> None:
    """Not always that of the device on which the network runs."""
    beside = output.explain_out_of_memory(is_out_of_memory, torch.device("xpu"))
    with pytest.raises(NotEnoughMemory, match=f"^Out of memory on {where} while putting the picture together"), beside:
        raise error


def test_fast_preset_does_not_touch_what_is_reused() -> None:
    model: Any = load_model(BUNDLED)
    frames = trained.art("demo.png")[:, 60:188, 100:228].repeat(2, 1, 1, 1)
    frames[1, 60:64, 60:64] = 0
    again = upscale(model, frames, preset="fast", reuse_frames=False)
    assert (upscale(model, frames, preset="fast") - again).abs().max() <= 1e-5


def test_cancel_and_progress_while_frames_are_copied() -> None:
    asked: list[float] = []
    upscale(NearestModel(), torch.rand(1, 4, 4, 3).repeat(50, 1, 1, 1), on_tile=lambda done, _: asked.append(done))
    assert len(asked) > 50
    assert asked == sorted(asked)


@pytest.mark.parametrize("alpha_by", ["filter", "model"])
@pytest.mark.parametrize("is_opaque", [False, True])
def test_progress_of_transparent_frames_only_rises(alpha_by: str, is_opaque: bool) -> None:
    seen: list[float] = []
    images = torch.rand(2, 6, 6, 4)
    if is_opaque:  # which saves the pass for alpha
        images[..., 3] = 1
    upscale(NearestModel(), images, alpha_by=alpha_by, on_tile=lambda done, all_: seen.append(done / all_))
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_a_stranger_s_device_may_be_a_name_and_its_dtype_anything() -> None:
    model = NearestModel()
    model.device, model.dtype = "cpu", torch.float64
    images = torch.rand(1, 8, 8, 3)
    assert torch.equal(upscale(model, images), enlarged(images, 2))
