"""The contestants of `compare`: models, pictures, and the different ways to run a model on a picture."""

from __future__ import annotations

import copy
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from _common import load_comfyui, load_pack
from _measure import Contestant, exact_fp32, held_by, release
from torch import Tensor, nn

NEEDED = ("spandrel", "safetensors", "torchvision", "einops", "numpy", "PIL", "typing_extensions")
missing = [name for name in NEEDED if find_spec(name) is None]
if missing:
    sys.exit(
        f"{sys.executable} cannot import {', '.join(missing)}. Install it (PIL is part of pillow), or unpack its "
        "wheel into a folder and add that folder to PYTHONPATH. The top of benchmarks/compare.py lists what is needed."
    )

load_pack()

# these imports need the pack to be loaded
from apisr_pack import engine  # noqa: E402
from apisr_pack.apisr_archs import is_out_of_memory, load_model  # noqa: E402
from apisr_pack.engine import devices  # noqa: E402
from apisr_pack.tests import reference, trained  # noqa: E402
from spandrel import MAIN_REGISTRY  # noqa: E402

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
PRECISION = "fp16" if GPU else "fp32"
"""The precision in which our networks run."""
TILE, OVERLAP = 512, 32
"""The values of core ComfyUI."""


@dataclass(frozen=True)
class Model:
    """A model to compare."""

    name: str
    key: str
    """Its name in tests/reference.py."""
    mflop_per_pixel: float
    """MFLOP per input pixel in the reference network; a multiplication with addition counts as two."""
    trained: str | None = None
    """Its name in tests/trained.py, if there are trained weights of this shape."""


MODELS = {
    model.name: model
    for model in (
        Model("GRL 4x", "4x_APISR_GRL_GAN_generator", 4.42),
        Model("RRDB 2x", "2x_APISR_RRDB_GAN_generator", 2.856),
        Model("RRDB 4x", "4x_APISR_RRDB_GAN_generator", 11.413, "realesrgan-x4plus-anime"),
        Model("DAT-small 4x", "4x_APISR_DAT_GAN_generator", 23.0),
        Model("Compact 4x", "realesr-animevideov3", 1.24, "realesr-animevideov3"),
    )
}


@dataclass(frozen=True)
class Entry:
    """A model with weights, which are the same for all contestants."""

    model: Model
    weights: str
    """ "trained" or "random"."""
    network: nn.Module
    """The reference network, in fp32."""
    path: Path
    """A file with the weights, in the format of the official files."""

    @property
    def scale(self) -> int:
        return int(self.model.name[-2])


def prepare(model: Model, folder: Path) -> Entry:
    network, weights, kind = *reference.ZOO[model.key](), "random"
    if model.trained:
        try:
            weights = trained.trained_state_dict(model.trained)
            network, kind = MAIN_REGISTRY.load(dict(weights)).model.eval(), "trained"
        except FileNotFoundError as problem:
            print(f"{model.name}: random weights. {problem}")
    path = folder / f"{model.key}.pth"
    torch.save({"model_state_dict": weights}, path)
    return Entry(model, kind, network.requires_grad_(False).to(DEVICE), path)


def picture(width: int, height: int, name: str = "bg_uni.jpg") -> Tensor:
    """The center of a picture from tests/art, (1, height, width, 3); enlarged if it is too small."""
    image = trained.art(name)[..., :3]
    enlarge = max(1.0, height / image.shape[1], width / image.shape[2])
    if enlarge > 1:
        size = [round(side * enlarge) for side in image.shape[1:3]]
        image = _resized(image, size)
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    return trained.crop(image, top, left, height, width).contiguous()


def clip(width: int, height: int, frames: int) -> Tensor:
    """A character that talks and moves in front of a still background; each drawing is held for two frames."""
    background = picture(width, height)
    drawings = []
    for number in range(-(-frames // 2)):
        sprite = trained.art(f"sylvie_green_{'smile' if number % 2 else 'normal'}.png")
        sprite_height = height * 4 // 5
        sprite_width = min(width, round(sprite_height * sprite.shape[2] / sprite.shape[1]))
        sprite = _resized(sprite, [sprite_height, sprite_width])
        left = (width - sprite.shape[2]) * (number % 8) // 8
        drawings.append(trained.on_background(sprite, background, height - sprite_height, left))
    return torch.cat(drawings).repeat_interleave(2, dim=0)[:frames].contiguous()


def _resized(image: Tensor, size: Sequence[int]) -> Tensor:
    batch = F.interpolate(image.movedim(-1, 1), size=tuple(size), mode="bicubic", antialias=True)
    return batch.clamp(0, 1).movedim(1, -1)


def comfyui_version() -> str | None:
    """Make ComfyUI's modules importable and return its version; without ComfyUI print a note and return None."""
    path = os.environ.get("COMFYUI_PATH")
    if not path:
        print("COMFYUI_PATH is not set: core ComfyUI is left out, and its tiling is a copy.")
        return None
    try:
        load_comfyui()
        importlib.import_module("comfy_extras.nodes_upscale_model")
        return str(importlib.import_module("comfyui_version").__version__)
    except ImportError as problem:
        print(f"{path} cannot be imported ({problem}): core ComfyUI is left out, and its tiling is a copy.")
        return None


def versions(comfyui: str | None) -> dict[str, str | None]:
    return {"spandrel": metadata.version("spandrel"), "comfyui": comfyui, "cuda": torch.version.cuda}


def contestants(entry: Entry, comfyui: bool, only: Sequence[str]) -> list[Contestant]:
    """The selected contestants. Each maps a picture (1, H, W, 3) on the CPU to a picture on the CPU."""
    makers: dict[str, Callable[[], Contestant]] = {
        "reference": lambda: _tiled_reference(entry, comfyui),
        "ours": lambda: ours(entry),
    }
    if comfyui:
        makers = {"core": lambda: core_node(entry), **makers}
    if GPU:
        makers["autocast"] = lambda: _full_frame(entry)
    return [held_by(make) for name, make in makers.items() if name in only]


def core_model(path: Path) -> Any:
    """A model loaded by core's node "Load Upscale Model"."""
    folder_paths = importlib.import_module("folder_paths")
    folder_paths.add_model_folder_path("upscale_models", str(path.parent))
    nodes = importlib.import_module("comfy_extras.nodes_upscale_model")
    return nodes.UpscaleModelLoader.execute(path.name)[0]


def core_node(entry: Entry) -> Contestant:
    """Core's node "Upscale Image (using Model)", as shipped."""
    model = core_model(entry.path)
    node = importlib.import_module("comfy_extras.nodes_upscale_model").ImageUpscaleWithModel
    return Contestant("core", "fp32", lambda image: node.execute(model, image)[0])


def ours(entry: Entry, name: str = "ours", **options: Any) -> Contestant:
    model = load_model(entry.path, PRECISION, DEVICE)
    return Contestant(name, PRECISION, lambda image: engine.upscale(model, image, **options))


def _tiled_reference(entry: Entry, comfyui: bool) -> Contestant:
    network = copy.deepcopy(entry.network)

    def run(image: Tensor) -> Tensor:
        batch = image.movedim(-1, 1).to(DEVICE)
        if comfyui:
            tiled_scale = importlib.import_module("comfy.utils").tiled_scale
            sizes = {"tile_x": TILE, "tile_y": TILE, "overlap": OVERLAP, "upscale_amount": entry.scale}
            return tiled_scale(batch, network, **sizes).clamp(0, 1).movedim(1, -1)
        return _tiled(batch, network, entry.scale).clamp(0, 1).movedim(1, -1)

    return Contestant("reference, core's tiling", "fp32", run)


def _tiled(batch: Tensor, network: nn.Module, scale: int) -> Tensor:
    """A copy of core's tiling: tiles start at the top left, the last ones are smaller, and blends span the overlap."""
    height, width = batch.shape[-2:]
    rows, columns = _spans(height), _spans(width)
    if len(rows) == len(columns) == 1:
        return network(batch).cpu()
    total = torch.zeros(1, 3, height * scale, width * scale)
    weights = torch.zeros(1, 1, height * scale, width * scale)
    for top, h in rows:
        for left, w in columns:
            tile = network(batch[..., top : top + h, left : left + w]).cpu()
            weight = _ramp(h * scale, OVERLAP * scale)[:, None] * _ramp(w * scale, OVERLAP * scale)
            y, x = (slice(start * scale, (start + length) * scale) for start, length in ((top, h), (left, w)))
            total[..., y, x] += tile * weight
            weights[..., y, x] += weight
    return total.div_(weights)


def _spans(size: int) -> list[tuple[int, int]]:
    """Start and length of the tiles along an axis."""
    starts = range(0, size - OVERLAP, TILE - OVERLAP) if size > TILE else (0,)
    return [(start, min(TILE, size - start)) for start in starts]


def _ramp(length: int, fade: int) -> Tensor:
    if fade >= length:
        return torch.ones(length)
    rise = torch.arange(1, length + 1).clamp(max=fade) / fade
    return rise * rise.flip(0)


def _full_frame(entry: Entry) -> Contestant:
    """The method of an older APISR pack: no tiles, and torch's autocast."""
    network = copy.deepcopy(entry.network)

    def run(image: Tensor) -> Tensor:
        with torch.autocast("cuda", torch.float16):
            output = network(image.movedim(-1, 1).to(DEVICE))
        return output.movedim(1, -1).cpu().float().clamp(0, 1)

    return Contestant("full frame, fp16 autocast", "fp16", run)


def networks(entry: Entry) -> list[Contestant]:
    """The network alone: maps a batch on the device to a batch on the device."""
    weights = sum(tensor.nbytes for tensor in (*entry.network.parameters(), *entry.network.buffers())) if GPU else 0

    def autocast(batch: Tensor) -> Tensor:
        with torch.autocast("cuda", torch.float16):
            return entry.network(batch)

    found = [Contestant("reference", "fp32", entry.network, weights)]
    if GPU:
        found.append(Contestant("reference, fp16 autocast", "fp16", autocast, weights))
    return [*found, held_by(lambda: _our_network(entry))]


def _our_network(entry: Entry) -> Contestant:
    model = load_model(entry.path, PRECISION, DEVICE)
    # including the cast: the engine passes a batch of the model's own dtype
    return Contestant("ours", PRECISION, lambda batch: model(batch.to(model.dtype)))


def whole(entry: Entry, image: Tensor) -> Tensor | None:
    """The reference network's result for the whole picture in true fp32, (1, H, W, 3); None if it does not fit."""
    facts = load_model(entry.path).facts
    needed = engine.bytes_for(*image.shape[1:3], facts, torch.float32)
    if needed > devices.usable_bytes(DEVICE):  # on a CPU the system would kill the process
        return None
    try:
        with exact_fp32():
            return entry.network(image.movedim(-1, 1).to(DEVICE)).clamp(0, 1).movedim(1, -1).cpu()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    release()
    return None


def difference(truth: Tensor | None) -> Callable[[Any], float | None]:
    """A judge for `race`: the largest difference from `truth`, in steps of 1/255."""

    def judge(output: Tensor) -> float | None:
        if truth is None:
            return None
        rows = zip(output.split(256, dim=1), truth.split(256, dim=1), strict=True)
        return max(float((actual.float().clamp(0, 1) - expected).abs().max()) for actual, expected in rows) * 255

    return judge
