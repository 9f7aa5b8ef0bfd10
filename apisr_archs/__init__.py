"""The APISR networks, and loading them from weight files. Does not depend on ComfyUI.

Its modules, in the order in which data passes through them:
    files       a weight file -> a clean state dict: known models, downloads, safe reading
    networks    a state dict -> a network, recognized by keys and shapes
    facts       the properties of a network that the engine needs; foreign: the same for models from other loaders
    model       the UPSCALE_MODEL, which runs a network
    load        path, or name of a known model -> UPSCALE_MODEL
    errors, text    errors, and text that is safe to write to every output of the process
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
from .foreign import facts_of, is_misread_grl
from .load import load_model, set_precision
from .model import UpscaleModel, copy_network, with_network
from .networks.parts.finite import is_finite
from .networks.parts.means import Means, TileMeans
from .networks.parts.padding import pad
from .networks.parts.way import WHOLE, Way

__all__ = [
    "ApisrError",
    "CorruptWeights",
    "DownloadFailed",
    "Facts",
    "Halo",
    "Means",
    "MissingWeights",
    "NotEnoughMemory",
    "Strips",
    "TileMeans",
    "UnsafeWeights",
    "UnsupportedWeights",
    "UpscaleModel",
    "WHOLE",
    "Way",
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
