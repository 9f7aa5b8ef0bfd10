"""What will be done with a batch of pictures, worked out once: numbers, no tensor and no device.

Whoever manages memory reserves by a `Job`, and the engine divides what it is given by the same one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..apisr_archs import Facts, facts_of
from . import devices, pixels
from .alpha import ALPHA_MODES
from .arguments import one_of
from .sizes import passes
from .tiling import PRESETS, Limits, Plan, gathers_means, plan

Size = tuple[int, int]
"""Height and width, in pixels."""

CANVAS_SHARE = 0.25
"""Results that are to be resized are collected on a GPU if that takes at most this part of what may be used there."""


@dataclass(frozen=True)
class Room:
    """Bytes on the device where the network runs."""

    network: int
    """Activation memory that one tile may take."""
    canvas: int
    """For collecting and resizing results; 0 where that takes other memory."""
    canvas_on_device: bool
    """Whether results are collected on that device; else where the output is."""

    @property
    def total(self) -> int:
        return self.network + self.canvas


@dataclass(frozen=True)
class Job:
    """A batch of pictures and what becomes of it."""

    count: int
    """Pictures in the batch, or in a stream, as far as that is known: only progress depends on it."""
    height: int
    width: int
    channels: int
    """1 (grey), 3 (RGB) or 4 (RGBA), of input and output."""
    sizes: tuple[Size, ...]
    """After each pass of the network; the last one is that of the output."""
    facts: Facts
    dtype: torch.dtype
    """Of the network's arithmetic."""
    limits: Limits
    alpha_by: str
    """One of `ALPHA_MODES`."""

    @property
    def size(self) -> Size:
        """Of the output."""
        return self.sizes[-1]

    @property
    def inputs(self) -> tuple[Size, ...]:
        """Before each pass of the network."""
        return ((self.height, self.width), *self.sizes[:-1])

    @property
    def passes_per_picture(self) -> int:
        """How often the network runs over a picture, if nothing of it can be saved."""
        return len(self.sizes) * (2 if self.channels == 4 and self.alpha_by == "model" else 1)

    def picture_bytes(self, dtype: torch.dtype) -> int:
        """Of one picture of the output."""
        return self.size[0] * self.size[1] * self.channels * dtype.itemsize

    def output_bytes(self, dtype: torch.dtype) -> int:
        """Of the whole output."""
        return self.count * self.picture_bytes(dtype)

    @property
    def between_bytes(self) -> int:
        """Of the picture between two passes, which lies where the output does."""
        return sum(3 * 4 * height * width for height, width in self.sizes[:-1])

    @property
    def canvas_bytes(self) -> int:
        """For collecting and resizing the network's results; 0 if they have the right size."""
        scale = self.facts.scale
        natural = [(height * scale, width * scale) for height, width in self.inputs]
        resized = [size for size, wanted in zip(natural, self.sizes, strict=True) if size != wanted]
        return max((3 * 4 * pixels.RESIZE_TAKES * height * width for height, width in resized), default=0)

    def plans(self, budget: int | None = None, strip_bytes: int | None = None) -> list[Plan]:
        """The tiles of each pass. budget, strip_bytes: as in `tiling.plan`."""
        return [self._plan(size, budget, strip_bytes) for size in self.inputs]

    def _plan(self, size: Size, budget: int | None, strip_bytes: int | None) -> Plan:
        limits = self.limits
        return plan(
            *size,
            self.facts,
            budget=budget,
            dtype=self.dtype,
            tile=limits.tile,
            overlap=limits.overlap,
            preset=limits.preset,
            strip_bytes=strip_bytes,
        )

    def room(self, budget: int, device: torch.device, output_device: torch.device) -> Room:
        """Divide the bytes that may be taken on `device`, the output not counted."""
        canvas = self.canvas_bytes
        on_device = device.type == "cuda" and canvas <= CANVAS_SHARE * budget  # others resize on the CPU
        counted = canvas if on_device or devices.share_memory(device, output_device) else 0
        return Room(max(0, budget - counted), counted, on_device)

    def needed(self, usable: int, device: torch.device, output_device: torch.device, comfortable_side: int = 0) -> Room:
        """What the job would take on `device` of `usable` bytes for the network: `room` divides its total just so.

        comfortable_side: tiles up to this side are worth more than `usable` bytes; in input pixels.
        """
        strip_bytes = devices.fast_strip_bytes(device)
        budgets = [max(usable, _bytes_up_to(comfortable_side, whole)) for whole in self.plans(None, strip_bytes)]
        planned = [self._plan(size, budget, strip_bytes) for size, budget in zip(self.inputs, budgets, strict=True)]
        network = max(each.bytes for each in planned)
        counted = self.room(network + self.canvas_bytes, device, output_device).canvas
        return self.room(network + counted, device, output_device)

    def describe(self, plans: Sequence[Plan]) -> str:
        """One line for the user: how many pictures, how large, and how they are computed."""
        height, width = self.size
        twice = " in two passes" if len(self.sizes) == 2 else ""
        line = (
            f"{self.count} x {self.width}x{self.height} to {width}x{height}{twice}: {', then '.join(map(str, plans))}"
        )
        is_global = self.facts.global_statistics and not gathers_means(self.facts, self.limits.preset)
        if is_global and any(len(each) > 1 for each in plans):
            line += ". This model may look at the whole picture at once: its tiles can differ a little from each other"
        return line


def _bytes_up_to(side: int, whole: Plan) -> int:
    """Bytes of a tile of up to this side, by a plan without a limit of memory."""
    height, width = (min(length, side) for length in whole.tile)
    return whole.bytes * height * width // (whole.tile[0] * whole.tile[1])


def prepare(
    model: Any,
    shape: Sequence[int],
    *,
    size: Size | None = None,
    tile: int | None = None,
    overlap: int | None = None,
    preset: str = "exact",
    alpha_by: str = "filter",
) -> Job:
    """Work out what `upscale` will do, without doing it.

    Args:
        model: an UPSCALE_MODEL.
        shape: of the pictures, (count, height, width, channels).
        size, tile, overlap, preset, alpha_by: see `upscale`.

    Raises:
        ValueError: an argument is not as described there.
    """
    one_of(preset, "preset", PRESETS)
    one_of(alpha_by, "alpha_by", ALPHA_MODES)
    count, height, width, channels = shape
    facts = facts_of(model)
    wanted = size or (height * facts.scale, width * facts.scale)
    return Job(
        count=count,
        height=height,
        width=width,
        channels=channels,
        sizes=tuple(passes(height, width, facts.scale, wanted)),
        facts=facts,
        dtype=getattr(model, "dtype", torch.float32),
        limits=Limits(tile, overlap, preset),
        alpha_by=alpha_by,
    )
