"""Measures the peak activation memory of each network, whole and in strips, and compares it with the engine's estimate.

    python dev.py bench memory [--half] [--networks NAME ...]

Networks with random weights run on the CPU under torch's profiler, and the recorded allocations are replayed to find
the peak of one forward pass, not counting weights and input. `--half` also measures in bf16. The peak does not depend
on the number of blocks, so large networks have fewer blocks here.

The same is measured for spandrel's networks, and how much less memory DAT takes in strips. The exit code is 1 if an
estimate is less than 0.8 times or more than 1.25 times the measurement. For spandrel's networks the upper limit is 1.45
times, or 2 times if the engine can only guess. The figures in each network's `facts` come from this benchmark.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from _common import load_pack, save
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

load_pack()

# these imports need the pack to be loaded
from apisr_pack.apisr_archs import Facts, Way, facts_of  # noqa: E402
from apisr_pack.apisr_archs.networks.registry import load_weights  # noqa: E402
from apisr_pack.engine import bytes_for  # noqa: E402
from apisr_pack.tests import reference  # noqa: E402
from spandrel import MAIN_REGISTRY  # noqa: E402

SIZES = ((64, 64), (128, 128), (256, 128), (117, 131))
"""Height and width of the images."""
SLOW = {"RRDB 4x, 23 blocks"}
"""Measured only at the first size. (In bf16 that applies to all networks.)"""
STRIPS = (16, 32, 64)
LOW, HIGH = 0.8, 1.25
"""Limits of the estimate, relative to the measurement."""
SPANDREL = "spandrel "
"""Prefix for the names of spandrel's networks."""
HIGH_FOREIGN = 1.45
UNKNOWN, HIGH_UNKNOWN = f"{SPANDREL}GRL 4x", 2.0
"""The engine can only guess the facts of this network; it represents all unknown ones."""

Weights = dict[str, Tensor]
SHORT = {"depth": [2, 2], "num_heads": [6, 6]}
"""A DAT of four blocks."""


def _dat(size: str = "small", **changes: Any) -> Weights:
    return reference.with_weights(partial(reference.dat, size, **changes))[1]


def _compact(**changes: Any) -> Weights:
    return reference.with_weights(partial(reference.compact, **changes))[1]


NETWORKS: dict[str, Callable[[], Weights]] = {
    "GRL 4x": lambda: reference.ZOO["4x_APISR_GRL_GAN_generator"]()[1],
    "RRDB 4x": lambda: reference.rrdb(blocks=2)[1],
    "RRDB 2x": lambda: reference.rrdb(in_channels=12, blocks=2)[1],
    "RRDB 4x, 23 blocks": lambda: reference.rrdb(blocks=23)[1],
    "RRDB 1x": lambda: reference.rrdb(blocks=2, enlargements=0)[1],
    "RRDB 2x, one enlargement": lambda: reference.rrdb(blocks=2, enlargements=1)[1],
    "RRDB 8x": lambda: reference.rrdb(blocks=2, enlargements=3)[1],
    "RRDB 16x": lambda: reference.rrdb(blocks=2, enlargements=4)[1],
    "DAT-small 4x": lambda: _dat(**SHORT),
    "DAT-small 4x, pixelshuffle": lambda: _dat(**SHORT, upsampler="pixelshuffle"),
    "DAT-light 4x": lambda: _dat("light", depth=[4]),
    "Compact 4x": lambda: _compact(),
    "Compact 2x": lambda: _compact(upscale=2),
    "Compact 1x": lambda: _compact(upscale=1),
    "Compact 4x, 24 features": lambda: _compact(num_feat=24, num_conv=8),
}


@dataclass(frozen=True)
class Measured:
    network: str
    dtype: str
    height: int
    width: int
    strip: int | None
    measured: int
    """In bytes."""
    claimed: int
    """The engine's estimate, in bytes."""

    @property
    def ratio(self) -> float:
        return self.claimed / self.measured

    @property
    def is_right(self) -> bool:
        high = HIGH_FOREIGN if self.network.startswith(SPANDREL) else HIGH
        return LOW <= self.ratio <= (HIGH_UNKNOWN if self.network == UNKNOWN else high)

    def __str__(self) -> str:
        pixels = self.height * self.width
        return (
            f"{self.network:32} {self.dtype:5} {self.width:4}x{self.height:<4} {self.strip or 'whole':>6} "
            f"{self.measured / pixels:9.0f} {self.claimed / pixels:9.0f}  {self.ratio:.2f}"
        )

    def row(self) -> dict[str, Any]:
        return {**vars(self), "ratio": round(self.ratio, 3)}


def peak_bytes(network: nn.Module, image: Tensor, **options: Any) -> int:
    """Peak of the allocated memory during one forward pass, in bytes, not counting weights and input."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded, torch.inference_mode():
        network(image, **options)
    events = recorded.profiler.kineto_results.events()
    held = peak = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def ways(facts: Facts, height: int) -> Iterator[int | None]:
    """Rows per strip: None (whole), then each of `STRIPS` that the network supports and that is less than `height`."""
    yield None
    if facts.strips:
        yield from (rows for rows in STRIPS if rows < height and rows % facts.strips.multiple == 0)


def measure(name: str, network: nn.Module, facts: Facts, dtype: torch.dtype) -> Iterator[Measured]:
    network = network.to(dtype)
    short = {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]
    slow = name in SLOW or dtype != torch.float32
    for height, width in SIZES[:1] if slow else SIZES:
        image = torch.rand(1, 3, height, width, dtype=dtype)
        for rows in ways(facts, height):
            peak = peak_bytes(network, image, **({"way": Way(rows)} if rows else {}))
            yield Measured(name, short, height, width, rows, peak, bytes_for(height, width, facts, dtype, rows))


def table(title: str, measurements: Iterator[Measured]) -> list[Measured]:
    print(f"\n{title}\n{'':32} {'':5} {'size':>9} {'strip':>6} {'measured':>9} {'claimed':>9}  ratio, bytes per pixel")
    rows: list[Measured] = []
    for row in measurements:
        rows.append(row)
        print(f"{row}{'' if row.is_right else '  <- wrong'}", flush=True)
    return rows


def ours(names: list[str], dtype: torch.dtype) -> Iterator[Measured]:
    for name in names:
        model = load_weights(dict(NETWORKS[name]()))
        yield from measure(name, model.model, model.facts, dtype)


def references(names: list[str]) -> Iterator[Measured]:
    """Measurements of spandrel's networks, which do not run in strips, with the engine's facts for them."""
    for name in names:
        model = MAIN_REGISTRY.load(dict(NETWORKS[name]()))
        yield from measure(f"{SPANDREL}{name}", model.model.eval(), facts_of(model), torch.float32)


def savings(own: list[Measured], theirs: list[Measured]) -> list[dict[str, Any]]:
    """How many times less memory DAT takes in strips, compared with whole, and with spandrel's network."""
    rows: list[dict[str, Any]] = []
    at_once = {(m.network, m.height, m.width): m.measured for m in [*own, *theirs] if m.strip is None}
    for m in own:
        if m.strip is None or not m.network.startswith("DAT"):
            continue
        row = {"network": m.network, "height": m.height, "width": m.width, "strip": m.strip}
        for key, name in (("of_own_whole", m.network), ("of_spandrel", f"{SPANDREL}{m.network}")):
            whole = at_once.get((name, m.height, m.width))
            row[key] = round(whole / m.measured, 2) if whole else None
        rows.append(row)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", action="store_true", help="bf16 as well")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NAME")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)  # from the profiler, and from spandrel's networks
    names: list[str] = arguments.networks
    own = table("Ours, fp32", ours(names, torch.float32))
    half = table("Ours, bf16", ours(names, torch.bfloat16)) if arguments.half else []
    theirs = table("spandrel's, fp32", references([n for n in names if n not in SLOW]))
    print("\nHow many times less memory DAT takes in strips, compared with whole, and with spandrel's network")
    saved = savings(own, theirs)
    for row in saved:
        size = f"{row['width']}x{row['height']}"
        print(f"{row['network']:32} {size:>9} {row['strip']:6} {row['of_own_whole']:9.2f} {row['of_spandrel']}")
    rows = [m.row() for m in [*own, *half, *theirs]]
    if names == list(NETWORKS):
        print(f"Saved {save('memory_cpu', rows, dat_in_strips=saved)}")
    return 1 if any(not m.is_right for m in [*own, *half, *theirs]) else 0


if __name__ == "__main__":
    sys.exit(main())
