"""Upscales one picture tile by tile, and recovers when memory runs out."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Tensor

from ..apisr_archs import Means, NotEnoughMemory, TileMeans, Way
from ..apisr_archs.text import get_logger
from . import devices, estimate
from .conditions import Conditions, Tried, learned, smaller
from .deliver import Delivery
from .means import gather_means
from .network import Network
from .options import OnResult
from .stitch import Stitcher
from .tiling import MEANS_ROUNDS, Plan, gathers_means

log = get_logger(__name__)

MIB = 2**20
CountTiles = Callable[[int, int], None]
"""Called before each tile with the number of tiles done and the total."""


class Tiler:
    """Upscales pictures, and adapts its `conditions` to measured memory peaks and to memory running out.

    A tile that does not fit into memory is upscaled like a separate picture, in strips or smaller tiles. Finished tiles
    are kept, and later plans use the new conditions.
    """

    def __init__(
        self,
        network: Network,
        conditions: Conditions,
        delivery: Delivery,
        *,
        cpu_fallback: bool,
        is_out_of_memory: Callable[[BaseException], bool],
        check: Callable[[], None],
    ) -> None:
        """delivery: writes the tiles, possibly after `upscale` has returned.

        check: called before each tile; may raise, to cancel.
        """
        self.network = network
        self.conditions = conditions
        self.delivery = delivery
        self.cpu_fallback = cpu_fallback
        self.is_out_of_memory = is_out_of_memory
        self.check = check
        self.largest_measured = estimate.LEARN_FROM - 1  # in input pixels; only larger tiles are measured

    def upscale(
        self,
        picture: Tensor,
        output: Tensor,
        on_tile: CountTiles | None = None,
        on_result: OnResult | None = None,
        means: list[Tensor] | None = None,
    ) -> None:
        """Upscale a picture (H, W, 1 or 3) into `output`, (H * scale, W * scale, 1 or 3).

        means: those of the picture that this one was cut from, for networks with global statistics. None: they are
            gathered here if the network needs them.

        Raises:
            NotEnoughMemory: not even the smallest tile fits.
            ValueError: the network's result has an unexpected size.
        """
        if means is None:
            means = self._gathered_means(picture, on_tile)
        current = self.conditions.plan(*picture.shape[:2])
        # the smallest plan may exceed the budget; try it anyway
        self.conditions = replace(self.conditions, budget=max(self.conditions.budget, current.bytes))
        stitcher = Stitcher(output, current)
        done = MEANS_ROUNDS * len(current) if means else 0  # tiles computed for the means
        for index, (y, x) in enumerate(current.places()):
            self.check()
            if on_tile:
                on_tile(done + index, done + len(current))
            source = current.read(picture, y, x)
            tile = self._tile(source, output, current.strip, means)
            if tile is None and len(current) == 1:
                self.upscale(picture, output, means=means or None)
                return
            if tile is None:
                tile = self._in_smaller_tiles(source, output, means)
            if on_result:
                on_result(tile, current.place(y, x))
            self.delivery.put(stitcher, tile, y, x)
            del tile  # free its memory before the next one is computed

    def _gathered_means(self, picture: Tensor, on_tile: CountTiles | None) -> list[Tensor]:
        """The means over the whole picture that the network's tiles need; empty if they need none.

        If memory runs out, this starts again with smaller tiles.
        """
        while True:
            current = self.conditions.plan(*picture.shape[:2])
            if len(current) == 1 or not gathers_means(self.conditions.facts, self.conditions.limits.preset):
                return []
            try:
                return gather_means(current, partial(self._only_means, picture, current), on_tile)
            except Exception as error:
                if not self.is_out_of_memory(error):
                    raise
                self._shrink(Tried(*current.tile, current.strip), error)
            devices.release_cached(self.conditions.device)
            on_tile = None  # a second attempt would make the progress jump back

    def _only_means(self, picture: Tensor, current: Plan, y: int, x: int, means: Means) -> None:
        self.network.run(current.read(picture, y, x), Way(current.strip, means))

    def _tile(self, source: Tensor, output: Tensor, strip: int | None, means: list[Tensor]) -> Tensor | None:
        """Upscale one tile, (h, w, C) -> (h * scale, w * scale, C), to be delivered into `output`.

        Returns None if it does not fit into memory. Later plans then use smaller tiles.
        """
        tried = Tried(source.shape[0], source.shape[1], strip)
        if self.conditions.bytes_for(tried) > self.conditions.budget:
            return None
        try:
            return self.delivery.take(self._measured(source, tried, means), output)
        except Exception as error:
            if not self.is_out_of_memory(error):
                raise
            self._shrink(tried, error)
        # only now, after the except block, is the memory of the failed attempt free: its traceback held the tensors
        devices.release_cached(self.conditions.device)
        planned = self.conditions.plan(tried.height, tried.width)
        log.warning("Out of memory with %dx%d pixels; going on with %s.", tried.width, tried.height, planned)
        return None

    def _in_smaller_tiles(self, source: Tensor, output: Tensor, means: list[Tensor]) -> Tensor:
        """Upscale a tile that does not fit into memory, as in `_tile`, in strips or smaller tiles."""
        scale = self.conditions.facts.scale
        tile = output.new_empty((source.shape[0] * scale, source.shape[1] * scale, output.shape[-1]))
        self.upscale(source, tile, means=means or None)
        return tile

    def _measured(self, source: Tensor, tried: Tried, means: list[Tensor]) -> Tensor:
        """Upscale one tile. If it is the largest so far, correct the memory figures by its measured peak."""
        way = Way(tried.strip, TileMeans(means)) if means else Way(tried.strip)
        if tried.height * tried.width <= self.largest_measured:
            return self.network.run(source, way)
        with devices.measured(self.conditions.device) as peak:
            result = self.network.run(source, way)
        self.largest_measured = tried.height * tried.width
        if peak.bytes is not None:
            self.conditions = learned(self.conditions, tried, peak.bytes)
        return result

    def _shrink(self, tried: Tried, error: BaseException) -> None:
        """Switch to conditions that need less memory, or to the CPU; raise NotEnoughMemory if there are none."""
        module = self.network.module if self.cpu_fallback else None
        # half of it: the output's memory counts as free until it is written
        cpu_budget = devices.usable_bytes(devices.CPU) // 2 if module is not None else None
        conditions = smaller(self.conditions, tried, cpu_budget)
        if conditions is None:
            raise NotEnoughMemory(self._explanation(tried)) from error
        if module is not None and conditions.device != self.conditions.device:
            self.network.tell(f"Out of memory on {self.conditions.device}: going on with the CPU, which is slow.")
            self.network = self.network.on_cpu(module)
        self.conditions = conditions

    def _explanation(self, tried: Tried) -> str:
        """The text of a NotEnoughMemory error: what did not fit, and what the user can do."""
        current = self.conditions
        remedies = ["Choose a smaller model", "close other programs"]
        fast = replace(current, limits=replace(current.limits, preset="fast"), smallest=True)
        if current.limits.preset == "exact" and len(fast.plan(tried.height, tried.width)) > 1:
            remedies.append("set tiling (in Python: preset) to fast, which allows smaller tiles")
        if current.device.type != "cpu" and not self.cpu_fallback:
            remedies.append("turn on cpu_fallback")
        return (
            f"Out of memory on {current.device}: a tile of {tried.width}x{tried.height} pixels did not fit, though it "
            f"should take {current.bytes_for(tried) / MIB:.0f} MB{devices.free_memory_note(current.device)}. Tiles "
            f"cannot be made smaller. {', '.join(remedies[:-1])}, or {remedies[-1]}."
        )
