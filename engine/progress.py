"""Progress and cancellation at every layer of the network: on a CPU one tile can take minutes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

from torch import nn

OnTile = Callable[[float, int], None]
"""Called with the number of tiles done, including the finished fraction of the current one, and the total."""


class Cancelled(Exception):
    """The caller's `is_cancelled` returned True."""


_running: ContextVar["Progress | None"] = ContextVar("running", default=None)
"""The progress of the innermost call in this thread. Other threads, or calls around this one, may run the same network
and trigger the same hooks; with this, each hook reports only to its own call."""


class Progress:
    """Counts finished layers and tiles, reports them, and checks for cancellation each time."""

    def __init__(self, on_tile: OnTile | None, is_cancelled: Callable[[], bool] | None) -> None:
        self.on_tile = on_tile
        self.is_cancelled = is_cancelled
        self.layers, self.layers_done = 1, set[int]()
        self.tiles, self.tiles_done = 1, 0
        self.passes, self.passes_done = 1, 0

    @contextmanager
    def hooked(self, network: nn.Module | None) -> Iterator[None]:
        """Hook each layer of a network. Without a network, only whole tiles are reported."""
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
        """Until this ends, layers that run in this thread report to this object."""
        outer = _running.set(self)
        try:
            yield
        finally:
            _running.reset(outer)

    def begin(self, done: int, passes: int) -> None:
        """A pass of the network begins, or the last one has ended: `done` of `passes` passes are complete."""
        self.passes, self.passes_done, self.tiles_done = passes, done, 0
        self.layers_done.clear()
        self._report()

    def tile(self, done: int, tiles: int) -> None:
        """A tile begins: `done` of the picture's `tiles` tiles are complete."""
        self.tiles, self.tiles_done = tiles, done
        self.layers_done.clear()
        self._report()

    def _layer(self, index: int, *_: object) -> None:
        if _running.get() is not self:
            return
        self.layers_done.add(index)  # in strips, layers run more than once
        self._report()

    def check(self) -> None:
        """Raise Cancelled if the caller has cancelled."""
        if self.is_cancelled and self.is_cancelled():
            raise Cancelled("The upscaling was cancelled.")

    def _report(self) -> None:
        self.check()
        if self.on_tile:
            part = len(self.layers_done) / self.layers
            done = self.passes_done * self.tiles + self.tiles_done + part
            self.on_tile(done, self.passes * self.tiles)
