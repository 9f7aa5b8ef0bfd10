"""One picture through the network, tile by tile, whatever the memory does meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..apisr_archs import Facts, NotEnoughMemory, Statistics, UpscaleModel, copy_network, is_finite, pad, with_network
from ..apisr_archs.text import get_logger
from . import memory, pixels
from .deliver import Delivery
from .means import gather_means, given
from .stitch import Stitcher
from .tiling import MEANS_ROUNDS, Plan, gathers_means, plan

log = get_logger(__name__)

MIB = 2**20
Progress = Callable[[int, int], None]
"""Called before each tile with how many are done and how many there are."""


@dataclass(frozen=True)
class Conditions:
    """Under which tiles are planned and computed. They change when memory runs out or its need is learned."""

    facts: Facts
    device: torch.device
    dtype: torch.dtype
    budget: int
    """Bytes of activation memory that one tile may take."""
    tile: int | None
    overlap: int | None
    preset: str

    def plan(self, height: int, width: int) -> Plan:
        return plan(
            height,
            width,
            self.facts,
            budget=self.budget,
            dtype=self.dtype,
            tile=self.tile,
            overlap=self.overlap,
            preset=self.preset,
            piece=memory.piece_for(self.device),
        )


class Tiler:
    """Upscales pictures under conditions that it adapts to what it meets.

    A tile that does not fit into memory is upscaled as a picture of its own, in strips or smaller tiles: what was
    finished before stays finished, and what comes after begins small.
    """

    def __init__(
        self,
        model: Any,
        conditions: Conditions,
        is_out_of_memory: Callable[[BaseException], bool],
        cpu_fallback: bool,
        tell: Callable[[str], None],
        check: Callable[[], None],
        deliver: Delivery,
    ) -> None:
        """tell: called with a line for the user. check: called before each tile, however small; may raise.

        deliver: writes the tiles; what `upscale` has returned from may still be on the way.
        """
        self.model = model
        self.now = conditions
        self.is_out_of_memory = is_out_of_memory
        self.cpu_fallback = cpu_fallback
        self.tell = tell
        self.check = check
        self.deliver = deliver
        self.told: set[str] = set()
        self.largest_measured = memory.LEARN_FROM - 1  # input pixels; smaller tiles teach nothing new
        self.wanted_tile = conditions.tile

    def upscale(
        self, picture: Tensor, output: Tensor, on_tile: Progress | None = None, means: list[Tensor] | None = None
    ) -> None:
        """The colours of (H, W, 1 or 3) into `output`, (H * scale, W * scale, 1 or 3).

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
            self.deliver.put(stitcher, tile, y, x)
            del tile  # its memory is for the next one

    def _gathered_means(self, picture: Tensor, on_tile: Progress | None) -> list[Tensor]:
        """What the network's tiles must know of the whole picture; empty if they need not.

        When memory runs out meanwhile, this begins anew with smaller tiles.
        """
        while True:
            current = self.now.plan(*picture.shape[:2])
            if len(current) == 1 or not gathers_means(self.now.facts, self.now.preset):
                return []
            try:
                return gather_means(current, partial(self._only_means, picture, current), on_tile)
            except Exception as error:
                if not self.is_out_of_memory(error):
                    raise
                self._shrink(*current.tile, current.strip, error)
            memory.release_cached(self.now.device)
            on_tile = None  # the second time it would go back to the beginning

    def _only_means(self, picture: Tensor, current: Plan, y: int, x: int, statistics: Statistics) -> None:
        self._run(current.read(picture, y, x), current.strip, statistics)

    def _tile(self, source: Tensor, output: Tensor, strip: int | None, means: list[Tensor]) -> Tensor | None:
        """One tile, (h, w, C) -> (h * scale, w * scale, C), to be delivered into `output`.

        None if it does not fit; what is planned from now on is smaller.
        """
        height, width = source.shape[:2]
        needed = memory.bytes_for(height, width, self.now.facts, self.now.dtype, strip)
        if needed > self.now.budget:
            return None
        try:
            return self.deliver.take(self._measured(source, strip, means, needed), output)
        except Exception as error:
            if not self.is_out_of_memory(error):
                raise
            self._shrink(height, width, strip, error)
        # only here, past the except block, is the failed attempt's memory free: its traceback held the tensors
        memory.release_cached(self.now.device)
        log.warning("Out of memory with %dx%d pixels; going on with %s.", width, height, self.now.plan(height, width))
        return None

    def _in_smaller_tiles(self, source: Tensor, output: Tensor, means: list[Tensor]) -> Tensor:
        """The same of a tile that does not fit."""
        scale = self.now.facts.scale
        tile = output.new_empty((source.shape[0] * scale, source.shape[1] * scale, output.shape[-1]))
        self.upscale(source, tile, means=means or None)
        return tile

    def _shrink(self, height: int, width: int, strip: int | None, error: BaseException) -> None:
        """Half the budget, or else tiles as small as they can be at all, or else the CPU, or else the end."""
        needed = memory.bytes_for(height, width, self.now.facts, self.now.dtype, strip)
        half = replace(self.now, budget=needed // 2)
        for smaller in (half, replace(half, tile=1)):
            planned = smaller.plan(height, width)
            # not by its bytes: what they say may be why memory ran out
            if (planned.tile[0] * planned.tile[1], planned.strip or height) < (height * width, strip or height):
                self.now = smaller
                return
        if self.cpu_fallback and self.now.device.type != "cpu" and isinstance(self._network, nn.Module):
            self._move_to_cpu(self._network)
        else:
            raise NotEnoughMemory(self._end(height, width, needed)) from error

    def _move_to_cpu(self, network: nn.Module) -> None:
        cpu = torch.device("cpu")
        self.tell(f"Out of memory on {self.now.device}: going on with the CPU, which is slow.")
        self.model = with_network(self.model, copy_network(network, torch.float32, cpu))
        # half: the output's memory counts as free until it is written
        budget = memory.usable_bytes(cpu) // 2
        self.now = replace(self.now, device=cpu, dtype=torch.float32, budget=budget, tile=self.wanted_tile)

    def _end(self, height: int, width: int, needed: int) -> str:
        ways = ["Choose a smaller model", "close other programs"]
        if self.now.preset == "exact" and len(replace(self.now, preset="fast", tile=1).plan(height, width)) > 1:
            ways.append("set preset to fast, which allows smaller tiles")
        if self.now.device.type != "cpu" and not self.cpu_fallback:
            ways.append("turn on cpu_fallback")
        return (
            f"Out of memory on {self.now.device}: a tile of {width}x{height} pixels did not fit, though it should take "
            f"{needed / MIB:.0f} MB{memory.said_free(self.now.device)}. Tiles cannot be made smaller. "
            f"{', '.join(ways[:-1])}, or {ways[-1]}."
        )

    def _measured(self, source: Tensor, strip: int | None, means: list[Tensor], expected: int) -> Tensor:
        """`_run`; the first tile, and each that is larger, also tells how much memory tiles really take."""
        statistics = given(means) if means else None
        height, width = source.shape[:2]
        if height * width <= self.largest_measured:
            return self._run(source, strip, statistics)
        with memory.measured(self.now.device) as peak:
            result = self._run(source, strip, statistics)
        self.largest_measured = height * width
        if peak.bytes is not None:
            facts = memory.learned(self.now.facts, self.now.dtype, expected, peak.bytes, height * width)
            needed = memory.bytes_for(height, width, facts, self.now.dtype, strip)
            self.now = replace(self.now, facts=facts, budget=max(self.now.budget, needed))  # what ran does fit
        return result

    def _run(self, source: Tensor, strip: int | None, statistics: Statistics | None) -> Tensor:
        """The network on one tile: (h, w, C) -> (h * scale, w * scale, 1 or 3) in [0, 1]."""
        channels = getattr(self.model, "input_channels", 3)
        batch = pixels.to_network(source, channels, self.now.device, self.now.dtype)
        how: dict[str, Any] = {"rows": strip} if strip else {}
        if statistics:
            how["statistics"] = statistics
        # a one-channel network gets the colours one after the other: memory is planned for one picture
        results = [self._finite(one, how) for one in batch.split(1)]
        result = results[0] if len(results) == 1 else torch.cat(results)
        expected = source.shape[0] * self.now.facts.scale, source.shape[1] * self.now.facts.scale
        if result.shape[-2:] != expected:
            raise ValueError(f"The model made {tuple(result.shape[-2:])} pixels of a tile; expected {expected}.")
        return pixels.from_network(result, grey=source.shape[-1] == 1)

    def _finite(self, batch: Tensor, how: dict[str, Any]) -> Tensor:
        """The network's output in [0, 1]; if half precision was too small for it, once more in fp32.

        Our own models see to both themselves.
        """
        if isinstance(self.model, UpscaleModel):
            return self.model(batch, tell=self._tell_once, **how)
        return self._of_a_stranger(batch, how).clamp(0, 1)

    def _of_a_stranger(self, batch: Tensor, how: dict[str, Any]) -> Tensor:
        """Others clamp infinity away, but NaN is left to be seen."""
        height, width = (side * self.now.facts.scale for side in batch.shape[-2:])
        least = self.now.facts.minimum
        batch = pad(batch, max(0, least - batch.shape[-1]), max(0, least - batch.shape[-2]))
        result = self.model(batch.clone(), **how)  # some networks write into their input
        if not is_finite(result):
            result = self._in_fp32(batch, how, result)
        return result[..., :height, :width]

    def _in_fp32(self, batch: Tensor, how: dict[str, Any], result: Tensor) -> Tensor:
        """The network's output once more in fp32, if that was not its precision: its `result` has NaN or infinity."""
        if batch.dtype == torch.float32 or not isinstance(self._network, nn.Module):
            self._tell_once("The model gave NaN or infinity; its weights, or the picture, may be damaged.")
            return result
        self._tell_once(f"The model gave NaN in {batch.dtype}; such tiles are computed again in fp32.")
        return with_network(self.model, copy_network(self._network, torch.float32))(batch.float(), **how)

    def _tell_once(self, text: str) -> None:
        if text not in self.told:
            self.told.add(text)
            self.tell(text)

    @property
    def _network(self) -> Any:
        return getattr(self.model, "model", None)
