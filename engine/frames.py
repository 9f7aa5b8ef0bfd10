"""The pictures of a batch, one after the other: passes, resize, alpha, and what the picture before left."""

from math import prod

import torch
from torch import Tensor

from . import alpha, pixels, reuse
from .progress import Pulse
from .tiles import Tiler

CANVAS_SHARE = 0.25
"""A result that is to be resized is collected on the device if that takes at most this part of the budget."""


def canvas_bytes(inputs: list[tuple[int, int]], steps: list[tuple[int, int]], scale: int) -> int:
    """What collecting and resizing the network's results takes, in bytes; 0 if none is resized.

    Args:
        inputs, steps: the size of the picture before and after each pass.
    """
    natural = [(height * scale, width * scale) for height, width in inputs]
    resized = [size for size, wanted in zip(natural, steps, strict=True) if size != wanted]
    return max((3 * 4 * pixels.RESIZE_TAKES * height * width for height, width in resized), default=0)


class Frames:
    """Upscales picture by picture, and counts what could be taken over from the picture before."""

    def __init__(
        self,
        tiler: Tiler,
        pulse: Pulse,
        steps: list[tuple[int, int]],
        alpha_by: str,
        shape: tuple[int, ...],
        canvas_device: torch.device,
    ) -> None:
        """steps: the size after each pass of the network, the last one that of the output. shape: of the batch.

        canvas_device: where results are collected that are to be resized.
        """
        self.tiler = tiler
        self.pulse = pulse
        self.steps = steps
        self.alpha_by = alpha_by
        self.count = shape[0]
        self.passes_per_frame = len(steps) * (2 if shape[-1] == 4 and alpha_by == "model" else 1)
        self.passes_done = 0
        self.canvas_device = canvas_device
        self.canvas: Tensor | None = None  # flat: the network's last result, where that is resized
        self.copied = self.in_part = 0
        self.saved = 0.0  # frames' worth of computing

    def upscale(self, picture: Tensor, output: Tensor, before: tuple[Tensor, Tensor] | None) -> None:
        """(H, W, C) into `output`, (H', W', C). before: the picture before and its output, to be used if it helps."""
        self.pulse.frame(self.passes_done, self.count * self.passes_per_frame)
        if before and torch.equal(picture, before[0]):
            self.tiler.deliver.copy(output, before[1])
            self.copied += 1
            self.saved += 1
            self.passes_done += self.passes_per_frame
            return
        self.tiler.deliver.prepare(output)
        if picture.shape[-1] == 4:
            self._passes(alpha.extended_colours(picture), output[..., :3])
            self._alpha(picture[..., 3:].clamp(0, 1), output[..., 3:])
            return
        part = self._part(picture, before[0]) if before and len(self.steps) == 1 else None
        if before and part:
            self._update(picture, part, before[1], output)
        else:
            self._passes(picture, output)

    def close(self) -> None:
        """All pictures are done."""
        self.tiler.deliver.wait()
        self.pulse.frame(self.count, self.count)

    def report(self) -> str:
        in_part = f", {self.in_part} computed in part" if self.in_part else ""
        return f"{self.copied} of {self.count} frames copied{in_part}: {self.saved / self.count:.0%} of the work saved."

    def _passes(self, picture: Tensor, output: Tensor) -> None:
        """The network once or twice: (H, W, c) into (H', W', c)."""
        for size in self.steps[:-1]:
            between = picture.new_empty((*size, picture.shape[-1]), dtype=torch.float32)
            self._pass(picture, between)
            self.tiler.deliver.wait()
            picture = between
        self._pass(picture, output)

    def _pass(self, picture: Tensor, output: Tensor) -> None:
        self.pulse.frame(self.passes_done, self.count * self.passes_per_frame)
        canvas = self._canvas(picture, output)
        self.tiler.upscale(picture, canvas, self.pulse.tile)
        if canvas is not output:
            self._resize(canvas, output)
        self.passes_done += 1

    def _canvas(self, picture: Tensor, output: Tensor) -> Tensor:
        """Where the network's result is collected: the output, if that has its size.

        Else memory that is kept for the next results, of this shape or smaller: after those of this shape, the one
        before is still in it.
        """
        now = self.tiler.now
        shape = (picture.shape[0] * now.facts.scale, picture.shape[1] * now.facts.scale, picture.shape[2])
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
            if not self.tiler.is_out_of_memory(error):
                raise
        self.canvas_device = output.device
        return output.new_empty(size)

    def _resize(self, canvas: Tensor, output: Tensor) -> None:
        """The network's result, resized into the output."""
        size = output.shape[0], output.shape[1]
        if canvas.device.type == "cpu":
            self.tiler.deliver.wait()
        resized = None
        try:
            resized = pixels.resize(canvas, size)
        except Exception as error:
            if canvas.device == output.device or not self.tiler.is_out_of_memory(error):
                raise
        if resized is None:
            self.canvas_device = output.device  # it did not fit where it was
            canvas = canvas.to(output.device)
            self.canvas = canvas.view(-1)
            resized = pixels.resize(canvas, size)
        self.tiler.deliver.copy(output, resized)

    def _part(self, picture: Tensor, before: Tensor) -> reuse.Part | None:
        area = reuse.changed(picture, before)
        now = self.tiler.now
        return reuse.part_to_compute(area, picture.shape[0], picture.shape[1], now.facts)

    def _update(self, picture: Tensor, part: reuse.Part, before: Tensor, output: Tensor) -> None:
        """Compute a part of a picture; the rest is as it was before."""
        canvas = self._canvas(picture, output)
        self.tiler.deliver.wait()
        if canvas is output:
            canvas.copy_(before)
        scale = self.tiler.now.facts.scale
        source = part.read.of(picture)
        patch = canvas.new_empty((source.shape[0] * scale, source.shape[1] * scale, source.shape[2]))
        self.tiler.upscale(source, patch, self.pulse.tile)
        self.tiler.deliver.wait()
        part.taken.of(canvas, scale).copy_(part.taken.within(part.read).of(patch, scale))
        if canvas is not output:
            self._resize(canvas, output)
        self.passes_done += 1
        self.in_part += 1
        self.saved += 1 - part.read.pixels / (picture.shape[0] * picture.shape[1])

    def _alpha(self, opacity: Tensor, output: Tensor) -> None:
        """(H, W, 1) into (H', W', 1). A constant one, the usual case, costs nothing."""
        if alpha.is_constant(opacity):
            self.tiler.deliver.copy(output, opacity[:1, :1].expand_as(output))
            self.passes_done += self.passes_per_frame - len(self.steps)
            return
        if self.alpha_by == "model":
            self._passes(opacity, output)
        else:
            self.tiler.deliver.copy(output, pixels.resize(opacity, (output.shape[0], output.shape[1])))
        self.tiler.deliver.wait()
        alpha.restore_extremes(output, opacity)
