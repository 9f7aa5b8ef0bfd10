"""Pictures in, pictures out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor

from .. import apisr_archs
from ..apisr_archs import NotEnoughMemory, facts_of
from ..apisr_archs.text import get_logger
from . import alpha, arguments, deliver, memory, pixels
from .frames import CANVAS_SHARE, Frames, canvas_bytes
from .progress import Progress, Pulse
from .sizes import passes
from .tiles import Conditions, Tiler
from .tiling import PRESETS

log = get_logger(__name__)


def upscale(
    model: Any,
    images: Tensor,
    *,
    tile: int | None = None,
    overlap: int | None = None,
    size: tuple[int, int] | None = None,
    device: torch.device | str | None = None,
    on_tile: Progress | None = None,
    is_cancelled: Callable[[], bool] | None = None,
    budget: int | None = None,
    reuse_frames: bool = True,
    preset: str = "exact",
    alpha_by: str = "filter",
    cpu_fallback: bool = False,
    tell: Callable[[str], None] | None = None,
    output_dtype: torch.dtype = torch.float32,
    output_device: torch.device | str = "cpu",
    is_out_of_memory: Callable[[BaseException], bool] = apisr_archs.is_out_of_memory,
) -> Tensor:
    """Upscale pictures with any UPSCALE_MODEL.

    Args:
        model: what `load_model` or any other loader returns: called with (B, C, H, W) in [0, 1].
        images: (B, H, W, C), floats in [0, 1], C 1 (grey), 3 (RGB) or 4 (RGBA); any B, dtype, device and strides.
            (H, W, C) is one picture; other three dimensions are (B, H, W), grey pictures.
            Values outside count as 0 or 1, NaN as 0.
        tile, overlap, preset: see `plan`; None for the best that fits.
        size: height and width of the output; None for the model's scale. Reached by an antialiased resize. If it is
            much larger than the model's scale gives, the model runs twice (see `sizes.passes`).
        device: where the network runs; the model is moved there if it is not. None for where it is.
        on_tile: see `Progress`.
        is_cancelled: asked at each layer; may also raise by itself.
        budget: bytes that the network's activations may take on the device, the output not counted; None: what is free.
        reuse_frames: copy what is bit for bit as in the picture before, as in held animation; of pictures that differ
            in a small part, compute that part alone.
        alpha_by: one of `ALPHA_MODES`.
        cpu_fallback: go on with the CPU when not even the smallest tile fits on the device.
        tell: called with a line of text for the user: what is planned, reused, or had to change.
        output_dtype, output_device: of the result.
        is_out_of_memory: tells exceptions that smaller tiles cure from others.

    Returns:
        (B, H', W', C), contiguous, in [0, 1].

    Raises:
        ValueError: an argument is not as described, or the model's channels are neither grey nor RGB.
        Cancelled: `is_cancelled` returned True.
        NotEnoughMemory: not even the smallest tile fits, or the output does not.
    """
    images = _check(model, images, size, preset, alpha_by, output_dtype)
    facts = facts_of(model)
    count, height, width, channels = images.shape
    size = size or (height * facts.scale, width * facts.scale)
    where = _device_of(model) if device is None else torch.device(device)
    with _without_gradients(where):
        output = _room((count, *size, channels), output_dtype, torch.device(output_device), is_out_of_memory)
        if not count:
            return output
        if not memory.same_device(_device_of(model), where):
            getattr(model, "model", model).to(where)
        left = _left_beside(output, where) if budget is None else budget
        steps = passes(height, width, facts.scale, size)
        inputs = [(height, width), *steps[:-1]]
        canvas = canvas_bytes(inputs, steps, facts.scale)
        on_device = where.type == "cuda" and canvas <= CANVAS_SHARE * left  # others resize on the CPU
        if on_device or memory.share_memory(where, output.device):
            left = max(0, left - canvas)
        dtype = getattr(model, "dtype", torch.float32)
        now = Conditions(facts, where, dtype, left, tile, overlap, preset)
        pulse = Pulse(on_tile, is_cancelled)
        tell = tell or log.info
        tell(_what_is_planned(images, inputs, steps, now))
        with deliver.way_home(where, output.device) as way:
            tiler = Tiler(model, now, is_out_of_memory, cpu_fallback, tell, pulse.check, way)
            frames = Frames(tiler, pulse, steps, alpha_by, images.shape, where if on_device else output.device)
            with _numbers_when_out_of_memory(is_out_of_memory, where):
                _upscale_all(images, output, frames, reuse_frames, tell)
    if frames.copied or frames.in_part:
        tell(frames.report())
    if tiler.now.facts != facts and tiler.now.device == where:
        with suppress(AttributeError):  # a stranger may not take it
            model.facts = tiler.now.facts  # what the first tile has taught about memory
    return output


def _upscale_all(
    images: Tensor, output: Tensor, frames: Frames, reuse_frames: bool, tell: Callable[[str], None]
) -> None:
    with frames.pulse.inside(getattr(frames.tiler.model, "model", None)):
        before: tuple[Tensor, Tensor] | None = None
        for index, picture in enumerate(_without_nan(images, tell)):
            frames.upscale(picture, output[index], before)
            before = (picture, output[index]) if reuse_frames else None
        frames.close()


def _without_nan(images: Tensor, tell: Callable[[str], None]) -> Iterator[Tensor]:
    """The pictures of a batch, with black for NaN, which convolutions, filters and means would spread."""
    is_told = False
    for number, image in enumerate(images, start=1):
        picture = pixels.without_nan(image)
        if picture is not image and not is_told:
            tell(f"Picture {number} of {len(images)} has pixels that are not numbers (NaN). They count as black.")
            is_told = True
        yield picture


def _what_is_planned(
    images: Tensor, inputs: list[tuple[int, int]], steps: list[tuple[int, int]], now: Conditions
) -> str:
    count, height, width, _ = images.shape
    twice = " in two passes" if len(steps) == 2 else ""
    plans = [now.plan(*size) for size in inputs]
    planned = f"{count} x {width}x{height} to {steps[-1][1]}x{steps[-1][0]}{twice}: {', then '.join(map(str, plans))}"
    gathers_means = now.facts.strips is not None
    if now.facts.global_statistics and not gathers_means and any(len(plan) > 1 for plan in plans):
        planned += ". This model may look at the whole picture at once: its tiles can differ a little from each other"
    return planned


def _check(
    model: Any, images: Any, size: tuple[int, int] | None, preset: str, alpha_by: str, output_dtype: torch.dtype
) -> Tensor:
    """Raises ValueError for what is not as `upscale` describes it. Returns the images as (B, H, W, C)."""
    images = arguments.pictures(images)
    if size is not None:
        for side, length in zip(("height", "width"), size, strict=True):
            arguments.whole(length, f"size's {side}", least=1)
    arguments.floats(output_dtype, "output_dtype")
    arguments.one_of(preset, "preset", PRESETS)
    arguments.one_of(alpha_by, "alpha_by", alpha.ALPHA_MODES)
    arguments.upscale_model(model)
    return images


def _device_of(model: Any) -> torch.device:
    # an UPSCALE_MODEL of another pack need not be spandrel's descriptor, though nearly all are
    return torch.device(getattr(model, "device", "cpu"))


def _room(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
    is_out_of_memory: Callable[[BaseException], bool],
) -> Tensor:
    """Room for the result. Looks first: some systems promise memory that there is not, and kill whoever uses it."""
    count, height, width, channels = shape
    needed = count * height * width * channels * dtype.itemsize
    free, cause = memory.free_bytes(device), None
    if free is None or needed <= free:
        try:
            return torch.empty(shape, dtype=dtype, device=device)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            cause = error
    raise NotEnoughMemory(
        f"{count} x {width}x{height} pixels take {needed / 2**30:.1f} GB of memory on {device}"
        f"{memory.said_free(device)}. Upscale fewer pictures at a time, ask for a smaller size, or close other "
        "programs."
    ) from cause


@contextmanager
def _numbers_when_out_of_memory(
    is_out_of_memory: Callable[[BaseException], bool], device: torch.device
) -> Iterator[None]:
    """Of memory that ran out where nothing can be made smaller: beside the network, in what holds the picture."""
    try:
        yield
    except Exception as error:
        if isinstance(error, NotEnoughMemory) or not is_out_of_memory(error):
            raise
        where = torch.device("cpu") if memory.is_the_computer_s(error) else device
        raise NotEnoughMemory(
            f"Out of memory on {where} while putting the picture together{memory.said_free(where)}. Upscale fewer "
            "pictures at a time, ask for a smaller size, or close other programs."
        ) from error


def _left_beside(output: Tensor, device: torch.device) -> int:
    """Bytes left for the network. The output's own are allocated, but not touched yet: they still count as free."""
    free = memory.usable_bytes(device)
    is_counted = output.device.type == device.type == "cpu" and memory.free_bytes(device) is not None
    return max(0, free - output.nbytes) if is_counted else free


@contextmanager
def _without_gradients(device: torch.device) -> Iterator[None]:
    """No gradients; and on DirectML, which cannot have it, not the inference mode in which ComfyUI runs its nodes."""
    outside = torch.inference_mode(False) if device.type == "privateuseone" else nullcontext()
    with outside, torch.no_grad():
        yield
