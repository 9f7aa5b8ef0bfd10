"""Progress and cancellation, also inside the network: on a CPU one tile can take minutes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

from torch import nn

OnTile = Callable[[float, int], None]
"""Called with how many tiles are done and how many there are. A tile counts in part while it is worked on."""


class Cancelled(Exception):
    """The caller's `is_cancelled` said so."""


_running: ContextVar["Progress | None"] = ContextVar("running", default=None)
"""The innermost picture that this thread works on (threads begin with none). Hooks lie on a network that others, in
other threads or around this call, may be running too; they act for their own call only."""


class Progress:
    """Turns layers and tiles done into progress, and asks at each whether to go on."""

    def __init__(self, on_tile: OnTile | None, is_cancelled: Callable[[], bool] | None) -> None:
        self.on_tile = on_tile
        self.is_cancelled = is_cancelled
        self.layers, self.layers_done = 1, set[int]()
        self.tiles, self.tiles_done = 1, 0
        self.passes, self.passes_done = 1, 0

    @contextmanager
    def hooked(self, network: nn.Module | None) -> Iterator[None]:
        """Hook each layer of a network. Without one only whole tiles are reported."""
        modules = network.modules() if network is not None else ()
        leaves = [module for module in modules if next(module.children(), None) is None]
        self.layers = max(1, len(leaves))
        handles = [leaf.register_forward_hook(partial(self._layer, index)) for index, leaf in enumerate(leaves)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def running(self) -> Iterator[None]:
        """What the network does in this thread meanwhile is for this progress."""
        outer = _running.set(self)
        try:
            yield
        finally:
            _running.reset(outer)

    def begin(self, done: int, passes: int) -> None:
        """A pass of the network over a picture begins, or the last one has ended: so many are done, of so many."""
        self.passes, self.passes_done, self.tiles_done = passes, done, 0
        self.layers_done.clear()
        self._report()

    def tile(self, done: int, tiles: int) -> None:
        """A tile of the picture begins: so many are done, of so many."""
        self.tiles, self.tiles_done = tiles, done
        self.layers_done.clear()
        self._report()

    def _layer(self, index: int, *_: object) -> None:
        if _running.get() is not self:
            return
        self.layers_done.add(index)  # in strips, layers run more than once
        self._report()

    def check(self) -> None:
        """Raises Cancelled if the caller wants no more."""
        if self.is_cancelled and self.is_cancelled():
            raise Cancelled("The upscaling was cancelled.")

    def _report(self) -> None:
        self.check()
        if self.on_tile:
            part = len(self.layers_done) / self.layers
            done = self.passes_done * self.tiles + self.tiles_done + part
            self.on_tile(done, self.passes * self.tiles)
