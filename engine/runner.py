"""Run the plan: pictures in, pictures out, tile by tile."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..apisr_archs import Facts, facts_of
from . import memory, pixels
from .plan import Plan, plan
from .pulse import Progress, Pulse
from .stitch import Stitcher

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What all tiles of one call share."""

    model: Any
    facts: Facts
    device: torch.device
    dtype: torch.dtype
    pulse: Pulse
    is_out_of_memory: Callable[[BaseException], bool]
    plan: Callable[[int, int, int], Plan]
    """The plan for an image of some height and width, with tiles of at most so many input pixels."""


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
    output_dtype: torch.dtype = torch.float32,
    output_device: torch.device | str = "cpu",
    is_out_of_memory: Callable[[BaseException], bool] = memory.is_out_of_memory,
) -> Tensor:
    """Upscale pictures with any UPSCALE_MODEL.

    Args:
        model: what `load_model` or any other loader returns: called with (B, C, H, W) in [0, 1].
        images: (B, H, W, C), floats in [0, 1], C 1 (grey), 3 (RGB) or 4 (RGBA); any B, dtype, device and strides.
        tile, overlap: in input pixels, see `plan`; None for the best that fits.
        size: height and width of the output; None for the model's scale. Reached by an antialiased resize.
        device: where the network runs; the model is moved there if it is not. None for where it is.
        on_tile: see `Progress`.
        is_cancelled: asked at each layer; may also raise by itself.
        budget: bytes that are free on the device for this call; None to measure it.
        reuse_frames: copy the result for a picture that is bit for bit the one before it, as in held animation.
        output_dtype, output_device: of the result.
        is_out_of_memory: tells exceptions that smaller tiles cure from others.

    Returns:
        (B, H', W', C), contiguous, in [0, 1].

    Raises:
        ValueError: `images` is no such tensor, or the model's channels are neither grey nor RGB.
        Cancelled: `is_cancelled` returned True.
        torch.OutOfMemoryError or RuntimeError: not even the smallest tile fits.
    """
    _check(model, images, size)
    facts = facts_of(model)
    count, height, width, channels = images.shape
    size = size or (height * facts.scale, width * facts.scale)
    output = torch.empty((count, *size, channels), dtype=output_dtype, device=output_device)
    if not count:
        return output
    where = _device_of(model) if device is None else torch.device(device)
    if not memory.same_device(_device_of(model), where):
        getattr(model, "model", model).to(where)

    def plan_for(height: int, width: int, max_pixels: int) -> Plan:
        return plan(height, width, facts, max_pixels=max_pixels, tile=tile, overlap=overlap)

    pulse = Pulse(on_tile, is_cancelled)
    job = Job(model, facts, where, _dtype_of(model), pulse, is_out_of_memory, plan_for)
    limit = memory.pixels_within(_left_beside(output, budget, where), facts, job.dtype)
    first = job.plan(height, width, limit)
    log.info("Upscaling %d x %dx%d to %dx%d, %s", count, width, height, size[1], size[0], first)
    with torch.no_grad(), pulse.inside(getattr(model, "model", None)):
        for index, picture in enumerate(images):
            pulse.frame(index, count)
            if reuse_frames and index and torch.equal(picture, images[index - 1]):
                output[index] = output[index - 1]
            else:
                limit = _upscale_picture(job, picture, output[index], limit)
        pulse.frame(count, count)
    return output


def _check(model: Any, images: Tensor, size: tuple[int, int] | None) -> None:
    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4) or (len(images) and 0 in images.shape):
        raise ValueError(
            f"images has the shape {tuple(images.shape)}; expected (batch, height, width, channels) with 1 channel "
            "(grey), 3 (RGB) or 4 (RGBA), and at least one pixel."
        )
    if size is not None and min(size) < 1:
        raise ValueError(f"size is {size}; expected a height and a width of at least 1.")
    if not images.is_floating_point():
        raise ValueError(f"images is {images.dtype}; expected floats between 0 and 1.")
    channels = _channels_of(model), getattr(model, "output_channels", 3)
    if channels not in ((1, 1), (3, 3)):
        raise ValueError(
            f"The model turns {channels[0]} channels into {channels[1]}; expected RGB to RGB, or grey to grey. "
            "Choose another model."
        )


# An UPSCALE_MODEL of another pack need not be spandrel's descriptor, though nearly all are.


def _channels_of(model: Any) -> int:
    return getattr(model, "input_channels", 3)


def _device_of(model: Any) -> torch.device:
    return getattr(model, "device", torch.device("cpu"))


def _dtype_of(model: Any) -> torch.dtype:
    return getattr(model, "dtype", torch.float32)


def _left_beside(output: Tensor, budget: int | None, device: torch.device) -> int:
    """Bytes left for the network. The output's own are allocated, but not touched yet: they still count as free."""
    free = memory.free_bytes(device) if budget is None else budget
    return free - output.nbytes if output.device.type == device.type else free


def _upscale_picture(job: Job, picture: Tensor, output: Tensor, limit: int) -> int:
    """Upscale (H, W, C) into (H', W', C) with tiles of at most `limit` input pixels. Returns the limit that held."""
    colours = 1 if picture.shape[-1] == 1 else 3
    size = output.shape[0], output.shape[1]
    natural_size = picture.shape[0] * job.facts.scale, picture.shape[1] * job.facts.scale
    natural = output[..., :colours] if natural_size == size else output.new_empty((*natural_size, colours))
    limit = _in_tiles(job, picture, natural, limit, job.pulse.tile)
    if natural_size != size:
        output[..., :colours] = pixels.resize(natural, size)
    if picture.shape[-1] == 4:
        output[..., 3:] = pixels.resize_alpha(picture[..., 3:].to(output), size)
    return limit


def _in_tiles(
    job: Job, picture: Tensor, output: Tensor, limit: int, on_tile: Callable[[int, int], None] | None = None
) -> int:
    """Upscale the colours of (H, W, C) into (H * scale, W * scale, 1 or 3), tile by tile."""
    current = job.plan(picture.shape[0], picture.shape[1], limit)
    limit = max(limit, current.tile_pixels)  # there may be no smaller tiles; these are tried all the same
    stitcher = Stitcher(output, current)
    for y, row in enumerate(current.rows):
        for x, column in enumerate(current.columns):
            if on_tile:
                on_tile(y * len(current.columns) + x, len(current))
            source = picture[row.start : row.start + row.length, column.start : column.start + column.length]
            tile, limit = _tile(job, source, output, limit)
            stitcher.put(tile, y, x)
    return limit


def _tile(job: Job, source: Tensor, output: Tensor, limit: int) -> tuple[Tensor, int]:
    """Upscale one tile; the result has the dtype and device of `output`.

    A tile that does not fit into memory is upscaled as a picture of its own, in smaller tiles. So what was finished
    before it stays finished, and the tiles after it begin small.
    """
    height, width = source.shape[:2]
    if height * width <= limit:
        try:
            return _run(job, source).to(output), limit
        except Exception as error:
            limit = height * width // 2
            smaller = job.plan(height, width, limit)
            if len(smaller) == 1 or not job.is_out_of_memory(error):
                raise
        # only here, past the except block, is the failed attempt's memory free: its traceback held the tensors
        memory.release_cached(job.device)
        log.warning("Out of memory with %dx%d pixels; going on with %s.", width, height, smaller)
    tile = output.new_empty((height * job.facts.scale, width * job.facts.scale, output.shape[-1]))
    return tile, _in_tiles(job, source, tile, limit)


def _run(job: Job, source: Tensor) -> Tensor:
    """The network on one tile: (h, w, C) -> (h * scale, w * scale, 1 or 3) in [0, 1]."""
    batch = pixels.to_network(source, _channels_of(job.model), job.device, job.dtype)
    result = pixels.from_network(job.model(batch), grey=source.shape[-1] == 1)
    expected = source.shape[0] * job.facts.scale, source.shape[1] * job.facts.scale
    if result.shape[:2] != expected:
        raise ValueError(f"The model made {tuple(result.shape[:2])} pixels of a tile; expected {expected}.")
    return result.clamp(0, 1)
