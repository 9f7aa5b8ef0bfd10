"""RRDB under its older names, of other scales and channels: the same network as APISR's, with all that it can do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from apisr_pack.apisr_archs import UpscaleModel, Way, load_model
from apisr_pack.apisr_archs.networks.registry import load_weights
from apisr_pack.apisr_archs.networks.rrdb import official_names
from apisr_pack.engine import plan, upscale
from apisr_pack.tests import foreign, reference
from apisr_pack.tests.reference import save
from spandrel import MAIN_REGISTRY, ImageModelDescriptor
from torch import Tensor

Weights = dict[str, Tensor]


def first_esrgan_names(weights: Weights) -> Weights:
    """Renamed by spandrel, whose module has those names."""
    return dict(MAIN_REGISTRY.load(dict(weights)).model.state_dict())


def bsrgan_names(weights: Weights) -> Weights:
    changes = (
        (r"^body\.(\d+)\.rdb(\d)\.", r"RRDB_trunk.\1.RDB\2."),
        (r"^conv_body\.", "trunk_conv."),
        (r"^conv_hr\.", "HRconv."),
        (r"^conv_up(\d)\.", r"upconv\1."),
    )
    renamed: Weights = {}
    for key, value in weights.items():
        for new, old in changes:
            key = re.sub(new, old, key)
        renamed[key] = value
    return renamed


NAMES = {"first ESRGAN": first_esrgan_names, "BSRGAN": bsrgan_names, "Real-ESRGAN": dict}
KINDS = {
    "1x": {"enlargements": 0},
    "1x, unshuffle 2": {"enlargements": 1, "in_channels": 12},
    "1x, unshuffle 4": {"in_channels": 48},
    "2x": {"enlargements": 1},
    "2x, unshuffle 2": {"in_channels": 12},
    "4x": {},
    "4x, grey": {"in_channels": 1, "channels": 1},
    "2x, grey, unshuffle 2": {"in_channels": 4, "channels": 1},
    "8x": {"enlargements": 3},
    "16x": {"enlargements": 4},
    "4x, 3 blocks, 24 features": {"blocks": 3, "features": 24},
}


def random_weights(kind: str) -> Weights:
    torch.manual_seed(0)
    return reference.rrdb_state_dict(**{"blocks": 1, "features": 16, **KINDS[kind]})


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_name_scale_and_channel_count_is_our_network(kind: str, names: str, tmp_path: Path) -> None:
    weights = random_weights(kind)
    theirs = MAIN_REGISTRY.load(dict(weights))
    assert isinstance(theirs, ImageModelDescriptor)
    theirs.model.eval()
    model = load_model(save(NAMES[names](weights), tmp_path / "a.pth"))
    assert model.architecture.id == "APISR-RRDB"
    for attribute in ("scale", "input_channels", "output_channels", "purpose"):
        assert getattr(model, attribute) == getattr(theirs, attribute)
    for height, width in ((8, 12), (16, 4), (13, 17)):
        image = torch.rand(1, model.input_channels, height, width)
        with torch.inference_mode():
            expected = theirs.model(image)
        assert (model.model(image) - expected).abs().max() <= 1e-5
    for height, width in ((1, 1), (1, 9), (5, 1)):
        image = torch.rand(1, model.input_channels, height, width)
        assert model(image).shape == (1, model.output_channels, height * model.scale, width * model.scale)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_runs_in_strips_and_tiles(kind: str) -> None:
    """As APISR's own: the same picture, in less memory."""
    model = load_weights(random_weights(kind))
    assert isinstance(model, UpscaleModel)
    facts = model.facts
    unshuffle = facts.alignment
    image = torch.rand(1, 110 * unshuffle + 1, 12, model.input_channels)
    whole = model.model(image.movedim(-1, 1))
    for rows in (24,):
        assert facts.strips is not None
        strips = model.model(image.movedim(-1, 1), Way(rows * unshuffle))
        assert (strips - whole).abs().max() <= 1e-5
    tile = plan(image.shape[1], 12, facts, tile=1, overlap=32 * unshuffle).tile[0]
    assert tile < image.shape[1]
    tiled = upscale(model, image, tile=1, overlap=32 * unshuffle)
    assert 255 * (tiled - whole.clamp(0, 1).movedim(1, -1)).abs().max() <= 0.5


@pytest.mark.parametrize("names", ["first ESRGAN", "BSRGAN"])
@pytest.mark.parametrize("kind", ["1x", "4x", "16x"])
def test_old_names_are_translated_one_by_one(kind: str, names: str) -> None:
    weights = random_weights(kind)
    back = official_names(NAMES[names](weights))
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[key], weights[key]) for key in weights)


def test_names_that_are_no_rrdb_s_are_left_alone() -> None:
    for weights in (
        {},
        {"model.0.weight": torch.zeros(1)},
        {"model.0.conv.weight": torch.zeros(1), "a": torch.ones(1)},
    ):
        assert len(official_names(weights)) == len(weights)


@pytest.mark.parametrize("name", ["ESRGAN+", "ESRGAN+ behind a pixel-unshuffle"])
def test_what_has_other_skips_is_not_ours(name: str, tmp_path: Path) -> None:
    model = load_model(save(foreign.network(name).state_dict(), tmp_path / "a.pth"))
    assert model.architecture.id == "ESRGAN"
