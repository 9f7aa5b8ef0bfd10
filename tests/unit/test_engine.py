"""The engine on pictures of every kind, against whole-image inference and plain arithmetic."""

from __future__ import annotations

import pytest
import torch
from apisr_pack.apisr_archs import Facts, Halo, NotEnoughMemory, is_out_of_memory
from apisr_pack.apisr_archs.facts import bytes_per_pixel
from apisr_pack.engine import Cancelled, Placement, plan, prepare, upscale, upscale_batch
from apisr_pack.engine.devices import same_device
from apisr_pack.tests import trained
from apisr_pack.tests.standins import Nearest, NearestModel, StandIn, at, enlarged, larger_than
from torch import nn

BUNDLED = trained.ROOT / "models" / "realesr-animevideov3.safetensors"


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 48), (101, 67)])
@pytest.mark.parametrize("tile", [None, 40])
def test_every_size_and_channel_count(device: str, channels: int, size: tuple[int, int], tile: int | None) -> None:
    images = torch.rand(2, *size, channels)
    if channels == 4:
        images[..., 3] = 0.25
    result = upscale(NearestModel(), images, tile=tile, device=device)
    assert result.is_contiguous()
    assert torch.allclose(result, enlarged(images, 2), atol=1e-6)


def test_the_tiles_are_those_of_the_plan(device: str) -> None:
    model = NearestModel()
    upscale(model, torch.rand(1, 100, 120, 3), tile=50, device=device)
    tiles = plan(100, 120, model.facts, tile=50)
    assert len(tiles) > 1
    assert model.model.calls == [torch.Size((1, 3, *tiles.tile))] * len(tiles)


def test_no_frames(device: str) -> None:
    assert upscale(NearestModel(), torch.rand(0, 10, 12, 3), device=device).shape == (0, 20, 24, 3)
    assert upscale(NearestModel(), torch.rand(0, 10, 12, 3), size=(15, 18), device=device).shape == (0, 15, 18, 3)
    assert upscale(NearestModel(), torch.rand(0, 0, 0, 3), device=device).shape == (0, 0, 0, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_and_strides(device: str, dtype: torch.dtype) -> None:
    images = torch.rand(2, 3, 20, 30).to(dtype).permute(0, 2, 3, 1)  # NCHW in memory, as core nodes leave it
    assert not images.is_contiguous()
    assert torch.allclose(upscale(NearestModel(), images, device=device), enlarged(images, 2).float())
    half = upscale(NearestModel(), images, output_dtype=torch.float16, device=device)
    assert half.dtype == torch.float16


def test_values_outside_the_range_are_clamped(device: str) -> None:
    images = torch.tensor([-1.0, 0.5, 7.0]).view(1, 1, 1, 3).expand(1, 4, 4, 3)
    assert upscale(NearestModel(), images, device=device)[0, 0, 0].tolist() == [0, 0.5, 1]
    alpha = torch.full((1, 4, 4, 4), 2.0)
    assert upscale(NearestModel(), alpha, device=device).max() == 1


def test_a_grey_network_gets_each_colour(device: str) -> None:
    model = NearestModel(channels=1)
    images = torch.rand(1, 6, 8, 3)
    assert torch.equal(upscale(model, images, device=device), enlarged(images, 2))
    assert model.model.calls == [torch.Size((1, 1, 6, 8))] * 3, "in the memory of one"


def test_alpha_is_resized_beside_the_colours(device: str) -> None:
    images = torch.rand(1, 16, 16, 4)
    images[:, :8, :, 3], images[:, 8:, :, 3] = 0, 1
    result = upscale(NearestModel(), images, device=device)
    assert torch.equal(result[:, 16:, :, :3], enlarged(images, 2)[:, 16:, :, :3]), "what can be seen"
    assert result[0, :10, :, 3].max() < 0.05
    assert result[0, -10:, :, 3].min() > 0.95
    assert ((result >= 0) & (result <= 1)).all()


def test_resizing_is_antialiased(device: str) -> None:
    checkers = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 1.0
    images = checkers.view(1, 64, 64, 1).expand(1, 64, 64, 3)
    result = upscale(NearestModel(), images, size=(37, 29), device=device)
    assert result.shape == (1, 37, 29, 3)
    assert (result[0, 4:-4, 4:-4] - 0.5).abs().max() < 0.05, "a filter without antialiasing would leave a pattern"


def test_held_frames_are_computed_once(device: str) -> None:
    model = NearestModel()
    a, b = torch.rand(2, 6, 8, 3)
    c = b.clone()
    c[-1, -1, -1] += 1e-3  # the smallest change, in the last place
    images = torch.stack([a, a, b, b, b, c, a])
    result = upscale(model, images, device=device)
    assert torch.equal(result, enlarged(images, 2))
    assert len(model.model.calls) == 4
    upscale(model, images, reuse_frames=False, device=device)
    assert len(model.model.calls) == 4 + 7


def test_progress_rises_to_the_end(device: str) -> None:
    seen: list[float] = []

    def progress(done: float, total: int) -> None:
        seen.append(done / total)

    upscale(NearestModel(), torch.rand(3, 60, 60, 3), tile=40, on_tile=progress, device=device)
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] == 1
    assert any(0 < s < 1 for s in seen)


@pytest.mark.parametrize("after", [0, 1, 5])
def test_cancelling(device: str, after: int) -> None:
    model = NearestModel()
    asked: list[int] = []

    def is_cancelled() -> bool:
        asked.append(1)
        return len(asked) > after

    with pytest.raises(Cancelled):
        upscale(model, torch.rand(3, 60, 60, 3), tile=40, is_cancelled=is_cancelled, device=device)
    assert len(model.model.calls) <= after
    assert not model.model.layers[0]._forward_hooks, "nothing is left on the network"


def test_the_host_s_own_exception_passes_through(device: str) -> None:
    class Interrupt(BaseException):
        pass

    def stop() -> bool:
        raise Interrupt

    with pytest.raises(Interrupt):
        upscale(NearestModel(), torch.rand(1, 8, 8, 3), is_cancelled=stop, device=device)


def test_out_of_memory_shrinks_the_tiles_and_keeps_the_frames(device: str, caplog: pytest.LogCaptureFixture) -> None:
    model = NearestModel(fails=larger_than(100 * 100))
    images = torch.rand(3, 200, 220, 3)
    assert torch.equal(upscale(model, images, budget=10**9, device=device), enlarged(images, 2))
    assert 1 <= len(model.attempts) - len(model.model.calls) <= 5, "later frames begin with the plan that fitted"
    assert "Out of memory with 220x200 pixels; going on with" in caplog.text


@pytest.mark.parametrize("call", [1, 2, 6, 9])
def test_finished_tiles_are_not_computed_again(device: str, call: int) -> None:
    images = torch.rand(1, 200, 220, 3)
    calm, hit = NearestModel(), NearestModel(fails=at({call - 1}))
    expected = upscale(calm, images, tile=100, device=device)
    assert len(calm.model.calls) == 9
    assert torch.equal(upscale(hit, images, tile=100, device=device), expected)
    full = calm.model.calls[0]
    assert hit.model.calls[: call - 1] == [full] * (call - 1), "those before it"
    assert full not in hit.model.calls[call - 1 :], "none of them again, and the rest in smaller ones"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 5.98 GB)"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 12884901888 bytes."), True),
        (RuntimeError("There is not enough GPU video memory available!"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("could not create a memory object"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("The size of tensor a must match the size of tensor b"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_means_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("mps", "mps:0", True),
        ("mps:0", "mps", True),
        ("cpu", "cpu", True),
        ("cuda:1", "cuda:1", True),
        ("cuda:0", "cuda:1", False),
        ("cpu", "cuda:0", False),
    ],
)
def test_names_of_devices(one: str, other: str, expected: bool) -> None:
    assert same_device(torch.device(one), torch.device(other)) == expected


def test_a_stranger_is_moved_to_the_device_it_shall_run_on() -> None:
    """The model has neither `.to` nor `.device`, only a network."""
    model = NearestModel()
    model.model.register_parameter("weight", nn.Parameter(torch.zeros(1)))
    upscale(model, torch.rand(1, 4, 4, 3), device="cpu")
    job, meta = prepare(model, (1, 4, 4, 3)), Placement(torch.device("meta"))
    with pytest.raises(RuntimeError, match="meta"):  # the meta device gives no pictures back, but it was used
        upscale_batch(model, torch.rand(1, 4, 4, 3), job, meta)
    assert model.model.weight.is_meta


def test_no_gradients_are_kept_of_a_stranger() -> None:
    weight, network = nn.Parameter(torch.ones(1)), Nearest()
    assert not upscale(StandIn(lambda image: network(image) * weight), torch.rand(1, 8, 8, 3)).requires_grad


def test_a_model_of_another_scale_than_it_says(device: str) -> None:
    model = NearestModel(scale=2)
    model.facts = Facts(4, 1, Halo(8, 8), 16, bytes_per_pixel(1000))
    with pytest.raises(ValueError, match=r"made \(16, 16\) pixels .* expected \(32, 32\)"):
        upscale(model, torch.rand(1, 8, 8, 3), device=device)


def test_out_of_memory_for_good() -> None:
    with pytest.raises(NotEnoughMemory, match=r"a tile of \d+x\d+ pixels .* take \d+ MB; [\d.]+ GB seem to be free"):
        upscale(NearestModel(fails=larger_than(10)), torch.rand(1, 200, 200, 3))


def test_other_errors_are_not_taken_for_it() -> None:
    broken = NearestModel(fails=larger_than(0), error=lambda: RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        upscale(broken, torch.rand(1, 200, 200, 3))


def test_a_small_budget_means_tiles(device: str) -> None:
    model = NearestModel()
    model.facts = Facts(2, 1, Halo(8, 8), 16, bytes_per_pixel(1000))
    upscale(model, torch.rand(1, 300, 300, 3), budget=20_000 * 1000, device=device)
    assert max(shape[-1] * shape[-2] for shape in model.model.calls) <= 20_000
    assert len(model.model.calls) > 1
