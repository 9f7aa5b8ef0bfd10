"""The entry points: `session` upscales pictures one at a time, `upscale` a whole batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..apisr_archs import facts_of, is_out_of_memory
from ..apisr_archs.device import named_device, usable_device
from ..apisr_archs.text import get_logger
from . import arguments, deliver, devices
from .cells import Tolerant
from .conditions import Conditions
from .frames import Frames
from .job import Job, Room, prepare
from .network import Network
from .options import DEFAULT_PLACEMENT, NO_CALLBACKS, BatchState, Callbacks, Placement
from .output import allocate_output
from .progress import OnTile, Progress
from .reuse import Comparison, Exact
from .stream import Session
from .tiles import Tiler

log = get_logger(__name__)


@contextmanager
def session(
    model: Any,
    job: Job,
    placement: Placement = DEFAULT_PLACEMENT,
    callbacks: Callbacks = NO_CALLBACKS,
    *,
    reuse_frames: bool = True,
    cpu_fallback: bool = False,
    tolerance: float = 0.0,
) -> Iterator[Session]:
    """Upscale pictures one at a time: `with session(model, job) as upscale_one: result = upscale_one(picture)`.

    Memory use does not grow with the number of pictures. Without a tolerance the results are those of `upscale`.

    Args:
        job: from `prepare`, for this model.
        reuse_frames, cpu_fallback: see `upscale`.
        tolerance: in steps of 1/255. With `reuse_frames`, results are reused where no pixel that they were computed
            from differs from the new picture by more than this, in any channel. Errors do not add up; see `cells`.
    """
    comparison = _comparison(job, reuse_frames, tolerance)
    cpu_fallback = arguments.flag(cpu_fallback, "cpu_fallback")
    device, output_device = placement.device or _device_of(model), placement.output_device
    with devices.without_gradients(device):
        _move(model, device)
        room = _room(job, placement, device)
        conditions = Conditions(job.facts, device, job.dtype, room.network, job.limits)
        network = Network(model, device, job.dtype, job.facts.scale, job.facts.minimum, _once(callbacks.warn))
        progress = Progress(callbacks.on_tile, callbacks.is_cancelled)
        _tell(job, conditions, callbacks)
        with deliver.make_delivery(device, output_device) as delivery, progress.hooked(network.module):
            tiler = Tiler(
                network,
                conditions,
                delivery,
                cpu_fallback=cpu_fallback,
                is_out_of_memory=callbacks.is_out_of_memory,
                check=progress.check,
            )
            canvas_device = device if room.canvas_on_device else output_device
            frames = Frames(job, tiler.upscale, delivery, progress, canvas_device, callbacks)
            opened = Session(frames, placement, callbacks, device, comparison)
            yield opened
            opened.close()
    _keep_learned(model, job, tiler.conditions, device)


def _tell(job: Job, conditions: Conditions, callbacks: Callbacks) -> None:
    """Tell how the job will run."""
    plans = [conditions.plan(*size) for size in job.inputs]
    callbacks.tell(job.describe(plans))
    if caution := job.caution(plans):
        callbacks.warn(caution)


def _move(model: Any, device: torch.device) -> None:
    if not devices.same_device(_device_of(model), device):
        getattr(model, "model", model).to(device)


def _keep_learned(model: Any, job: Job, conditions: Conditions, device: torch.device) -> None:
    """Store the memory figures that were learned from the first tiles on `device` in the model, for the next job."""
    if conditions.facts != job.facts and conditions.device == device:
        with suppress(AttributeError):  # a model from another loader may not allow new attributes
            model.facts = conditions.facts


def _comparison(job: Job, reuse_frames: bool, tolerance: float) -> Comparison | None:
    """How pictures are compared. Raises ValueError if `reuse_frames` or `tolerance` is not as described."""
    tolerance = arguments.not_negative(tolerance, "tolerance")
    if not arguments.flag(reuse_frames, "reuse_frames"):
        return None
    return Tolerant(job, tolerance) if tolerance else Exact(job)


def _room(job: Job, placement: Placement, device: torch.device) -> Room:
    """The memory of a session, divided; without a budget from what is free beside one picture of the output."""
    budget = placement.budget
    if budget is None:
        budget = devices.network_budget(job.picture_bytes(placement.output_dtype), device, placement.output_device)
    return job.room(budget, device, placement.output_device)


def upscale(
    model: Any,
    images: Tensor,
    *,
    tile: int | None = None,
    overlap: int | None = None,
    size: tuple[int, int] | None = None,
    device: torch.device | str | None = None,
    on_tile: OnTile | None = None,
    is_cancelled: Callable[[], bool] | None = None,
    budget: int | None = None,
    reuse_frames: bool = True,
    preset: str = "exact",
    alpha_by: str = "filter",
    cpu_fallback: bool = False,
    tell: Callable[[str], None] | None = None,
    output_dtype: torch.dtype = torch.float32,
    output_device: torch.device | str = "cpu",
    is_out_of_memory: Callable[[BaseException], bool] = is_out_of_memory,
) -> Tensor:
    """Upscale a batch of pictures with any UPSCALE_MODEL: (B, H, W, C) -> (B, H', W', C), contiguous, in [0, 1].

    model: from `load_model` or any other loader; it is called with (B, C, H, W) in [0, 1].
    images: (B, H, W, C), floats in [0, 1]; C is 1 (gray), 3 (RGB) or 4 (RGBA). Any B, dtype, device and strides.
        (H, W, C) is one picture, another 3D shape gray pictures, (B, H, W). Values are clamped; NaN becomes 0.
    tile, overlap, preset: see `plan`. None: chosen to fit into memory.
    size: height and width of the output; None for the model's scale. Reached by an antialiased resize. If it is
        much larger than the model's scale gives, the model runs twice (see `sizes.passes`).
    device, budget, output_dtype, output_device: see `Placement`. on_tile, is_cancelled, tell, is_out_of_memory: see
        `Callbacks`. alpha_by: one of `ALPHA_MODES`.
    reuse_frames: copy frames that are identical to the previous one, bit for bit; of others compute what has changed.
    cpu_fallback: continue on the CPU if not even the smallest tile fits on the device.

    Raises ValueError (an argument is not as described, or the model is neither for gray nor RGB), Cancelled
    (`is_cancelled` returned True) or NotEnoughMemory (the output or the smallest tile does not fit).
    """
    arguments.upscale_model(model)
    images = arguments.pictures(images)
    size = None if size is None else arguments.output_size(size)
    placement = _placement(model, device, budget, output_dtype, output_device)
    callbacks = Callbacks(on_tile, is_cancelled, tell or log.info, is_out_of_memory=is_out_of_memory)
    if not len(images):
        return _empty_batch(model, images, size, placement)
    job = prepare(model, images.shape, size=size, tile=tile, overlap=overlap, preset=preset, alpha_by=alpha_by)
    return upscale_batch(model, images, job, placement, callbacks, reuse_frames=reuse_frames, cpu_fallback=cpu_fallback)


def _placement(
    model: Any,
    device: torch.device | str | None,
    budget: int | None,
    output_dtype: torch.dtype,
    output_device: torch.device | str,
) -> Placement:
    """The arguments of these names, checked before the model is moved."""
    arguments.floats(output_dtype, "output_dtype")
    target = None if device is None else named_device(device)
    if target is not None and not devices.same_device(_device_of(model), target):
        target = usable_device(target)
    budget = None if budget is None else arguments.whole(budget, "budget", least=0)
    return Placement(target, budget, output_dtype, usable_device(output_device, "output_device"))


def _empty_batch(model: Any, images: Tensor, size: tuple[int, int] | None, placement: Placement) -> Tensor:
    """The output for no pictures, whose height and width may be 0 too."""
    scale = facts_of(model).scale
    height, width = size or (images.shape[1] * scale, images.shape[2] * scale)
    shape = 0, height, width, images.shape[3]
    return torch.empty(shape, dtype=placement.output_dtype, device=placement.output_device)


def upscale_batch(
    model: Any,
    images: Tensor,
    job: Job,
    placement: Placement = DEFAULT_PLACEMENT,
    callbacks: Callbacks = NO_CALLBACKS,
    *,
    reuse_frames: bool = True,
    cpu_fallback: bool = False,
    state: BatchState | None = None,
) -> Tensor:
    """Like `upscale`, for a `Job` that has been prepared already.

    Args:
        images: (B, H, W, C) of the shape given to `prepare`; B at least 1.
        reuse_frames, cpu_fallback: see `upscale`.
        state: of an earlier run of the same job on the same images that did not reach its end: this one goes on from
            its finished pictures. It is updated, also if this run does not reach its end either.
    """
    is_kept = state is not None
    state = state or BatchState()
    device = placement.device or _device_of(model)
    shape = (job.count, *job.size, job.channels)
    if state.output is None:
        with devices.without_gradients(device):
            made = allocate_output(shape, placement.output_dtype, placement.output_device, callbacks.is_out_of_memory)
            state.output = made
    output = state.output
    if placement.budget is None:
        budget = devices.network_budget(output.nbytes, device, placement.output_device)
        placement = replace(placement, device=device, budget=budget)
    with session(model, job, placement, callbacks, reuse_frames=reuse_frames, cpu_fallback=cpu_fallback) as opened:
        opened.skip(state.done)
        finished = state.done
        try:
            for picture, result in zip(images[finished:], output[finished:], strict=True):
                opened.put(picture, result)
                finished += 1
        except BaseException:
            if is_kept:  # otherwise nobody needs what is still to be written
                opened.wait()
                state.done = finished
            raise
    state.done, state.reused = finished, opened.reused
    return output


def _device_of(model: Any) -> torch.device:
    # an UPSCALE_MODEL from another pack is nearly always a spandrel descriptor, but need not be
    return torch.device(getattr(model, "device", "cpu"))


def _once(tell: Callable[[str], None]) -> Callable[[str], None]:
    """Wrap `tell` so that it passes on each line only once."""
    seen: set[str] = set()

    def tell_once(line: str) -> None:
        if line not in seen:
            seen.add(line)
            tell(line)

    return tell_once
