"""Where a job runs, and how its caller takes part."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..apisr_archs import is_out_of_memory
from ..apisr_archs.text import get_logger
from . import devices
from .progress import OnTile

log = get_logger(__name__)


@dataclass(frozen=True)
class Placement:
    """Where the network runs and where the output is stored."""

    device: torch.device | None = None
    """Runs the network; the model is moved there if necessary. None: the model's current device."""
    budget: int | None = None
    """Bytes that may be used on `device`, not counting the output. None: derived from the free memory."""
    output_dtype: torch.dtype = torch.float32
    output_device: torch.device = devices.CPU


@dataclass(frozen=True)
class Callbacks:
    """Functions of the caller that the engine calls."""

    on_tile: OnTile | None = None
    """See `OnTile`."""
    is_cancelled: Callable[[], bool] | None = None
    """Called after each layer; may raise an exception of its own instead of returning True."""
    tell: Callable[[str], None] = log.info
    """Called with a line of text for the user: the plan, reused frames, fallbacks."""
    is_out_of_memory: Callable[[BaseException], bool] = is_out_of_memory
    """Whether an exception means that memory ran out, so that smaller tiles may help."""


DEFAULT_PLACEMENT, NO_CALLBACKS = Placement(), Callbacks()
