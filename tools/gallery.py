"""The work behind `python dev.py gallery`: every known model on the pictures of tests/art, as one page to look at.

    gallery.py TARGET [--folder PATH] [--no-download]

Each model that is there, or can be fetched, upscales the most detailed and one calm piece of every picture. The page
and its pictures are complete or not there: they are made in a folder beside TARGET, which then takes its place.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tools.gallery_page import Cell, Row, page  # noqa: E402  (the script runs by its path)

ART = ROOT / "tests" / "art"
PIECE = {"cuda": 256, "cpu": 128}
"""Side of the pieces, in input pixels; smaller on a CPU, where the largest model takes seconds for this."""
SCALE = 4
"""All cells are shown as large as the result of a 4x model."""


@dataclass(frozen=True)
class Entry:
    """A model for the page, or why there is none."""

    title: str
    facts: str
    model: Any | None
    problem: str = ""


def load_pack() -> Any:
    """Import the checkout as `apisr_pack`."""
    spec = importlib.util.spec_from_file_location(
        "apisr_pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["apisr_pack"] = module
    spec.loader.exec_module(module)
    return module


def entries(pack: Any, folder: Path | None, device: str, *, download: bool) -> list[Entry]:
    """All known models, loaded where they are there or can be fetched."""
    zoo = importlib.import_module(f"{pack.__name__}.apisr_archs.files.zoo")
    found = [_entry(pack, "realesr-animevideov3", "Bundled: Real-ESRGAN 4x, anime video", "BSD-3-Clause", device)]
    for known in zoo.ZOO:
        if known.file == "realesr-animevideov3.pth":
            continue
        facts = f"{known.parameters / 1e6:.2f} M, {known.bytes / 1e6:.1f} MB, {known.licence}"
        name = str(folder / known.file) if folder else known.file
        found.append(_entry(pack, name, known.title, facts, device, download=download))
    return found


def _entry(pack: Any, name: str, title: str, facts: str, device: str, *, download: bool = False) -> Entry:
    precision = "fp16" if device == "cuda" else "fp32"
    try:
        model = pack.load_model(name, precision, device, download=download)
    except pack.ApisrError as error:
        return Entry(title, facts, None, str(error).partition("\n")[0])
    return Entry(title, f"{model.architecture.name} {model.scale}x, {facts}, {precision} on {device}", model)


def pieces(picture: Image.Image, side: int) -> dict[str, Image.Image]:
    """The most detailed piece, and the calmest one that is not flat, each at most `side` wide and high."""
    gray = np.asarray(picture.convert("L"), dtype=np.float32)
    side = min(side, *gray.shape)
    detail = {}
    step = max(1, side // 2)
    for top in range(0, gray.shape[0] - side + 1, step):
        for left in range(0, gray.shape[1] - side + 1, step):
            part = gray[top : top + side, left : left + side]
            detail[top, left] = float(np.abs(np.diff(part, axis=0)).mean() + np.abs(np.diff(part, axis=1)).mean())
    busy = max(detail, key=lambda place: detail[place])
    calm = min((place for place in detail if detail[place] > 0.5), key=lambda place: detail[place], default=busy)
    places = {"most detail": busy} | ({} if calm == busy else {"calm": calm})
    return {name: picture.crop((left, top, left + side, top + side)) for name, (top, left) in places.items()}


def upscaled(pack: Any, model: Any, piece: Image.Image) -> tuple[Image.Image, float]:
    """The result, and the seconds that a second run of it takes: the first one also allocates memory."""
    images = torch.from_numpy(np.array(piece)).float().div(255).unsqueeze(0)
    pack.upscale(model, images, alpha_by="model")
    started = time.monotonic()
    result = pack.upscale(model, images, alpha_by="model")
    seconds = time.monotonic() - started
    return Image.fromarray(result[0].mul(255).round().byte().numpy()), seconds


def make(pack: Any, found: list[Entry], target: Path, device: str, art: Path = ART) -> None:
    """Write the page and its pictures into the new folder `target`."""
    rows = []
    for path in sorted(art.glob("*.[jp][pn]g")):
        with Image.open(path) as file:
            picture = file.convert("RGBA" if file.mode in ("RGBA", "P") else "RGB")
        for place, piece in pieces(picture, PIECE[device]).items():
            stem = f"{path.stem}_{place.replace(' ', '_')}"
            rows.append(Row(f"{path.stem}, {place}", tuple(_cells(pack, found, piece, target, stem))))
            print(rows[-1].title, flush=True)
    missing = [(entry.title, entry.problem) for entry in found if entry.model is None]
    (target / "index.html").write_text(page(rows, missing, PIECE[device]), encoding="utf-8")


def _cells(pack: Any, found: list[Entry], piece: Image.Image, target: Path, stem: str) -> list[Cell]:
    size = piece.width * SCALE, piece.height * SCALE
    cells = []
    for title, how in (("input", Image.Resampling.NEAREST), ("bicubic filter", Image.Resampling.BICUBIC)):
        cells.append(_saved(piece.resize(size, how), target, f"{stem}_{title.split()[0]}", title, ""))
    for number, entry in enumerate(found):
        if entry.model is not None:
            result, seconds = upscaled(pack, entry.model, piece)
            shown = result if result.size == size else result.resize(size, Image.Resampling.NEAREST)
            facts = f"{seconds:.2f} s, {result.width} x {result.height}\n{entry.facts}"
            cells.append(_saved(shown, target, f"{stem}_{number}", entry.title, facts))
    return cells


def _saved(picture: Image.Image, target: Path, stem: str, title: str, facts: str) -> Cell:
    file = f"{stem}.png"
    picture.save(target / file)
    return Cell(file, title, facts, picture.width, picture.height)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target", type=Path)
    parser.add_argument("--folder", type=Path, help="where the model files are; the pack's folder models by default")
    parser.add_argument("--no-download", action="store_true")
    parser.add_argument("--art", type=Path, default=ART)
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pack = load_pack()
    found = entries(pack, options.folder, device, download=not options.no_download)
    options.target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.target.parent) as folder:
        complete = Path(folder, "gallery")
        complete.mkdir()
        make(pack, found, complete, device, options.art)
        shutil.rmtree(options.target, ignore_errors=True)
        complete.replace(options.target)


if __name__ == "__main__":
    main(sys.argv[1:])
