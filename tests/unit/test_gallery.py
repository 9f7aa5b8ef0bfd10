"""The page of `dev.py gallery`: all that is on it is there, and nothing in a name can break it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from apisr_pack.apisr_archs.files import zoo
from apisr_pack.tools.gallery_page import Cell, Row, page
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def test_names_are_escaped_and_missing_models_are_named() -> None:
    text = page([Row("<b>&", (Cell('a"b.png', "<i>", "1 < 2", 8, 9),))], [("Model <x>", "no & none")], 64)
    assert "<i>" not in text
    assert 'src="a&quot;b.png" alt="&lt;i&gt;" width=8 height=9' in text
    assert "Model &lt;x&gt;</b>: no &amp; none" in text
    assert "64 x 64" in text


@pytest.mark.slow
def test_the_page_has_each_picture_and_says_which_models_are_missing(tmp_path: Path) -> None:
    art, target = tmp_path / "art", tmp_path / "gallery"
    art.mkdir()
    rng = np.random.default_rng(0)
    calm = np.full((80, 200, 3), 120, np.uint8)
    calm[:, 100:] = rng.integers(0, 256, (80, 100, 3), dtype=np.uint8)
    calm[:, :100:7] += 20
    Image.fromarray(calm).save(art / "half.png")
    shutil.copy(ROOT / "tests" / "art" / "sylvie_blue_normal.png", art / "sprite.png")
    command = [sys.executable, ROOT / "tools" / "gallery.py", target, "--no-download", "--art", art]
    subprocess.run([*command, "--folder", tmp_path], check=True)

    text = (target / "index.html").read_text()
    files = re.findall(r'src="([^"]+)"', text)
    assert len(files) == len(set(files)) == 2 * 2 * 3, "two pictures, two pieces, input and filter and model"
    assert set(files) | {"index.html"} == {path.name for path in target.iterdir()}
    for model in zoo.ZOO:
        assert (f"{model.title}</b>: The model file" in text) == (model.file != "realesr-animevideov3.pth")
    busy, still = (np.asarray(Image.open(target / f"half_{name}_input.png")) for name in ("most_detail", "calm"))
    assert np.std(busy) > 3 * np.std(still)
    with Image.open(target / "sprite_most_detail_0.png") as sprite:
        assert sprite.mode == "RGBA"
    assert {path.name for path in tmp_path.iterdir()} == {"art", "gallery"}
