"""Picture after picture: passes, resize, alpha, and what the picture before left."""

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

from . import alpha, pixels, reuse
from .deliver import Delivery
from .job import Job
from .progress import Progress

UpscalePicture = Callable[[Tensor, Tensor, Callable[[int, int], None]], None]
"""Network and tiles: (H, W, c), its result (H * scale, W * scale, c), and whom to tell how many tiles are done."""


class Frames:
    """Upscales picture by picture, and counts what could be taken over from the picture before."""

    def __init__(
        self,
        job: Job,
        upscale: UpscalePicture,
        delivery: Delivery,
        progress: Progress,
        canvas_device: torch.device,
        is_out_of_memory: Callable[[BaseException], bool],
    ) -> None:
        """canvas_device: where results are collected that are to be resized."""
        self.job = job
        self.upscale_tiles = upscale
        self.delivery = delivery
        self.progress = progress
        self.canvas_device = canvas_device
        self.is_out_of_memory = is_out_of_memory
        self.canvas: Tensor | None = None  # flat: the network's last result, where that is resized
        self.passes_done = 0
        self.count = self.copied = self.in_part = 0  # pictures
        self.saved = 0.0  # pictures' worth of computing

    def upscale(self, picture: Tensor, output: Tensor, before: tuple[Tensor, Tensor] | None) -> None:
        """(H, W, C) into `output`, (H', W', C). before: the picture before and its output, to be used if it helps."""
        self._begin()
        self.count += 1
        if before and torch.equal(picture, before[0]):
            self.delivery.copy(output, before[1])
            self.copied += 1
            self.saved += 1
            self.passes_done += self.job.passes_per_picture
            return
        self.delivery.prepare(output)
        if picture.shape[-1] == 4:
            self._passes(alpha.extended_colors(picture), output[..., :3])
            self._alpha(picture[..., 3:].clamp(0, 1), output[..., 3:])
            return
        part = self._part(picture, before[0]) if before and len(self.job.sizes) == 1 else None
        if before and part:
            self._update(picture, part, before[1], output)
        else:
            self._passes(picture, output)

    def close(self) -> None:
        """All pictures are done."""
        self.delivery.wait()
        self._begin()

    def report(self) -> str | None:
        """What was saved, in one line; None if nothing was."""
        if not self.copied and not self.in_part:
            return None
        in_part = f", {self.in_part} computed in part" if self.in_part else ""
        return f"{self.copied} of {self.count} frames copied{in_part}: {self.saved / self.count:.0%} of the work saved."

    def _begin(self) -> None:
        self.progress.begin(self.passes_done, max(self.passes_done, self.job.count * self.job.passes_per_picture))

    def _passes(self, picture: Tensor, output: Tensor) -> None:
        """The network once or twice: (H, W, c) into (H', W', c)."""
        for size in self.job.sizes[:-1]:
            between = picture.new_empty((*size, picture.shape[-1]), dtype=torch.float32)
            self._pass(picture, between)
            self.delivery.wait()
            picture = between
        self._pass(picture, output)

    def _pass(self, picture: Tensor, output: Tensor) -> None:
        self._begin()
        canvas = self._canvas(picture, output)
        self.upscale_tiles(picture, canvas, self.progress.tile)
        if canvas is not output:
            self._resize(canvas, output)
        self.passes_done += 1

    def _canvas(self, picture: Tensor, output: Tensor) -> Tensor:
        """Where the network's result is collected: the output, if that has its size.

        Else memory that is kept for the next results, of this shape or smaller: after those of this shape, the one
        before is still in it.
        """
        scale = self.job.facts.scale
        shape = (picture.shape[0] * scale, picture.shape[1] * scale, picture.shape[2])
        if output.shape == shape:
            return output
        size = prod(shape)
        if self.canvas is None or self.canvas.dtype != output.dtype or len(self.canvas) < size:
            self.canvas = None  # free before more is taken
            self.canvas = self._canvas_memory(size, output)
        return self.canvas[:size].view(shape)

    def _canvas_memory(self, size: int, output: Tensor) -> Tensor:
        """So many numbers on the canvas's device; if they do not fit there, from now on on the output's."""
        try:
            return output.new_empty(size, device=self.canvas_device)
        except Exception as error:
            if not self.is_out_of_memory(error):
                raise
        self.canvas_device = output.device
        return output.new_empty(size)

    def _resize(self, canvas: Tensor, output: Tensor) -> None:
        """The network's result, resized into the output."""
        size = output.shape[0], output.shape[1]
        if canvas.device.type == "cpu":
            self.delivery.wait()
        resized = None
        try:
            resized = pixels.resize(canvas, size)
        except Exception as error:
            if canvas.device == output.device or not self.is_out_of_memory(error):
                raise
        if resized is None:
            self.canvas_device = output.device  # it did not fit where it was
            canvas = canvas.to(output.device)
            self.canvas = canvas.view(-1)
            resized = pixels.resize(canvas, size)
        self.delivery.copy(output, resized)

    def _part(self, picture: Tensor, before: Tensor) -> reuse.Part | None:
        area = reuse.changed(picture, before)
        return reuse.part_to_compute(area, picture.shape[0], picture.shape[1], self.job.facts)

    def _update(self, picture: Tensor, part: reuse.Part, before: Tensor, output: Tensor) -> None:
        """Compute a part of a picture; the rest is as it was before."""
        canvas = self._canvas(picture, output)
        self.delivery.wait()
        if canvas is output:
            canvas.copy_(before)
        scale = self.job.facts.scale
        source = part.read.of(picture)
        patch = canvas.new_empty((source.shape[0] * scale, source.shape[1] * scale, source.shape[2]))
        self.upscale_tiles(source, patch, self.progress.tile)
        self.delivery.wait()
        part.taken.of(canvas, scale).copy_(part.taken.within(part.read).of(patch, scale))
        if canvas is not output:
            self._resize(canvas, output)
        self.passes_done += 1
        self.in_part += 1
        self.saved += 1 - part.read.pixels / (picture.shape[0] * picture.shape[1])

    def _alpha(self, opacity: Tensor, output: Tensor) -> None:
        """(H, W, 1) into (H', W', 1). A constant one, the usual case, costs nothing."""
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
