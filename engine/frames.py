"""Upscales picture after picture: passes, resizing, alpha, and reuse of the previous result."""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod

import torch
from torch import Tensor

from . import alpha, pixels, reuse
from .deliver import Delivery
from .job import Job
from .options import Callbacks, OnResult
from .progress import Progress

CountTiles = Callable[[int, int], None]
"""Called before each tile with the number of tiles done and the total."""
UpscalePicture = Callable[[Tensor, Tensor, CountTiles, OnResult | None], None]
"""Upscales a picture (H, W, c) into an output (H * scale, W * scale, c), both given."""


class Frames:
    """Upscales picture after picture, and counts how much could be reused from the previous one."""

    def __init__(
        self,
        job: Job,
        upscale: UpscalePicture,
        delivery: Delivery,
        progress: Progress,
        canvas_device: torch.device,
        callbacks: Callbacks,
    ) -> None:
        """canvas_device: the device where results are collected before they are resized."""
        self.job = job
        self.upscale_tiles = upscale
        self.delivery = delivery
        self.progress = progress
        self.canvas_device = canvas_device
        self.callbacks = callbacks
        self.canvas: Tensor | None = None  # flat; holds the network's last result if results are resized
        self.passes_done = 0
        self.count = self.copied = self.in_part = 0  # numbers of pictures
        self.saved = 0.0  # work saved, in pictures

    def upscale(
        self, picture: Tensor, output: Tensor, parts: reuse.Parts = None, previous: Tensor | None = None
    ) -> None:
        """Upscale a picture (H, W, C) into `output`, (H', W', C).

        parts: the parts to compute, at least one; the rest is copied from `previous`, the previous output, which was
            the last one computed here. None: the whole picture. See `reuse.has_parts`.
        """
        self._begin()
        self.count += 1
        self.delivery.prepare(output)
        if picture.shape[-1] == 4:
            self._passes(alpha.extended_colors(picture), output[..., :3], self.callbacks.on_result)
            self._alpha(picture[..., 3:].clamp(0, 1), output[..., 3:])
        elif parts and previous is not None:
            self._update(picture, parts, previous, output)
        else:
            self._passes(picture, output, self.callbacks.on_result)

    def hold(self) -> None:
        """Count a picture whose result is the previous one."""
        self._begin()
        self.count += 1
        self.copied += 1
        self.saved += 1
        self.passes_done += self.job.passes_per_picture

    def skip(self, count: int) -> None:
        """Count pictures that were finished before."""
        self.passes_done += count * self.job.passes_per_picture

    def close(self) -> None:
        """Wait until all pictures are written, and report the final progress."""
        self.delivery.wait()
        self._begin()

    def report(self) -> str | None:
        """One line on how much work was saved; None if nothing was reused."""
        if not self.copied and not self.in_part:
            return None
        in_part = f", {self.in_part} computed in part" if self.in_part else ""
        return f"{self.copied} of {self.count} frames copied{in_part}: {self.reused:.0%} of the work saved."

    @property
    def reused(self) -> float:
        """The share of the work so far that was saved, from 0 to 1."""
        return self.saved / self.count if self.count else 0.0

    def _begin(self) -> None:
        self.progress.begin(self.passes_done, max(self.passes_done, self.job.count * self.job.passes_per_picture))

    def _passes(self, picture: Tensor, output: Tensor, on_result: OnResult | None = None) -> None:
        """Run all passes of the network: (H, W, c) into (H', W', c)."""
        for size in self.job.sizes[:-1]:
            intermediate = picture.new_empty((*size, picture.shape[-1]), dtype=torch.float32)
            self._pass(picture, intermediate, on_result)
            self.delivery.wait()
            picture = intermediate
        self._pass(picture, output, on_result)

    def _pass(self, picture: Tensor, output: Tensor, on_result: OnResult | None) -> None:
        self._begin()
        canvas = self._canvas(picture, output)
        self.upscale_tiles(picture, canvas, self.progress.tile, on_result)
        if canvas is not output:
            self._resize(canvas, output)
        self.passes_done += 1

    def _canvas(self, picture: Tensor, output: Tensor) -> Tensor:
        """The tensor in which the network's result is collected: the output itself, if it has the right size.

        Otherwise a view of memory that is kept for later results of this shape or smaller. It still holds the previous
        result, if that had the same shape.
        """
        scale = self.job.facts.scale
        shape = (picture.shape[0] * scale, picture.shape[1] * scale, picture.shape[2])
        if output.shape == shape:
            return output
        size = prod(shape)
        if self.canvas is None or self.canvas.dtype != output.dtype or len(self.canvas) < size:
            self.canvas = None  # free the old memory first
            self.canvas = self._canvas_memory(size, output)
        return self.canvas[:size].view(shape)

    def _canvas_memory(self, size: int, output: Tensor) -> Tensor:
        """Allocate `size` elements on the canvas device; if they do not fit, switch to the output's device."""
        try:
            return output.new_empty(size, device=self.canvas_device)
        except Exception as error:
            if not self.callbacks.is_out_of_memory(error):
                raise
        self.canvas_device = output.device
        return output.new_empty(size)

    def _resize(self, canvas: Tensor, output: Tensor) -> None:
        """Resize the network's result into the output; if memory runs out on its device, on the output's device."""
        size = output.shape[0], output.shape[1]
        if canvas.device.type == "cpu":
            self.delivery.wait()
        resized = None
        try:
            resized = pixels.resize(canvas, size)
        except Exception as error:
            if canvas.device == output.device or not self.callbacks.is_out_of_memory(error):
                raise
        if resized is None:
            self.canvas_device = output.device
            canvas = canvas.to(output.device)
            self.canvas = canvas.view(-1)
            resized = pixels.resize(canvas, size)
        self.delivery.copy(output, resized)

    def _update(self, picture: Tensor, parts: Sequence[reuse.Part], previous: Tensor, output: Tensor) -> None:
        """Compute some parts of a picture; the rest is copied from `previous`, the previous output."""
        canvas = self._canvas(picture, output)
        self.delivery.wait()
        if canvas is output:
            canvas.copy_(previous)
        for number, part in enumerate(parts):
            self._update_part(picture, part, canvas, partial(self._tile_of_part, number, len(parts)))
        if canvas is not output:
            self._resize(canvas, output)
        self.passes_done += 1
        self.in_part += 1
        self.saved += 1 - sum(part.read.pixels for part in parts) / (picture.shape[0] * picture.shape[1])

    def _update_part(self, picture: Tensor, part: reuse.Part, canvas: Tensor, on_tile: CountTiles) -> None:
        """Compute one part of a picture, (H, W, c), and write it into the canvas, (H * scale, W * scale, c)."""
        scale = self.job.facts.scale
        source = part.read.of(picture)
        patch = canvas.new_empty((source.shape[0] * scale, source.shape[1] * scale, source.shape[2]))
        self.upscale_tiles(source, patch, on_tile, None)
        self.delivery.wait()
        part.taken.of(canvas, scale).copy_(part.taken.within(part.read).of(patch, scale))

    def _tile_of_part(self, number: int, count: int, done: int, tiles: int) -> None:
        """A tile of part `number`, from 0, of `count` begins. All parts together make one pass of the progress."""
        self.progress.tile(number * tiles + done, count * tiles)

    def _alpha(self, opacity: Tensor, output: Tensor) -> None:
        """Enlarge alpha, (H, W, 1), into `output`, (H', W', 1). Constant alpha, the usual case, costs nothing."""
        if alpha.is_constant(opacity):
            self.delivery.copy(output, opacity[:1, :1].expand_as(output))
            self.passes_done += self.job.passes_per_picture - len(self.job.sizes)
            return
        if self.job.alpha_by == "model":
            self._passes(opacity, output)
        else:
            self.delivery.copy(output, pixels.resize(opacity, (output.shape[0], output.shape[1])))
        self.delivery.wait()
        alpha.restore_extremes(output, opacity)
