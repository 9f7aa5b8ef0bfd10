"""Progress and cancellation, felt inside the network too: on a CPU one tile can take minutes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from torch import nn

Progress = Callable[[float, int], None]
"""Called with how many tiles are done and how many there are. A tile counts in part while it is worked on."""


class Cancelled(Exception):
    """The caller's `is_cancelled` said so."""


_running: ContextVar["Pulse | None"] = ContextVar("running", default=None)
"""The innermost call of `upscale` in this thread (threads begin with none). Its hooks are on a network that calls in
other threads, or around this one, may be running too; they act for their own call only."""


class Pulse:
    """Turns layers and tiles done into progress, and asks at each whether to go on."""

    def __init__(self, on_tile: Progress | None, is_cancelled: Callable[[], bool] | None) -> None:
        self.on_tile = on_tile
        self.is_cancelled = is_cancelled
        self.layers, self.layers_done = 1, set[int]()
        self.tiles, self.tiles_done = 1, 0
        self.frames, self.frames_done = 1, 0

    @contextmanager
    def inside(self, network: Any) -> Iterator[None]:
        """Hook each layer of a network that is a module, for this call only; any other reports whole tiles."""
        modules = network.modules() if isinstance(network, nn.Module) else ()
        leaves = [module for module in modules if next(module.children(), None) is None]
        self.layers = max(1, len(leaves))
        handles = [leaf.register_forward_hook(partial(self._layer, index)) for index, leaf in enumerate(leaves)]
        outer = _running.set(self)
        try:
            yield
        finally:
            _running.reset(outer)
            for handle in handles:
                handle.remove()

    def frame(self, done: int, frames: int) -> None:
        """A frame begins, or the last one has ended."""
        self.frames, self.frames_done, self.tiles_done = frames, done, 0
        self.layers_done.clear()
        self._beat()

    def tile(self, done: int, tiles: int) -> None:
        """A tile of the frame begins."""
        self.tiles, self.tiles_done = tiles, done
        self.layers_done.clear()
        self._beat()

    def _layer(self, index: int, *_: object) -> None:
        if _running.get() is not self:
            return
        self.layers_done.add(index)  # in strips, layers run more than once
        self._beat()

    def check(self) -> None:
        """Raises Cancelled if the caller wants no more."""
        if self.is_cancelled and self.is_cancelled():
            raise Cancelled("The upscaling was cancelled.")

    def _beat(self) -> None:
        self.check()
        if self.on_tile:
            part = len(self.layers_done) / self.layers
            done = self.frames_done * self.tiles + self.tiles_done + part
            self.on_tile(done, self.frames * self.tiles)
