"""Wrappers, prefixes and other networks that training code writes: the generator is found under its own names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import CorruptWeights, is_misread_grl, load_model
from apisr_pack.apisr_archs.files.checkpoint import read_state_dict, strip_prefixes, unwrap
from apisr_pack.tests import reference
from apisr_pack.tests.reference import save
from spandrel import MAIN_REGISTRY
from spandrel.architectures.DnCNN import DnCNN
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.LaMa import LaMa
from spandrel.util import KeyCondition
from torch import Tensor

Weights = dict[str, Tensor]

GENERATOR = {"conv_first.weight": torch.rand(4, 3), "body.0.bias": torch.rand(4)}
RAW = {name: value + 1 for name, value in GENERATOR.items()}
DISCRIMINATOR = {"conv0.weight": torch.rand(2, 2), "conv1.bias": torch.rand(2)}
OPTIMIZER = {"state": {0: {"exp_avg": torch.rand(4), "step": torch.tensor(5.0)}}, "param_groups": [{"lr": 1e-4}]}


def below(prefix: str, weights: Weights) -> Weights:
    return {prefix + name: value for name, value in weights.items()}


def same(found: Weights, expected: Weights) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "prefix",
    [
        *("netG.", "net_g.", "generator.", "generator_ema.", "netG_ema.", "net_g_ema.", "g_ema.", "G.", "model_g."),
        *("model.", "net.", "network.", "params.", "params_ema.", "state_dict.", "ema_model.", "_forward_module."),
        *("model.net_g.", "module.netG.module.", "_orig_mod.generator._orig_mod.", "generator_ema.module."),
    ],
)
def test_a_prefix_before_every_name(prefix: str) -> None:
    assert same(strip_prefixes(below(prefix, GENERATOR)), GENERATOR)


@pytest.mark.parametrize(
    "beside",
    [
        below("discriminator.", DISCRIMINATOR),
        below("netD.", DISCRIMINATOR),
        below("net_d.", DISCRIMINATOR),
        below("D.", DISCRIMINATOR),
        below("perceptual_loss.vgg.features.", DISCRIMINATOR),
        below("cri_perceptual.vgg.", DISCRIMINATOR),
        below("vgg19.", DISCRIMINATOR),
        below("pixel_losses.", DISCRIMINATOR),
        {"lpips.lin0.model.1.weight": torch.rand(1, 4), "val_psnr.total": torch.tensor(3.0)},
        {"data_preprocessor.mean": torch.rand(3), "data_preprocessor.std": torch.rand(3)},
        {"step_counter": torch.zeros(1), "n_averaged": torch.tensor(7)},
        {**below("discriminator.", DISCRIMINATOR), **below("VGGLoss.", DISCRIMINATOR), "global_step": torch.tensor(7)},
    ],
)
@pytest.mark.parametrize("prefix", ["generator.", "netG.", "net_g.", "model.", "model.generator."])
def test_the_generator_is_taken_from_among_other_networks(prefix: str, beside: Weights) -> None:
    assert same(strip_prefixes({**beside, **below(prefix, GENERATOR)}), GENERATOR)
    assert same(strip_prefixes({**below(prefix, GENERATOR), **beside}), GENERATOR)


@pytest.mark.parametrize(
    ("averages", "raw"),
    [("generator_ema.module.", "generator."), ("net_g_ema.", "net_g."), ("ema.", "model."), ("ema_model.", "model.")],
)
def test_averages_are_taken_before_raw_weights(averages: str, raw: str) -> None:
    shared = {**below(raw, RAW), **below(averages, GENERATOR), **below("discriminator.", DISCRIMINATOR)}
    shared[averages.partition(".")[0] + ".steps"] = torch.tensor(9)
    assert same(strip_prefixes(shared), GENERATOR)


def test_averages_without_dots_are_of_no_use() -> None:
    """latent-diffusion's LitEma writes "model_ema.conv_firstweight"."""
    averages = {f"model_ema.{name.replace('.', '')}": value for name, value in RAW.items()}
    averages["model_ema.decay"] = torch.tensor(0.999)
    assert same(strip_prefixes({**averages, **below("model.", GENERATOR)}), GENERATOR)


@pytest.mark.parametrize(
    "weights",
    [
        {**below("model.", GENERATOR), **below("tail.", RAW)},
        {**below("generator.", GENERATOR), **below("encoder.", RAW)},
        {**below("model.", GENERATOR), **below("net.", RAW)},
        {**below("netG.", GENERATOR), **below("generator.", RAW)},
        {**below("model.", GENERATOR), **below("generator.", RAW)},
        {**below("generator.", GENERATOR), **below("upscaler.", RAW)},
        {**below("module.", GENERATOR), "scale": torch.tensor(1.0)},
        {**below("ema.", GENERATOR), **below("tail.", RAW)},
        {**below("netG_ema.", GENERATOR), **below("generator_ema.", RAW)},
        {**below("module.", GENERATOR), "step": torch.rand(5)},
        below("netG_A.", GENERATOR) | below("netG_B.", RAW),
        below("discriminator.", DISCRIMINATOR),
    ],
)
def test_where_it_is_not_certain_names_stay(weights: Weights) -> None:
    assert same(strip_prefixes(weights), weights)


def own_names(condition: KeyCondition) -> Iterator[str]:
    for key in condition._keys:
        if isinstance(key, KeyCondition):
            yield from own_names(key)
        else:
            yield key


@pytest.mark.parametrize("support", MAIN_REGISTRY.architectures(), ids=lambda support: support.architecture.id)
def test_no_architecture_s_own_names_are_stripped(support: Any) -> None:
    """Not even if the file had only the names by which spandrel detects it."""
    names = list(own_names(support.architecture._detect))
    assert names
    if support.architecture.id == "GRL":  # spandrel lists prefixed names of it too, and strips them as well
        names = [name for name in names if not name.startswith(("model.", "model_g."))]
    for name in names:
        assert set(strip_prefixes({name: torch.zeros(2)})) == {name}


@cache
def names_in(network: Callable[[], torch.nn.Module]) -> list[str]:
    with torch.device("meta"):
        return list(network().state_dict())


@pytest.mark.parametrize("network", [ESRGAN, DnCNN, LaMa])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "netG.", "generator.module."])
def test_networks_whose_own_names_begin_with_model(network: Callable[[], torch.nn.Module], prefix: str) -> None:
    names = names_in(network)
    assert all(name.startswith("model.") for name in names)
    assert list(strip_prefixes({prefix + name: torch.zeros(1) for name in names})) == names


def test_numbered_layers_below_a_prefix_that_no_network_has() -> None:
    """torch.nn.Sequential in DistributedDataParallel."""
    weights = {"0.weight": torch.rand(2), "2.bias": torch.rand(2)}
    assert same(strip_prefixes(below("module._orig_mod.", weights)), weights)


@pytest.mark.parametrize("wrap", ["netG", "generator_ema", "generator", "net_g_state_dict", "params-ema", "student"])
@pytest.mark.parametrize("first", [True, False])
def test_two_networks_under_keys(wrap: str, first: bool) -> None:
    mine, others = {wrap: GENERATOR}, {"discriminator": DISCRIMINATOR, "netD": DISCRIMINATOR, "optimizer": OPTIMIZER}
    assert same(unwrap(mine | others if first else others | mine), GENERATOR)


@pytest.mark.parametrize(
    "content",
    [
        {"params": GENERATOR, "params_ema": {}},
        {"params": GENERATOR, "params_ema": None},
        {"params": GENERATOR, "params_ema": {"decay": 0.999}},
        {"params": GENERATOR, "params_ema": {"n_averaged": torch.tensor(0)}},
        {"params_ema": {"params": {}}, "params": {"state_dict": GENERATOR}},
        {"generator": RAW, "generator_ema": GENERATOR},
        {"state_dict": RAW, "state_dict_ema": GENERATOR},
        {"model": RAW, "ema_state_dict": {"module": GENERATOR}},
        {"optimizer": OPTIMIZER, "state_dict": GENERATOR, "step": torch.tensor(3)},
        {"model": {"netG": GENERATOR, "netD": DISCRIMINATOR}, "optimizer": OPTIMIZER},
        {"4x_foo": GENERATOR, "epoch": 3},
        {"x4_psnr": GENERATOR, "epoch": 3},
        {"my_network": GENERATOR, "optimizer_g": OPTIMIZER, "optimizer_d": OPTIMIZER},
        {"my_network": GENERATOR, "my_discriminator": DISCRIMINATOR},
    ],
)
def test_the_right_weights_under_keys(content: dict[str, Any]) -> None:
    assert same(unwrap(content), GENERATOR)


def test_networks_that_cannot_be_told_apart_are_listed(tmp_path: Path) -> None:
    content = {"netG_A2B": GENERATOR, "netG_B2A": RAW}
    with pytest.raises(CorruptWeights, match=r"no named tensors.*'netG_A2B', 'netG_B2A'"):
        read_state_dict(save(content, tmp_path / "a.pth"))


def test_many_keys_that_contain_one_another_end() -> None:
    loops: list[dict[str, Any]] = [{} for _ in range(20)]
    for loop in loops:
        loop.update({f"key{i}": other for i, other in enumerate(loops)})
        loop.update(zip(("params", "model", "net", "netG", "ema", "state_dict"), loops, strict=False))
    assert unwrap(loops[0]) == {}


def test_mappings_within_mappings_end() -> None:
    deep: dict[str, Any] = GENERATOR
    for _ in range(5000):
        deep = {"a": deep}
    assert unwrap(deep) == {}


@pytest.mark.parametrize("prefix", ["netG.", "generator_ema.module."])
def test_apisr_s_grl_with_a_prefix_is_read_right(prefix: str, tmp_path: Path) -> None:
    theirs, weights = reference.ZOO["4x_APISR_GRL_GAN_generator"]()
    content = {"state_dict": {**below(prefix, weights), **below("discriminator.", DISCRIMINATOR)}}
    model = load_model(save(content, tmp_path / "a.pth"))
    image = torch.rand(1, 3, 24, 24)
    with torch.inference_mode():
        assert (model(image) - theirs(image).clamp(0, 1)).abs().max() <= 1e-5
    assert not is_misread_grl(model)
