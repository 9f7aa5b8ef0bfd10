"""One picture through the network, tile by tile, whatever the memory does meanwhile."""

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
from .stitch import Stitcher
from .tiling import MEANS_ROUNDS, Plan, gathers_means

log = get_logger(__name__)

MIB = 2**20
CountTiles = Callable[[int, int], None]
"""Called before each tile with how many are done and how many there are."""


class Tiler:
    """Upscales pictures under conditions that it adapts to what it meets.

    A tile that does not fit into memory is upscaled as a picture of its own, in strips or smaller tiles: what was
    finished before stays finished, and what comes after begins small.
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
        """delivery: writes the tiles; what `upscale` has returned from may still be on the way.

        check: called before each tile, however small; may raise.
        """
        self.network = network
        self.now = conditions
        self.delivery = delivery
        self.cpu_fallback = cpu_fallback
        self.is_out_of_memory = is_out_of_memory
        self.check = check
        self.largest_measured = estimate.LEARN_FROM - 1  # input pixels; smaller tiles teach nothing new

    def upscale(
        self, picture: Tensor, output: Tensor, on_tile: CountTiles | None = None, means: list[Tensor] | None = None
    ) -> None:
        """The colors of (H, W, 1 or 3) into `output`, (H * scale, W * scale, 1 or 3).

        means: over the picture that this one is a part of, where the network looks at all of it.

        Raises:
            NotEnoughMemory: not even the smallest tile fits.
            ValueError: the network's result has another size.
        """
        if means is None:
            means = self._gathered_means(picture, on_tile)
        current = self.now.plan(*picture.shape[:2])
        # even the smallest plan may be over the budget; it is tried all the same
        self.now = replace(self.now, budget=max(self.now.budget, current.bytes))
        stitcher = Stitcher(output, current)
        before = MEANS_ROUNDS * len(current) if means else 0  # as many tiles were computed for the means
        for index, (y, x) in enumerate(current.places()):
            self.check()
            if on_tile:
                on_tile(before + index, before + len(current))
            source = current.read(picture, y, x)
            tile = self._tile(source, output, current.strip, means)
            if tile is None and len(current) == 1:
                self.upscale(picture, output, means=means or None)
                return
            if tile is None:
                tile = self._in_smaller_tiles(source, output, means)
            self.delivery.put(stitcher, tile, y, x)
            del tile  # its memory is for the next one

    def _gathered_means(self, picture: Tensor, on_tile: CountTiles | None) -> list[Tensor]:
        """What the network's tiles must know of the whole picture; empty if they need not.

        When memory runs out meanwhile, this begins anew with smaller tiles.
        """
        while True:
            current = self.now.plan(*picture.shape[:2])
            if len(current) == 1 or not gathers_means(self.now.facts, self.now.limits.preset):
                return []
            try:
                return gather_means(current, partial(self._only_means, picture, current), on_tile)
            except Exception as error:
                if not self.is_out_of_memory(error):
                    raise
                self._shrink(Tried(*current.tile, current.strip), error)
            devices.release_cached(self.now.device)
            on_tile = None  # the second time it would go back to the beginning

    def _only_means(self, picture: Tensor, current: Plan, y: int, x: int, means: Means) -> None:
        self.network.run(current.read(picture, y, x), Way(current.strip, means))

    def _tile(self, source: Tensor, output: Tensor, strip: int | None, means: list[Tensor]) -> Tensor | None:
        """One tile, (h, w, C) -> (h * scale, w * scale, C), to be delivered into `output`.

        None if it does not fit; what is planned from now on is smaller.
        """
        tried = Tried(source.shape[0], source.shape[1], strip)
        if self.now.bytes_for(tried) > self.now.budget:
            return None
        try:
            return self.delivery.take(self._measured(source, tried, means), output)
        except Exception as error:
            if not self.is_out_of_memory(error):
                raise
            self._shrink(tried, error)
        # only here, past the except block, is the failed attempt's memory free: its traceback held the tensors
        devices.release_cached(self.now.device)
        planned = self.now.plan(tried.height, tried.width)
        log.warning("Out of memory with %dx%d pixels; going on with %s.", tried.width, tried.height, planned)
        return None

    def _in_smaller_tiles(self, source: Tensor, output: Tensor, means: list[Tensor]) -> Tensor:
        """The same of a tile that does not fit."""
        scale = self.now.facts.scale
        tile = output.new_empty((source.shape[0] * scale, source.shape[1] * scale, output.shape[-1]))
        self.upscale(source, tile, means=means or None)
        return tile

    def _measured(self, source: Tensor, tried: Tried, means: list[Tensor]) -> Tensor:
        """One tile; the first one, and each that is larger, also tells how much memory tiles really take."""
        way = Way(tried.strip, TileMeans(means)) if means else Way(tried.strip)
        if tried.height * tried.width <= self.largest_measured:
            return self.network.run(source, way)
        with devices.measured(self.now.device) as peak:
            result = self.network.run(source, way)
        self.largest_measured = tried.height * tried.width
        if peak.bytes is not None:
            self.now = learned(self.now, tried, peak.bytes)
        return result

    def _shrink(self, tried: Tried, error: BaseException) -> None:
        """Go on with less memory, or with the CPU; or end."""
        module = self.network.module if self.cpu_fallback else None
        # half: the output's memory counts as free until it is written
        cpu_budget = devices.usable_bytes(devices.CPU) // 2 if module is not None else None
        conditions = smaller(self.now, tried, cpu_budget)
        if conditions is None:
            raise NotEnoughMemory(self._end(tried)) from error
        if module is not None and conditions.device != self.now.device:
            self.network.tell(f"Out of memory on {self.now.device}: going on with the CPU, which is slow.")
            self.network = self.network.on_cpu(module)
        self.now = conditions

    def _end(self, tried: Tried) -> str:
        now = self.now
        ways = ["Choose a smaller model", "close other programs"]
        fast = replace(now, limits=replace(now.limits, preset="fast"), smallest=True)
        if now.limits.preset == "exact" and len(fast.plan(tried.height, tried.width)) > 1:
            ways.append("set preset to fast, which allows smaller tiles")
        if now.device.type != "cpu" and not self.cpu_fallback:
            ways.append("turn on cpu_fallback")
        return (
            f"Out of memory on {now.device}: a tile of {tried.width}x{tried.height} pixels did not fit, though it "
            f"should take {now.bytes_for(tried) / MIB:.0f} MB{devices.said_free(now.device)}. Tiles cannot be made "
            f"smaller. {', '.join(ways[:-1])}, or {ways[-1]}."
        )
