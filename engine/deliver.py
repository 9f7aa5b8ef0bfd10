"""The way home: finished tiles are written into the picture while the device computes the next ones.

Writing a picture takes a computer as long as upscaling it takes a fast GPU, and most of that is the first touch of
fresh memory. So a thread of its own touches the memory beforehand, and writes what arrives through page-locked buffers,
which the device fills without anybody waiting.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from .stitch import Stitcher

PIECE = 16 * 2**20
"""Bytes that travel at once: enough for the full speed of the way."""
MOST_ON_THE_WAY = 8
"""Pieces that wait to be written; the device waits for the writer when there are more."""
PAGE = 4096
"""Bytes of memory that the first touch of one of them makes real."""


class AtOnce:
    """Writes on the calling thread: for devices that share the computer's memory, or have no streams."""

    def __enter__(self) -> "AtOnce":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def take(self, tile: Tensor, output: Tensor) -> Tensor:
        """The network's result as `put` wants it: here in the dtype and on the device of the output."""
        return tile.to(output)

    def put(self, stitcher: Stitcher, tile: Tensor, row: int, column: int) -> None:
        """Place a tile."""
        stitcher.put(tile, row, column)

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Write the source, of the same shape (H, W, C), into the target."""
        target.copy_(source)

    def prepare(self, room: Tensor) -> None:
        """Make memory real that will soon be written; nothing is in it yet."""

    def wait(self) -> None:
        """Until all is written. Call it before you read what was written, or write it in another way."""


class InBackground(AtOnce):
    """Writes on one other thread, in the order of the calls. What fails there is raised by a later call."""

    def __init__(self, device: torch.device) -> None:
        self.side = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.writer = ThreadPoolExecutor(1, thread_name_prefix="apisr-writer")
        self.on_the_way: deque[Future[None]] = deque()
        self.inference = torch.is_inference_mode_enabled()  # which torch keeps for each thread

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.writer.shutdown(wait=True, cancel_futures=True)

    def take(self, tile: Tensor, output: Tensor) -> Tensor:
        # what goes home is converted there: half the way for half precision
        return tile if output.device.type == "cpu" else tile.to(output)

    def put(self, stitcher: Stitcher, tile: Tensor, row: int, column: int) -> None:
        if stitcher.output.device.type != "cpu":  # it is collected on the device
            stitcher.put(tile, row, column)
            return
        for top, piece, arrived in self._sent(tile):
            self._later(arrived, partial(stitcher.put, piece, row, column, top))

    def copy(self, target: Tensor, source: Tensor) -> None:
        for top, piece, arrived in self._sent(source):
            self._later(arrived, partial(target[top : top + len(piece)].copy_, piece))

    def prepare(self, room: Tensor) -> None:
        self._later(None, partial(_touch, room))

    def wait(self) -> None:
        while self.on_the_way:
            self.on_the_way.popleft().result()

    def _later(self, arrived: torch.cuda.Event | None, write: Callable[[], Any]) -> None:
        self.on_the_way.append(self.writer.submit(self._write, arrived, write))

    def _write(self, arrived: torch.cuda.Event | None, write: Callable[[], Any]) -> None:
        if arrived:
            arrived.synchronize()
        with torch.inference_mode(self.inference), torch.no_grad():
            write()

    def _sent(self, source: Tensor) -> Iterator[tuple[int, Tensor, torch.cuda.Event | None]]:
        """(H, W, C) in pieces in the computer's memory: their first row, they, and what to wait for before reading."""
        height = len(source)
        rows = max(1, PIECE * height // max(1, source.nbytes))
        for top in range(0, height, rows):
            while len(self.on_the_way) >= MOST_ON_THE_WAY:
                self.on_the_way.popleft().result()
            piece = source[top : top + rows]
            if self.side is None or not piece.is_cuda:
                yield top, piece, None
                continue
            self.side.wait_stream(torch.cuda.current_stream(piece.device))
            landed, arrived = _page_locked(piece), torch.cuda.Event()
            with torch.cuda.stream(self.side):
                landed.copy_(piece, non_blocking=True)
                arrived.record()
            piece.record_stream(self.side)  # its memory must not be used again before
            yield top, landed, arrived


def between(device: torch.device, output: torch.device) -> AtOnce:
    """The way from where the network runs to where the output is."""
    return InBackground(device) if device.type == "cuda" and output.type == "cpu" else AtOnce()


def _page_locked(like: Tensor) -> Tensor:
    """Room in the computer's memory that the GPU can write by itself."""
    try:
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)
    except RuntimeError:  # systems allow only so much of it; without, the copy takes longer
        return torch.empty(like.shape, dtype=like.dtype)


def _touch(room: Tensor) -> None:
    """Write one number into each page of (H, W, C), contiguous."""
    room.view(-1)[:: PAGE // room.itemsize].zero_()
