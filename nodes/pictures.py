"""What the nodes for pictures share: their inputs, and the run itself with its texts, preview and resumption."""

import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfy import model_management
from comfy_api.latest import io
from torch import Tensor

from .. import engine
from ..apisr_archs import facts_of, is_misread_grl
from ..apisr_archs.text import get_logger
from ..engine import BatchState, Job, arguments
from . import host, inputs
from .measured import MEASURED
from .preview import Preview
from .status import NodeStatus, RunStatus

log = get_logger(__name__)

SECONDS_TO_MEASURE = 1.0
"""What a shorter run takes is mostly not the network's time, and says little about larger pictures."""


@dataclass(frozen=True)
class Options:
    """How pictures are to be upscaled, as the inputs of the nodes say."""

    mode: str
    """As `resize_to` of `engine.target_size`."""
    amount: float
    multiple_of: int = 1
    limits: Mapping[str, Any] | None = None
    """Of `inputs.tile_limits`; None: no limits."""
    reuse_frames: bool = True
    alpha: str = "model"
    cpu_fallback: bool = False


@dataclass(frozen=True)
class _Stopped:
    """A batch that was stopped, and what it was made of."""

    model: weakref.ref[Any]
    image: weakref.ref[Tensor]
    mask: weakref.ref[Tensor] | None
    options: Options
    size: tuple[int, int]
    state: BatchState

    def is_of(self, model: Any, image: Tensor, mask: Tensor | None, options: Options, size: tuple[int, int]) -> bool:
        is_same_mask = mask is None if self.mask is None else mask is not None and self.mask() is mask
        is_same = self.model() is model and self.image() is image and is_same_mask
        return is_same and self.options == options and self.size == size


class Resumption:
    """Keeps the finished pictures of the last batch that was stopped, until another one begins or its inputs are gone.

    ComfyUI hands the same tensors to a node when the same prompt runs again, while it has them in its cache.
    """

    def __init__(self) -> None:
        self._stopped: _Stopped | None = None

    def take(
        self, model: Any, image: Tensor, mask: Tensor | None, options: Options, size: tuple[int, int]
    ) -> BatchState:
        """The state to begin with. What was kept of another batch is dropped."""
        stopped, self._stopped = self._stopped, None
        if stopped and stopped.is_of(model, image, mask, options, size):
            return stopped.state
        return BatchState()

    def keep(
        self,
        model: Any,
        image: Tensor,
        mask: Tensor | None,
        options: Options,
        size: tuple[int, int],
        state: BatchState,
    ) -> None:
        def drop(_: object) -> None:
            if self._stopped is stopped:
                self._stopped = None

        mask_reference = None if mask is None else weakref.ref(mask, drop)
        references = weakref.ref(model, drop), weakref.ref(image, drop), mask_reference
        self._stopped = stopped = _Stopped(*references, options, size, state)


RESUMPTION = Resumption()
"""That of this process: the memory for one unfinished batch, whichever node it came from."""


def upscale(model: Any, image: Any, mask: Any, options: Options, status: NodeStatus) -> Tensor:
    """Upscale the pictures of a node, (B, H, W, C) or what `arguments.pictures` takes."""
    arguments.upscale_model(model, "upscale_model")
    pictures = arguments.pictures(image, "image")
    if mask is not None:
        pictures = engine.with_mask(pictures, mask)
    arguments.one_of(options.alpha, "alpha", engine.ALPHA_MODES)
    if is_misread_grl(model):
        status.warn(inputs.MISREAD_GRL)
    count, height, width, _ = pictures.shape
    if not height or not width:  # core nodes return this for a video without frames
        return engine.upscale(model, pictures, **host.output_options())
    size = engine.target_size(height, width, facts_of(model).scale, options.mode, options.amount, options.multiple_of)
    if not count:
        return engine.upscale(model, pictures, size=size, **host.output_options())
    limits = options.limits or {}
    job = engine.prepare(model, pictures.shape, size=size, alpha_by=options.alpha, **limits)
    state = RESUMPTION.take(model, image, mask, options, size)
    if state.output is None:
        host.require_room(job)
    try:
        return _run(model, pictures, job, options, state, status)
    except model_management.InterruptProcessingException:
        if not state.done or state.output is None or count == 1:
            raise
        RESUMPTION.keep(model, image, mask, options, size, state)
        text = status.say("stopped_at", n=state.done, count=count)
        raise model_management.InterruptProcessingException(text) from None


def _run(model: Any, pictures: Tensor, job: Job, options: Options, state: BatchState, status: NodeStatus) -> Tensor:
    run = RunStatus(status, job.count, *job.size, done=state.done)
    preview = Preview(run.bar, pictures[state.done], *job.size)
    with host.loaded(model, job) as placement:
        callbacks = engine.Callbacks(
            run.advance, host.stop_if_interrupted, log.info, status.warn, preview.paint, host.is_out_of_memory
        )
        computed = job.count - state.done
        started = time.monotonic()
        result = engine.upscale_batch(
            model,
            pictures,
            job,
            placement,
            callbacks,
            reuse_frames=options.reuse_frames,
            cpu_fallback=options.cpu_fallback,
            state=state,
        )
        seconds = time.monotonic() - started
        if seconds >= SECONDS_TO_MEASURE and state.reused < 0.5 and not status.warning:
            _note_pace(model, job, placement, seconds, computed * (1 - state.reused) / job.count)
    run.end(state.reused)
    return result


def _note_pace(model: Any, job: Job, placement: engine.Placement, seconds: float, share: float) -> None:
    """Remember how fast the model is here. share: of the whole job that was computed."""
    name, device = getattr(model, "name", ""), placement.device
    pixels = job.pixels(job.plans(placement.budget)) * share
    if name and device is not None and pixels:
        MEASURED.note_pace(name, job.dtype, device, seconds / pixels)


def picture_inputs() -> list[io.Input]:
    """image, mask, resize_to and multiple_of."""
    return [
        io.Image.Input("image", tooltip="One picture or a batch. Any size; grey and transparent ones too."),
        io.Mask.Input(
            "mask", optional=True, tooltip='Where white, the result is transparent. Takes the MASK of "Load Image".'
        ),
        inputs.resize_input(),
        io.Int.Input(
            "multiple_of",
            optional=True,
            default=1,
            min=1,
            max=256,
            tooltip="Width and height become multiples of this: 8 before VAE Encode, 2 before a video.",
        ),
    ]
