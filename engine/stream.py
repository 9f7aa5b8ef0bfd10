"""A stream of pictures: each is compared with those before it, and gets the previous result again if that is right."""

import torch
from torch import Tensor

from . import arguments, pixels
from .frames import Frames
from .options import Callbacks, Placement
from .output import allocate_output, explain_out_of_memory
from .reuse import Comparison


class Session:
    """Upscales pictures one at a time. Created by `session`."""

    def __init__(
        self,
        frames: Frames,
        placement: Placement,
        callbacks: Callbacks,
        network_device: torch.device,
        comparison: Comparison | None,
    ) -> None:
        """comparison: finds what can be reused; None: nothing is."""
        self.frames = frames
        self.placement = placement
        self.callbacks = callbacks
        self.network_device = network_device
        self.comparison = comparison
        self.last: tuple[Tensor, Tensor] | None = None  # the previous picture as it was given, and its result
        self.has_reported_nan = False

    def __call__(self, picture: Tensor) -> Tensor:
        """Upscale one picture, (H, W, C) as given to `prepare`, floats in [0, 1] -> (H', W', C) in [0, 1].

        If nothing of it has to be computed, this returns the previous result, the same tensor, and if it is the same
        tensor as the previous picture, it is not even compared. So do not modify results, nor a picture before the next
        call has returned: it is not copied, and would be compared with itself. Two buffers, used in turns, are enough.

        Raises:
            ValueError: the picture has another shape, or is not floating point.
            Cancelled, NotEnoughMemory: see `upscale`.
        """
        self._check(picture)
        if self.last and picture is self.last[0]:
            self.frames.hold()
            return self.last[1]
        result = self._upscale(picture, None)
        self.frames.delivery.wait()
        return result

    def put(self, picture: Tensor, output: Tensor) -> None:
        """Upscale a picture (H, W, C) into `output`, (H', W', C), which is complete when the session has ended.

        Do not modify either tensor until then.
        """
        result = self._upscale(picture, output)
        if result is not output:
            with explain_out_of_memory(self.callbacks.is_out_of_memory, self.network_device):
                self.frames.delivery.copy(output, result)

    def skip(self, count: int) -> None:
        """Count pictures that an earlier run has finished."""
        self.frames.skip(count)

    def wait(self) -> None:
        """Wait until the results so far are written."""
        self.frames.delivery.wait()

    def forget(self) -> None:
        """Compute the next picture as if it were the first."""
        self.last = None
        if self.comparison:
            self.comparison.forget()

    @property
    def reused(self) -> float:
        """The share of the work for the pictures so far that was saved, from 0 to 1."""
        return self.frames.reused

    def close(self) -> None:
        """Wait until all outputs are written, and report what was reused."""
        with explain_out_of_memory(self.callbacks.is_out_of_memory, self.network_device):
            self.frames.close()
        if report := self.frames.report():
            self.callbacks.tell(report)

    def _upscale(self, picture: Tensor, output: Tensor | None) -> Tensor:
        """The result for a picture: the previous one itself, or `output`, which is allocated if it is None."""
        clean = self._without_nan(picture)
        try:
            with explain_out_of_memory(self.callbacks.is_out_of_memory, self.network_device):
                result = self._result(clean, output)
        except BaseException:
            self.forget()  # only a part of the picture may have been computed
            raise
        self.last = (picture, result) if self.comparison else None
        return result

    def _result(self, picture: Tensor, output: Tensor | None) -> Tensor:
        """As `_upscale`, for a picture without NaN."""
        parts = self.comparison.parts(picture) if self.comparison else None
        previous = self.last[1] if self.last else None
        if previous is not None and parts == ():
            self.frames.hold()
            return previous
        result = self._allocated() if output is None else output
        with self.frames.progress.running():
            self.frames.upscale(picture, result, parts, previous)
        return result

    def _allocated(self) -> Tensor:
        job, placement = self.frames.job, self.placement
        return allocate_output(
            (*job.size, job.channels),
            placement.output_dtype,
            placement.output_device,
            self.callbacks.is_out_of_memory,
        )

    def _check(self, picture: Tensor) -> None:
        """Raises ValueError unless the picture has the shape given to `prepare`, and is floating point."""
        job = self.frames.job
        if tuple(picture.shape) != (job.height, job.width, job.channels):
            raise ValueError(
                f"The picture has the shape {tuple(picture.shape)}; this session is for "
                f"{(job.height, job.width, job.channels)}, the shape given to prepare."
            )
        arguments.dense(picture, "picture")
        arguments.floats(picture.dtype, "picture")

    def _without_nan(self, picture: Tensor) -> Tensor:
        """Replace NaN by black: convolutions, filters and means would spread it. Reported once per session."""
        clean = pixels.without_nan(picture)
        if clean is not picture and not self.has_reported_nan:
            self.has_reported_nan = True
            number, count = self.frames.count + 1, self.frames.job.count
            self.callbacks.warn(
                f"Picture {number} of {count} has pixels that are not numbers (NaN). They are treated as black."
            )
        return clean
