"""Facts about models that come from elsewhere: other loaders' UPSCALE_MODELs and spandrel's own architectures."""

import re
from dataclasses import replace
from math import lcm, log2
from typing import Any

from spandrel import ImageModelDescriptor, ModelTiling, SizeRequirements
from torch import nn

from .facts import Facts, Halo, bytes_per_pixel
from .networks import compact, dat, rrdb

UNKNOWN_ALIGNMENT = 32
"""For networks that do not tell their windows: a multiple of every window size in use but the rarest (8, 16 and 32)."""
WINDOW_TAGS = (
    r"s\d+w(\d+)",  # SwinIR, Swin2SR, HAT, DRCT: training size and window
    r"w(\d+)",  # OmniSR
    r"w(\d+)df\d+",  # GRL: window and reduction of the anchors
    r"s(\d+)x(\d+)",  # GRL: stripes
    r"(\d+)x(\d+)",  # CRAFT
    r"s\d+\|(\d+)x(\d+)",  # DAT
)
"""How spandrel's descriptors tell the windows of their networks. ("8w" is ATD's window, but NAFNet's width.)"""
SPANDREL_TAKES = {"RRDB": 1.4, "DAT": 1.45}
"""Memory of spandrel's networks, in parts of ours (benchmarks/memory.py)."""
UNKNOWN_HALO = 40
UNKNOWN_BYTES_PER_PIXEL = 4608
"""fp32, times the scale: what core ComfyUI's upscale node assumes for every model."""


def facts_of(model: Any) -> Facts:
    """The facts of any UPSCALE_MODEL: its own if it brings them, else what its descriptor tells."""
    own = getattr(model, "facts", None)
    if isinstance(own, Facts):
        return own
    return _within(_facts_of_architecture(model), model)


def _facts_of_architecture(model: Any) -> Facts:
    architecture = getattr(getattr(model, "architecture", None), "id", "")
    if architecture == "ESRGAN":
        return _as_spandrel_has_it(_esrgan(model), SPANDREL_TAKES["RRDB"])
    if architecture == "Compact":
        config = compact.CompactConfig(model.scale, _tag(model, "nf", 64), _tag(model, "nc", 16))
        # three layers of the body at once; or one, the last convolution's output and the result
        held = max(3 * config.features, config.features + 2 * config.channels * config.scale**2)
        return replace(compact.facts(config), bytes_per_pixel=bytes_per_pixel(1.08 * 4 * held), strips=None)
    if architecture == "DAT":
        height, width = windows(model) or (UNKNOWN_ALIGNMENT, UNKNOWN_ALIGNMENT)
        dim = _tag(model, "dim", 180)
        config = dat.DATConfig(depths=(), heads=(), dim=dim, split=(height, width), scale=model.scale)
        return _as_spandrel_has_it(dat.facts(config), SPANDREL_TAKES["DAT"])
    return _unknown(model)


def requirements_of(model: Any) -> SizeRequirements:
    """What an UPSCALE_MODEL asks of the size of its input, in pixels.

    A network that begins with a pixel-unshuffle reflects the input to a multiple of its factor, which takes as many
    pixels; spandrel's descriptors do not tell.
    """
    told = getattr(model, "size_requirements", None)
    required = told if isinstance(told, SizeRequirements) else SizeRequirements()
    least = max(required.minimum, _unshuffle(model))
    return SizeRequirements(least, required.multiple_of, required.square)


def windows(model: Any) -> list[int]:
    """The sides of the windows in which a network works, in input pixels, as far as its tags tell them."""
    matches = [re.fullmatch(pattern, tag) for tag in _tags(model) for pattern in WINDOW_TAGS]
    unshuffle = _tag(model, "unshuf", 1)  # SwinIR's windows lie on unshuffled pixels
    return [int(side) * unshuffle for match in matches if match for side in match.groups() if int(side)]


def _within(facts: Facts, model: Any) -> Facts:
    """The facts with what the descriptor tells of sizes.

    It pads its input before the network sees it, so that tiles must differ from the picture by multiples of that too.
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
    """The factor of the pixel-unshuffle with which a network begins; 1 if its tags do not tell of one."""
    network = getattr(model, "model", None)
    if "unshuffle" not in _tags(model) or not isinstance(network, nn.Module):
        return 1
    layers = [layer.downscale_factor for layer in network.modules() if isinstance(layer, nn.PixelUnshuffle)]
    return max([getattr(network, "shuffle_factor", None) or 1, *layers])


def _as_spandrel_has_it(facts: Facts, takes: float) -> Facts:
    """The same network, but not our code: it does not run in strips, and takes more memory."""
    return replace(facts, bytes_per_pixel={k: int(v * takes) for k, v in facts.bytes_per_pixel.items()}, strips=None)


def _esrgan(model: ImageModelDescriptor[Any]) -> Facts:
    unshuffle = getattr(model.model, "shuffle_factor", None) or 1
    enlargements = round(log2(model.scale * unshuffle))
    config = rrdb.RRDBConfig(_tag(model, "nb", 23), unshuffle, _tag(model, "nf", 64), enlargements=enlargements)
    return rrdb.facts(config)


def is_misread_grl(model: Any) -> bool:
    """Whether this is a GRL of APISR's kind in spandrel's reading, which shifts the stripes. APISR's code does not.

    That kind has windows and stripes of 8x8; APISR can train it with other numbers of features and other tails too.
    """
    if getattr(getattr(model, "architecture", None), "id", "") != "GRL" or not {"w8df2", "s8x8"} <= set(_tags(model)):
        return False
    return bool(getattr(getattr(model, "model", None), "hyperparameters", {}).get("stripe_shift", True))


def without_stripe_shift(network: nn.Module) -> nn.Module:
    """spandrel's GRL once more with the same weights, and stripes that do not shift."""
    hyperparameters: Any = network.hyperparameters
    unshifted = type(network)(**{**hyperparameters, "stripe_shift": False})
    unshifted.load_state_dict(network.state_dict())
    return unshifted


def _tag(model: Any, unit: str, default: int) -> int:
    """The number before `unit` among the tags: 64 for "64nf"."""
    found = (re.fullmatch(rf"(\d+){unit}", tag) for tag in _tags(model))
    return next((int(match.group(1)) for match in found if match), default)


def _tags(model: Any) -> list[str]:
    return [str(tag) for tag in getattr(model, "tags", None) or ()]


def receptive_radius(model: Any) -> float | None:
    """How many input pixels a network of plain convolutions looks to each side, by their count. None for all others.

    Architectures are listed one by one: modules do not tell of a mean or a softmax that `forward` takes by itself.
    """
    architecture = getattr(getattr(model, "architecture", None), "id", "")
    if architecture == "SPAN":
        return 1 + 6 * 3 + 1 + 1  # first, three in each of six blocks (the code has no other number), after them, last
    if architecture == "DnCNN":
        return _tag(model, "nb", 20)
    if architecture == "SwiftSRGAN":
        ups = sum(2.0**-up for up in range(round(log2(model.scale))))  # each of them on twice as many pixels
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
        global_statistics=radius is None or radius > UNKNOWN_HALO,  # for all we know
        tiling=getattr(model, "tiling", ModelTiling.SUPPORTED) is not ModelTiling.INTERNAL,
    )
