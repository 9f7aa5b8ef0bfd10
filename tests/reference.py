"""Independent references: spandrel's modules, with seeded weights in the official format.

spandrel's RRDB and DAT are bit-equal to the authors' code, and so is GRL once `stripe_shift` is False.
Random initial weights are perturbed so that nothing is degenerate: biases, norms, BatchNorm statistics, logit scales.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from spandrel import MAIN_REGISTRY
from spandrel.architectures.Compact import Compact
from spandrel.architectures.DAT import DAT
from spandrel.architectures.GRL import GRL
from torch import Tensor, nn

GRL_BUFFERS = (
    *("table_w", "table_sh", "table_sv", "index_w", "index_sh_a2w", "index_sh_w2a", "index_sv_a2w", "index_sv_w2a"),
    *("mask_w", "mask_sh_a2w", "mask_sh_w2a", "mask_sv_a2w", "mask_sv_w2a"),
)
"""Buffers that APISR's training code saves with GRL's weights; spandrel's module has them, but does not save them."""


Part = TypeVar("Part", bound=nn.Module)


def grl(stripe_shift: bool = False, **changes: Any) -> GRL:
    """APISR's "tiny2"."""
    config: dict[str, Any] = {
        "img_size": 64,
        "embed_dim": 64,
        "upscale": 4,
        "upsampler": "nearest+conv",
        "depths": [4] * 4,
        "num_heads_window": [2] * 4,
        "num_heads_stripe": [2] * 4,
        "window_size": 8,
        "stripe_size": [8, 8],
        "stripe_shift": stripe_shift,
        "mlp_ratio": 2,
        "anchor_window_down_factor": 2,
    }
    return GRL(**{**config, **changes})


def dat(size: str = "small", **changes: Any) -> DAT:
    """The published sizes; `changes` override a config."""
    config: dict[str, Any] = {
        # APISR trains DAT-small with the direct upsampler: 10,889,040 parameters
        "small": {
            "split_size": [8, 16],
            "depth": [6] * 6,
            "num_heads": [6] * 6,
            "expansion_factor": 2,
            "upscale": 4,
            "upsampler": "pixelshuffledirect",
        },
        "light": {
            "embed_dim": 60,
            "split_size": [8, 32],
            "depth": [18],
            "num_heads": [6],
            "expansion_factor": 2,
            "upscale": 4,
            "upsampler": "pixelshuffledirect",
            "resi_connection": "3conv",
        },
    }[size]
    return DAT(**{**config, **changes})


def compact(**changes: Any) -> Compact:
    return Compact(**changes)


def rrdb_state_dict(
    blocks: int = 6,
    in_channels: int = 3,
    features: int = 64,
    growth: int = 32,
    enlargements: int = 2,
    channels: int = 3,
) -> dict[str, Tensor]:
    """Random weights under Real-ESRGAN's names, which are APISR's; spandrel's module has older names."""
    convs = {"conv_first": (features, in_channels), "conv_last": (channels, features)}
    for name in ("conv_body", *(f"conv_up{count}" for count in range(1, enlargements + 1)), "conv_hr"):
        convs[name] = (features, features)
    for block in range(blocks):
        for dense in (1, 2, 3):
            for i in range(1, 6):
                out = features if i == 5 else growth
                convs[f"body.{block}.rdb{dense}.conv{i}"] = (out, features + (i - 1) * growth)
    weights = {}
    for name, (out, into) in convs.items():
        weights[f"{name}.weight"] = torch.randn(out, into, 3, 3) * (into * 9) ** -0.5
        weights[f"{name}.bias"] = torch.randn(out) * 0.05
    return weights


def initialized(module: Part) -> Part:
    """A part of our networks with random weights; without a file they have none, not even zeros."""
    for layer in module.modules():
        for kind in (nn.Conv2d, nn.Linear, nn.LayerNorm, nn.BatchNorm2d):
            if isinstance(layer, kind):
                kind.reset_parameters(layer)
    return module


def perturbed(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in eval mode, with weights under which every part changes the result."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif name.endswith("running_mean") or (tensor.ndim == 1 and tensor.is_floating_point()):
                tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.1)
            elif name.endswith(("logit_scale", "temperature")):
                tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.5)
            elif name.endswith(".weight"):
                tensor.mul_(1.5)
    return module.eval()


def official_state_dict(module: nn.Module) -> dict[str, Tensor]:
    """What training code saves of a module: parameters and all derived buffers."""
    weights = dict(module.state_dict())
    if isinstance(module, GRL):
        weights.update({name: getattr(module, name) for name in GRL_BUFFERS})
    return weights


def rrdb(in_channels: int = 3, blocks: int = 6, seed: int = 0, **changes: int) -> tuple[nn.Module, dict[str, Tensor]]:
    """spandrel's module and the same weights under official names."""
    torch.manual_seed(seed)
    weights = rrdb_state_dict(blocks, in_channels, **changes)
    return MAIN_REGISTRY.load(dict(weights)).model.eval(), weights


def with_weights(build: Callable[[], nn.Module]) -> tuple[nn.Module, dict[str, Tensor]]:
    """A module with seeded random weights, and these in the official format."""
    torch.manual_seed(0)
    module = perturbed(build())
    return module, official_state_dict(module)


ZOO: dict[str, Callable[[], tuple[nn.Module, dict[str, Tensor]]]] = {
    "4x_APISR_GRL_GAN_generator": lambda: with_weights(grl),
    "2x_APISR_RRDB_GAN_generator": lambda: rrdb(in_channels=12),
    "4x_APISR_RRDB_GAN_generator": lambda: rrdb(),
    "4x_APISR_DAT_GAN_generator": lambda: with_weights(dat),
    "realesr-animevideov3": lambda: with_weights(compact),
}
"""Each row of the zoo as (reference module, state dict in the official format), with seeded random weights."""


def far_seeing_grl(widest: bool) -> dict[str, Tensor]:
    """GRL's random weights, sharpened to look far: linear layers x4, position biases x5.

    widest: its norms x3 and all attention at a temperature of 70 as well, the widest view that could be made. Near 100,
    the limit, its masks of -100 leak from border to border, so that no halo makes tiles exact.
    """
    weights = ZOO["4x_APISR_GRL_GAN_generator"]()[1]
    for name, tensor in weights.items():
        if name.endswith("weight") and tensor.ndim == 2:
            tensor *= 5 if "cpb_mlp" in name else 4
        if widest and name.endswith(("norm1.weight", "norm2.weight")):
            tensor *= 3
        if widest and name.endswith("logit_scale"):
            tensor.fill_(math.log(70))
    return weights


def save(weights: Any, path: Path) -> Path:
    """Write a .safetensors or PyTorch file, depending on the suffix; returns the path."""
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous().clone() for key, value in weights.items()}, path)
    else:
        torch.save(weights, path)
    return path
