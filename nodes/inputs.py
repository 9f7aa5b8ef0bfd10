"""Inputs that several nodes have, and their checks: `resize_to`, a choice with a nested number, and tile limits."""

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..engine import PRESETS, arguments

RESIZE_TO = "resize_to"
MODEL_SCALE = "model scale"
SEARCH_WORDS = [
    "apisr",
    "anime",
    "anime upscale",
    "upscale",
    "upscaler",
    "super resolution",
    "esrgan",
    "real-esrgan",
    "realesrgan",
    "waifu2x",
    "hires",
    "hires fix",
    "hi-res fix",
    "enlarge",
    "sprite",
    "manga",
    "cartoon",
    "2x",
    "4x",
    "GRL",
    "RRDB",
    "DAT",
    "アニメ",
    "拡大",
    "高画質化",
    "アップスケール",
    "动漫放大",
    "动漫",
    "動漫放大",
    "超解析",
    "高畫質",
    "高清修复",
    "视频放大",
    "影片放大",
    "動画拡大",
    "超分",
    "放大",
    "高清",
    "애니 업스케일",
    "확대",
]
"""By which our nodes are found, in every language of the UI."""
MISREAD_GRL = 'Use "Load APISR Model" for this GRL: the node that loaded it computes it wrongly.'
MAX_PIXELS = 16384
"""Maximum side length that can be requested, as in ComfyUI's own nodes."""


def resize_input() -> io.Input:
    """The input `resize_to`; its first option is the default."""
    return io.DynamicCombo.Input(
        "resize_to",
        optional=True,
        options=[io.DynamicCombo.Option(mode, [number] if number else []) for mode, number in _number_inputs().items()],
        tooltip="How large the result is. model scale: as the model gives it. The others resize that by an "
        "antialiased filter. The model runs twice when the result is to be much larger than it gives.",
    )


def tile_inputs() -> list[io.Input]:
    return [
        io.Int.Input(
            "tile_size",
            optional=True,
            default=0,
            min=0,
            max=8192,
            step=8,
            advanced=True,
            tooltip="Longest side of a tile, in input pixels. 0: as large as fits. Smaller needs less memory. "
            "Very small values are raised to what the model needs, and are slow.",
        ),
        io.Int.Input(
            "overlap",
            optional=True,
            default=0,
            min=0,
            max=512,
            step=8,
            advanced=True,
            tooltip="Input pixels that tiles share. 0: what the model needs for a picture without seams. "
            "Less is faster and may show seams.",
        ),
        io.Combo.Input(
            "tiling",
            optional=True,
            options=list(PRESETS),
            default="exact",
            advanced=True,
            tooltip="Only matters when tiles are needed. exact: the result does not show them. "
            "fast: tiles share less, and may show a little.",
        ),
    ]


def cpu_fallback_input() -> io.Input:
    return io.Boolean.Input(
        "cpu_fallback",
        optional=True,
        default=False,
        advanced=True,
        tooltip="When not even the smallest tile fits on the GPU, go on with the CPU. Slow. Off: an error.",
    )


def size_request(resize_to: Any, others: Mapping[str, Any]) -> tuple[str, float]:
    """Parse the requested size into `resize_to` and `amount` of `engine.target_size`.

    For a known choice, ComfyUI nests the number: {"resize_to": "factor", "factor": 1.5}. In all other cases (a link
    into `resize_to`, an unknown choice) the choice arrives unchanged, and the number as a separate input named
    "resize_to.factor". If the number is missing or None, its default is used: a widget promoted onto a subgraph does
    not send the number after its choice was changed there.

    Args:
        resize_to: the value that `execute` received for `resize_to`; None if it received none.
        others: the inputs that are not parameters of `execute`.

    Raises:
        ValueError: the choice or the number is invalid; the message names the input.
    """
    choice, numbers = _flat(resize_to, others)
    expected = _number_inputs()
    if choice is None:
        _refuse_number_without_choice(numbers)
        choice = next(iter(expected))
    arguments.one_of(choice, RESIZE_TO, tuple(expected))
    number = expected[choice]
    if number is None:
        return choice, 1.0
    name = f"{RESIZE_TO}.{number.id}"
    value = numbers.get(name)
    return choice, arguments.positive(number.default if value is None else value, name)


def tile_limits(tile_size: Any, overlap: Any, tiling: Any) -> dict[str, Any]:
    """Convert these inputs to keyword arguments of `engine.prepare`. 0 means no limit.

    Raises:
        ValueError: one of them is invalid; the message names it.
    """
    arguments.one_of(tiling, "tiling", PRESETS)
    return {
        "tile": arguments.whole(tile_size, "tile_size", least=0) or None,
        "overlap": arguments.whole(overlap, "overlap", least=0) or None,
        "preset": tiling,
    }


def some_pictures(images: Any, name: str) -> Tensor:
    """Pictures as `arguments.pictures` gives them, (B, H, W, C), for a node that needs at least one.

    Raises:
        ValueError: there is none, or see there.
    """
    pictures = arguments.pictures(images, name)
    if not pictures.numel():
        raise ValueError(f"{name} is empty; expected a picture. Connect one.")
    return pictures


def _flat(resize_to: Any, others: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The choice, and all numbers under their names in API format, whether they were nested or not."""
    numbers = {name: value for name, value in others.items() if name.startswith(f"{RESIZE_TO}.")}
    if not isinstance(resize_to, dict) or RESIZE_TO not in resize_to:
        return resize_to, numbers
    return resize_to[RESIZE_TO], numbers | {f"{RESIZE_TO}.{name}": value for name, value in resize_to.items()}


def _refuse_number_without_choice(numbers: Mapping[str, Any]) -> None:
    if numbers:
        name, choices = next(iter(numbers)), ", ".join(_number_inputs())
        raise ValueError(f"{name} is given without {RESIZE_TO}. Set {RESIZE_TO} to one of: {choices}.")


def _number_inputs() -> dict[str, io.Int.Input | io.Float.Input | None]:
    """Each choice, in menu order, with its nested number input."""
    return {
        MODEL_SCALE: None,
        "factor": io.Float.Input(
            "factor", optional=True, default=2.0, min=0.01, max=16.0, step=0.05, tooltip="Times the size of the input."
        ),
        "longer side": _pixels(2048, "Length of the longer side, in pixels."),
        "shorter side": _pixels(1080, "Length of the shorter side, in pixels."),
        "megapixels": io.Float.Input(
            "megapixels",
            optional=True,
            default=4.0,
            min=0.01,
            max=256.0,
            step=0.05,
            tooltip="Width times height, in units of 1024 x 1024 pixels.",
        ),
    }


def _pixels(default: int, tooltip: str) -> io.Int.Input:
    return io.Int.Input("pixels", optional=True, default=default, min=16, max=MAX_PIXELS, tooltip=tooltip)
