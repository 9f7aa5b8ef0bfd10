"""Complete networks of one block, ours and others, each with the reference that it must equal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from apisr_pack.apisr_archs import load_model
from apisr_pack.apisr_archs.model import UpscaleModel
from apisr_pack.apisr_archs.networks import grl, registry
from apisr_pack.tests import reference
from spandrel import MAIN_REGISTRY
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.SwinIR import SwinIR
from torch import Tensor

Reference = Callable[[Tensor], Tensor]
"""(B, 3, H, W) -> (B, 3, h, w): the whole picture at once."""


def within_range(weights: dict[str, Tensor], last: str, strength: float) -> dict[str, Tensor]:
    """The weights with a last convolution that keeps the picture in the range, where nothing is clamped away."""
    weights[f"{last}.weight"] *= strength
    weights[f"{last}.bias"].fill_(0.5)
    return weights


def one_block_grl(_: Path) -> tuple[UpscaleModel, Reference]:
    """One stage of one block."""
    one = {"depths": [1], "num_heads_window": [2], "num_heads_stripe": [2]}
    theirs, weights = reference.with_weights(lambda: reference.grl(embed_dim=16, **one))
    network = registry.NETWORKS[0]
    config = grl.GRLConfig(dim=16, stages=1, blocks=1)
    with torch.device("meta"):
        empty = grl.GRL(config)
    model = UpscaleModel(
        empty.eval(),
        {key: value.clone() for key, value in weights.items() if not network.is_derived(key)},
        architecture=registry.NetworkArchitecture(network),
        purpose="SR",
        tags=[],
        supports_half=True,
        supports_bfloat16=True,
        scale=4,
        input_channels=3,
        output_channels=3,
        facts=grl.facts(config),
    )
    return model, theirs


def one_block_rrdb_2x(_: Path) -> tuple[UpscaleModel, Reference]:
    """One block behind a pixel-unshuffle."""
    torch.manual_seed(0)
    weights = within_range(reference.rrdb_state_dict(1, in_channels=12, features=16), "conv_last", 0.3)
    model: Any = registry.load_weights(dict(weights))
    theirs: Any = MAIN_REGISTRY.load(dict(weights)).model.eval()
    return model, theirs


def esrgan_weights() -> dict[str, Tensor]:
    """Behind a pixel-unshuffle by 2; "plus" has one more convolution, which only spandrel's module knows."""
    torch.manual_seed(0)
    network = ESRGAN(in_nc=12, num_filters=16, num_blocks=1, shuffle_factor=2, plus=True)
    return within_range(dict(network.state_dict()), "model.10", 4)


def adopted(tmp_path: Path, weights: dict[str, Tensor]) -> tuple[UpscaleModel, Reference]:
    """Through our loader, which takes spandrel's module. The reference is spandrel's own descriptor, which pads."""
    model = load_model(reference.save(weights, tmp_path / "foreign.pth"))
    theirs: Any = MAIN_REGISTRY.load(dict(weights))
    theirs.model.eval()
    return model, theirs


def adopted_multiple_of_4(tmp_path: Path) -> tuple[UpscaleModel, Reference]:
    return adopted(tmp_path, esrgan_weights())


def foreign_multiple_of_4(_: Path) -> tuple[Any, Reference]:
    """spandrel's descriptor itself, as other loaders return it."""
    descriptors: list[Any] = [MAIN_REGISTRY.load(esrgan_weights()) for _ in range(2)]
    for descriptor in descriptors:
        descriptor.model.eval()
    return descriptors[0], descriptors[1]


def swinir(tmp_path: Path, window: int) -> tuple[UpscaleModel, Reference]:
    """An architecture that we know only by its descriptor."""
    torch.manual_seed(0)
    config: dict[str, Any] = {"depths": [2], "num_heads": [2], "upscale": 2, "upsampler": "pixelshuffledirect"}
    network = SwinIR(img_size=3 * window, embed_dim=12, window_size=window, mlp_ratio=2, **config)
    return adopted(tmp_path, dict(reference.perturbed(network).state_dict()))


def unknown_windows_of_7(tmp_path: Path) -> tuple[UpscaleModel, Reference]:
    return swinir(tmp_path, 7)


def unknown_windows_of_8(tmp_path: Path) -> tuple[UpscaleModel, Reference]:
    return swinir(tmp_path, 8)
