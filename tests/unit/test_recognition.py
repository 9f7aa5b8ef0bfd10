"""Which network a file's weights belong to, what lies beside them, and what is said when they do not fit."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import CorruptWeights, NotEnoughMemory, UnsupportedWeights, load_model
from apisr_pack.apisr_archs.networks import registry
from apisr_pack.apisr_archs.networks.parts import windows
from apisr_pack.apisr_archs.networks.registry import find_own, load_weights
from apisr_pack.tests import foreign, reference
from apisr_pack.tests.reference import save
from apisr_pack.tests.unit.test_rrdb_names import bsrgan_names, first_esrgan_names
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.MMRealSR import MMRealSR
from torch import Tensor

Weights = dict[str, Tensor]

OURS: dict[str, Callable[[], Weights]] = {
    "GRL": lambda: reference.with_weights(reference.grl)[1],
    "RRDB": lambda: reference.rrdb_state_dict(blocks=1),
    "DAT": lambda: reference.with_weights(lambda: reference.dat("light", depth=[2]))[1],
    "Compact": lambda: reference.with_weights(lambda: reference.compact(num_conv=2))[1],
}


@cache
def known(name: str) -> tuple[Weights, Tensor, Tensor]:
    """Weights, an image and the network's result; shared, so they must not be written to."""
    weights, image = OURS[name](), torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return weights, image, load_weights(dict(weights))(image)


BESIDE: dict[str, Weights] = {
    "counter": {"n_averaged": torch.tensor(3), "step_counter": torch.zeros(1)},
    "discriminator": {"discriminator.conv0.weight": torch.zeros(4, 3, 3, 3)},
    "loss": {"perceptual.vgg.features.0.weight": torch.zeros(4, 3, 3, 3), "pixel_weight": torch.ones(1)},
}


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("beside", BESIDE)
def test_what_lies_beside_a_whole_network_is_ignored(
    name: str, beside: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights, image, expected = known(name)
    model = load_model(save({"params": {**weights, **BESIDE[beside]}}, tmp_path / "a.pth"))
    assert model.architecture.id == f"APISR-{name}"
    assert beside == "counter" or next(iter(BESIDE[beside])) in caplog.text, "only counters are not worth a word"
    assert torch.equal(model(image), expected)


def parts(name: str) -> list[str]:
    """The names of a network's own weights."""
    match = find_own(OURS[name]())
    assert match is not None
    return [key for key in match.empty.state_dict() if not key.endswith("num_batches_tracked")]


def without(weights: Weights, *begins: str) -> Weights:
    return {key: value for key, value in weights.items() if not key.startswith(begins)}


LATE = {"GRL": "conv_last.weight", "RRDB": "conv_body.bias", "DAT": "conv_after_body.0.bias", "Compact": "body.2.bias"}
"""A name in each network that is not used to find the config."""


@pytest.mark.parametrize("name", OURS)
def test_a_missing_weight_is_named(name: str, tmp_path: Path) -> None:
    weights = without(known(name)[0], LATE[name])
    with pytest.raises(UnsupportedWeights, match=rf"a\.pth looks like {name}, but lacks {LATE[name]}\. Get the file"):
        load_model(save(weights, tmp_path / "a.pth"))


def test_counters_of_batches_may_be_left_out(tmp_path: Path) -> None:
    """Some tools drop them; only training uses them."""
    weights, image, expected = known("DAT")
    kept = {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    assert len(kept) < len(weights)
    model = load_model(save(kept, tmp_path / "a.pth"))
    assert model.architecture.id == "APISR-DAT"
    assert torch.equal(model(image), expected)


@pytest.mark.parametrize("name", OURS)
def test_a_weight_of_another_shape_is_named(name: str, tmp_path: Path) -> None:
    weights = {**known(name)[0], LATE[name]: torch.zeros(5, 7)}
    says = rf"looks like {name}, but has other shapes of {LATE[name]}\."
    with pytest.raises(UnsupportedWeights, match=says):
        load_model(save(weights, tmp_path / "a.pth"))


@pytest.mark.parametrize("name", OURS)
def test_a_weight_inside_of_the_network_is_no_neighbour(name: str, tmp_path: Path) -> None:
    """Such a weight is used somewhere, so the network is a different one."""
    weights = known(name)[0]
    inside = f"{LATE[name].split('.')[0]}.gate.weight"
    with pytest.raises(UnsupportedWeights, match=rf"looks like {name}, but also has {inside}"):
        load_model(save({**weights, inside: torch.zeros(3)}, tmp_path / "a.pth"))


@pytest.mark.parametrize(
    ("names", "extra"),
    [
        (first_esrgan_names, "model.1.sub.0.conv1x1.weight"),
        (first_esrgan_names, "model.1.sub.1.gamma"),
        (first_esrgan_names, "model.0.gamma"),
        (first_esrgan_names, "model.3.norm.weight"),
        (bsrgan_names, "RRDB_trunk.0.conv1x1.weight"),
        (bsrgan_names, "RRDB_trunk.1.foo.weight"),
        (bsrgan_names, "upconv3.bias"),
        (dict, "conv_up3.bias"),
        (dict, "conv_body2.weight"),
        (dict, "HRconv.weight"),
    ],
)
def test_a_variant_of_rrdb_is_not_taken_for_it(names: Callable[[Weights], Weights], extra: str, tmp_path: Path) -> None:
    """Under any of its names; also with more numbered parts than the network has, or two names for one weight."""
    weights = names(reference.rrdb_state_dict(blocks=1, features=16))
    with pytest.raises(UnsupportedWeights, match=rf"looks like RRDB, but also has {extra}\. Get the file"):
        load_model(save({**weights, extra: torch.zeros(16)}, tmp_path / "a.pth"))


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("Compact", lambda w: without(w, "body.4.weight"), r"lacks body\.4\.weight\."),
        ("Compact", lambda w: {**w, "body.40.weight": torch.zeros(9)}, r"also has body\.40\.weight\."),
        ("Compact", lambda w: {**w, "body.7.weight": torch.zeros(9)}, r"also has body\.7\.weight\."),
        ("Compact", lambda w: without(w, "body.6."), r"also has body\.5\.weight and has other shapes of body\.4\."),
        ("RRDB", lambda w: {**w, "conv_last.weight": torch.zeros(6, 64, 3, 3)}, r"other shapes of conv_last\.weight\."),
    ],
)
def test_changes_to_what_tells_the_size_are_named(
    name: str, change: Callable[[Weights], Weights], says: str, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedWeights, match=f"looks like {name}, but .*{says}") as caught:
        load_model(save(change(OURS[name]()), tmp_path / "a.pth"))
    assert "Error" not in str(caught.value), "torch's own text says less"


PREFIXES = ("netG_A.", "sr.", "backbone.", "upsampler.", "G_A2B.", "self.model.", "pl_module.module.sr.")


def below(prefix: str, weights: Weights) -> Weights:
    return {prefix + name: value for name, value in weights.items()}


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        # GRL is the slowest to make, and no prefix is special to it
        pytest.param(name, prefix, marks=pytest.mark.slow if name == "GRL" and prefix not in PREFIXES[-2:] else ())
        for name in OURS
        for prefix in PREFIXES
    ],
)
def test_unknown_prefixes_of_whole_networks_are_taken_off(name: str, prefix: str, tmp_path: Path) -> None:
    weights, image, expected = known(name)
    model = load_model(save(below(prefix, weights), tmp_path / "a.pth"))
    assert model.architecture.id == f"APISR-{name}"
    assert torch.equal(model(image), expected)


@pytest.mark.parametrize("prefix", ["module.", "netG.", "sr."])
@pytest.mark.parametrize("beside", ["foo", "foo.weight", "sr_loss.weight"])
def test_a_prefix_with_something_beside_it(
    prefix: str, beside: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = {**below(prefix, known("GRL")[0]), beside: torch.zeros(5)}
    assert load_model(save(content, tmp_path / "a.pth")).architecture.id == "APISR-GRL"
    assert f"ignored the rest: {beside}" in caplog.text or "loss" in beside


@pytest.mark.parametrize("name", ["SwinIR", "SPAN"])
def test_unknown_prefixes_of_spandrel_s_networks_are_taken_off(name: str, tmp_path: Path) -> None:
    weights = below("a.sr.", dict(foreign.network(name).state_dict()))
    assert load_model(save(weights, tmp_path / "a.pth")).architecture.id == name
    weights["tail.weight"] = torch.zeros(3, 3, 3, 3)  # may belong to it
    with pytest.raises(UnsupportedWeights, match="fit none"):
        load_model(save(weights, tmp_path / "a.pth"))


def test_several_networks_are_not_chosen_from(tmp_path: Path) -> None:
    content = below("cycle.netG_A.", OURS["Compact"]()) | below("cycle.netG_B.", OURS["Compact"]())
    with pytest.raises(UnsupportedWeights, match=r"holds 2 networks \(cycle\.netG_A, cycle\.netG_B\)"):
        load_model(save(content, tmp_path / "a.pth"))


def test_what_is_not_whole_behind_a_prefix_is_named(tmp_path: Path) -> None:
    content = {**below("sr.", without(known("GRL")[0], "norm_end.bias")), "foo": torch.zeros(5)}
    with pytest.raises(UnsupportedWeights, match=r"looks like GRL behind the prefix sr\., but lacks norm_end\.bias\."):
        load_model(save(content, tmp_path / "a.pth"))


def test_a_model_that_makes_pictures_smaller(tmp_path: Path) -> None:
    weights = ESRGAN(in_nc=48, out_nc=3, num_filters=16, num_blocks=1, scale=1).state_dict()
    with pytest.raises(UnsupportedWeights, match=r"this ESRGAN model makes pictures smaller"):
        load_model(save(weights, tmp_path / "a.pth"))


def test_control_characters_in_names_are_not_printed(tmp_path: Path) -> None:
    weights = {"a\x1b[2J\n.weight": torch.zeros(3), "b" * 999: torch.zeros(3)}
    with pytest.raises(UnsupportedWeights, match=r"a\\x1b\[2J\\n\.weight, b+\.\.\.\)") as caught:
        load_model(save(weights, tmp_path / "a.pth"))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_long_lists_of_names_are_cut(tmp_path: Path) -> None:
    weights = {**OURS["RRDB"](), **{f"body.0.extra{i}.weight": torch.zeros(1) for i in range(9)}}
    with pytest.raises(UnsupportedWeights, match=r"body\.0\.extra2\.weight and 6 more") as caught:
        load_model(save(weights, tmp_path / "a.pth"))
    assert len(str(caught.value)) < 600


def test_a_network_that_is_ours_and_more_is_spandrel_s() -> None:
    """MM-RealSR has all the names of an RRDB, and more beside them."""
    with torch.device("meta"):
        network = MMRealSR(num_in_ch=3, num_out_ch=3, num_feat=16, num_block=1, num_grow_ch=8)
    assert find_own(network.state_dict()) is None
    rrdb = {key: value for key, value in network.state_dict().items() if key.startswith(("conv_", "body."))}
    found = find_own(rrdb)
    assert found is not None
    assert found.network.id == "RRDB"


# Errors that have nothing to do with recognition


def raising(error: Exception) -> Callable[..., Any]:
    def function(*_: Any, **__: Any) -> Any:
        raise error

    return function


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
    ],
    ids=repr,
)
@pytest.mark.parametrize("weights", [OURS["RRDB"], lambda: reference.compact(num_in_ch=4).state_dict()])
def test_out_of_memory_is_called_that(
    weights: Callable[[], Weights], error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(weights(), tmp_path / "a.pth")
    monkeypatch.setattr(registry, "_copy", raising(error))
    monkeypatch.setattr("spandrel.MAIN_REGISTRY.load", raising(error))
    with pytest.raises(NotEnoughMemory, match=r"Out of memory while loading .*a\.pth, a file of") as caught:
        load_model(path)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("shape"), TypeError("y"), AssertionError()], ids=repr)
def test_our_own_mistakes_are_not_called_an_unknown_model(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(OURS["RRDB"](), tmp_path / "a.pth")
    monkeypatch.setattr(registry, "_copy", raising(error))
    with pytest.raises(type(error)) as caught:
        load_model(path)
    assert caught.value is error


@pytest.mark.parametrize("name", OURS)
def test_a_default_device_changes_nothing(name: str, tmp_path: Path) -> None:
    """Some programs set one; tensors cached for the next model must not be on it."""
    path, image = save(OURS[name](), tmp_path / "a.pth"), torch.rand(1, 3, 16, 16)
    expected = load_model(path)(image)
    for cached in (windows.relative_index, windows.shift_masks):
        cached.cache_clear()
    with torch.device("meta"):
        inside = load_model(path)
    assert torch.equal(inside(image), expected)
    assert torch.equal(load_model(path)(image), expected), "and the next one"


@pytest.mark.parametrize(("asked", "error"), [(1, NotEnoughMemory), (2**40, CorruptWeights)])
def test_a_file_that_is_too_large_for_memory_is_not_called_damaged(
    asked: int, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged one may ask for more than it holds."""
    path = save(OURS["RRDB"](), tmp_path / "a.pth")
    text = f"DefaultCPUAllocator: can't allocate memory: you tried to allocate {asked} bytes."
    monkeypatch.setattr(torch, "load", raising(RuntimeError(text)))
    with pytest.raises(error):
        load_model(path)
