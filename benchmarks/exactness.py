"""How far a tiled picture is from the untiled one: our engine and core ComfyUI's tiling, the same network and tile.

    python dev.py bench exactness [--tile 192]

For each network and picture, against whole-image inference of the same network: the largest difference in steps of
1/255, the PSNR, and the share of pixels that are more than half a step off. RRDB 4x, Compact and DAT-light have trained
weights. GRL, RRDB 2x and DAT-small have random ones, since no trained ones are at hand; these use less of their
receptive field, so their figures say little about the halo and much about the alignment of tiles.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import torch
from _common import load_comfyui, load_pack, save
from torch import Tensor

load_pack()
load_comfyui()

# only now can these be imported
import comfy.utils  # noqa: E402
from apisr_pack import engine  # noqa: E402
from apisr_pack.apisr_archs import UpscaleModel  # noqa: E402
from apisr_pack.apisr_archs.registry import load_weights  # noqa: E402
from apisr_pack.tests import reference, trained  # noqa: E402

CORE_OVERLAP = 32
PICTURES = {"demo.png": (16, 32), "bg_uni.jpg": (300, 400)}
"""Top left corners of the crops."""
SIZE = (256, 320)

NETWORKS: dict[str, Callable[[], dict[str, Tensor]]] = {
    "RRDB 4x, trained": lambda: trained.trained_state_dict("realesrgan-x4plus-anime"),
    "Compact 4x, trained": lambda: trained.trained_state_dict("realesr-animevideov3"),
    "RRDB 2x, random": lambda: reference.ZOO["2x_APISR_RRDB_GAN_generator"]()[1],
    "GRL 4x, random": lambda: reference.ZOO["4x_APISR_GRL_GAN_generator"]()[1],
    "DAT-light 4x, trained": lambda: torch.load(trained.dat_light_path(4), weights_only=True),
}


def core_tiled(model: UpscaleModel, picture: Tensor, tile: int) -> Tensor:
    """As core's "Upscale Image (using Model)" does it."""
    batch = comfy.utils.tiled_scale(
        picture.movedim(-1, -3),
        lambda a: model(a.float()),
        tile_x=tile,
        tile_y=tile,
        overlap=CORE_OVERLAP,
        upscale_amount=model.scale,
    )
    return batch.movedim(-3, -1).clamp(0, 1)


def compare(whole: Tensor, tiled: Tensor) -> dict[str, float]:
    difference = (whole - tiled).abs()
    mse = float((difference**2).mean())
    return {
        "max": round(float(difference.max()) * 255, 4),
        "psnr": round(-10 * torch.log10(torch.tensor(mse + 1e-20)).item(), 1),
        "share_off_percent": round(float((difference.amax(-1) > 0.5 / 255).float().mean()) * 100, 4),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tile", type=int, default=192, help="longest side of a tile; ours is raised to fit the halo")
    tile = parser.parse_args().tile
    rows: list[dict[str, Any]] = []
    print(f"{'network':24} {'picture':12} {'':5} {'max /255':>9} {'PSNR':>6} {'px off':>9}")
    for network, weights in NETWORKS.items():
        model = load_weights(weights())
        for name, (top, left) in PICTURES.items():
            picture = trained.crop(trained.art(name), top, left, *SIZE)[..., :3]
            with torch.inference_mode():
                whole = model(picture.movedim(-1, -3)).movedim(-3, -1)
                results = {"core": core_tiled(model, picture, tile), "ours": engine.upscale(model, picture, tile=tile)}
            for who, tiled in results.items():
                row = {"network": network, "picture": name, "tile": tile, "tiling": who, **compare(whole, tiled)}
                rows.append(row)
                off = f"{row['share_off_percent']:7.3f} %"
                print(f"{network:24} {name:12} {who:5} {row['max']:9.3f} {row['psnr']:6.1f} {off}", flush=True)
    print(f"Saved {save('exactness_cpu', rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
