"""The networks of APISR and how a file becomes one. Knows nothing of ComfyUI.

In the order of the data:
    text, errors   what is said, so that every log can take it
    zoo         the known weight files, as data
    download    a known file, verified, onto the disk
    checkpoint  file -> clean state dict, never running code from it; formats (what is refused by name), inert (what a
                pickle may hold beside weights) and names (wrappers and prefixes) are its parts
    registry    state dict -> network, by keys and shapes
    grl, rrdb, dat (with dat_attention), compact   the networks
    layers, layout, padding, windows, strips, tail, statistics   what they share
    facts       what the engine needs to know of a network; foreign: the same for other loaders' models
    model       UPSCALE_MODEL; finite: overflow, seen at little cost
    load        all of it: path -> UPSCALE_MODEL
"""

from .errors import (
    ApisrError,
    CorruptWeights,
    DownloadFailed,
    MissingWeights,
    NotEnoughMemory,
    UnsafeWeights,
    UnsupportedWeights,
    is_out_of_memory,
)
from .facts import Facts, Halo, Strips
from .finite import is_finite
from .foreign import facts_of, is_misread_grl
from .load import load_model, set_precision
from .model import UpscaleModel, copy_network, with_network
from .padding import pad
from .statistics import Statistics

__all__ = [
    "ApisrError",
    "CorruptWeights",
    "DownloadFailed",
    "Facts",
    "Halo",
    "MissingWeights",
    "NotEnoughMemory",
    "Statistics",
    "Strips",
    "UnsafeWeights",
    "UnsupportedWeights",
    "UpscaleModel",
    "copy_network",
    "facts_of",
    "is_finite",
    "is_misread_grl",
    "is_out_of_memory",
    "load_model",
    "pad",
    "set_precision",
    "with_network",
]
