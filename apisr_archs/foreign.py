"""Facts about models that come from elsewhere: other loaders' UPSCALE_MODELs and spandrel's own architectures."""

import re
from dataclasses import replace
from typing import Any

from spandrel import ImageModelDescriptor, ModelTiling

from . import compact, dat, rrdb
from .facts import Facts, Halo, bytes_per_pixel

UNKNOWN_ALIGNMENT = 32
"""Multiple of every window size in use but the rarest (8, 16 and 32)."""
SPANDREL_TAKES = {"RRDB": 1.4, "DAT": 1.45}
"""Memory of spandrel's networks, in parts of ours (benchmarks/memory.py)."""
UNKNOWN_BYTES_PER_PIXEL = 4608
"""fp32, times the scale: what core ComfyUI's upscale node assumes for every model."""


def facts_of(model: Any) -> Facts:
    """The facts of any UPSCALE_MODEL: its own if it brings them, else what its architecture's name promises."""
    own = getattr(model, "facts", None)
    if isinstance(own, Facts):
        return own
    architecture = getattr(getattr(model, "architecture", None), "id", "")
    if architecture == "ESRGAN":
        return _as_spandrel_has_it(_esrgan(model), SPANDREL_TAKES["RRDB"])
    if architecture == "Compact":
        config = compact.CompactConfig(model.scale, _tag(model, "nf", 64), _tag(model, "nc", 16))
        # three layers of the body at once; or one, the last convolution's output and the result
        held = max(3 * config.features, config.features + 2 * config.channels * config.scale**2)
        return replace(compact.facts(config), bytes_per_pixel=bytes_per_pixel(1.08 * 4 * held), strips=None)
    if architecture == "DAT":
        # spandrel's DAT does not tell its windows; 32 is a multiple of all that were published
        config = dat.DATConfig(depths=(), heads=(), dim=_tag(model, "dim", 180), split=(8, 32), scale=model.scale)
        return _as_spandrel_has_it(dat.facts(config), SPANDREL_TAKES["DAT"])
    return _unknown(model)


def _as_spandrel_has_it(facts: Facts, takes: float) -> Facts:
    """The same network, but not our code: it does not run in strips, and takes more memory."""
    return replace(facts, bytes_per_pixel={k: int(v * takes) for k, v in facts.bytes_per_pixel.items()}, strips=None)


def _esrgan(model: ImageModelDescriptor[Any]) -> Facts:
    """RRDBs of other scales and under older names. Their memory goes with the pixels of the upsampled features."""
    unshuffle = getattr(model.model, "shuffle_factor", None) or 1
    ours = rrdb.facts(rrdb.RRDBConfig(_tag(model, "nb", 23), unshuffle, _tag(model, "nf", 64)))
    upsampled = max((model.scale * unshuffle / 4) ** 2, 0.25)  # the trunk alone takes a quarter
    return replace(
        ours, scale=model.scale, bytes_per_pixel={k: int(v * upsampled) for k, v in ours.bytes_per_pixel.items()}
    )


def is_misread_grl(model: Any) -> bool:
    """Whether this is APISR's GRL in spandrel's reading, which shifts the stripes; its authors' code does not."""
    tags = set(getattr(model, "tags", ()))
    return getattr(getattr(model, "architecture", None), "id", "") == "GRL" and {"w8df2", "s8x8"} <= tags


def _tag(model: ImageModelDescriptor[Any], unit: str, default: int) -> int:
    """The number before `unit` among the tags: 64 for "64nf"."""
    found = (re.fullmatch(rf"(\d+){unit}", tag) for tag in model.tags)
    return next((int(match.group(1)) for match in found if match), default)


def _unknown(model: Any) -> Facts:
    return Facts(
        scale=model.scale,
        alignment=UNKNOWN_ALIGNMENT,
        halo=Halo(exact=40, fast=16),
        feather=64,
        bytes_per_pixel=bytes_per_pixel(UNKNOWN_BYTES_PER_PIXEL * max(1, model.scale)),
        global_statistics=True,  # for all we know
        tiling=getattr(model, "tiling", ModelTiling.SUPPORTED) is not ModelTiling.INTERNAL,
    )
