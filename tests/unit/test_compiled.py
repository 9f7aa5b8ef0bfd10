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
from apisr_pack.apisr_archs import compiled as module
from apisr_pack.apisr_archs.compiled import MOST_SIZES, Compiled
from apisr_pack.engine import bytes_for, memory, plan, upscale
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
    torch._dynamo.utils.counters.clear()
    got = upscale(compiled, images, **how, tell=told.append, on_tile=lambda done, _: seen.append(done))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"], "of what looks at layers for the progress"
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
        (lambda x: x + 0.0012, "it is 0.0012 off"),
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
    assert told[0] == "The model is being compiled for 9x9, which takes a minute or more."
    assert told[1] == f"The model runs without torch.compile, which did not work here ({reason})."
    assert result(compiled, image)[1] == [], "it is said once"
    assert torch.equal(result(compiled, image)[0], got)


@pytest.mark.parametrize(
    ("precision", "off", "refused"),
    [("fp32", 0.0008, False), ("fp16", 0.003, False), ("fp16", 0.005, True), ("bf16", 0.06, True)],
)
def test_how_far_off_is_too_far(
    precision: str, off: float, refused: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A step of 255 is 0.0039."""
    monkeypatch.setattr(torch, "compile", broken(lambda x: x + off))
    compiled = model_of("Compact", tmp_path, precision=precision, compiled=True)
    with torch.no_grad():
        compiled.model.body[-1].weight.zero_()
        compiled.model.body[-1].bias.zero_()
    image = torch.zeros(1, 3, 6, 6)  # so that the result is 0, where roundings are small
    for _ in range(2):
        result(compiled, image)
    assert compiled.compiled
    assert compiled.compiled.is_given_up is refused


def test_once_checked_a_size_is_computed_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runs: list[str] = []
    monkeypatch.setattr(torch, "compile", lambda run, **_: lambda *a: (runs.append("compiled"), run(*a))[1])
    compiled = model_of("Compact", tmp_path, compiled=True)
    compiled.model.body[0].register_forward_hook(lambda *_: runs.append("layer"))
    counts = []
    for _ in range(4):
        runs.clear()
        result(compiled, torch.rand(1, 3, 9, 9))
        counts.append((runs.count("compiled"), runs.count("layer")))
    assert counts == [(0, 1), (1, 2), (1, 1), (1, 1)]


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


def test_memory_that_is_short_is_not_the_compiler_s_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The engine shall see that, and make smaller tiles."""
    calls: list[int] = []

    def short(x: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == 1:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return x

    monkeypatch.setattr(torch, "compile", broken(short))
    compiled, image = model_of("Compact", tmp_path, compiled=True), torch.rand(1, 3, 9, 9)
    result(compiled, image)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        result(compiled, image)
    result(compiled, image)
    assert compiled.compiled
    assert not compiled.compiled.is_given_up
    assert len(calls) == 2


def test_a_forward_that_somebody_has_replaced_stays(no_compiler: None, tmp_path: Path) -> None:
    compiled, image = model_of("RRDB 4x", tmp_path, compiled=True), torch.rand(1, 3, 40, 40)
    block = compiled.model.body[0]
    forward = block.forward = lambda x: torch.zeros_like(x)
    results = [result(compiled, image)[0] for _ in range(3)]
    assert torch.equal(results[0], results[2])
    assert block.forward is forward


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


def test_another_precision_is_compiled_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[int] = []
    monkeypatch.setattr(torch, "compile", broken(lambda x: (calls.append(1), x)[1]))
    compiled, image = model_of("Compact", tmp_path, compiled=True), torch.rand(1, 3, 9, 9)
    for _ in range(3):
        result(compiled, image)
    compiled.to(torch.float64)
    told = [result(compiled, image)[1] for _ in range(3)]
    assert len(calls) == 4
    assert told == [[], [], []], "this network is compiled for all sizes"


@pytest.mark.parametrize("answer", [lambda x: x, no_backend])
def test_pictures_that_are_not_finite(
    answer: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A right result tells nothing by them; an error does."""
    monkeypatch.setattr(torch, "compile", broken(answer))
    compiled = model_of("Compact", tmp_path, compiled=True)
    for _ in range(4):
        result(compiled, torch.full((1, 3, 9, 9), float("nan")))
    assert compiled.compiled
    assert compiled.compiled.is_given_up is (answer is no_backend)
    assert not compiled.compiled.checked or answer is no_backend


def test_few_sizes_where_each_must_be_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As of the parts of frames that change in a clip."""
    monkeypatch.setattr(torch, "compile", broken(lambda x: x))
    compiled = model_of("Compact", tmp_path, compiled=True)
    monkeypatch.setattr(type(compiled.model), "any_size", False)
    told = [text for side in range(8, 20) for _ in range(3) for text in result(compiled, torch.rand(1, 3, side, 9))[1]]
    assert [text.split()[6] for text in told] == [f"9x{side}," for side in range(8, 8 + MOST_SIZES)]


def test_threads_compile_one_after_the_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """torch.compile can crash the process in two threads at once. What is compiled runs in any number."""
    locked: list[bool] = []
    monkeypatch.setattr(torch, "compile", broken(lambda x: (locked.append(module.COMPILING.locked()), x)[1]))
    compiled = model_of("Compact", tmp_path, compiled=True)
    for _ in range(3):
        result(compiled, torch.rand(1, 3, 9, 9))
    assert locked == [True, False]


def test_what_is_not_compiled_can_be_cancelled_at_each_layer(no_compiler: None, tmp_path: Path) -> None:
    compiled, image = model_of("RRDB 4x", tmp_path, compiled=True), torch.rand(1, 96, 24, 3)
    asked: list[int] = []
    how: dict[str, Any] = {"is_cancelled": lambda: bool(asked.append(1)), "reuse_frames": False}
    upscale(compiled, image, **how)
    whole = len(asked)
    short = bytes_for(96, 24, compiled.facts, torch.float32) // 2
    assert plan(96, 24, compiled.facts, budget=short).strip
    upscale(compiled, image, budget=short, **how)
    in_strips = len(asked) - whole
    assert compiled.compiled
    compiled.compiled.is_given_up = True
    upscale(compiled, image, **how)
    assert whole < 6
    assert in_strips > 12
    assert len(asked) - whole - in_strips > 12


@pytest.mark.slow
def test_more_sizes_than_torch_compiles_by_itself(
    no_compiler: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiled = model_of("Compact", tmp_path, compiled=True)
    monkeypatch.setattr(type(compiled.model), "any_size", False)
    monkeypatch.setattr(module, "MOST_SIZES", 10)
    torch._dynamo.utils.counters.clear()
    for side in range(10, 20):
        for _ in range(2):
            result(compiled, torch.rand(1, 3, side, 12))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 10


def test_parts_of_frames_that_run_in_strips_are_not_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What looks at the layers of the strips would be compiled with them."""
    monkeypatch.setattr(torch, "compile", broken(no_backend))
    compiled = model_of("Compact", tmp_path, compiled=True)
    frames = torch.rand(1, 560, 500, 3).repeat(5, 1, 1, 1)
    for index in range(1, 5):
        frames[index, :4, :4] = index / 5
    assert plan(560, 500, compiled.facts, piece=memory.CPU_PIECE).strip
    told: list[str] = []
    upscale(compiled, frames, tell=told.append)
    assert told[-1] == "0 of 5 frames copied, 4 computed in part: 80% of the work saved."
    assert not [text for text in told if "compile" in text]
    assert compiled.compiled


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
