"""Where a job runs, and how its caller takes part."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..apisr_archs import is_out_of_memory
from ..apisr_archs.text import get_logger
from . import devices
from .progress import OnTile
from .tiling import Place

log = get_logger(__name__)

OnResult = Callable[[Tensor, Place], None]
"""Called with each tile of a picture that the network has finished, (h, w, C) in [0, 1] on the network's device, and
its place. Not called for alpha, nor for a picture of which only parts are computed."""


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
    """Called with a line of text about how the job runs: the plan, reused frames."""
    on_warning: Callable[[str], None] | None = None
    """Called with a line of text that the user should see: pixels that are no numbers, the CPU instead of the GPU.
    None: `tell` is called."""
    on_result: OnResult | None = None
    """See `OnResult`."""
    is_out_of_memory: Callable[[BaseException], bool] = is_out_of_memory
    """Whether an exception means that memory ran out, so that smaller tiles may help."""

    def warn(self, line: str) -> None:
        """Tell the user something that they should see."""
        (self.on_warning or self.tell)(line)


@dataclass
class BatchState:
    """The state of a batch, which a later run can go on from if this one is stopped."""

    output: Tensor | None = None
    """(B, H', W', C); None before the first run."""
    done: int = 0
    """Number of finished pictures at its beginning."""
    reused: float = 0.0
    """Share of the work of the last run that reuse has saved, from 0 to 1."""


DEFAULT_PLACEMENT, NO_CALLBACKS = Placement(), Callbacks()
