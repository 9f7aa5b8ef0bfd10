"""The conditions under which tiles are planned and computed, and how they change: values and pure functions."""

from dataclasses import dataclass, replace

import torch

from ..apisr_archs import Facts
from . import devices, estimate
from .tiling import Limits, Plan, plan


@dataclass(frozen=True)
class Tried:
    """How a tile was computed. Sizes are in input pixels."""

    height: int
    width: int
    strip: int | None
    """Rows per strip; None if the tile was computed at once."""


@dataclass(frozen=True)
class Conditions:
    """What is known about the network and the memory. Replaced when memory runs out or a tile's peak is measured."""

    facts: Facts
    device: torch.device
    dtype: torch.dtype
    budget: int
    """Bytes of activation memory that one tile may take."""
    limits: Limits
    smallest: bool = False
    """Whether to plan the smallest possible tiles, regardless of `limits`."""

    def plan(self, height: int, width: int) -> Plan:
        return plan(
            height,
            width,
            self.facts,
            budget=self.budget,
            dtype=self.dtype,
            tile=1 if self.smallest else self.limits.tile,
            overlap=self.limits.overlap,
            preset=self.limits.preset,
            strip_bytes=devices.fast_strip_bytes(self.device),
        )

    def bytes_for(self, tile: Tried) -> int:
        """Estimated memory of the tile, in bytes."""
        return estimate.bytes_for(tile.height, tile.width, self.facts, self.dtype, tile.strip)


def smaller(current: Conditions, failed: Tried, cpu_budget: int | None) -> Conditions | None:
    """The next conditions to try after a tile ran out of memory; None if nothing is left to try.

    First half the estimated memory of that tile, then the smallest possible tiles, then the CPU.

    cpu_budget: bytes that a tile may take on the CPU; None if the CPU must not be used.
    """
    half = replace(current, budget=current.bytes_for(failed) // 2)
    for conditions in (half, replace(half, smallest=True)):
        planned = conditions.plan(failed.height, failed.width)
        # compare pixels, not estimated bytes: a wrong estimate may be why memory ran out
        if (planned.tile[0] * planned.tile[1], planned.strip or failed.height) < (
            failed.height * failed.width,
            failed.strip or failed.height,
        ):
            return conditions
    if cpu_budget is None or current.device.type == "cpu":
        return None
    return replace(current, device=devices.CPU, dtype=torch.float32, budget=cpu_budget, smallest=False)


def learned(current: Conditions, tile: Tried, peak: int) -> Conditions:
    """The conditions with memory figures corrected by the measured peak of a tile, in bytes.

    The budget becomes at least what the tile takes by the new figures: it ran, so it fits.
    """
    facts = estimate.learned(current.facts, current.dtype, current.bytes_for(tile), peak, tile.height * tile.width)
    corrected = replace(current, facts=facts)
    return replace(corrected, budget=max(current.budget, corrected.bytes_for(tile)))
