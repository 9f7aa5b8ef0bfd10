"""Pictures in, pictures out: one after the other in a session, or a batch at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..apisr_archs import NotEnoughMemory, facts_of, is_out_of_memory
from ..apisr_archs.device import named_device, usable_device
from ..apisr_archs.text import get_logger
from . import arguments, deliver, devices, pixels
from .conditions import Conditions
from .frames import Frames
from .job import Job, prepare
from .network import Network
from .progress import OnTile, Progress
from .tiles import Tiler

log = get_logger(__name__)


@dataclass(frozen=True)
class Placement:
    """Where pictures are computed, and where they go."""

    device: torch.device | None = None
    """Where the network runs; the model is moved there if it is not. None for where it is."""
    budget: int | None = None
    """Bytes that may be taken there, the output not counted; None: what is free."""
    output_dtype: torch.dtype = torch.float32
    output_device: torch.device = devices.CPU


@dataclass(frozen=True)
class Callbacks:
    """How a caller takes part."""

    on_tile: OnTile | None = None
    """See `OnTile`."""
    is_cancelled: Callable[[], bool] | None = None
    """Asked at each layer; may also raise by itself."""
    tell: Callable[[str], None] = log.info
    """Called with a line of text for the user: what is planned, reused, or had to change."""
    is_out_of_memory: Callable[[BaseException], bool] = is_out_of_memory
    """Tells exceptions that smaller tiles cure from others."""


class Session:
    """Upscales one picture after the other; made by `session`."""

    def __init__(
        self,
        frames: Frames,
        placement: Placement,
        callbacks: Callbacks,
        network_device: torch.device,
        reuse_frames: bool,
    ) -> None:
        self.frames = frames
        self.placement = placement
        self.callbacks = callbacks
        self.network_device = network_device
        self.reuse_frames = reuse_frames
        self.before: tuple[Tensor, Tensor] | None = None
        self.has_told_of_nan = False

    def __call__(self, picture: Tensor) -> Tensor:
        """(H, W, C), as `prepare` was told, floats in [0, 1] -> (H', W', C), complete.

        What it returns must not be written to before the next call: the next picture may take over parts of it.

        Raises:
            ValueError: the picture has another shape, or no floats.
            Cancelled, NotEnoughMemory: see `upscale`.
        """
        job = self.frames.job
        if tuple(picture.shape) != (job.height, job.width, job.channels):
            raise ValueError(
                f"The picture has the shape {tuple(picture.shape)}; this session is for "
                f"{(job.height, job.width, job.channels)}, as prepare was told."
            )
        arguments.dense(picture, "picture")
        arguments.floats(picture.dtype, "picture")
        placement = self.placement
        output = allocate_output(
            (*job.size, job.channels),
            placement.output_dtype,
            placement.output_device,
            self.callbacks.is_out_of_memory,
        )
        self.put(picture.clone() if self.reuse_frames else picture, output)  # the caller may use its memory again
        self.frames.delivery.wait()
        return output

    def put(self, picture: Tensor, output: Tensor) -> None:
        """(H, W, C) into `output`, (H', W', C), which is complete when the session has ended.

        Neither may be written to by others before.
        """
        picture = self._without_nan(picture)
        explained = explain_out_of_memory(self.callbacks.is_out_of_memory, self.network_device)
        with explained, self.frames.progress.running():
            self.frames.upscale(picture, output, self.before)
        self.before = (picture, output) if self.reuse_frames else None

    def close(self) -> None:
        """Wait until everything is written."""
        with explain_out_of_memory(self.callbacks.is_out_of_memory, self.network_device):
            self.frames.close()
        if report := self.frames.report():
            self.callbacks.tell(report)

    def _without_nan(self, picture: Tensor) -> Tensor:
        """The picture with black for NaN, which convolutions, filters and means would spread."""
        clean = pixels.without_nan(picture)
        if clean is not picture and not self.has_told_of_nan:
            self.has_told_of_nan = True
            number, count = self.frames.count + 1, self.frames.job.count
            self.callbacks.tell(
                f"Picture {number} of {count} has pixels that are not numbers (NaN). They count as black."
            )
        return clean


@contextmanager
def session(
    model: Any,
    job: Job,
    placement: Placement = Placement(),
    callbacks: Callbacks = Callbacks(),
    *,
    reuse_frames: bool = True,
    cpu_fallback: bool = False,
) -> Iterator[Session]:
    """Upscale pictures one at a time: `with session(model, job) as upscale_one: result = upscale_one(picture)`.

    Memory does not grow with their number, and the results are those of `upscale` on a batch of them.

    Args:
        job: from `prepare`, for this model.
        reuse_frames, cpu_fallback: see `upscale`.
    """
    reuse_frames = arguments.flag(reuse_frames, "reuse_frames")
    cpu_fallback = arguments.flag(cpu_fallback, "cpu_fallback")
    device = placement.device or _device_of(model)
    output_device = placement.output_device
    with _without_gradients(device):
        if not devices.same_device(_device_of(model), device):
            getattr(model, "model", model).to(device)
        budget = placement.budget
        if budget is None:
            budget = _usable_beside(job.picture_bytes(placement.output_dtype), device, output_device)
        room = job.room(budget, device, output_device)
        now = Conditions(job.facts, device, job.dtype, room.network, job.limits)
        network = Network(model, device, job.dtype, job.facts.scale, job.facts.minimum, _once(callbacks.tell))
        progress = Progress(callbacks.on_tile, callbacks.is_cancelled)
        callbacks.tell(job.describe([now.plan(*size) for size in job.inputs]))
        with deliver.make_delivery(device, output_device) as delivery, progress.hooked(network.module):
            tiler = Tiler(
                network,
                now,
                delivery,
                cpu_fallback=cpu_fallback,
                is_out_of_memory=callbacks.is_out_of_memory,
                check=progress.check,
            )
            canvas_device = device if room.canvas_on_device else output_device
            frames = Frames(job, tiler.upscale, delivery, progress, canvas_device, callbacks.is_out_of_memory)
            opened = Session(frames, placement, callbacks, device, reuse_frames)
            yield opened
            opened.close()
    if tiler.now.facts != job.facts and tiler.now.device == device:
        with suppress(AttributeError):  # another loader's model may not take it
            model.facts = tiler.now.facts  # what the first tiles have taught about memory


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
    """Upscale a batch of pictures with any UPSCALE_MODEL.

    Args:
        model: what `load_model` or any other loader returns: called with (B, C, H, W) in [0, 1].
        images: (B, H, W, C), floats in [0, 1], C 1 (grey), 3 (RGB) or 4 (RGBA); any B, dtype, device and strides.
            (H, W, C) is one picture; other three dimensions are (B, H, W), grey pictures.
            Values outside count as 0 or 1, NaN as 0.
        tile, overlap, preset: see `plan`; None for the best that fits.
        size: height and width of the output; None for the model's scale. Reached by an antialiased resize. If it is
            much larger than the model's scale gives, the model runs twice (see `sizes.passes`).
        device, budget, output_dtype, output_device: see `Placement`.
        on_tile, is_cancelled, tell, is_out_of_memory: see `Callbacks`.
        reuse_frames: copy what is bit for bit as in the picture before, as in held animation; of pictures that differ
            in a small part, compute that part alone.
        alpha_by: one of `ALPHA_MODES`.
        cpu_fallback: go on with the CPU when not even the smallest tile fits on the device.

    Returns:
        (B, H', W', C), contiguous, in [0, 1].

    Raises:
        ValueError: an argument is not as described, a device cannot be used, or the model's channels are neither grey
            nor RGB.
        Cancelled: `is_cancelled` returned True.
        NotEnoughMemory: not even the smallest tile fits, or the output does not.
    """
    arguments.upscale_model(model)
    images = arguments.pictures(images)
    size = None if size is None else arguments.output_size(size)
    arguments.floats(output_dtype, "output_dtype")
    where = None if device is None else named_device(device)
    if where is not None and not devices.same_device(_device_of(model), where):
        where = usable_device(where)  # before the model is moved there
    budget = None if budget is None else arguments.whole(budget, "budget", least=0)
    placement = Placement(where, budget, output_dtype, usable_device(output_device, "output_device"))
    callbacks = Callbacks(on_tile, is_cancelled, tell or log.info, is_out_of_memory)
    if not len(images):  # of any height and width, also of none
        scale = facts_of(model).scale
        height, width = size or (images.shape[1] * scale, images.shape[2] * scale)
        return torch.empty(0, height, width, images.shape[3], dtype=output_dtype, device=placement.output_device)
    job = prepare(model, images.shape, size=size, tile=tile, overlap=overlap, preset=preset, alpha_by=alpha_by)
    return upscale_batch(model, images, job, placement, callbacks, reuse_frames=reuse_frames, cpu_fallback=cpu_fallback)


def upscale_batch(
    model: Any,
    images: Tensor,
    job: Job,
    placement: Placement = Placement(),
    callbacks: Callbacks = Callbacks(),
    *,
    reuse_frames: bool = True,
    cpu_fallback: bool = False,
) -> Tensor:
    """`upscale` for a job that is worked out already.

    Args:
        images: (B, H, W, C) as `prepare` was told, B at least 1.
        reuse_frames, cpu_fallback: see `upscale`.
    """
    device = placement.device or _device_of(model)
    shape = (job.count, *job.size, job.channels)
    with _without_gradients(device):
        output = allocate_output(shape, placement.output_dtype, placement.output_device, callbacks.is_out_of_memory)
    if placement.budget is None:
        budget = _usable_beside(output.nbytes, device, placement.output_device)
        placement = replace(placement, device=device, budget=budget)
    with session(model, job, placement, callbacks, reuse_frames=reuse_frames, cpu_fallback=cpu_fallback) as opened:
        for picture, result in zip(images, output, strict=True):
            opened.put(picture, result)
    return output


def allocate_output(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
    is_out_of_memory: Callable[[BaseException], bool] = is_out_of_memory,
) -> Tensor:
    """Memory for results, (B, H, W, C) or (H, W, C); nothing is in it yet.

    Checks free memory first: Linux promises more than there is, and kills the process that touches the pages.

    Raises:
        NotEnoughMemory: it does not fit.
    """
    *count, height, width, channels = shape
    number = count[0] if count else 1
    needed = number * height * width * channels * dtype.itemsize
    free, cause = devices.free_bytes(device), None
    if free is None or needed <= free:
        try:
            return torch.empty(shape, dtype=dtype, device=device)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            cause = error
    raise NotEnoughMemory(
        f"{number} x {width}x{height} pixels take {needed / 2**30:.1f} GB of memory on {device}"
        f"{devices.said_free(device)}. Upscale fewer pictures at a time, ask for a smaller size, or close other "
        "programs."
    ) from cause


@contextmanager
def explain_out_of_memory(is_out_of_memory: Callable[[BaseException], bool], device: torch.device) -> Iterator[None]:
    """Turn out-of-memory outside of the network (canvas, resize, output) into NotEnoughMemory, with numbers."""
    try:
        yield
    except Exception as error:
        if isinstance(error, NotEnoughMemory) or not is_out_of_memory(error):
            raise
        where = devices.CPU if devices.is_host_memory(error) else device
        raise NotEnoughMemory(
            f"Out of memory on {where} while putting the picture together{devices.said_free(where)}. Upscale fewer "
            "pictures at a time, ask for a smaller size, or close other programs."
        ) from error


def _device_of(model: Any) -> torch.device:
    # an UPSCALE_MODEL of another pack need not be spandrel's descriptor, though nearly all are
    return torch.device(getattr(model, "device", "cpu"))


def _usable_beside(output_bytes: int, device: torch.device, output_device: torch.device) -> int:
    """Bytes for the network. Those of the output are allocated, but not touched yet: they still count as free."""
    usable = devices.usable_bytes(device)
    is_counted = output_device.type == device.type == "cpu" and devices.free_bytes(device) is not None
    return max(0, usable - output_bytes) if is_counted else usable


def _once(tell: Callable[[str], None]) -> Callable[[str], None]:
    """The same, but each line only the first time."""
    told: set[str] = set()

    def tell_once(line: str) -> None:
        if line not in told:
            told.add(line)
            tell(line)

    return tell_once


@contextmanager
def _without_gradients(device: torch.device) -> Iterator[None]:
    """No gradients; and on DirectML, which cannot have it, not the inference mode in which ComfyUI runs its nodes."""
    outside = torch.inference_mode(False) if device.type == "privateuseone" else nullcontext()
    with outside, torch.no_grad():
        yield
