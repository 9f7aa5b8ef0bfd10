"""The networks of APISR and how a file becomes one. Knows nothing of ComfyUI.

In the order of the data:
    files       a weight file -> a clean state dict: known files, downloads, safe reading
    networks    a state dict -> a network, by keys and shapes
    facts       what the engine needs to know of a network; foreign: the same for other loaders' models
    model       UPSCALE_MODEL: how a network is run
    load        all of it: path, or name of a known model -> UPSCALE_MODEL
    errors, text    what goes wrong, in words that every output of the process can write
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
    "MissingWeights",
    "NotEnoughMemory",
    "Means",
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
