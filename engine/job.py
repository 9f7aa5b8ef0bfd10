"""Everything about a batch of pictures that is known in advance, as a frozen value without tensors or devices.

The host's memory manager reserves memory according to a `Job`, and the engine divides that memory by the same `Job`.
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

NO_LIMITS = Limits(None, None, "exact")
CANVAS_SHARE = 0.25
"""Results are collected and resized on the GPU if that takes at most this share of the budget there."""


@dataclass(frozen=True)
class Room:
    """How the budget on the network's device is divided, in bytes."""

    network: int
    """Activation memory that one tile may take."""
    canvas: int
    """Memory for collecting and resizing results; 0 if that happens in other memory."""
    canvas_on_device: bool
    """Whether results are collected on the network's device; otherwise on that of the output."""

    @property
    def total(self) -> int:
        return self.network + self.canvas


@dataclass(frozen=True)
class Job:
    """A batch of pictures, the requested output, and how to compute it."""

    count: int
    """Number of pictures in the batch. For a stream an estimate is enough: only its progress depends on it."""
    height: int
    width: int
    channels: int
    """1 (gray), 3 (RGB) or 4 (RGBA), for input and output."""
    sizes: tuple[Size, ...]
    """Picture size after each pass of the network; the last one is the output size."""
    facts: Facts
    dtype: torch.dtype
    """Dtype in which the network computes."""
    limits: Limits
    alpha_by: str
    """One of `ALPHA_MODES`."""

    @property
    def size(self) -> Size:
        """The output size."""
        return self.sizes[-1]

    @property
    def inputs(self) -> tuple[Size, ...]:
        """Picture size before each pass of the network."""
        return ((self.height, self.width), *self.sizes[:-1])

    @property
    def passes_per_picture(self) -> int:
        """How often the network runs over a picture, if nothing is reused."""
        return len(self.sizes) * (2 if self.channels == 4 and self.alpha_by == "model" else 1)

    def picture_bytes(self, dtype: torch.dtype) -> int:
        """Size of one output picture in memory."""
        return self.size[0] * self.size[1] * self.channels * dtype.itemsize

    def output_bytes(self, dtype: torch.dtype) -> int:
        """Size of the whole output in memory."""
        return self.count * self.picture_bytes(dtype)

    @property
    def intermediate_bytes(self) -> int:
        """Size in memory of the picture between two passes, which is stored on the output's device."""
        return sum(3 * 4 * height * width for height, width in self.sizes[:-1])

    @property
    def canvas_bytes(self) -> int:
        """Memory for collecting and resizing the network's results; 0 if no pass needs a resize."""
        scale = self.facts.scale
        native = [(height * scale, width * scale) for height, width in self.inputs]
        resized = [size for size, wanted in zip(native, self.sizes, strict=True) if size != wanted]
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
        """Divide a budget on `device` (bytes, not counting the output) between the network and the canvas."""
        canvas = self.canvas_bytes
        on_device = device.type == "cuda" and canvas <= CANVAS_SHARE * budget  # other devices resize on the CPU
        counted = canvas if on_device or devices.share_memory(device, output_device) else 0
        return Room(max(0, budget - counted), counted, on_device)

    def needed(self, usable: int, device: torch.device, output_device: torch.device, comfortable_side: int = 0) -> Room:
        """The memory that the job would take on `device` if the network may use `usable` bytes.

        Given the total of the result as its budget, `room` returns the same division.

        comfortable_side: in input pixels. For tiles up to this side length the job may ask for more than `usable`.
        """
        strip_bytes = devices.fast_strip_bytes(device)
        budgets = [max(usable, _bytes_up_to(comfortable_side, whole)) for whole in self.plans(None, strip_bytes)]
        planned = [self._plan(size, budget, strip_bytes) for size, budget in zip(self.inputs, budgets, strict=True)]
        network = max(each.bytes for each in planned)
        counted = self.room(network + self.canvas_bytes, device, output_device).canvas
        return self.room(network + counted, device, output_device)

    def pixels(self, plans: Sequence[Plan]) -> int:
        """Input pixels that the network computes for the whole batch, with halos, if nothing is reused.

        plans: of each pass.
        """
        once = sum(len(each) * each.tile[0] * each.tile[1] for each in plans)
        return self.count * once * self.passes_per_picture // len(self.sizes)

    def describe(self, plans: Sequence[Plan]) -> str:
        """One line for the user: how many pictures, how large, and how they are computed."""
        height, width = self.size
        twice = " in two passes" if len(self.sizes) == 2 else ""
        how = ", then ".join(map(str, plans))
        return f"{self.count} x {self.width}x{self.height} to {width}x{height}{twice}: {how}"

    def caution(self, plans: Sequence[Plan]) -> str | None:
        """What the user should know about these plans; None if there is nothing."""
        is_global = self.facts.global_statistics and not gathers_means(self.facts, self.limits.preset)
        if is_global and any(len(each) > 1 for each in plans):
            return "Tiles may differ a little: this model may look at the whole picture at once."
        return None


def _bytes_up_to(side: int, whole: Plan) -> int:
    """Bytes of a tile with sides up to `side`, scaled from `whole`, a plan without a memory limit."""
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
        shape: (count, height, width, channels) of the pictures.
        size, tile, overlap, preset, alpha_by: see `upscale`.

    Raises:
        ValueError: an argument is not as described there.
    """
    dtype = getattr(model, "dtype", torch.float32)
    one_of(preset, "preset", PRESETS)
    limits = Limits(tile, overlap, preset)
    return job_of(facts_of(model), dtype, shape, size=size, limits=limits, alpha_by=alpha_by)


def job_of(
    facts: Facts,
    dtype: torch.dtype,
    shape: Sequence[int],
    *,
    size: Size | None = None,
    limits: Limits = NO_LIMITS,
    alpha_by: str = "filter",
) -> Job:
    """As `prepare`, for a network of which only the facts and the dtype are known."""
    one_of(alpha_by, "alpha_by", ALPHA_MODES)
    count, height, width, channels = shape
    wanted = size or (height * facts.scale, width * facts.scale)
    return Job(
        count=count,
        height=height,
        width=width,
        channels=channels,
        sizes=tuple(passes(height, width, facts.scale, wanted)),
        facts=facts,
        dtype=dtype,
        limits=limits,
        alpha_by=alpha_by,
    )
