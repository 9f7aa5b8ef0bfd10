"""However training code wraps and prefixes a network, its own names come back; averages come before raw weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs.files.names import strip_prefixes, unwrap
from apisr_pack.tests import reference
from hypothesis import given
from hypothesis import strategies as st

PREFIXES = ["module", "_orig_mod", "netG", "net_g", "generator", "model", "net", "params", "state_dict", "G"]
AVERAGES = ["generator_ema", "net_g_ema", "netG_ema", "ema_model", "params_ema", "ema", "g_ema"]
KEYS = ["model_state_dict", "params", "state_dict", "model", "net", "generator", "netG", "net_g", *AVERAGES]
BESIDE = ["discriminator", "netD", "net_d", "D", "cri_pix", "vgg19", "perceptual_loss", "optimizer", "psnr_metric"]


@pytest.fixture(scope="module")
def networks() -> list[list[str]]:
    """The names of our networks, and of an old-style ESRGAN, which begin with "model." """
    ours = [list(reference.ZOO[name]()[1]) for name in reference.ZOO if "DAT" not in name]
    return [*ours, ["model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight", "model.3.bias", "model.10.weight"]]


@given(
    index=st.integers(0, 100),
    prefixes=st.lists(st.sampled_from(PREFIXES), max_size=4),
    average=st.none() | st.sampled_from(AVERAGES),
    flat=st.lists(st.sampled_from(BESIDE), max_size=3),
    keys=st.lists(st.sampled_from(KEYS), max_size=4),
    wrapped=st.lists(st.sampled_from(BESIDE), max_size=3),
)
def test_names_come_back(
    networks: list[list[str]],
    index: int,
    prefixes: list[str],
    average: str | None,
    flat: list[str],
    keys: list[str],
    wrapped: list[str],
) -> None:
    names, mine, other = networks[index % len(networks)], torch.zeros(1), torch.ones(1)
    content: dict[str, Any] = {".".join([*prefixes, name]): mine for name in names}
    if average is not None:
        raw = {f"generator.{name}": other for name in names}
        content = {**raw, **{f"{average}.{name}": mine for name in content}}
    if prefixes or average is not None:
        content.update({f"{name}.conv.weight": other for name in flat})
    for key in keys:
        content = {**{name: {"conv.weight": other} for name in wrapped}, key: content, "epoch": 3}
    found = strip_prefixes(unwrap(content))
    assert set(found) == set(names)
    assert all(value is mine for value in found.values())
