"""Facts about models that we did not load: UPSCALE_MODELs of other loaders, and spandrel's own architectures."""

import re
from dataclasses import replace
from math import lcm, log2
from typing import Any

from spandrel import ImageModelDescriptor, ModelTiling, SizeRequirements
from torch import nn

from .facts import Facts, Halo, bytes_per_pixel
from .networks import compact, dat, rrdb

UNKNOWN_ALIGNMENT = 32
"""For networks whose window size is unknown: a multiple of the common window sizes (8, 16 and 32)."""
WINDOW_TAGS = (
    r"s\d+w(\d+)",  # SwinIR, Swin2SR, HAT, DRCT: training size and window
    r"w(\d+)",  # OmniSR
    r"w(\d+)df\d+",  # GRL: window and reduction of the anchors
    r"s(\d+)x(\d+)",  # GRL: stripes
    r"(\d+)x(\d+)",  # CRAFT
    r"s\d+\|(\d+)x(\d+)",  # DAT
)
"""Tags that give the window size in spandrel's descriptors. ("8w" is a window in ATD but a width in NAFNet.)"""
SPANDREL_MEMORY = {"RRDB": 1.4, "DAT": 1.45}
"""Activation memory of spandrel's implementations relative to ours (benchmarks/memory.py)."""
UNKNOWN_HALO = 40
UNKNOWN_BYTES_PER_PIXEL = 4608
"""In fp32, to be multiplied by the scale. ComfyUI's own upscale node assumes this for every model."""


def facts_of(model: Any) -> Facts:
    """The facts of any UPSCALE_MODEL: its `facts` attribute if it has one, otherwise derived from its descriptor."""
    own = getattr(model, "facts", None)
    if isinstance(own, Facts):
        return own
    return _with_size_requirements(_facts_of_architecture(model), model)


def _facts_of_architecture(model: Any) -> Facts:
    architecture = getattr(getattr(model, "architecture", None), "id", "")
    if architecture == "ESRGAN":
        return _for_spandrel_code(_esrgan(model), SPANDREL_MEMORY["RRDB"])
    if architecture == "Compact":
        config = compact.CompactConfig(model.scale, _tag(model, "nf", 64), _tag(model, "nc", 16))
        # three layers of the body; or one layer, the output of the last convolution and the result
        peak_channels = max(3 * config.features, config.features + 2 * config.channels * config.scale**2)
        return replace(compact.facts(config), bytes_per_pixel=bytes_per_pixel(1.08 * 4 * peak_channels), strips=None)
    if architecture == "DAT":
        height, width = windows(model) or (UNKNOWN_ALIGNMENT, UNKNOWN_ALIGNMENT)
        dim = _tag(model, "dim", 180)
        config = dat.DATConfig(depths=(), heads=(), dim=dim, split=(height, width), scale=model.scale)
        return _for_spandrel_code(dat.facts(config), SPANDREL_MEMORY["DAT"])
    return _unknown(model)


def requirements_of(model: Any) -> SizeRequirements:
    """The input sizes in pixels that an UPSCALE_MODEL accepts.

    A network that begins with a pixel-unshuffle pads its input by reflection to a multiple of the factor. That needs
    at least `factor` pixels, which spandrel's descriptors do not mention.
    """
    declared = getattr(model, "size_requirements", None)
    required = declared if isinstance(declared, SizeRequirements) else SizeRequirements()
    minimum = max(required.minimum, _unshuffle(model))
    return SizeRequirements(minimum, required.multiple_of, required.square)


def windows(model: Any) -> list[int]:
    """Side lengths of a network's attention windows in input pixels, read from its tags. Empty if there are none."""
    matches = [re.fullmatch(pattern, tag) for tag in _tags(model) for pattern in WINDOW_TAGS]
    unshuffle = _tag(model, "unshuf", 1)  # SwinIR's windows count pixels after the unshuffle
    return [int(side) * unshuffle for match in matches if match for side in match.groups() if int(side)]


def _with_size_requirements(facts: Facts, model: Any) -> Facts:
    """Add the descriptor's size requirements to the facts.

    The descriptor pads its input before it runs the network. So tile sizes and positions must be multiples of its
    `multiple_of` too.
    """
    required = requirements_of(model)
    return replace(
        facts,
        alignment=lcm(facts.alignment, required.multiple_of),
        padding=lcm(facts.padding, required.multiple_of),
        minimum=max(facts.minimum, required.minimum),
        square=required.square,
    )


def _unshuffle(model: Any) -> int:
    """Factor of the pixel-unshuffle at the start of a network; 1 if its tags do not mention one."""
    network = getattr(model, "model", None)
    if "unshuffle" not in _tags(model) or not isinstance(network, nn.Module):
        return 1
    layers = [layer.downscale_factor for layer in network.modules() if isinstance(layer, nn.PixelUnshuffle)]
    return max([getattr(network, "shuffle_factor", None) or 1, *layers])


def _for_spandrel_code(facts: Facts, ratio: float) -> Facts:
    """Adapt the facts of our implementation to spandrel's: it does not run in strips and needs more memory."""
    return replace(facts, bytes_per_pixel={k: int(v * ratio) for k, v in facts.bytes_per_pixel.items()}, strips=None)


def _esrgan(model: ImageModelDescriptor[Any]) -> Facts:
    unshuffle = getattr(model.model, "shuffle_factor", None) or 1
    enlargements = round(log2(model.scale * unshuffle))
    config = rrdb.RRDBConfig(_tag(model, "nb", 23), unshuffle, _tag(model, "nf", 64), enlargements=enlargements)
    return rrdb.facts(config)


def is_misread_grl(model: Any) -> bool:
    """Whether this is an APISR GRL loaded by spandrel, which shifts the stripes although APISR's code does not.

    APISR's GRL is recognized by its 8x8 windows and stripes; the number of features and the tail may vary.
    """
    if getattr(getattr(model, "architecture", None), "id", "") != "GRL" or not {"w8df2", "s8x8"} <= set(_tags(model)):
        return False
    return bool(getattr(getattr(model, "model", None), "hyperparameters", {}).get("stripe_shift", True))


def without_stripe_shift(network: nn.Module) -> nn.Module:
    """A copy of spandrel's GRL with the same weights, but without shifted stripes."""
    hyperparameters: Any = network.hyperparameters
    unshifted = type(network)(**{**hyperparameters, "stripe_shift": False})
    unshifted.load_state_dict(network.state_dict())
    return unshifted


def _tag(model: Any, unit: str, default: int) -> int:
    """The number before `unit` in the tags, such as 64 in "64nf"; `default` if there is no such tag."""
    found = (re.fullmatch(rf"(\d+){unit}", tag) for tag in _tags(model))
    return next((int(match.group(1)) for match in found if match), default)


def _tags(model: Any) -> list[str]:
    return [str(tag) for tag in getattr(model, "tags", None) or ()]


def receptive_radius(model: Any) -> float | None:
    """Receptive field radius in input pixels of a purely convolutional network. None for all other networks.

    Architectures are listed explicitly: the modules do not show whether `forward` computes a global mean or a softmax.
    """
    architecture = getattr(getattr(model, "architecture", None), "id", "")
    if architecture == "SPAN":
        return 1 + 6 * 3 + 1 + 1  # first; three in each of six blocks (always six); one after them; last
    if architecture == "DnCNN":
        return _tag(model, "nb", 20)
    if architecture == "SwiftSRGAN":
        ups = sum(2.0**-up for up in range(round(log2(model.scale))))  # each at twice the resolution before it
        return 4 + 2 * _tag(model, "nb", 16) + 1 + ups + 4 / model.scale
    return None


def _unknown(model: Any) -> Facts:
    radius = receptive_radius(model)
    return Facts(
        scale=model.scale,
        alignment=lcm(*(windows(model) or [UNKNOWN_ALIGNMENT])),
        halo=Halo(exact=UNKNOWN_HALO, fast=16),
        feather=64,
        bytes_per_pixel=bytes_per_pixel(UNKNOWN_BYTES_PER_PIXEL * max(1, model.scale)),
        global_statistics=radius is None or radius > UNKNOWN_HALO,  # assumed unless ruled out
        tiling=getattr(model, "tiling", ModelTiling.SUPPORTED) is not ModelTiling.INTERNAL,
    )
