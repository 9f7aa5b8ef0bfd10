"""torch.compile for those who ask for it: the same picture, and the plain network wherever it does not work."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import UpscaleModel, load_model
from apisr_pack.apisr_archs.compiled import Compiled
from apisr_pack.engine import upscale
from apisr_pack.tests import reference
from torch import Tensor

SIZES = [(40, 48), (49, 38)]
GRAPHS = {"GRL": 4, "RRDB 4x": 1, "RRDB 2x": 1, "DAT": 6, "Compact": 1}
NETWORKS = {
    "GRL": lambda: reference.ZOO["4x_APISR_GRL_GAN_generator"]()[1],
    "RRDB 4x": lambda: reference.rrdb(blocks=1)[1],
    "RRDB 2x": lambda: reference.rrdb(in_channels=12, blocks=1)[1],
    "DAT": lambda: reference.with_weights(lambda: reference.dat(depth=[3], num_heads=[6]))[1],
    "Compact": lambda: reference.with_weights(lambda: reference.compact(num_conv=4))[1],
}


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything of torch.compile but the last step, which needs a C++ compiler and a minute."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    torch.compiler.reset()


def model_of(name: str, folder: Path, **how: Any) -> UpscaleModel:
    path = folder / "a.pth"
    torch.save(NETWORKS[name](), path)
    return load_model(path, **how)


def result(model: UpscaleModel, image: Tensor) -> tuple[Tensor, list[str]]:
    """And what was told."""
    told: list[str] = []
    with torch.inference_mode():  # as ComfyUI runs nodes
        return model(image, tell=told.append), told


SLOW = ("GRL", "DAT", "RRDB 4x", "RRDB 2x")
"""They take long to compile."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NETWORKS]
)
def test_one_compilation_gives_the_same_picture_at_all_sizes(name: str, no_compiler: None, tmp_path: Path) -> None:
    plain, compiled = model_of(name, tmp_path), model_of(name, tmp_path, compiled=True)
    torch._dynamo.utils.counters.clear()
    for size in SIZES:
        for _ in range(3):  # plain, checked, unchecked
            image = torch.rand(1, 3, *size)
            assert (result(compiled, image)[0] - result(plain, image)[0]).abs().max() < 1e-5
    assert compiled.compiled
    assert not compiled.compiled.is_given_up
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs == GRAPHS[name], "a compilation for each kind of block, and of those with windows for each size"
    assert not torch._dynamo.utils.counters["graph_break"]


def test_through_the_engine(no_compiler: None, tmp_path: Path) -> None:
    plain, compiled = model_of("Compact", tmp_path), model_of("Compact", tmp_path, compiled=True)
    images = torch.rand(3, 60, 50, 3)
    told: list[str] = []
    seen: list[float] = []
    how: dict[str, Any] = {"tile": 40, "overlap": 12}
    got = upscale(compiled, images, **how, tell=told.append, on_tile=lambda done, _: seen.append(done))
    assert torch.allclose(got, upscale(plain, images, **how), atol=1e-5)
    assert len([text for text in told if "being compiled" in text]) == 1
    assert seen == sorted(seen)
    assert not compiled.compiled.is_given_up


def broken(answer: Callable[[Tensor], Tensor]) -> Any:
    """A torch.compile whose product makes that of the right result."""
    return lambda run, **_: lambda network, image: answer(run(network, image))


def no_backend(_: Tensor) -> Tensor:
    raise RuntimeError("Cannot find a working triton installation.\nMore text.")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (no_backend, "RuntimeError: Cannot find a working triton installation."),
        (lambda x: x + 0.01, "it is 0.01 off"),
        (lambda x: x * float("nan"), "it is nan off"),
        (lambda x: x[..., :-4], "it gave (1, 3, 36, 32), not (1, 3, 36, 36)"),
    ],
)
def test_what_fails_or_differs_is_not_used(
    answer: Callable[[Tensor], Tensor], reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch, "compile", broken(answer))
    plain, compiled = model_of("Compact", tmp_path), model_of("Compact", tmp_path, compiled=True)
    image = torch.rand(1, 3, 9, 9)
    assert result(compiled, image)[1] == [], "a size that comes once is not worth it"
    got, told = result(compiled, image)
    assert torch.equal(got, result(plain, image)[0])
    assert told[1] == f"The model runs without torch.compile, which did not work here ({reason})."
    assert result(compiled, image)[1] == [], "it is said once"
    assert torch.equal(result(compiled, image)[0], got)


def test_what_fails_at_a_later_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[int] = []

    def twice(x: Tensor) -> Tensor:
        calls.append(1)
        return x if len(calls) <= 2 else no_backend(x)

    monkeypatch.setattr(torch, "compile", broken(twice))
    compiled, image = model_of("Compact", tmp_path, compiled=True), torch.rand(1, 3, 9, 9)
    results = [result(compiled, image) for _ in range(5)]
    assert all(torch.equal(got, results[0][0]) for got, _ in results)
    assert [len(told) for _, told in results] == [0, 1, 0, 1, 0]
    assert len(calls) == 3


def test_memory_that_is_short_without_it_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The engine shall see that, and make smaller tiles; the compiler is not to blame."""

    def short(*_: Any) -> Tensor:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(torch, "compile", lambda run, **_: run)
    compiled = model_of("Compact", tmp_path, compiled=True)
    result(compiled, torch.rand(1, 3, 9, 9))
    with monkeypatch.context() as scarce:
        scarce.setattr(compiled, "_call_fn", short)
        with pytest.raises(torch.OutOfMemoryError):
            result(compiled, torch.rand(1, 3, 9, 9))
    result(compiled, torch.rand(1, 3, 9, 9))
    assert not compiled.compiled.is_given_up


def test_what_overflows_in_half_precision_is_not_the_compiler_s_fault(no_compiler: None, tmp_path: Path) -> None:
    compiled = model_of("Compact", tmp_path, precision="fp16", compiled=True)
    with torch.no_grad():
        compiled.model.body[0].weight.mul_(60000)
    for _ in range(2):
        got, told = result(compiled, torch.rand(1, 3, 6, 6).half())
    assert got.isfinite().all()
    assert any("overflowed" in text for text in told)
    assert not compiled.compiled.is_given_up


def test_a_copy_runs_its_own_network(no_compiler: None, tmp_path: Path) -> None:
    model, image = model_of("Compact", tmp_path, compiled=True), torch.rand(1, 3, 9, 9)
    before = result(model, image)[0]
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in copied.model.parameters():
            parameter.zero_()
    for _ in range(3):
        assert result(copied, image)[0].abs().max() < result(model, image)[0].abs().max()
    assert torch.allclose(result(model, image)[0], before, atol=1e-5)


@pytest.mark.parametrize("kind", ["dtype", "device"])
def test_elsewhere_the_plain_network_runs(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where it goes in an emergency, nobody waits for a compiler."""
    calls: list[int] = []
    monkeypatch.setattr(torch, "compile", lambda run, **_: lambda *a: (calls.append(1), run(*a))[1])
    compiled = model_of("Compact", tmp_path, compiled=True)
    for _ in range(2):
        result(compiled, torch.rand(1, 3, 9, 9))
    assert compiled.compiled
    if kind == "device":
        compiled.compiled.home = torch.float32, torch.device("cuda")
    else:
        compiled.model.double()
    result(compiled, torch.rand(1, 3, 9, 9))
    assert len(calls) == 1


def test_strips_run_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch, "compile", broken(no_backend))
    compiled = model_of("Compact", tmp_path, compiled=True)
    told: list[str] = []
    for _ in range(3):
        compiled(torch.rand(1, 3, 64, 9), tell=told.append, rows=16)
    assert told == []


@pytest.mark.slow
def test_with_the_compiler_of_this_machine(tmp_path: Path) -> None:
    """Whether it has one or not."""
    plain, compiled = model_of("Compact", tmp_path), model_of("Compact", tmp_path, compiled=True)
    torch.compiler.reset()
    for size in SIZES:
        image = torch.rand(1, 3, *size)
        for _ in range(3):
            assert (result(compiled, image)[0] - result(plain, image)[0]).abs().max() < 1e-4


def test_compiling_is_only_for_those_who_ask(tmp_path: Path) -> None:
    assert model_of("Compact", tmp_path).compiled is None
    assert isinstance(model_of("Compact", tmp_path, compiled=True).compiled, Compiled)
