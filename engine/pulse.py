"""Progress and cancellation, felt inside the network too: on a CPU one tile can take minutes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

Progress = Callable[[float, int], None]
"""Called with how many tiles are done and how many there are. A tile counts in part while it is worked on."""


class Cancelled(Exception):
    """The caller's `is_cancelled` said so."""


class Pulse:
    """Turns layers and tiles done into progress, and asks at each whether to go on."""

    def __init__(self, on_tile: Progress | None, is_cancelled: Callable[[], bool] | None) -> None:
        self.on_tile = on_tile
        self.is_cancelled = is_cancelled
        self.layers = 1
        self.layers_done = 0
        self.tiles_done = 0
        self.tiles = 1

    @contextmanager
    def inside(self, network: Any) -> Iterator[None]:
        """Feel each layer of a network that is a module; of another, only whole tiles are felt."""
        modules = network.modules() if isinstance(network, nn.Module) else ()
        leaves = [module for module in modules if next(module.children(), None) is None]
        self.layers = max(1, len(leaves))
        handles = [leaf.register_forward_hook(self._layer) for leaf in leaves]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def at(self, tiles_done: int, tiles: int) -> None:
        """A tile begins, or the last one has ended."""
        self.tiles_done, self.tiles, self.layers_done = tiles_done, tiles, 0
        self._beat()

    def _layer(self, *_: object) -> None:
        self.layers_done += 1
        self._beat()

    def _beat(self) -> None:
        if self.is_cancelled and self.is_cancelled():
            raise Cancelled("The upscaling was cancelled.")
        if self.on_tile:
            # layers that run more than once must not run ahead into the next tile
            part = min(self.layers_done / self.layers, 1.0) if self.tiles_done < self.tiles else 0.0
            self.on_tile(self.tiles_done + part, self.tiles)
