"""Measures how much tiled pictures differ from untiled ones, for our engine and for core ComfyUI's tiling.

    python dev.py bench exactness [--thorough] [--networks NAME ...]

Both use the same network and tile size and are compared with whole-image inference of that network in fp32: the largest
difference in steps of 1/255, the PSNR, and the share of pixels that are more than half a step off. Our engine runs with
the presets exact and fast, and in strips, which it chooses when the budget is small. Tile sizes range from the smallest
that the engine allows with the preset exact (smaller ones are raised to it) to nearly the whole picture; all sizes are
odd. `--thorough` combines all pictures and batches with all tile sizes.

Weights: RRDB 4x, Compact and DAT-light are trained. RRDB 2x is the trained 4x network behind a pixel-unshuffle that
averages 2x2 pixels, so its effective receptive field is like a trained one's. GRL's weights are random, since trained
ones are not available here, and sharpened for a large receptive field (`far_seeing_grl` in tests/reference.py). The
output of this GRL spans the full range.

The exit code is 1 if, with the preset exact, RRDB, GRL or Compact is off by more than 0.5/255 anywhere, DAT's tiles
fall below 70 dB, or strips of any network are off by more than 1e-5 of the range.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from _common import load_comfyui, load_pack, save
from torch import Tensor

load_pack()
load_comfyui()

# these imports need the pack and ComfyUI to be loaded
import comfy.utils  # noqa: E402
from apisr_pack import engine  # noqa: E402
from apisr_pack.apisr_archs import Facts, UpscaleModel  # noqa: E402
from apisr_pack.apisr_archs.networks.registry import load_weights  # noqa: E402
from apisr_pack.engine import estimate  # noqa: E402
from apisr_pack.tests import reference, trained  # noqa: E402

CORE_OVERLAP = 32
LEAST_SIZE = (117, 131)
"""Height and width of the pictures, unless the network's halo requires larger ones."""
LIMIT = 0.5
"""Largest allowed difference for networks with a finite receptive field, in steps of 1/255."""
LIMIT_DAT = 70.0
"""Lowest allowed PSNR of DAT's tiles, in dB."""
LIMIT_STRIPS = 1e-5 * 255
CORE, EXACT, FAST, STRIPS = "ComfyUI", "ours, exact", "ours, fast", "ours, strips"

Weights = dict[str, Tensor]
Row = dict[str, Any]


NETWORKS: dict[str, Callable[[], Weights]] = {
    "RRDB 4x, trained": lambda: trained.trained_state_dict("realesrgan-x4plus-anime"),
    "RRDB 2x, from the trained 4x": trained.rrdb_2x_state_dict,
    "GRL 4x, random, sharpened": lambda: reference.far_seeing_grl(widest=False),
    "GRL 4x, random, widest": lambda: reference.far_seeing_grl(widest=True),
    "Compact 4x, trained": lambda: trained.trained_state_dict("realesr-animevideov3"),
    "DAT-light 4x, trained": lambda: torch.load(trained.dat_light_path(4), weights_only=True)["params"],
}


def _talking() -> Tensor:
    """Two frames that differ only in the face."""
    sprites = (trained.art(f"sylvie_green_{face}.png") for face in ("normal", "smile"))
    return torch.cat([trained.on_background(sprite, trained.art("bg_uni.jpg"), 20, 400) for sprite in sprites])


def _unrelated() -> Tensor:
    """Two frames that have nothing in common."""
    sprite = trained.art("sylvie_blue_normal.png")
    scene = trained.on_background(sprite, trained.art("bg_lecturehall.jpg"), 20, 400)
    return torch.cat((scene, trained.art("bg_uni.jpg")))


SCENES: dict[str, tuple[Callable[[], Tensor], int, int]] = {
    "foliage": (lambda: trained.art("bg_uni.jpg"), 300, 400),
    "lecture hall": (lambda: trained.art("bg_lecturehall.jpg"), 250, 500),
    "talking": (_talking, 150, 620),
    "unrelated": (_unrelated, 60, 440),
}
"""Pictures or batches, and the top left corner of the crop."""


@dataclass(frozen=True)
class Case:
    scene: str
    tile: str
    """ "smallest", "middle" or "largest"."""
    presets: Sequence[str] = engine.PRESETS
    frames: int | None = None
    """Use only this many frames of the scene; None for all."""


USUAL = (Case("foliage", "smallest"), Case("talking", "largest", ("exact",)))
SLOW = (USUAL[0], Case("talking", "largest", ("exact",), frames=1))
THOROUGH = tuple(Case(scene, tile) for scene in SCENES for tile in ("smallest", "middle", "largest"))


class Bench:
    """One network, and its cached results for whole pictures."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.model: UpscaleModel = load_weights(NETWORKS[name]())
        self.whole: dict[tuple[str, int], Tensor] = {}

    @property
    def facts(self) -> Facts:
        return self.model.facts

    def size(self) -> tuple[int, int]:
        """Height and width of the pictures: odd, and large enough for several of the smallest tiles along each side."""
        step = self.facts.alignment
        smallest = min(engine.plan(4096 + i, 4096, self.facts, tile=1).tile[0] for i in range(step))
        margins = max(16, step), max(30, step)
        height, width = (max(least, smallest + margin) for least, margin in zip(LEAST_SIZE, margins, strict=True))
        return height | 1, width | 1

    def tile(self, which: str) -> int:
        height, width = self.size()
        smallest, largest = max(engine.plan(height, width, self.facts, tile=1).tile), min(height, width) - 1
        return {"smallest": smallest, "middle": (smallest + largest) // 2, "largest": largest}[which]

    def run(self, case: Case, strips: bool) -> Iterator[Row]:
        """The rows of a case. strips: also run the picture in strips."""
        make, top, left = SCENES[case.scene]
        images = trained.crop(make(), top, left, *self.size())[: case.frames, ..., :3]
        tile = self.tile(case.tile)
        ways: list[tuple[str, Callable[[], tuple[Tensor, str]]]] = [(CORE, partial(self._core, images, tile))]
        ways += [(f"ours, {preset}", partial(self._ours, images, tile=tile, preset=preset)) for preset in case.presets]
        if strips:
            ways.append((STRIPS, partial(self._ours, images, budget=self._budget_for_strips(images))))
        for contestant, compute in ways:
            result, plan = compute()
            row = {"network": self.name, "picture": case.scene, "batch": len(images), "size": _size(images)}
            difference = compare(self._whole(case.scene, images), result)
            yield {**row, "tile": tile, "who": contestant, "plan": plan, **difference}

    def _whole(self, scene: str, images: Tensor) -> Tensor:
        key = scene, len(images)
        if key not in self.whole:
            with torch.inference_mode():
                self.whole[key] = torch.cat([self.model(image[None].movedim(-1, 1)).movedim(1, -1) for image in images])
        return self.whole[key]

    def _core(self, images: Tensor, tile: int) -> tuple[Tensor, str]:
        """Like core's "Upscale Image (using Model)", but with this tile size, rounded down to a multiple of 16."""
        tile = tile // 16 * 16
        sizes = {"tile_x": tile, "tile_y": tile, "overlap": CORE_OVERLAP, "upscale_amount": self.model.scale}
        with torch.inference_mode():
            batch = comfy.utils.tiled_scale(images.movedim(-1, -3), lambda a: self.model(a.float()), **sizes)
        steps = comfy.utils.get_tiled_scale_steps(images.shape[2], images.shape[1], tile, tile, CORE_OVERLAP)
        return batch.movedim(-3, -1).clamp(0, 1), f"{steps} tiles of {tile}x{tile}"

    def _ours(self, images: Tensor, **options: Any) -> tuple[Tensor, str]:
        lines: list[str] = []
        with torch.inference_mode():
            result = engine.upscale(self.model, images, tell=lines.append, **options)
        return result, lines[0].split(": ", 1)[1]

    def _budget_for_strips(self, images: Tensor) -> int:
        """A budget for the smallest strips, too small for the whole picture at once."""
        assert self.facts.strips is not None
        rows = estimate.least_strip(self.facts.strips)
        return int(1.01 * estimate.bytes_for(*images.shape[1:3], self.facts, torch.float32, rows))


def _size(images: Tensor) -> str:
    return f"{images.shape[2]}x{images.shape[1]}"


def compare(whole: Tensor, other: Tensor) -> Row:
    difference = (whole - other).abs()
    mse = float((difference.double() ** 2).mean())
    return {
        "max": round(float(difference.max()) * 255, 6),
        "psnr": round(-10 * math.log10(mse), 1) if mse else None,  # None: equal
        "share_off_percent": round(float((difference.amax(-1) > 0.5 / 255).float().mean()) * 100, 4),
    }


def is_wrong(row: Row) -> bool:
    if row["who"] == STRIPS:
        return row["max"] > LIMIT_STRIPS or not row["plan"].startswith("whole image in strips")
    if row["who"] == EXACT:
        return (row["psnr"] or math.inf) < LIMIT_DAT if row["network"].startswith("DAT") else row["max"] > LIMIT
    return False


def summary(rows: list[Row]) -> str:
    """A Markdown table with the worst case of each network and tiling: largest difference, PSNR, pixels off, plan."""
    lines = ["| network | tiling | max, /255 | PSNR, dB | pixels off | worst with |", "|---|---|---|---|---|---|"]
    for network in dict.fromkeys(row["network"] for row in rows):
        for contestant in (CORE, EXACT, FAST, STRIPS):
            own = [row for row in rows if (row["network"], row["who"]) == (network, contestant)]
            if not own:
                continue
            worst = max(own, key=lambda row: row["max"])
            psnr = min((row["psnr"] for row in own if row["psnr"] is not None), default=None)
            share = max(row["share_off_percent"] for row in own)
            off = f"{share:.2f} %" if share else "none"
            case = f"{worst['picture']}, {worst['size']}, {worst['plan']}"
            lines.append(f"| {network} | {contestant} | {_short(worst['max'])} | {psnr or 'equal'} | {off} | {case} |")
    return "\n".join(lines)


def _short(steps: float) -> str:
    return f"{steps:.1f}" if steps >= 1 else f"{steps:.4f}"


def _line(row: Row) -> str:
    figures = f"{row['max']:10.5f} {row['psnr'] or 'equal':>6} {row['share_off_percent']:8.4f} %"
    wrong = "  <- wrong" if is_wrong(row) else ""
    return f"{row['network']:29} {row['picture']:12} {row['who']:12} {figures}  {row['size']}: {row['plan']}{wrong}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--thorough", action="store_true", help="all pictures with all tile sizes; takes hours")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NAME")
    arguments = parser.parse_args()
    names: list[str] = arguments.networks
    rows: list[Row] = []
    print(f"{'network':29} {'picture':12} {'':12} {'max /255':>10} {'PSNR':>6} {'px off':>10}  plan")
    for name in names:
        bench = Bench(name)
        is_slow = name.startswith(("RRDB", "DAT"))
        cases = THOROUGH if arguments.thorough else SLOW if is_slow else USUAL
        for case in cases:
            for row in bench.run(case, strips=case.tile == "smallest"):
                rows.append(row)
                print(_line(row), flush=True)
    print(f"\n{summary(rows)}")
    if names == list(NETWORKS):
        print(f"Saved {save('exactness_cpu', rows, thorough=arguments.thorough)}")
    return 1 if any(map(is_wrong, rows)) else 0


if __name__ == "__main__":
    sys.exit(main())
