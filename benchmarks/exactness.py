"""How far a tiled picture is from the untiled one: our engine and core ComfyUI's tiling, the same network and tile.

    python dev.py bench exactness [--thorough] [--networks NAME ...]

For each network and picture, against whole-image inference of the same network in fp32: the largest difference in
steps of 1/255, the PSNR, and the share of pixels that are more than half a step off. Ours with the presets exact and
fast, and in strips, which a small budget makes the engine choose. Tiles go from the smallest that the engine allows
with the preset exact (a smaller tile is raised to it) to nearly the whole picture; all sizes are odd. `--thorough`
crosses all pictures and batches with all tiles.

Weights: RRDB 4x, Compact and DAT-light are trained. RRDB 2x is the trained 4x network behind a pixel-unshuffle that
averages 2x2 pixels, so it looks as far as a trained one. GRL's are random, since no trained ones are at hand, sharpened
to look far (`far_seeing_grl` in tests/reference.py). GRL's output spans the range as it is.

Ends with 1 if, with the preset exact, RRDB, GRL or Compact is off by more than 0.5/255 anywhere, DAT's tiles fall below
70 dB, or strips of any network are off by more than 1e-5 of the range.
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

# only now can these be imported
import comfy.utils  # noqa: E402
from apisr_pack import engine  # noqa: E402
from apisr_pack.apisr_archs import Facts, UpscaleModel  # noqa: E402
from apisr_pack.apisr_archs.networks.registry import load_weights  # noqa: E402
from apisr_pack.engine import estimate  # noqa: E402
from apisr_pack.tests import reference, trained  # noqa: E402

CORE_OVERLAP = 32
LEAST_SIZE = (117, 131)
"""Height and width of the pictures, where the network's halo does not ask for more."""
LIMIT = 0.5
"""Of a finite network's tiles, in steps of 1/255."""
LIMIT_DAT = 70.0
"""PSNR of DAT's tiles, in dB."""
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
    """Two frames that differ in the face only."""
    sprites = (trained.art(f"sylvie_green_{face}.png") for face in ("normal", "smile"))
    return torch.cat([trained.on_background(sprite, trained.art("bg_uni.jpg"), 20, 400) for sprite in sprites])


def _strangers() -> Tensor:
    """Two frames that have nothing in common."""
    sprite = trained.art("sylvie_blue_normal.png")
    scene = trained.on_background(sprite, trained.art("bg_lecturehall.jpg"), 20, 400)
    return torch.cat((scene, trained.art("bg_uni.jpg")))


SCENES: dict[str, tuple[Callable[[], Tensor], int, int]] = {
    "foliage": (lambda: trained.art("bg_uni.jpg"), 300, 400),
    "lecture hall": (lambda: trained.art("bg_lecturehall.jpg"), 250, 500),
    "talking": (_talking, 150, 620),
    "strangers": (_strangers, 60, 440),
}
"""Pictures or batches of them, and the top left corner of the crop."""


@dataclass(frozen=True)
class Case:
    scene: str
    tile: str
    """ "smallest", "middle" or "largest"."""
    presets: Sequence[str] = engine.PRESETS
    frames: int | None = None
    """Take only so many of the scene."""


USUAL = (Case("foliage", "smallest"), Case("talking", "largest", ("exact",)))
SLOW = (USUAL[0], Case("talking", "largest", ("exact",), frames=1))
THOROUGH = tuple(Case(scene, tile) for scene in SCENES for tile in ("smallest", "middle", "largest"))


class Bench:
    """One network, and what it makes of whole pictures."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.model: UpscaleModel = load_weights(NETWORKS[name]())
        self.whole: dict[tuple[str, int], Tensor] = {}

    @property
    def facts(self) -> Facts:
        return self.model.facts

    def size(self) -> tuple[int, int]:
        """Odd, and enough for some of the smallest tiles along each side."""
        step = self.facts.alignment
        smallest = min(engine.plan(4096 + i, 4096, self.facts, tile=1).tile[0] for i in range(step))
        room = max(16, step), max(30, step)
        height, width = (max(least, smallest + more) for least, more in zip(LEAST_SIZE, room, strict=True))
        return height | 1, width | 1

    def tile(self, which: str) -> int:
        height, width = self.size()
        smallest, largest = max(engine.plan(height, width, self.facts, tile=1).tile), min(height, width) - 1
        return {"smallest": smallest, "middle": (smallest + largest) // 2, "largest": largest}[which]

    def run(self, case: Case, strips: bool) -> Iterator[Row]:
        """The rows of a case; strips: those of the picture in strips as well."""
        make, top, left = SCENES[case.scene]
        images = trained.crop(make(), top, left, *self.size())[: case.frames, ..., :3]
        tile = self.tile(case.tile)
        ways: list[tuple[str, Callable[[], tuple[Tensor, str]]]] = [(CORE, partial(self._core, images, tile))]
        ways += [(f"ours, {preset}", partial(self._ours, images, tile=tile, preset=preset)) for preset in case.presets]
        if strips:
            ways.append((STRIPS, partial(self._ours, images, budget=self._budget_for_strips(images))))
        for who, compute in ways:
            result, plan = compute()
            row = {"network": self.name, "picture": case.scene, "batch": len(images), "size": _size(images)}
            yield {**row, "tile": tile, "who": who, "plan": plan, **compare(self._whole(case.scene, images), result)}

    def _whole(self, scene: str, images: Tensor) -> Tensor:
        key = scene, len(images)
        if key not in self.whole:
            with torch.inference_mode():
                self.whole[key] = torch.cat([self.model(image[None].movedim(-1, 1)).movedim(1, -1) for image in images])
        return self.whole[key]

    def _core(self, images: Tensor, tile: int) -> tuple[Tensor, str]:
        """As core's "Upscale Image (using Model)" does it, with another tile, which like core's is a multiple of 16."""
        tile = tile // 16 * 16
        sizes = {"tile_x": tile, "tile_y": tile, "overlap": CORE_OVERLAP, "upscale_amount": self.model.scale}
        with torch.inference_mode():
            batch = comfy.utils.tiled_scale(images.movedim(-1, -3), lambda a: self.model(a.float()), **sizes)
        steps = comfy.utils.get_tiled_scale_steps(images.shape[2], images.shape[1], tile, tile, CORE_OVERLAP)
        return batch.movedim(-3, -1).clamp(0, 1), f"{steps} tiles of {tile}x{tile}"

    def _ours(self, images: Tensor, **how: Any) -> tuple[Tensor, str]:
        said: list[str] = []
        with torch.inference_mode():
            result = engine.upscale(self.model, images, tell=said.append, **how)
        return result, said[0].split(": ", 1)[1]

    def _budget_for_strips(self, images: Tensor) -> int:
        """Enough for the narrowest strips, which must be less than enough for the whole picture."""
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
    """The worst of each network and way, as a table in Markdown: the largest difference, its PSNR, and where."""
    lines = ["| network | tiling | max, /255 | PSNR, dB | pixels off | worst with |", "|---|---|---|---|---|---|"]
    for network in dict.fromkeys(row["network"] for row in rows):
        for who in (CORE, EXACT, FAST, STRIPS):
            mine = [row for row in rows if (row["network"], row["who"]) == (network, who)]
            if not mine:
                continue
            worst = max(mine, key=lambda row: row["max"])
            psnr = min((row["psnr"] for row in mine if row["psnr"] is not None), default=None)
            share = max(row["share_off_percent"] for row in mine)
            off = f"{share:.2f} %" if share else "none"
            where = f"{worst['picture']}, {worst['size']}, {worst['plan']}"
            lines.append(f"| {network} | {who} | {_short(worst['max'])} | {psnr or 'equal'} | {off} | {where} |")
    return "\n".join(lines)


def _short(steps: float) -> str:
    return f"{steps:.1f}" if steps >= 1 else f"{steps:.4f}"


def _line(row: Row) -> str:
    figures = f"{row['max']:10.5f} {row['psnr'] or 'equal':>6} {row['share_off_percent']:8.4f} %"
    wrong = "  <- wrong" if is_wrong(row) else ""
    return f"{row['network']:29} {row['picture']:12} {row['who']:12} {figures}  {row['size']}: {row['plan']}{wrong}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--thorough", action="store_true", help="all pictures with all tiles: some hours")
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
