"""Copies finished tiles from the device into the output while the device computes the next ones.

Writing an output on the CPU takes as long as upscaling it on a fast GPU. Most of that time is the first touch of newly
allocated memory. So a separate thread touches the memory in advance, and converts and writes the tiles. The transfer
from the device takes only a few percent of the time; it is done synchronously, so that finished tiles do not occupy
memory on the device.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Protocol

import torch
from torch import Tensor

from .stitch import Stitcher

PIECE = 16 * 2**20
"""Bytes per transfer: large enough for the full bandwidth."""
MAX_PENDING = 8
"""Pieces that may wait to be written; when there are more, the device waits for the writer. They are in page-locked
memory, which torch keeps for reuse: 128 MB at most."""
PAGE = 4096
"""Size of a memory page in bytes. The system allocates it when it is first touched."""


class Delivery(Protocol):
    """Writes tiles and tensors into outputs. Writes may be deferred, but keep their order."""

    def __enter__(self) -> "Delivery": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def take(self, tile: Tensor, output: Tensor) -> Tensor:
        """Convert the network's result, (h, w, C), to the form that `put` takes. May run out of memory."""
        ...

    def put(self, stitcher: Stitcher, tile: Tensor, row: int, column: int) -> None:
        """Write a tile."""
        ...

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Write `source` into `target`; both are (H, W, C)."""
        ...

    def prepare(self, output: Tensor) -> None:
        """Touch memory that will soon be written: (H, W, C), contiguous, uninitialized."""
        ...

    def wait(self) -> None:
        """Wait until everything is written. Call this before reading an output or writing to it directly."""
        ...


def make_delivery(device: torch.device, output: torch.device) -> Delivery:
    """The delivery from the network's device to the output's device."""
    return InBackground() if device.type == "cuda" and output.type == "cpu" else AtOnce()


class AtOnce:
    """Writes on the calling thread: for CPUs, for outputs on the GPU, and for devices other than CUDA."""

    def __enter__(self) -> "AtOnce":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def take(self, tile: Tensor, output: Tensor) -> Tensor:
        return tile.to(output)

    def put(self, stitcher: Stitcher, tile: Tensor, row: int, column: int) -> None:
        stitcher.put(tile, row, column)

    def copy(self, target: Tensor, source: Tensor) -> None:
        target.copy_(source)

    def prepare(self, output: Tensor) -> None:
        pass

    def wait(self) -> None:
        pass


class InBackground:
    """Writes on a background thread. An exception there is raised by a later call."""

    def __init__(self) -> None:
        self.writer = ThreadPoolExecutor(1, thread_name_prefix="apisr-writer")
        self.pending: deque[Future[None]] = deque()
        self.can_lock_pages = True

    def __enter__(self) -> "InBackground":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.writer.shutdown(wait=True, cancel_futures=True)

    def take(self, tile: Tensor, output: Tensor) -> Tensor:
        # converted on the CPU, after the transfer: half precision needs half the bandwidth
        return tile.contiguous() if output.device.type == "cpu" else tile.to(output)

    def put(self, stitcher: Stitcher, tile: Tensor, row: int, column: int) -> None:
        if stitcher.output.device.type != "cpu":  # the canvas is on the device
            stitcher.put(tile, row, column)
            return
        for top, piece in self._transfer(tile):
            self._submit(partial(stitcher.put, piece, row, column, top))

    def copy(self, target: Tensor, source: Tensor) -> None:
        for top, piece in self._transfer(source):
            self._submit(partial(target[top : top + len(piece)].copy_, piece))

    def prepare(self, output: Tensor) -> None:
        self._submit(partial(_touch, output))

    def wait(self) -> None:
        while self.pending:
            self.pending.popleft().result()

    def _submit(self, write: Callable[[], Any]) -> None:
        self.pending.append(self.writer.submit(_in_inference_mode, write))

    def _transfer(self, source: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Copy (H, W, C) to the CPU in pieces of some rows; yields each piece with the index of its first row."""
        rows = max(1, PIECE * len(source) // max(1, source.nbytes))
        for top in range(0, len(source), rows):
            while len(self.pending) >= MAX_PENDING:
                self.pending.popleft().result()
            piece = source[top : top + rows]
            yield top, piece if piece.device.type == "cpu" else self._host_buffer(piece).copy_(piece)

    def _host_buffer(self, piece: Tensor) -> Tensor:
        """An uninitialized CPU tensor like `piece`, page-locked if the system allows it (some have a low limit)."""
        if self.can_lock_pages:
            try:
                return torch.empty(piece.shape, dtype=piece.dtype, pin_memory=True)
            except RuntimeError:
                self.can_lock_pages = False
        return torch.empty(piece.shape, dtype=piece.dtype)


def _in_inference_mode(write: Callable[[], Any]) -> None:
    # set for each thread separately; without it torch refuses writes to tensors that were made in inference mode
    with torch.inference_mode():
        write()


def _touch(output: Tensor) -> None:
    """Write one element into each memory page."""
    output.view(-1)[:: PAGE // output.itemsize].zero_()
