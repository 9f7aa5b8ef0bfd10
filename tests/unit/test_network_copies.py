"""Copies of a network: in fp32, for what overflows in half precision, and on the CPU, when a GPU has no memory left."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import TileMeans, UpscaleModel, Way, copy_network, load_model, with_network
from apisr_pack.engine import upscale
from apisr_pack.tests import foreign, trained
from apisr_pack.tests.reference import rrdb_state_dict, save
from apisr_pack.tests.standins import FACTS, HalfModel, Nearest, StandIn, enlarged
from torch import Tensor, nn

BUNDLED = trained.ROOT / "models" / "realesr-animevideov3.safetensors"


def half_network() -> nn.Sequential:
    shared = nn.Conv2d(4, 4, 1)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), shared, nn.Sequential(), shared).half().eval()
    network.register_buffer("index", torch.arange(3))
    return network


def state(network: nn.Module) -> list[tuple[int, torch.dtype, torch.device]]:
    """Address, dtype and device of each weight."""
    return [(t.data_ptr(), t.dtype, t.device) for t in (*network.parameters(), *network.buffers())]


@pytest.mark.parametrize("device", [None, torch.device("cpu")])
def test_a_copy_computes_in_fp32_and_the_original_is_left_alone(device: torch.device | None) -> None:
    network = half_network()
    before = state(network)
    copied = copy_network(network, torch.float32, device)
    assert {t.dtype for t in copied.parameters()} == {torch.float32}
    assert copied.index.dtype == torch.int64, "what is no float stays as it is"
    assert all(torch.equal(a, b.float()) for a, b in zip(copied.parameters(), network.parameters(), strict=True))
    assert copied[2] is copied[4], "a layer that stands in two places stays one"
    image = torch.rand(1, 3, 2, 2)
    result = copied(image)
    assert state(network) == before, "the very same memory"
    assert torch.equal(result, network.float()(image))


def test_a_copy_that_fails_half_way() -> None:
    """Memory runs out while the weights are converted: here the last one cannot be."""
    network = half_network()
    network.register_buffer("stuck", torch.empty(3, dtype=torch.float16, device="meta"))
    before = state(network)
    with pytest.raises(NotImplementedError):
        copy_network(network, torch.float32, torch.device("cpu"))
    assert state(network) == before


def test_hooks_see_the_copy_too() -> None:
    """They report progress and stop what is cancelled."""
    network, seen = half_network(), []
    network[0].register_forward_hook(lambda *_: seen.append(1))
    copy_network(network, torch.float32)(torch.rand(1, 3, 2, 2))
    assert seen == [1]


@pytest.mark.parametrize(
    "make",
    [lambda: foreign.descriptor("SPAN"), lambda: StandIn(nn.Conv2d(3, 3, 1)), lambda: load_model(BUNDLED)],
    ids=["descriptor", "bare", "ours"],
)
def test_a_model_around_another_network(make: Callable[[], Any]) -> None:
    """The original keeps its own."""
    model, image = make(), torch.rand(1, 3, 16, 16)
    original, copied = model.model, deepcopy(model.model)
    expected = model(image).clone()
    for weight in copied.parameters():
        weight.data.zero_()
    twin = with_network(model, copied)
    assert twin.model is copied
    assert model.model is original
    assert not torch.equal(twin(image), expected)
    assert torch.equal(model(image), expected)


def overflowing(tmp_path: Path) -> UpscaleModel:
    weights = rrdb_state_dict(blocks=1)
    weights["conv_hr.weight"][0] = 6e4  # a channel that overflows in fp16 wherever its sum is not negative
    weights["conv_last.weight"][:, 0] = 0
    return load_model(save(weights, tmp_path / "a.pth"), "fp16")


def test_another_thread_keeps_its_weights_while_one_computes_in_fp32(tmp_path: Path) -> None:
    model = overflowing(tmp_path)
    image = torch.rand(1, 3, 8, 8)
    expected, results = model.model(image.half()), []

    def other_thread(_: nn.Module, args: tuple[Tensor, ...], __: Any) -> None:
        if args[0].dtype == torch.float32 and not results:
            results.append(None)
            with ThreadPoolExecutor(1) as pool:
                results[0] = pool.submit(model.model, image.half()).result()

    model.model.conv_first.register_forward_hook(other_thread)
    model(image)
    assert len(results) == 1, "the picture should have overflowed"
    torch.testing.assert_close(results[0], expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("way", [Way(16), Way(means=TileMeans([torch.zeros(1)]))], ids=["strips", "means"])
def test_what_overflowed_is_computed_again_in_the_same_way(way: Way, tmp_path: Path) -> None:
    """In strips it must fit into the same memory; and a tile goes on with the means of the picture."""
    model, ways = overflowing(tmp_path), []
    model.model.register_forward_pre_hook(lambda _, args: ways.append((args[0].dtype, args[1])))
    model(torch.rand(1, 3, 40, 8), way=way)
    assert ways == [(torch.float16, way), (torch.float32, way)]


class Scribbler(Nearest):
    """Writes into its input, as some networks do."""

    def forward(self, x: Tensor) -> Tensor:
        result = super().forward(x).clone()
        x.fill_(7)
        return result


def test_a_model_of_another_loader_gets_the_picture_afresh_in_fp32() -> None:
    model = HalfModel(Scribbler(), FACTS, spoilt={0})
    images, told = torch.rand(1, 9, 8, 3), []
    result = upscale(model, images, tell=told.append)
    assert torch.equal(result, enlarged(images.half().float(), 2))
    assert any("computed again in fp32" in line for line in told)
