"""Under which conditions tiles are planned and computed, and how they change: values and pure functions."""

from dataclasses import dataclass, replace

import torch

from ..apisr_archs import Facts
from . import devices, estimate
from .tiling import Limits, Plan, plan


@dataclass(frozen=True)
class Tried:
    """A tile as it was computed, in input pixels."""

    height: int
    width: int
    strip: int | None
    """Rows of its strips; None for all at once."""


@dataclass(frozen=True)
class Conditions:
    """What is known of the network and the memory. Replaced when memory runs out, or when its need is learned."""

    facts: Facts
    device: torch.device
    dtype: torch.dtype
    budget: int
    """Bytes of activation memory that one tile may take."""
    limits: Limits
    smallest: bool = False
    """Whether tiles are as small as they can be, whatever the limits."""

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
        """What the tile should take, in bytes."""
        return estimate.bytes_for(tile.height, tile.width, self.facts, self.dtype, tile.strip)


def smaller(now: Conditions, failed: Tried, cpu_budget: int | None) -> Conditions | None:
    """The next conditions to try when memory has run out with a tile; None if there are no others.

    First half the memory that the tile should have taken, then tiles as small as they can be, then the CPU.

    cpu_budget: bytes that a tile may take there; None if the CPU is not to be used.
    """
    half = replace(now, budget=now.bytes_for(failed) // 2)
    for conditions in (half, replace(half, smallest=True)):
        planned = conditions.plan(failed.height, failed.width)
        # not by its bytes: what they say may be why memory ran out
        if (planned.tile[0] * planned.tile[1], planned.strip or failed.height) < (
            failed.height * failed.width,
            failed.strip or failed.height,
        ):
            return conditions
    if cpu_budget is None or now.device.type == "cpu":
        return None
    return replace(now, device=devices.CPU, dtype=torch.float32, budget=cpu_budget, smallest=False)


def learned(now: Conditions, tile: Tried, peak: int) -> Conditions:
    """The conditions with what the peak of a tile, in bytes, tells of others. What ran does fit."""
    facts = estimate.learned(now.facts, now.dtype, now.bytes_for(tile), peak, tile.height * tile.width)
    corrected = replace(now, facts=facts)
    return replace(corrected, budget=max(now.budget, corrected.bytes_for(tile)))
