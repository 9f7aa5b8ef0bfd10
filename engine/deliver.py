"""The way home: finished tiles are written into the picture while the device computes the next ones.

Writing a picture takes a computer as long as upscaling it takes a fast GPU, and most of that is the first touch of
fresh memory. So a thread of its own touches the memory beforehand, and converts and writes what has come home. To come
home takes a few per cent of the time, and is waited for: so nothing finished takes memory on the device.
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
"""Bytes that travel at once: enough for the full speed of the way."""
MOST_WAITING = 8
"""Pieces that wait to be written; the device waits for the writer when there are more. They lie in page-locked memory,
which torch keeps for the next time: 128 MB at most."""
PAGE = 4096
"""Bytes of memory that the first touch of one of them makes real."""


class Delivery(Protocol):
    """Where finished tiles go. What was handed over may be written later, but in the order in which it was."""

    def __enter__(self) -> "Delivery": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def take(self, tile: Tensor, output: Tensor) -> Tensor:
        """The network's result, (h, w, C), as `put` wants it; takes memory that may lack."""
        ...

    def put(self, stitcher: Stitcher, tile: Tensor, row: int, column: int) -> None:
        """Place a tile."""
        ...

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Write the source, of the same shape (H, W, C), into the target."""
        ...

    def prepare(self, room: Tensor) -> None:
        """Make memory real that will soon be written, (H, W, C), contiguous; nothing is in it yet."""
        ...

    def wait(self) -> None:
        """Until all is written. Call it before you read what was written, or write it in another way."""
        ...


def make_delivery(device: torch.device, output: torch.device) -> Delivery:
    """From where the network runs to where the output is."""
    return InBackground() if device.type == "cuda" and output.type == "cpu" else AtOnce()


class AtOnce:
    """Writes on the calling thread: for devices that share the computer's memory, or wait for their results anyway."""

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

    def prepare(self, room: Tensor) -> None:
        pass

    def wait(self) -> None:
        pass


class InBackground:
    """Writes on one other thread. What fails there is raised by a later call."""

    def __init__(self) -> None:
        self.writer = ThreadPoolExecutor(1, thread_name_prefix="apisr-writer")
        self.waiting: deque[Future[None]] = deque()
        self.can_lock_pages = True

    def __enter__(self) -> "InBackground":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.writer.shutdown(wait=True, cancel_futures=True)

    def take(self, tile: Tensor, output: Tensor) -> Tensor:
        # what goes home is converted there: half the way for half precision
        return tile.contiguous() if output.device.type == "cpu" else tile.to(output)

    def put(self, stitcher: Stitcher, tile: Tensor, row: int, column: int) -> None:
        if stitcher.output.device.type != "cpu":  # it is collected on the device
            stitcher.put(tile, row, column)
            return
        for top, piece in self._home(tile):
            self._later(partial(stitcher.put, piece, row, column, top))

    def copy(self, target: Tensor, source: Tensor) -> None:
        for top, piece in self._home(source):
            self._later(partial(target[top : top + len(piece)].copy_, piece))

    def prepare(self, room: Tensor) -> None:
        self._later(partial(_touch, room))

    def wait(self) -> None:
        while self.waiting:
            self.waiting.popleft().result()

    def _later(self, write: Callable[[], Any]) -> None:
        self.waiting.append(self.writer.submit(_in_inference_mode, write))

    def _home(self, source: Tensor) -> Iterator[tuple[int, Tensor]]:
        """(H, W, C) in pieces in the computer's memory, each with the number of its first row."""
        rows = max(1, PIECE * len(source) // max(1, source.nbytes))
        for top in range(0, len(source), rows):
            while len(self.waiting) >= MOST_WAITING:
                self.waiting.popleft().result()
            piece = source[top : top + rows]
            yield top, piece if piece.device.type == "cpu" else self._room_for(piece).copy_(piece)

    def _room_for(self, piece: Tensor) -> Tensor:
        """In memory that the GPU can write by itself, of which some systems give little or none."""
        if self.can_lock_pages:
            try:
                return torch.empty(piece.shape, dtype=piece.dtype, pin_memory=True)
            except RuntimeError:
                self.can_lock_pages = False
        return torch.empty(piece.shape, dtype=piece.dtype)


def _in_inference_mode(write: Callable[[], Any]) -> None:
    with torch.inference_mode():  # which torch keeps for each thread; it may write what was made in it, and all else
        write()


def _touch(room: Tensor) -> None:
    """Write one number into each page."""
    room.view(-1)[:: PAGE // room.itemsize].zero_()
